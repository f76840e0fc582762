"""Frames: every complete record is found, and no damaged one is ever returned."""

from __future__ import annotations

import zlib
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.prediction_log.frames import (
    HEADER_BYTES,
    Damage,
    Frame,
    Incomplete,
    checksum_seed,
    read_frames,
    seal,
)

SEED: Final = checksum_seed("worker-0-0011aabbccdd-00000000")


def frame(payload: bytes, kind: str = "P", seed: int = SEED) -> bytes:
    buffer = bytearray(HEADER_BYTES) + payload
    seal(buffer, kind, seed)
    return bytes(buffer)


def payloads(data: bytes, *, at_end: bool = True) -> list[bytes]:
    return [bytes(one.payload) for one in read_frames(data, SEED, at_end=at_end) if isinstance(one, Frame)]


segments = st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8)


@given(segments)
def test_frames_come_back_as_they_were_written(contents: list[bytes]) -> None:
    data = b"".join(frame(content) for content in contents)
    found = list(read_frames(data, SEED, at_end=True))
    assert all(isinstance(one, Frame) for one in found)
    assert payloads(data) == contents


def test_the_layout_is_the_documented_one() -> None:
    data = frame(b"payload", "L")
    assert data[:4] == b"\xf5H\x01L"
    assert int.from_bytes(data[4:8], "little") == 7
    seed = zlib.crc32(b"worker-0-0011aabbccdd-00000000")
    assert int.from_bytes(data[8:12], "little") == zlib.crc32(data[2:8] + b"payload", seed)


@pytest.mark.parametrize("payload", [b""])
def test_an_empty_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="a payload of 1 to"):
        frame(payload)


def test_a_tail_of_zeros_is_damage_and_not_records() -> None:
    data = frame(b"first") + bytes(4096)
    assert list(read_frames(data, SEED, at_end=True))[1:] == [Damage(len(data) - 4096, len(data))]


@settings(max_examples=300)
@given(segments, st.data())
def test_after_truncation_every_complete_record_is_recovered(
    contents: list[bytes], data: st.DataObject
) -> None:
    frames = [frame(content) for content in contents]
    whole = b"".join(frames)
    cut = data.draw(st.integers(0, len(whole)))
    complete, end = 0, 0
    for one in frames:
        if end + len(one) > cut:
            break
        end += len(one)
        complete += 1
    found = list(read_frames(whole[:cut], SEED, at_end=True))
    assert payloads(whole[:cut]) == contents[:complete]
    assert found[complete:] == ([Damage(end, cut)] if end < cut else [])


@settings(max_examples=300)
@given(segments, st.data())
def test_a_flipped_bit_costs_the_record_it_is_in_and_no_other(
    contents: list[bytes], data: st.DataObject
) -> None:
    frames = [frame(content) for content in contents]
    whole = bytearray(b"".join(frames))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    starts = [sum(map(len, frames[:i])) for i in range(len(frames) + 1)]
    hit = next(i for i in range(len(frames)) if starts[i] <= bit // 8 < starts[i + 1])
    assert payloads(bytes(whole)) == contents[:hit] + contents[hit + 1 :]
    damage = [one for one in read_frames(bytes(whole), SEED, at_end=True) if isinstance(one, Damage)]
    assert damage == [Damage(starts[hit], starts[hit + 1])]


@settings(max_examples=300)
@given(segments, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_is_overwritten_no_record_is_returned_that_was_not_written(
    contents: list[bytes], changes: list[tuple[int, int]]
) -> None:
    whole = bytearray(b"".join(frame(content) for content in contents))
    for place, value in changes:
        whole[place % len(whole)] = value
    left = iter(contents)
    assert all(payload in left for payload in payloads(bytes(whole)))  # a subsequence


def test_a_frame_inside_a_damaged_record_is_not_taken_for_a_record() -> None:
    forged = frame(b"forged by a caller", seed=0)
    data = bytearray(frame(b"text: " + forged) + frame(b"after"))
    data[HEADER_BYTES] ^= 1
    assert payloads(bytes(data)) == [b"after"]


def test_frames_of_another_segment_are_not_read() -> None:
    assert payloads(frame(b"elsewhere", seed=checksum_seed("worker-1-0011aabbccdd-00000000"))) == []


@given(segments, st.integers(1, 11))
def test_while_the_writer_lives_an_unfinished_tail_is_waited_for(contents: list[bytes], missing: int) -> None:
    whole = b"".join(frame(content) for content in contents)
    last = len(frame(contents[-1]))
    found = list(read_frames(whole[:-missing], SEED, at_end=False))
    assert payloads(whole[:-missing], at_end=False) == contents[:-1]
    assert isinstance(found[-1], Incomplete)
    assert found[-1].start == len(whole) - last


def test_a_frame_of_a_later_format_is_returned_with_its_version() -> None:
    buffer = bytearray(frame(b"new"))
    buffer[2] = 2
    crc = zlib.crc32(buffer[HEADER_BYTES:], zlib.crc32(buffer[2:8], SEED))
    buffer[8:12] = crc.to_bytes(4, "little")
    (found,) = read_frames(bytes(buffer), SEED, at_end=True)
    assert isinstance(found, Frame)
    assert found.version == 2


def test_a_frame_without_a_version_is_damage() -> None:
    buffer = bytearray(frame(b"old"))
    buffer[2] = 0
    crc = zlib.crc32(buffer[HEADER_BYTES:], zlib.crc32(buffer[2:8], SEED))
    buffer[8:12] = crc.to_bytes(4, "little")
    assert [type(one) for one in read_frames(bytes(buffer), SEED, at_end=True)] == [Damage]
