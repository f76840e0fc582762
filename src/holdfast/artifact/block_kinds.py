"""Whether an input whose rows are arrays is an image, a sound or an embedding: what a monitor measures of it.

A shape says it where it can: three dimensions are an image, one of open length is a sound. Sixteen by sixteen
numbers may be a grey image or sixteen readings of sixteen sensors; the input's own name decides, and the
checklist (`[model] kinds`) has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from holdfast.artifact.errors import ArtifactError
from holdfast.artifact.signature import Column, Signature

BlockKind = Literal["image", "audio", "embedding"]
_IMAGE_NAME: Final = re.compile(r"(image|img|photo|picture|pixel|x_?ray)", re.IGNORECASE)
_SOUND_NAME: Final = re.compile(r"(audio|sound|speech|waveform|pcm)", re.IGNORECASE)
_IMAGE_RANKS: Final = (2, 3)
_SMALLEST_SIDE: Final = 4


def with_block_kinds(
    signature: Signature, said: Mapping[str, BlockKind]
) -> tuple[Signature, tuple[str, ...]]:
    """The signature with the kinds of its array columns, and a line on each that was only guessed.

    Args:
        signature: as inferred.
        said: by the checklist, by column.

    Raises:
        ArtifactError: the checklist names a column that is not there, whose rows are no arrays of numbers, or
            whose shape cannot be of that kind.
    """
    blocks = {one.name for one in signature.columns if one.shape and one.dtype != "string"}
    for name in said:
        if name not in blocks:
            raise ArtifactError(
                "the model has no input of that name whose rows are arrays of numbers",
                where=f"[model] kinds: {name}",
                expected=", ".join(sorted(blocks)) or "no such input at all",
                next_step="Take it out; kinds of scalar columns are read from the reference",
            )
    columns = tuple(
        _said(one, said[one.name]) if one.name in said else _guessed(one) if one.name in blocks else one
        for one in signature.columns
    )
    notes = tuple(
        f"{one.name}: arrays of {list(one.shape)} are watched as {_WORDS[one.kind]}; [model] kinds can say "
        "otherwise"
        for one in columns
        if one.name in blocks and one.name not in said
    )
    return msgspec.structs.replace(signature, columns=columns), notes


_WORDS: Final = {"image": "images", "audio": "sounds", "embedding": "embeddings"}


def _said(column: Column, kind: BlockKind) -> Column:
    fits = {"image": len(column.shape) in _IMAGE_RANKS, "audio": len(column.shape) == 1, "embedding": True}
    if not fits[kind]:
        raise ArtifactError(
            f"arrays of this shape are no {_WORDS[kind]}",
            where=f"[model] kinds: {column.name}",
            expected="[height, width] with or without channels" if kind == "image" else "one dimension",
            received=str(list(column.shape)),
        )
    return msgspec.structs.replace(column, kind=kind)


def _guessed(column: Column) -> Column:
    if column.kind != "embedding":
        return column  # its shape has said it
    shape = column.shape
    if len(shape) == 1 and _SOUND_NAME.search(column.name):
        return msgspec.structs.replace(column, kind="audio")
    wide = len(shape) in _IMAGE_RANKS and all(side == -1 or side >= _SMALLEST_SIDE for side in shape[:2])
    if wide and (_IMAGE_NAME.search(column.name) or column.dtype == "uint8"):
        return msgspec.structs.replace(column, kind="image")
    return column
