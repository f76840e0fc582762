"""Immutable artifact folders: written whole or not at all, opened only if every byte is as it was written.

    artifacts/<first 32 hex digits of the hash>/
        manifest.json     format number, runtime, signature, SHA-256 and size of each file below
        model.onnx        or python.json, which names a callable and holds no code
        warmup.json       a few reference rows by column, for warm-up; absent without a reference
        README.md         the model card; not hashed, people may add to it

The artifact's hash covers the manifest, and through it every other file but the card.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from holdfast.artifact.errors import StoredArtifactError
from holdfast.artifact.signature import Signature
from holdfast.building import building_folder
from holdfast.files import sync_file

RuntimeKind = Literal["onnx", "python"]
MANIFEST_FORMAT: Final = 1
"""Raised when the manifest changes its meaning; readers of older numbers stay."""
MODEL_FILES: Final[Mapping[RuntimeKind, str]] = {"onnx": "model.onnx", "python": "python.json"}
_BLOCK_BYTES: Final = 1 << 20
_FOLDER_DIGITS: Final = 32


class StoredFile(msgspec.Struct, frozen=True):
    """One file of an artifact."""

    sha256: str
    size_bytes: int


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """What a runtime must know beyond the model file."""

    row_multiple: int = 1
    """A run always has a multiple of this many rows (filled up with copies of the last): with it, a row's
    answer has the same bits whatever other rows share the run."""
    one_by_one: bool = False
    """Each row runs by itself, since no multiple of rows gives a row the same bits in every batch."""
    python_target: str | None = None
    """`module:function` of a Python model."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of `manifest.json`."""

    format: int
    runtime: RuntimeKind
    signature: Signature
    execution: Execution
    files: dict[str, StoredFile]


class _PythonModel(msgspec.Struct, frozen=True):
    """The contents of `python.json`."""

    callable: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified artifact folder."""

    folder: Path
    sha256: str
    manifest: Manifest

    @property
    def signature(self) -> Signature:
        """What the model takes and gives."""
        return self.manifest.signature

    @property
    def runtime(self) -> RuntimeKind:
        """Which adapter runs it."""
        return self.manifest.runtime

    @property
    def execution(self) -> Execution:
        """What the adapter must know."""
        return self.manifest.execution

    @property
    def model_file(self) -> Path:
        """`model.onnx` or `python.json`."""
        return self.folder / MODEL_FILES[self.runtime]

    @property
    def size_bytes(self) -> int:
        """Size of the model file."""
        return self.manifest.files[self.model_file.name].size_bytes

    def warmup_columns(self) -> dict[str, list[str | int | float | bool | None]]:
        """A few reference rows by column name; empty if the model came without a reference."""
        path = self.folder / "warmup.json"
        if path.name not in self.manifest.files:
            return {}
        return msgspec.json.decode(
            path.read_bytes(), type=dict[str, list[str | int | float | bool | None]], strict=False
        )


def python_model_file(target: str) -> bytes:
    """The model file of a Python callable: its name, never its code."""
    return msgspec.json.encode(_PythonModel(target))


def store_artifact(
    artifacts_folder: Path,
    *,
    runtime: RuntimeKind,
    model: bytes,
    signature: Signature,
    execution: Execution,
    warmup: Mapping[str, Sequence[str | int | float | bool | None]] | None = None,
    card: str = "",
) -> Artifact:
    """Write an artifact folder, or return the one that already holds exactly this.

    A crash at any point leaves either no folder of that name or a complete one.

    Raises:
        StoredArtifactError: a folder of that name exists and is damaged.
    """
    contents = {MODEL_FILES[runtime]: model}
    if warmup:
        contents["warmup.json"] = msgspec.json.encode(warmup)
    manifest = Manifest(
        format=MANIFEST_FORMAT,
        runtime=runtime,
        signature=signature,
        execution=execution,
        files={
            name: StoredFile(hashlib.sha256(data).hexdigest(), len(data))
            for name, data in sorted(contents.items())
        },
    )
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    digest = hashlib.sha256(encoded).hexdigest()
    folder = artifacts_folder / digest[:_FOLDER_DIGITS]
    if not folder.exists():
        _write_folder(folder, {**contents, "manifest.json": encoded, "README.md": card.encode()})
    return open_artifact(folder)


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with building_folder(folder.parent, ".building-") as building:
        for name, data in contents.items():
            with (building / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        building.chmod(0o755)
        sync_file(building)
        try:
            building.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            return  # another process stored the same content first
        sync_file(folder.parent)


def open_artifact(folder: Path) -> Artifact:
    """Open a stored artifact after verifying the manifest and every file it names.

    Reads each file once in blocks, so memory stays small whatever the model's size.

    Raises:
        StoredArtifactError: a file is missing or altered, or the format is unknown.
    """
    manifest_file = folder / "manifest.json"
    try:
        encoded = manifest_file.read_bytes()
    except OSError as error:
        raise StoredArtifactError(
            "there is no artifact here", where=str(folder), expected="a folder with manifest.json"
        ) from error
    digest = hashlib.sha256(encoded).hexdigest()
    if digest[:_FOLDER_DIGITS] != folder.name:
        raise _altered(manifest_file, folder.name, digest[:_FOLDER_DIGITS])
    _check_format(encoded, manifest_file)
    manifest = msgspec.json.decode(encoded, type=Manifest)
    for name, stored in manifest.files.items():
        _verify(folder / name, stored)
    return Artifact(folder, digest, manifest)


def _check_format(encoded: bytes, manifest_file: Path) -> None:
    class Head(msgspec.Struct):
        format: int

    found = msgspec.json.decode(encoded, type=Head).format
    if found != MANIFEST_FORMAT:
        raise StoredArtifactError(
            "the artifact has a format that this holdfast does not read",
            where=str(manifest_file),
            expected=f"format {MANIFEST_FORMAT}",
            received=f"format {found}",
            next_step="Open it with the holdfast that wrote it, or register the model again",
        )


def _verify(path: Path, stored: StoredFile) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise StoredArtifactError("a file of the artifact is missing", where=str(path)) from error
    if digest.hexdigest() != stored.sha256:
        raise _altered(path, stored.sha256, digest.hexdigest())


def _altered(path: Path, expected: str, received: str) -> StoredArtifactError:
    return StoredArtifactError(
        "the file is not the one that was stored",
        where=str(path),
        expected=f"SHA-256 {expected}",
        received=received,
        next_step="Restore the folder from a backup, or register the model again",
    )
