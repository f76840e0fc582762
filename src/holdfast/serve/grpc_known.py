"""ModelInfer by its bytes: what a client sends again and again is read once, and answers are put together.

A message is a row of fields, each with its number and its length before it. Where the tensor's bytes stand
last, everything before them is the same in each request of a client, and is known by its bytes.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from holdfast.artifact.packing import Table
from holdfast.infer import Block

_MOST_HEADS: Final = 64
_LONGEST_HEAD_BYTES: Final = 2048
_MOST_READINGS: Final = 2
"""Of one head: a champion's and a challenger's."""
_RAW_INPUT: Final = b"\x3a"
"""Field 7 of a ModelInferRequest, a text or bytes like all fields here."""
_PREDICTION_IDS: Final = b"\x0a\x0eprediction_ids"
"""Field 1 of an entry of a map: its key."""


class Reading(NamedTuple):
    """What a head means to one model version."""

    codec: object
    """Of the version."""
    rows: int
    outputs: tuple[tuple[str, bool], ...]


class KnownInfer:
    """A head: the request but for the bytes of its only tensor, which are all that follows."""

    __slots__ = ("head", "model", "readings", "version")

    def __init__(self, head: bytes, model: str, version: str) -> None:
        self.head = head
        self.model = model
        self.version = version
        self.readings: tuple[Reading, ...] = ()

    def reading(self, codec: object) -> Reading | None:
        """What it means to the version of this codec; None: not known."""
        for one in self.readings:
            if one.codec is codec:
                return one
        return None


class KnownInfers:
    """Heads that were read before; so many, and then they are forgotten.

    Nothing that differs between two requests is learnt: no ids, no times, no context.

    Args:
        read: makes a ModelInferRequest of its bytes.
    """

    def __init__(self, read: Callable[[bytes], Any]) -> None:
        self._read = read
        self._by_size: dict[int, list[KnownInfer]] = {}
        self._count = 0

    def find(self, body: bytes) -> KnownInfer | None:
        """The head of this message. As long as it and of the same head, it has as many bytes of tensor."""
        for one in self._by_size.get(len(body), ()):
            if body.startswith(one.head):
                return one
        return None

    def learn(self, body: bytes, request: Any, block: Block | None, reading: Reading) -> None:
        """Remember a message that was read, if there is no more to it than its tensor.

        Args:
            body: the message.
            request: the same, read.
            block: its rows.
            reading: of it.
        """
        raw = request.raw_input_contents
        if request.id or request.parameters or len(request.inputs) != 1 or len(raw) != 1:
            return
        if block is None or type(block.columns) is not Table or block.context:  # was looked at closely
            return
        head = body[: len(body) - len(raw[0])]
        announced = _RAW_INPUT + varint(len(raw[0]))
        if len(head) > _LONGEST_HEAD_BYTES or not head.endswith(announced):
            return
        if not self._is_all_but_tensor(head[: -len(announced)], request):
            return
        known = self.find(body)
        if known is None:
            if self._count >= _MOST_HEADS:
                self._by_size.clear()
                self._count = 0
            self._count += 1
            known = KnownInfer(head, request.model_name, request.model_version)
            self._by_size.setdefault(len(body), []).append(known)
        known.readings = (reading, *known.readings)[:_MOST_READINGS]

    def _is_all_but_tensor(self, fields: bytes, request: Any) -> bool:
        """Whether these bytes are whole fields, and say the request but for its raw contents."""
        try:
            rest = self._read(fields)
        except DecodeError:
            return False
        if rest.raw_input_contents:
            return False
        rest.raw_input_contents.extend(request.raw_input_contents)
        return bool(rest == request)


def varint(value: int) -> bytes:
    """A number of at least 0: seven bits in a byte, the lowest first, a high bit where more follow."""
    if value < 1 << 7:
        return value.to_bytes(1, "little")
    found = bytearray()
    while value >= 1 << 7:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, of text or of a message; its number is at most 15."""
    return b"%c%b%b" % (number << 3 | 2, varint(len(content)), content)


def infer_response(
    model: str,
    version: str,
    given_id: str,
    prediction_ids: str,
    outputs: Sequence[tuple[str, str, tuple[int, ...], bytes]],
) -> bytes:
    """A serialised ModelInferResponse with raw contents.

    Args:
        model: that answered.
        version: of it.
        given_id: of the request; empty: none.
        prediction_ids: value of the parameter of that name.
        outputs: name, datatype, shape and bytes of each.
    """
    text = _field(3, prediction_ids.encode())
    parts = [_names(model, version)]
    if given_id:
        parts.append(_field(3, given_id.encode()))
    parts.append(_field(4, _PREDICTION_IDS + _field(2, text)))
    parts += [_tensor(name, datatype, shape) for name, datatype, shape, _ in outputs]
    parts += [_field(6, content) for *_, content in outputs]
    return b"".join(parts)


@lru_cache(maxsize=64)
def _names(model: str, version: str) -> bytes:
    return _field(1, model.encode()) + _field(2, version.encode())


@lru_cache(maxsize=256)
def _tensor(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    sizes = b"".join(map(varint, shape))
    return _field(5, _field(1, name.encode()) + _field(2, datatype.encode()) + _field(3, sizes))
