"""Tables that may hold rows of a subject: what cannot be read is named, and what is removed stays away."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from holdfast.privacy import PrivacyError
from holdfast.subject.data_files import Wanted, remove_rows, rows_of

ANN = Wanted("ann", "pseudonym", frozenset(), "patient")


UNREADABLE = {
    "half.parquet": b"PAR1 and no more",
    "empty.parquet": b"",
    "ragged.csv": b"patient,age\nann,47\nann,48,49\n",
    "empty.csv": b"",
    "latin.csv": "patient,ward\nann,gériatrie\n".encode("latin-1"),
    "unpacked.csv.gz": b"patient,age\nann,47\n",
    "half.csv.gz": gzip.compress(b"patient,age\nann,47\n" * 100)[:-12],
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_table_that_cannot_be_read_is_named_and_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(UNREADABLE[name])
    for use in (remove_rows, rows_of):
        with pytest.raises(PrivacyError, match=name):
            use(path, ANN)
    assert path.read_bytes() == UNREADABLE[name]
    assert list(tmp_path.iterdir()) == [path]


def test_a_loss_of_power_does_not_bring_removed_rows_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is on the disk before it takes the old one's place, and its name after that."""
    path = tmp_path / "rows.csv"
    path.write_text("patient,age\nann,47\nbob,48\n")
    synced: list[tuple[str, bool]] = []

    def noted(fd: int) -> None:
        place = Path(f"/proc/self/fd/{fd}").readlink()
        synced.append((place.name, "ann" in path.read_text()))

    monkeypatch.setattr(os, "fsync", noted)
    assert remove_rows(path, ANN) == 1
    assert synced == [(".rows.csv.partial", True), (tmp_path.name, False)]
