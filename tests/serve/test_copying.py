"""Copies on their way to a challenger's process, and who is assigned to it."""

from __future__ import annotations

import socket
import threading
from typing import Any

import numpy as np
from live_service import linear_model

from holdfast.artifact.packing import Table
from holdfast.infer import AnsweredBatch, Block
from holdfast.serve.challenger import make_pair
from holdfast.serve.copying import RECEIVE_BYTES, Copies, copy_of, read_copy
from holdfast.serve.shadow import Waiting, receive
from holdfast.telemetry import CopyCounts


def batch_of(block: Block) -> AnsweredBatch:
    answer: Any = None
    batch = AnsweredBatch(linear_model("1"), answer, [f"id-{row}" for row in range(block.rows)], block.rows)
    batch.block = block
    return batch


def table(rows: int) -> Block:
    return Block(rows, Table(("a", "b"), np.arange(2.0 * rows).reshape(2, rows)))


def test_a_copy_holds_what_was_asked_whatever_its_types() -> None:
    words: Any = [np.array(["a", "b"], dtype=object), ["c", "d"]]
    block = Block(
        2,
        {
            "age": np.array([3, 4]),
            "income": np.array([1.5, np.nan]),
            "city": ["north", None],
            "image": np.arange(8, dtype=np.float32).reshape(2, 2, 2),
            "words": words,
        },
        ids=[None, "own"],
        times_us=[None, 7],
        context={"shop": ["x", "y"]},
    )
    from msgspec.msgpack import encode

    copy, back = read_copy(encode(copy_of(block, ["made", "own"], "2")))
    assert (copy.version, back.rows, back.ids, back.times_us) == ("2", 2, ["made", "own"], [None, 7])
    for name in ("age", "income", "image"):
        np.testing.assert_array_equal(back.columns[name], block.columns[name])
        assert np.asarray(back.columns[name]).dtype == np.asarray(block.columns[name]).dtype
    assert back.columns["city"] == ["north", None]
    assert back.columns["words"] == [["a", "b"], ["c", "d"]]
    assert back.context["shop"] == ["x", "y"]


def test_a_large_batch_arrives_in_parts_and_whole() -> None:
    ours, theirs = make_pair()
    counts = CopyCounts("2")
    Copies(ours, "2", counts).offer(batch_of(table(4000)))
    found: list[str] = []
    values: list[float] = []
    while len(found) < 4000:
        copy, block = read_copy(theirs.recv(RECEIVE_BYTES))
        found += copy.ids
        values += np.asarray(block.columns["b"]).tolist()
    assert found == [f"id-{row}" for row in range(4000)]
    assert values == [4000.0 + row for row in range(4000)]
    assert (counts.copied, counts.dropped) == (4000, 0)
    ours.close()
    theirs.close()


def test_a_full_queue_drops_and_counts_and_never_waits() -> None:
    ours, theirs = make_pair()
    counts = CopyCounts("2")
    copies = Copies(ours, "2", counts)
    for _ in range(500):
        copies.offer(batch_of(table(100)))
    assert counts.dropped > 0
    assert counts.copied + counts.dropped == 50_000
    received = 0
    theirs.settimeout(0)
    try:
        while True:
            received += read_copy(theirs.recv(RECEIVE_BYTES))[0].rows
    except BlockingIOError:
        pass
    assert received == counts.copied
    theirs.close()
    copies.offer(batch_of(table(10)))  # nobody reads any more
    assert counts.copied + counts.dropped == 50_010
    ours.close()


def test_a_copy_for_the_next_challenger_that_finds_no_room_is_not_counted_as_one_for_this() -> None:
    ours, theirs = make_pair()
    counts = {version: CopyCounts(version) for version in ("2", "3")}
    for version, rows in (("3", 10), ("2", 20)):
        Copies(ours, version, counts[version]).offer(batch_of(table(rows)))
    ours.close()
    own = CopyCounts("2")
    receive(theirs, Waiting(0), own, threading.Event())
    theirs.close()
    assert (own.copied, own.dropped) == (-20, 20)
    own.add(counts["2"])
    assert (own.copied, own.dropped) == (0, 20)


def test_what_cannot_be_copied_is_dropped_and_harms_nobody() -> None:
    ours, theirs = make_pair()
    counts = CopyCounts("2")
    strange: Any = {"a": [object()]}
    Copies(ours, "2", counts).offer(batch_of(Block(1, strange)))
    assert (counts.copied, counts.dropped) == (0, 1)
    for one in (ours, theirs):
        one.close()
    assert isinstance(ours, socket.socket)


def test_waiting_copies_are_bounded_in_bytes() -> None:
    waiting = Waiting(most_bytes=10)
    assert waiting.put(b"12345678")
    assert not waiting.put(b"123")
    assert waiting.get(0.0) == b"12345678"
    assert waiting.put(b"123")
    assert waiting.get(0.0) == b"123"
    assert waiting.get(0.0) is None
