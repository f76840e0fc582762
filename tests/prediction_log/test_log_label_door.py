"""A label for an erased prediction is turned away before it is written anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import (
    ErasedPredictionError,
    Keeper,
    Label,
    LabelDoor,
    PredictionLog,
    add_label_file,
    erase,
    settle,
)
from holdfast.prediction_log.label_door import erased_file, write_erased
from holdfast.spec import Deployment


def labels(*ids: str) -> list[Label]:
    return [Label(name, 1, T0_US) for name in ids]


def test_a_living_writer_turns_away_what_was_erased_a_moment_ago(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock)
    door = LabelDoor(writer)
    writer.append(redacted(ids_of("a", 4)))
    assert door.append(labels("a-00000", "a-00001")) == []
    erase(tmp_path, clock, prediction_ids=["a-00001", "a-00003"])
    assert door.append(labels("a-00000", "a-00001", "a-00002", "a-00003", "unknown")) == [1, 3]
    with pytest.raises(ErasedPredictionError, match="erased on request") as refused:
        door.append(labels("a-00003"))
    assert "a-00003" not in str(refused.value)
    assert (door.refused, writer.labels) == (3, 5)
    writer.close()
    assert Keeper(tmp_path, clock).run_once().labels_refused == 0
    kept = PredictionLog(tmp_path).labels().read_all()["prediction_id"].to_pylist()
    assert sorted(kept) == ["a-00000", "a-00002", "unknown"]
    assert PredictionLog(tmp_path).verify().ok


def test_the_next_keeper_leaves_the_file_that_is_missing(tmp_path: Path) -> None:
    clock = ManualClock(T0_US)
    erase(tmp_path, clock, prediction_ids=["a"])
    erased_file(tmp_path).unlink()
    settle(tmp_path, clock)
    writer = new_writer(tmp_path, clock)
    assert LabelDoor(writer).erased(["a", "b"]) == [0]
    writer.close()


@pytest.mark.parametrize("kept_bytes", [0, 1, 73, 80])
def test_a_file_that_a_loss_of_power_cut_off_keeps_no_label_out(tmp_path: Path, kept_bytes: int) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock)
    door = LabelDoor(writer)
    write_erased(tmp_path, b"key", [bytes(range(16))])
    os.truncate(erased_file(tmp_path), kept_bytes)
    assert door.append(labels("a")) == []
    writer.close()
    erase(tmp_path, clock, prediction_ids=["a"])
    assert door.erased(["a", "b"]) == [0]


@given(st.sets(st.text(), max_size=40), st.lists(st.text(), max_size=40), st.binary(max_size=64))
def test_exactly_the_erased_ids_are_found(
    tmp_path_factory: pytest.TempPathFactory, erased: set[str], others: list[str], key: bytes
) -> None:
    from holdfast.prediction_log.digests import digest_of

    folder = tmp_path_factory.mktemp("door")
    write_erased(folder, key, [digest_of(key, name) for name in erased])
    writer = new_writer(folder)
    # Surrogates become one replacement character, in the hash as in the log.
    asked = [*others, *erased]
    hidden = {name.encode("utf-8", "replace") for name in erased}
    expected = [place for place, name in enumerate(asked) if name.encode("utf-8", "replace") in hidden]
    assert LabelDoor(writer).erased(asked) == expected
    writer.close()


def test_a_file_of_labels_says_how_many_were_refused(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "fraud"\n')
    deployment = Deployment.open(tmp_path, {})
    clock = ManualClock(T0_US)
    deployment.log_folder.mkdir()
    erase(deployment, clock, prediction_ids=["gone"])
    source = tmp_path / "labels.csv"
    source.write_text("prediction_id,label\ngone,1\nhere,0\n")
    report = add_label_file(
        deployment, source, id_column="prediction_id", label_column=None, time_column=None, clock=clock
    )
    assert (report.accepted, report.refused) == (1, 1)
    assert str(report) == "Accepted 1 label. Refused 1: their predictions were erased on request."
