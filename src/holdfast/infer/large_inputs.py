"""Inputs that the log stores beside its tables, and what stays of them in the row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.signature import Kind
from holdfast.infer.thumbnails import thumbnail
from holdfast.privacy.record import Values

if TYPE_CHECKING:
    from holdfast.spec.checklist import Logging

LARGE_KINDS: Final[frozenset[Kind]] = frozenset({"image", "audio", "embedding"})
THUMBNAIL: Final = "thumbnail"
"""Name of the feature that is a small picture."""

SetApart = tuple[Mapping[str, Values], Mapping[str, NDArray[np.generic]], Mapping[str, Mapping[str, Values]]]
"""Inputs that stay in the row, inputs that are stored beside the tables, and the short features of these."""


def large_from_bytes(logging: Logging) -> int | None:
    """Size of one value from which an input is stored beside the tables; None: never.

    Tables on an object store are shared by machines, and the files beside them are not: rows hold everything.
    """
    return None if logging.tables else round(logging.large_input_kb * 1000)


def set_apart(columns: Mapping[str, Values], kinds: Mapping[str, Kind], from_bytes: int) -> SetApart:
    """Take the large inputs out of a batch's columns. Copies no array.

    Args:
        columns: of N rows.
        kinds: of the inputs that may be large.
        from_bytes: size of one value from which it is.
    """
    large: dict[str, NDArray[np.generic]] = {}
    features: dict[str, Mapping[str, Values]] = {}
    for name, kind in kinds.items():
        values = columns[name]
        if isinstance(values, np.ndarray) and len(values) and values.nbytes // len(values) >= from_bytes:
            large[name] = values
            features[name] = short_features(kind, values)
    if not large:
        return columns, {}, {}
    return {name: values for name, values in columns.items() if name not in large}, large, features


def short_features(kind: Kind, values: NDArray[np.generic]) -> dict[str, Values]:
    """What a row keeps of each of N large inputs, by the feature's name."""
    if kind == "image":
        return {THUMBNAIL: [thumbnail(value) for value in values]}
    return {}
