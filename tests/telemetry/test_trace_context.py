"""W3C Trace Context: what is read of each header, by the recommendation's own examples and limits."""

from __future__ import annotations

import pytest

from holdfast.telemetry import read_traceparent, read_tracestate

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "value", [TRACE, b"cc" + TRACE[2:], b"01" + TRACE[2:] + b"-", b"cc" + TRACE[2:] + b"-what.comes"]
)
def test_a_version_to_come_is_read_by_its_first_four_fields(value: bytes) -> None:
    assert read_traceparent(value)[2:] == TRACE[2:]


@pytest.mark.parametrize(
    "value",
    [b"ff" + TRACE[2:], b"cc" + TRACE[2:] + b".x", b"cc" + TRACE[2:-1], TRACE + b"-x", b"c" + TRACE[2:]],
)
def test_what_no_version_can_mean_is_malformed(value: bytes) -> None:
    assert read_traceparent(value) == b""


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (
            b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            [("rojo", "00f067aa0ba902b7"), ("congo", "t61rcWkgMzE")],
        ),
        (b"fw529a3039@dt=FfAxM,, \trojo=a b ", [("fw529a3039@dt", "FfAxM"), ("rojo", "a b")]),
        (b"", []),
        (b",".join(b"k%d=v" % i for i in range(32)), [(f"k{i}", "v") for i in range(32)]),
    ],
)
def test_a_tracestate_is_read(value: bytes, members: list[tuple[str, str]]) -> None:
    assert read_tracestate(value) == members


@pytest.mark.parametrize(
    "value",
    [b"rojo", b"Rojo=1", b"rojo=1=2", b"rojo=", b"rojo=\xe9", b"rojo=1,rojo=2", b"a=1,b", b"1a=1",
     b"a" * 257 + b"=1", b"a=" + b"1" * 257,
     b",".join(b"k%d=v" % i for i in range(33)), b"a=1," + b"," * 5000],
)  # fmt: skip
def test_a_malformed_tracestate_is_dropped_as_a_whole(value: bytes) -> None:
    assert read_tracestate(value) == []


def test_of_a_long_tracestate_whole_members_go_on_within_512_characters() -> None:
    members = [(f"k{i:02}", "v" * 96) for i in range(12)]
    sent = ",".join(f"{key}={value}" for key, value in members)
    kept = read_tracestate(sent.encode())
    assert kept == members[:5]  # 100 each, and the commas between them
    assert len(",".join(f"{key}={value}" for key, value in members[:5])) <= 512
