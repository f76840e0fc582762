"""With durability "synced", an answer leaves when its row is on the disk and not before."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest
from live_service import Start, linear_model, starting

start = starting
ROW = {"a": 1.0, "b": 2.0}


def watched_syncs(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Sizes of files when they were last synced; a sync takes so long that an answer could overtake it."""
    sizes: dict[str, int] = {}
    real = os.fdatasync

    def slow(fd: int) -> None:
        path, size = Path(f"/proc/self/fd/{fd}").readlink(), os.fstat(fd).st_size
        time.sleep(0.03)
        real(fd)
        sizes[str(path)] = size

    monkeypatch.setattr(os, "fdatasync", slow)
    return sizes


@pytest.mark.parametrize("route", ["predict", "labels"])
@pytest.mark.parametrize("durability", ["synced", "process"])
def test_when_an_answer_is_here_all_that_was_written_for_it_is_synced(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: str, durability: str
) -> None:
    server = start(linear_model(), f'[logging]\ndurability = "{durability}"\n')
    synced = watched_syncs(monkeypatch)
    for number in range(4):
        body = ROW if route == "predict" else {"prediction_id": f"p{number}", "label": 1}
        status, _, _ = server.ask("POST", f"/{route}", body)
        assert status == 200
        (segment,) = (tmp_path / "log" / "spool").glob("*.spool")
        assert (synced.get(str(segment)) == segment.stat().st_size) == (durability == "synced")


def test_an_answer_that_leaves_although_the_disk_refuses_is_counted(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(linear_model(), '[logging]\ndurability = "synced"\n')

    def refuse(_fd: int) -> None:
        raise OSError(errno.EIO, "refused")

    monkeypatch.setattr(os, "fdatasync", refuse)
    status, _, _ = server.ask("POST", "/predict", ROW)
    assert status == 200
    _, shown, _ = server.ask("GET", "/metrics")
    assert b'holdfast_log_unsynced_total{model="' in shown
    assert b"} 1.0" in shown[shown.index(b"holdfast_log_unsynced_total{") :].splitlines()[0]
