"""N rows on their way to a model: columns, ids, times and context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from holdfast.artifact.packing import Table
from holdfast.privacy.record import Values


@dataclass(slots=True)
class Block:
    """N validated rows. Its repr shows no value."""

    rows: int
    columns: Mapping[str, Values] = field(repr=False)
    """By column name: float64 for scalar floats (NaN: missing), else the column's dtype; text as a list."""
    ids: Sequence[str | None] | None = field(default=None, repr=False)
    """The callers' own prediction ids; None: all are made here."""
    times_us: Sequence[int | None] | None = field(default=None, repr=False)
    """None, as a whole or for one row: the time of arrival."""
    context: Mapping[str, Values] = field(default_factory=dict, repr=False)


def join(blocks: Sequence[Block]) -> Block:
    """One block with the rows of all, in order.

    Args:
        blocks: at least one, all of the same schema.
    """
    if len(blocks) == 1:
        return blocks[0]
    rows = sum(block.rows for block in blocks)
    tables = [block.columns for block in blocks]
    first = tables[0]
    columns: Mapping[str, Values]
    if isinstance(first, Table) and all(
        isinstance(one, Table) and one.names == first.names for one in tables
    ):
        columns = Table(first.names, np.concatenate([one.matrix for one in tables], axis=1))  # type: ignore[attr-defined]  # checked above
    else:
        columns = {name: _concatenate([one[name] for one in tables]) for name in first}
    context_names = dict.fromkeys(name for block in blocks for name in block.context)
    return Block(
        rows,
        columns,
        None
        if all(block.ids is None for block in blocks)
        else [one for block in blocks for one in block.ids or [None] * block.rows],
        None
        if all(block.times_us is None for block in blocks)
        else [one for block in blocks for one in block.times_us or [None] * block.rows],
        {
            name: _concatenate([block.context.get(name, [None] * block.rows) for block in blocks])
            for name in context_names
        },
    )


def _concatenate(parts: Sequence[Values]) -> Values:
    if all(isinstance(part, np.ndarray) for part in parts):
        arrays: Any = parts
        return np.concatenate(arrays)
    return [value for part in parts for value in (part.tolist() if isinstance(part, np.ndarray) else part)]
