"""What the JSON before binary tensors has said, by its bytes: a client sends the same again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.artifact.packing import Table

if TYPE_CHECKING:
    from holdfast.serve.v2 import InferCall
    from holdfast.serve.v2_messages import InferRequest

_MOST_HEADS: Final = 64
_LONGEST_HEAD_BYTES: Final = 2048
_SAYS_NO_MORE: Final = frozenset({"binary_data_output"})
"""Of a request's parameters, those that change nothing about its rows."""


class KnownHead(NamedTuple):
    """A valid head of one tensor of plain numbers, whose bytes are all that follows."""

    rows: int
    tail_bytes: int
    outputs: tuple[tuple[str, bool], ...]
    """Names, and whether each goes out as bytes."""


class KnownHeads:
    """Heads of which nothing but the tensor's bytes is left to be read; so many, and then they are forgotten.

    Nothing that differs between two requests is learnt: no ids, no times, no context.
    """

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def get(self, text: bytes, tail_bytes: int) -> KnownHead | None:
        """The head of this text, where as many bytes follow as it says; None: to be read."""
        if len(text) > _LONGEST_HEAD_BYTES:
            return None
        known = self._heads.get(text)
        return known if known is not None and known.tail_bytes == tail_bytes else None

    def learn(self, text: bytes, tail_bytes: int, request: InferRequest, call: InferCall) -> None:
        """Remember a head that was read, if there is no more to it."""
        if request.id or len(request.inputs) != 1 or len(text) > _LONGEST_HEAD_BYTES:
            return
        if not _SAYS_NO_MORE.issuperset(request.parameters or ()):
            return
        if call.block is None or type(call.block.columns) is not Table:  # was looked at closely
            return
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        self._heads[text] = KnownHead(call.rows, tail_bytes, call.outputs)
