"""Which content codings are read and written, and where bytes that are none of them are refused."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import HoldfastError
from holdfast.infer import MalformedBodyError
from holdfast.serve.content_coding import (
    Coding,
    coding_for_answer,
    coding_of_body,
    compressing,
    inflating,
)
from holdfast.serve.errors import BodyTooLargeError, ContentCodingError
from holdfast.serve.slices import Work

PLAIN = b'{"a": 1, "b": 2}' * 9000
LIMIT = 1 << 20


def bare(plain: bytes) -> bytes:
    """Deflate without zlib's head and checksum, as some clients send it."""
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(plain) + stream.flush()


def made_by(work: Work) -> bytes:
    try:
        while True:
            next(work)
    except StopIteration as end:
        made: bytes = end.value
        return made


BODIES: list[tuple[Coding, bytes]] = [
    ("gzip", gzip.compress(PLAIN)),
    ("gzip", gzip.compress(PLAIN[:40_000]) + gzip.compress(b"") + gzip.compress(PLAIN[40_000:])),
    ("deflate", zlib.compress(PLAIN)),
    ("deflate", zlib.compress(PLAIN, 0)),
    ("deflate", bare(PLAIN)),
]


@pytest.mark.parametrize(("coding", "body"), BODIES)
def test_what_others_compressed_is_read_up_to_the_limit_and_not_a_byte_beyond(
    coding: Coding, body: bytes
) -> None:
    assert made_by(inflating(body, coding, len(PLAIN))) == PLAIN
    with pytest.raises(BodyTooLargeError):
        made_by(inflating(body, coding, len(PLAIN) - 1))


@pytest.mark.parametrize(("coding", "body"), BODIES)
def test_a_body_that_ends_early_or_goes_on_is_refused(coding: Coding, body: bytes) -> None:
    for cut in (0, 1, 5, len(body) // 2, len(body) - 1):
        with pytest.raises(MalformedBodyError, match="ends before it is complete"):
            made_by(inflating(body[:cut], coding, LIMIT))
    for more in (b"{}", b"\0" * 9, b"\x1f\x8b\x07"):
        with pytest.raises(MalformedBodyError, match="Content-Encoding: the compressed body"):
            made_by(inflating(body + more, coding, LIMIT))


@given(st.integers(0, len(BODIES) - 1), st.data())
def test_damage_is_refused_and_never_read_as_something_else(which: int, data: st.DataObject) -> None:
    coding, body = BODIES[which]
    at = data.draw(st.integers(0, len(body) - 1))
    damaged = bytearray(body)
    damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        read = made_by(inflating(bytes(damaged), coding, LIMIT))
    except HoldfastError:
        return
    # The head of gzip holds a time and a name, which say nothing; bare deflate has no checksum.
    assert read == PLAIN or which == len(BODIES) - 1


def test_a_body_of_members_that_hold_nothing_is_refused() -> None:
    with pytest.raises(MalformedBodyError, match="too many members"):
        made_by(inflating(gzip.compress(b"") * 5000, "gzip", LIMIT))


@given(st.binary(max_size=200_000), st.sampled_from(["gzip", "deflate"]))
def test_what_is_compressed_is_read_by_others(plain: bytes, coding: Coding) -> None:
    body = made_by(compressing(plain, coding))
    assert (gzip.decompress if coding == "gzip" else zlib.decompress)(body) == plain
    assert made_by(inflating(body, coding, len(plain))) == plain


@pytest.mark.parametrize(
    ("values", "coding"),
    [([], ""), ([b"identity"], ""), ([b""], ""), ([b"GZip"], "gzip"), ([b"x-gzip"], "gzip"),
     ([b" deflate "], "deflate"), ([b"identity, gzip"], "gzip")],
)  # fmt: skip
def test_a_coding_of_a_body_that_is_read(values: list[bytes], coding: str) -> None:
    assert coding_of_body(values) == coding


@pytest.mark.parametrize(
    "values", [[b"br"], [b"zstd"], [b"gzip, gzip"], [b"gzip", b"deflate"], [b"\xff" * 99]]
)
def test_any_other_coding_is_refused_and_the_readable_ones_are_named(values: list[bytes]) -> None:
    with pytest.raises(ContentCodingError, match="one of gzip, deflate, or none"):
        coding_of_body(values)


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b"gzip", "gzip"),
        (b"deflate", "deflate"),
        (b"gzip, deflate, br, zstd", "gzip"),
        (b"*", "gzip"),
        (b"x-gzip", "gzip"),
        (b"deflate, gzip;q=0.5", "deflate"),
        (b"gzip;q=0.5,deflate; q=0.8", "deflate"),
        (b"gzip;q=0.5, identity;q=0.5", "gzip"),
        (b"*;q=0, deflate;q=0.1", "deflate"),
        (b"", ""),
        (b"br", ""),
        (b"identity", ""),
        (b"gzip;q=0", ""),
        (b"gzip;q=0, *", "deflate"),
        (b"*;q=0", ""),
        (b"gzip;q=0.5, identity;q=0.8", ""),
        (b"gzip;q=often", ""),
    ],
)  # fmt: skip
def test_the_coding_of_an_answer_is_what_its_caller_likes_best(value: bytes, coding: str) -> None:
    assert coding_for_answer([value]) == coding
    assert coding_for_answer(value.split(b",")) == coding
