"""The spool writer: what it has accepted is in the file, whatever the disk does."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.prediction_log import Label, LogFullError, PredictionLogError, SpoolWriter, is_sampled
from holdfast.prediction_log.blocks import Close, ColumnLayout, Header, LabelBlock, PredictionBlock
from holdfast.prediction_log.frames import Frame
from holdfast.prediction_log.scanning import OpenSegment, Payload, decode, summarise
from holdfast.prediction_log.segments import (
    SegmentFile,
    list_segments,
    remove_abandoned,
    spool_folder,
    writer_is_gone,
)


def spooled(log_folder: Path) -> list[Payload]:
    found: list[Payload] = []
    for ref in list_segments(spool_folder(log_folder)):
        with OpenSegment(ref) as segment:
            found += [decode(one, ref.name) for one in segment.frames(0) if isinstance(one, Frame)]
    return found


def stored_ids(log_folder: Path) -> list[str]:
    return [
        name for one in spooled(log_folder) if isinstance(one, PredictionBlock) for name in one.prediction_ids
    ]


def test_rows_are_in_the_file_when_append_returns(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a", "b"]))
    assert stored_ids(tmp_path) == ["a", "b"]


def test_only_a_redacted_record_can_be_logged(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    with pytest.raises(TypeError, match="only a RedactedRecord"):
        writer.append(redacted(["a"]).raw)  # type: ignore[arg-type]  # that the type checker refuses it is the claim


def test_a_batch_without_rows_writes_nothing(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted([]))
    writer.append_labels([])
    assert [type(one) for one in spooled(tmp_path)] == [Header]


@pytest.mark.parametrize("looks_from_the_lock_on", [True, False])
def test_a_keeper_that_passes_while_a_segment_is_opened_is_no_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, looks_from_the_lock_on: bool
) -> None:
    real_open, passes = os.open, 0

    def open_then_pass(path: Any, flags: int, *more: Any) -> int:
        nonlocal passes
        fd = real_open(path, flags, *more)
        if flags & os.O_CREAT and passes == 0:
            passes += 1
            if looks_from_the_lock_on:
                held = real_open(path, os.O_RDONLY)
                assert writer_is_gone(held)
                threading.Timer(0.0, os.close, [held]).start()
            else:
                assert remove_abandoned(tmp_path) == 1
        return fd

    monkeypatch.setattr(os, "open", open_then_pass)
    segment = SegmentFile.create(tmp_path, Header("fraud", "worker-0", 0, T0_US, b""))
    monkeypatch.undo()
    assert passes == 1
    assert [ref.path for ref in list_segments(tmp_path)] == [segment.path]
    assert remove_abandoned(tmp_path) == 0
    segment.close()


def test_columns_of_the_wrong_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="amount: 2 values are needed, not 1"):
        new_writer(tmp_path).append(redacted(["a", "b"], inputs={"amount": [1.0]}))


def test_sequence_numbers_and_counters_continue_through_every_frame(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(ids_of("a", 3)))
    writer.append_labels([Label("a-00000", 1, T0_US)])
    writer.append(redacted(ids_of("b", 2)))
    writer.close()
    _, first, label, second, close = spooled(tmp_path)
    assert isinstance(first, PredictionBlock)
    assert isinstance(label, LabelBlock)
    assert isinstance(second, PredictionBlock)
    assert isinstance(close, Close)
    assert [one.counters.stored for one in (first, label, second, close)] == [3, 3, 5, 5]
    assert [one.counters.labels for one in (first, label, second, close)] == [0, 1, 1, 1]
    assert close.ended


def test_two_starts_of_one_replica_have_two_ids(tmp_path: Path) -> None:
    first, second = new_writer(tmp_path), new_writer(tmp_path)
    assert first.replica != second.replica
    assert len(list_segments(spool_folder(tmp_path))) == 2


def test_a_full_segment_is_closed_and_the_next_one_begun(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, segment_bytes=1000)
    for part in range(20):
        writer.append(redacted(ids_of(f"part{part}", 5)))
    writer.close()
    refs = list_segments(spool_folder(tmp_path))
    assert [ref.number for ref in refs] == list(range(len(refs)))
    assert len(refs) > 3
    assert len(stored_ids(tmp_path)) == 100
    closed = []
    for ref in refs:
        with OpenSegment(ref) as segment:
            closed.append(summarise(segment).closed)
    assert closed == ["rotated"] * (len(refs) - 1) + ["ended"]


ORDERS: list[Literal["<", ">"]] = ["<", ">"]
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
arrays = st.sampled_from(
    [
        "bool",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "float32",
        "float64",
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(values, min_size=3, max_size=3), max_size=4),
    st.lists(st.tuples(arrays, st.binary(min_size=72, max_size=72), st.sampled_from(ORDERS)), max_size=4),
)
def test_any_column_comes_back_as_it_was_given(
    tmp_path_factory: pytest.TempPathFactory,
    lists: list[list[Any]],
    raw: list[tuple[str, bytes, Literal["<", ">"]]],
) -> None:
    folder = tmp_path_factory.mktemp("log")
    inputs: dict[str, Any] = {f"list{i}": one for i, one in enumerate(lists)}
    for i, (dtype, data, order) in enumerate(raw):
        kind = np.dtype(dtype).newbyteorder(order)
        array = np.frombuffer(data[: 9 * kind.itemsize], kind).reshape(3, 3)
        if dtype == "bool":
            array = np.frombuffer(data[:9], np.uint8).reshape(3, 3) % 2 == 1
        inputs[f"shaped{i}"] = array
        inputs[f"flat{i}"] = array[:, 1]  # strided
    writer = new_writer(folder)
    writer.append(redacted(["a", "b", "c"], inputs=inputs, prediction=[]))
    writer.close()
    block = next(one for one in spooled(folder) if isinstance(one, PredictionBlock))
    layout = msgspec.msgpack.decode(block.layout, type=list[ColumnLayout])
    assert [column.name for column in layout] == [f"input_{name}" for name in inputs]
    for column, packed, given_values in zip(layout, block.columns, inputs.values(), strict=True):
        if isinstance(given_values, np.ndarray):
            back = np.frombuffer(packed, column.code).reshape(3, *column.shape)
            np.testing.assert_array_equal(back, given_values)
            assert column.code[0] in "<|"
        else:
            assert packed == given_values


@pytest.mark.parametrize(
    ("given_value", "stored"),
    [
        ("lone \ud800 surrogate", "lone ? surrogate"),
        (2**70, str(2**70)),
        (np.float64(0.5), 0.5),
        (np.str_("word"), "word"),
        ({"nested": [1, None]}, {"nested": [1, None]}),
    ],
)
def test_values_that_cannot_be_stored_as_they_are_never_fail_a_request(
    tmp_path: Path, given_value: Any, stored: Any
) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"], inputs={"x": [given_value]}))
    block = next(one for one in spooled(tmp_path) if isinstance(one, PredictionBlock))
    assert block.columns[0] == [stored]
    assert writer.dropped == 0


def test_a_text_array_is_stored_as_texts(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.append(redacted(["a", "b"], inputs={"shop": np.array(["x", "y"])}))
    block = next(one for one in spooled(tmp_path) if isinstance(one, PredictionBlock))
    assert block.columns[0] == ["x", "y"]


# Sampling


@given(st.text(max_size=40), st.floats(0.0001, 1), st.floats(0.0001, 1))
def test_a_smaller_fraction_stores_a_subset(name: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert is_sampled(name, large) or not is_sampled(name, small)


def test_the_fraction_is_met_and_the_rest_is_counted(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, sampling_fraction=0.25)
    names = ids_of("a", 4000)
    writer.append(redacted(names))
    assert stored_ids(tmp_path) == [name for name in names if is_sampled(name, 0.25)]
    assert abs(writer.stored - 1000) < 5 * np.sqrt(
        4000 * 0.25 * 0.75
    )  # five standard deviations of a binomial
    assert writer.served == 4000 == writer.stored + writer.sampled_out
    block = next(one for one in spooled(tmp_path) if isinstance(one, PredictionBlock))
    assert block.sampling_fraction == 0.25
    amounts = np.frombuffer(block.columns[0], "<f4")
    assert amounts.tolist() == [row for row, name in enumerate(names) if is_sampled(name, 0.25)]


def test_rows_that_are_all_sampled_out_are_counted_in_the_file_at_once(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, sampling_fraction=1e-9)
    for part in range(3):
        writer.append(redacted(ids_of(f"part{part}", 7)))
    (ref,) = list_segments(spool_folder(tmp_path))
    with OpenSegment(ref) as segment:
        assert summarise(segment).counters == writer.counters
    assert writer.sampled_out == writer.served == 21


def test_of_a_sample_that_cannot_be_written_only_what_would_have_been_stored_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(tmp_path, sampling_fraction=0.25)
    names = ids_of("a", 400)
    wanted = sum(is_sampled(name, 0.25) for name in names)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_write", full)
        writer.append(redacted(names))
    counted = (writer.served, writer.stored, writer.sampled_out, writer.dropped)
    assert counted == (400, 0, 400 - wanted, wanted)


# Synced


def test_sync_flushes_once_for_all_that_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []
    entered, release = threading.Event(), threading.Event()

    def slow_flush(fd: int) -> None:
        flushes.append(fd)
        entered.set()
        release.wait(5)

    monkeypatch.setattr("holdfast.prediction_log.spool.os.fdatasync", slow_flush)
    writer = new_writer(tmp_path, durability="synced")
    writer.append(redacted(["a"]))
    threads = [threading.Thread(target=writer.sync)]
    threads[0].start()
    assert entered.wait(5)
    for name in ("b", "c", "d"):  # appending goes on while the disk is busy
        writer.append(redacted([name]))
        threads.append(threading.Thread(target=writer.sync))
        threads[-1].start()
    release.set()
    for thread in threads:
        thread.join(5)
    assert len(flushes) == 2


def test_sync_does_nothing_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.prediction_log.spool.os.fdatasync", _fail)
    writer = new_writer(tmp_path)
    writer.append(redacted(["a"]))
    writer.sync()


def test_rotated_segments_are_flushed_before_they_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(
        "holdfast.prediction_log.spool.os.fdatasync",
        lambda fd: flushed.append(Path(f"/proc/self/fd/{fd}").readlink().name),
    )
    writer = new_writer(tmp_path, durability="synced", segment_bytes=10)
    for name in ("a", "b", "c"):
        writer.append(redacted([name]))
    writer.sync()
    assert sorted(flushed) == [ref.path.name for ref in list_segments(spool_folder(tmp_path))]
    writer.close()


def _fail(fd: int) -> None:
    raise OSError(errno.EIO, "flush failed")


def test_a_failed_flush_refuses_or_is_counted_and_the_segment_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = new_writer(tmp_path / "r", durability="synced", on_full="refuse")
    answering = new_writer(tmp_path / "a", durability="synced")
    refusing.append(redacted(["a"]))
    answering.append(redacted(["a"]))
    with monkeypatch.context() as patch:
        patch.setattr("holdfast.prediction_log.spool.os.fdatasync", _fail)
        with pytest.raises(LogFullError):
            refusing.sync()
        answering.sync()
    assert answering.unsynced == 1
    answering.append(redacted(["b"]))
    answering.sync()
    assert len(list_segments(spool_folder(tmp_path / "a"))) == 2
    assert stored_ids(tmp_path / "a") == ["a", "b"]


def test_after_close_nothing_can_be_appended(tmp_path: Path) -> None:
    writer = new_writer(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(PredictionLogError, match="closed"):
        writer.append(redacted(["a"]))


def test_threads_may_append_together(tmp_path: Path) -> None:
    writer = new_writer(tmp_path, segment_bytes=5000)

    def work(name: str) -> None:
        for part in range(50):
            writer.append(redacted(ids_of(f"{name}{part}", 2)))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert len(set(stored_ids(tmp_path))) == 400 == writer.stored


def test_the_worker_imports_neither_tables_nor_sql() -> None:
    heavy = {"deltalake", "pyarrow", "duckdb", "pandas"}
    code = f"import sys, holdfast.prediction_log as log; log.SpoolWriter; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_every_public_name_can_be_imported() -> None:
    import holdfast.prediction_log as log

    assert all(getattr(log, name) is not None for name in log.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        log.nothing  # noqa: B018 - reading it is the test
    assert log.SpoolWriter is SpoolWriter
