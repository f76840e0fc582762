"""What every protocol makes of a request: rows for one model version, and how to write their answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from mypy_extensions import mypyc_attr

from holdfast.artifact.packing import Table
from holdfast.artifact.signature import Signature
from holdfast.infer import AnsweredBatch, Block

Body = tuple[bytes, int | None]
"""An answer: its bytes, and how many of them are JSON where tensors follow (None: all)."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Call:
    """A decoded request. Its rows are valid, so they harm nobody whom they are batched with.

    Args:
        rows: may be 0; then nothing runs and `encode_empty` is the answer.
        records: as the record codec gives them; None where `block` is given.
        block: columns.
        shape: sizes of variable dimensions; only rows of equal shape share an array.
    """

    __slots__ = ("block", "records", "rows", "shape")

    def __init__(
        self,
        rows: int,
        records: list[Any] | None,
        block: Block | None,
        shape: tuple[tuple[int, ...], ...] = (),
    ) -> None:
        self.rows = rows
        self.records = records
        self.block = block
        self.shape = shape

    def encode(self, batch: AnsweredBatch, start: int) -> Body:
        """The answer for this call's rows, which are those from `start` of the batch."""
        raise NotImplementedError

    def encode_empty(self) -> Body:
        """The answer for no rows."""
        raise NotImplementedError


def shape_of_block(signature: Signature, block: Block) -> tuple[tuple[int, ...], ...]:
    """Sizes of the block's variable dimensions."""
    if isinstance(block.columns, Table):
        return ()
    varying: list[Any] = [block.columns[column.name] for column in signature.columns if -1 in column.shape]
    return tuple(np.shape(values)[1:] for values in varying)
