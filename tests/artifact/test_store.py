from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import msgspec
import pytest

from holdfast.artifact import (
    Artifact,
    Column,
    Execution,
    Signature,
    StoredArtifactError,
    Tensor,
    open_artifact,
)
from holdfast.artifact.store import store_artifact

SIGNATURE = Signature(
    columns=(Column(name="a", dtype="float64", kind="numeric", minimum=-1.5),),
    inputs=(Tensor(name="x", dtype="float32", shape=(-1, 1), columns=("a",)),),
    outputs=(),
    task="tensor",
)


def store(folder: Path, model: bytes = b"graph") -> Artifact:
    return store_artifact(
        folder,
        runtime="onnx",
        model=model,
        signature=SIGNATURE,
        execution=Execution(row_multiple=2),
        warmup={"a": [1.0, None]},
        card="# card\n",
    )


def test_what_is_stored_is_what_is_opened(tmp_path: Path) -> None:
    stored = store(tmp_path)
    opened = open_artifact(stored.folder)
    assert opened.signature == SIGNATURE
    assert opened.execution.row_multiple == 2
    assert opened.model_file.read_bytes() == b"graph"
    assert opened.size_bytes == 5
    assert opened.warmup_columns() == {"a": [1.0, None]}
    assert stored.folder.name == stored.sha256[:32]
    assert (stored.folder / "README.md").read_text() == "# card\n"


def test_the_same_content_is_one_folder_and_other_content_another(tmp_path: Path) -> None:
    first = store(tmp_path)
    before = (first.folder / "manifest.json").stat().st_mtime_ns
    assert store(tmp_path).folder == first.folder
    assert (first.folder / "manifest.json").stat().st_mtime_ns == before
    assert store(tmp_path, b"other").folder != first.folder
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["model.onnx", "warmup.json", "manifest.json"])
def test_one_changed_byte_is_found_at_opening(tmp_path: Path, name: str) -> None:
    folder = store(tmp_path).folder
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoredArtifactError, match="not the one that was stored"):
        open_artifact(folder)


def test_the_card_may_be_edited(tmp_path: Path) -> None:
    folder = store(tmp_path).folder
    (folder / "README.md").write_text("# intended use: ...\n")
    open_artifact(folder)


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    folder = store(tmp_path).folder
    (folder / "model.onnx").unlink()
    with pytest.raises(StoredArtifactError, match=r"model\.onnx: a file of the artifact is missing"):
        open_artifact(folder)
    with pytest.raises(StoredArtifactError, match="there is no artifact here"):
        open_artifact(tmp_path / "nothing")


def test_a_manifest_of_a_later_format_says_so(tmp_path: Path) -> None:
    import hashlib

    folder = store(tmp_path).folder
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    later = msgspec.json.encode({**manifest, "format": 2})
    renamed = tmp_path / hashlib.sha256(later).hexdigest()[:32]
    folder.rename(renamed)
    (renamed / "manifest.json").write_bytes(later)
    with pytest.raises(StoredArtifactError, match=r"expected format 1; received format 2"):
        open_artifact(renamed)


def test_a_crash_while_writing_leaves_no_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def dying(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", dying)
    with pytest.raises(OSError, match="No space left"):
        store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _store_many(folder: str) -> None:
    for index in range(20):
        store(Path(folder), b"%d" % index)


def test_processes_that_store_the_same_at_once_agree(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_store_many, args=(str(tmp_path),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(list(tmp_path.iterdir())) == 20
    for folder in tmp_path.iterdir():
        open_artifact(folder)
