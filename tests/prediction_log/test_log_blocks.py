"""Frames that are kept ready hold what the encoder itself would write."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from log_records import T0_US, new_writer, redacted

from holdfast.artifact.packing import Table
from holdfast.clock import ManualClock
from holdfast.prediction_log.arrow_rows import prediction_tables
from holdfast.prediction_log.blocks import ENCODER, Counters, PredictionBlock
from holdfast.prediction_log.frames import HEADER_BYTES, Frame, read_frames, seal
from holdfast.prediction_log.ids import PredictionIds
from holdfast.prediction_log.ready_frames import ReadyFrames
from holdfast.prediction_log.scanning import decode

IDS = PredictionIds()
CLOCK = ManualClock(T0_US)


def usual(rows: int, columns: int, seed: int, answers: str, *, lies_by_row: bool = False) -> dict[str, Any]:
    """Fields of a record of plain numbers."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, columns)).T if lies_by_row else random.normal(size=(columns, rows))
    matrix[0, 0] = np.nan
    chance = random.random((rows, 2)).astype(np.float32)
    return {
        "inputs": Table(tuple(f"f{i}" for i in range(columns)), matrix),
        "times_us": random.integers(-(2**40), 2**55, rows),
        "latency_us": random.integers(0, 2**40, rows).tolist(),
        "prediction": random.integers(0, 9, rows) if "i" in answers else random.normal(size=rows),
        "probabilities": chance if "p" in answers else None,
        "score": chance[:, 1] if "s" in answers else None,
    }


def read_back(frame: bytes | bytearray) -> pa.Table:
    (found,) = read_frames(bytes(frame), 7, at_end=True)
    assert isinstance(found, Frame)
    block = decode(found, "here")
    assert isinstance(block, PredictionBlock)
    (table,) = prediction_tables([("worker-0", block)])
    return table


@given(
    st.sampled_from([1, 2, 15, 16, 31, 32, 33, 260]),
    st.sampled_from([1, 2, 13, 14, 15, 16, 31]),
    st.sampled_from(["", "i", "ip", "is", "ps", "ips"]),
    st.booleans(),
    st.integers(0, 9),
)
def test_a_frame_kept_ready_says_what_the_columns_one_by_one_say(
    rows: int, columns: int, answers: str, lies_by_row: bool, seed: int
) -> None:
    frames = ReadyFrames("fraud", 0.5, "door")
    after = Counters(2**40 + rows, 70_000 + rows, 5, 0, 1)
    fields = usual(rows, columns, seed, answers, lies_by_row=lies_by_row)
    ids = IDS.new(rows, CLOCK)
    before = redacted(IDS.new(rows, CLOCK), **usual(rows, columns, seed + 10, answers))
    frames.filled(before, Counters(1, 2, 3, 4, 5), 1, 3)  # what was in the same place leaves no trace
    frame = frames.filled(redacted(ids, **fields), after, T0_US, 7)
    assert frame is not None
    with tempfile.TemporaryDirectory() as folder:
        writer = new_writer(Path(folder), sampling_fraction=0.5, device="door")
        by_column = redacted(ids, **fields | {"inputs": dict(fields["inputs"].items())})
        block = writer._prediction_block(by_column, None, after)
        writer.close()
    one_by_one = bytearray(HEADER_BYTES) + ENCODER.encode(block)
    seal(one_by_one, "P", 7)
    assert read_back(frame).schema == read_back(one_by_one).schema
    assert str(read_back(frame).to_pydict()) == str(read_back(one_by_one).to_pydict())


@pytest.mark.parametrize(
    "change",
    [
        {"context": {"shop": ["corner", "corner"]}},
        {"prediction": np.array(["yes", "no"], dtype=object)},
        {"prediction": ["yes", "no"]},
        {"outputs": {"y": np.zeros(2)}},
        {"latency_us": [1, 2**63]},
        {"prediction_ids": ["a" * 36, "b" * 35]},
        {"prediction_ids": ["a" * 35, "b" * 37]},
        {"prediction_ids": ["a" * 36, "é" + "b" * 35]},
    ],
)
def test_what_is_not_usual_is_left_to_be_written_column_by_column(change: dict[str, Any]) -> None:
    frames = ReadyFrames("fraud", 1.0, None)
    fields = usual(2, 3, 0, "ip") | change
    ids = fields.pop("prediction_ids", None) or IDS.new(2, CLOCK)
    assert frames.filled(redacted(ids, **fields), Counters(2, 2, 0, 0, 0), T0_US, 7) is None


@pytest.mark.parametrize("wrong", [{"prediction": np.zeros(3)}, {"inputs": Table(("a",), np.zeros((1, 3)))}])
def test_columns_of_another_number_of_rows_are_no_record(wrong: dict[str, Any]) -> None:
    frames = ReadyFrames("fraud", 1.0, None)
    record = redacted(IDS.new(2, CLOCK), **usual(2, 3, 0, "ip") | wrong)
    with pytest.raises(ValueError, match="2 values"):
        frames.filled(record, Counters(2, 2, 0, 0, 0), T0_US, 7)


def test_frames_of_many_shapes_are_kept_within_bounds() -> None:
    frames = ReadyFrames("fraud", 1.0, None)
    for rows in range(1, 300):
        record = redacted(IDS.new(rows, CLOCK), **usual(rows, 20, 0, "ip"))
        assert frames.filled(record, Counters(rows, rows, 0, 0, 0), T0_US, 7) is not None
    assert 0 < frames._bytes <= 4 << 20
    assert frames._bytes == sum(len(one.buffer) for one in frames._frames.values())


def test_frames_of_versions_that_come_and_go_are_not_kept_for_ever() -> None:
    frames = ReadyFrames("fraud", 1.0, None)
    for number in range(1000):
        record = redacted(IDS.new(1, CLOCK), **usual(1, 20, 0, "ip") | {"model_version": str(number)})
        frame = frames.filled(record, Counters(1, 1, 0, 0, 0), T0_US, 7)
        assert frame is not None
        assert read_back(frame)["model_version"].to_pylist() == [str(number)]
        assert 0 < len(frames._frames) <= 64


def test_ids_rise_across_every_boundary_of_the_counter() -> None:
    ids, clock = PredictionIds(), ManualClock(1_000_000)
    made = [one for n in (1, 1, 16_000, 1, 700, 40_000, 1) for one in ids.new(n, clock)]
    assert made == sorted(set(made))
    assert len(made) == 56_704
    assert {len(one) for one in made} == {36}
    assert {one[14] + one[19] for one in made} <= {"78", "79", "7a", "7b"}
