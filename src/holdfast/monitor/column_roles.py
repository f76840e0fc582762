"""What each column of two tables is for: time, inputs that are judged, and what is left out, with notes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Written
from holdfast.artifact.arrow_types import is_number
from holdfast.monitor import moments
from holdfast.monitor.columns import distinct_values, is_text
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.kinds import Kinds

if TYPE_CHECKING:
    import pyarrow as pa

_IDENTIFIER_SHARE: Final = 0.9
"""A text or whole-number column with so many distinct values names rows; its distribution means nothing."""
_LEAST_FOR_IDENTIFIER: Final = 200


@dataclass(slots=True)
class Notes:
    """What the reader of a verdict is told of how it came about, each once."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """One line; an empty one is none."""
        if line and line not in self.lines:
            self.lines.append(line)

    def add_clocks(self, names: Collection[str]) -> None:
        """Of columns that tell the time."""
        if names:
            self.add(f"Not judged, as they tell the time of the row: {', '.join(sorted(names))}.")

    def add_names_rows(self, name: str) -> None:
        """Of a column whose distribution means nothing."""
        self.add(f"{name!r} is not judged: it names rows (nearly every value is distinct).")

    def add_new_beginnings(self, name: str, times: int) -> None:
        """Of a counter that fell back in the current data."""
        if times:
            often = "once" if times == 1 else f"{times} times"
            self.add(f"{name!r} began anew {often}, like a meter set back to zero: those steps are unknown.")

    def add_numbers(self, kinds: Kinds) -> None:
        """Of columns of text that hold numbers."""
        for name in kinds.numbers:
            self.add(f"{name!r} is text that holds numbers, and is judged as numbers.")


def require(name: str | None, role: str, old: pa.Table, new: pa.Table) -> None:
    """Refuse a name that a table does not hold, but for a target that is not known yet."""
    for table, where in ((old, "reference"), (new, "current")):
        if name is not None and name not in table.column_names:
            if role == "target" and where == "current":
                continue
            near = _near(str(name), table.column_names)
            raise MonitorError(
                f"there is no column {name!r} to take as {role}",
                where=where,
                expected=", ".join(table.column_names),
                next_step=f"Did you mean {near[0]!r}?" if near else None,
            )


def _near(name: str, choices: Sequence[str]) -> list[str]:
    same = [choice for choice in choices if choice.strip().casefold() == name.strip().casefold()]
    return same or get_close_matches(name, choices, n=1)


def only_time(old: pa.Table, new: pa.Table, notes: Notes) -> str | None:
    """The column that holds the time of each row, where only one can."""
    import pyarrow as pa

    both: list[str] = [
        column.name
        for column in new.schema
        if pa.types.is_timestamp(column.type)
        and column.name in old.column_names
        and pa.types.is_timestamp(old.schema.field(column.name).type)
        # What not every row has is no time of the row.
        and not any(table.column(column.name).null_count for table in (old, new))
    ]
    if len(both) == 1:
        notes.add(f"{both[0]!r} is taken as the time, as the only timestamp.")
        return both[0]
    if both:
        notes.add(
            f"Several columns hold times ({', '.join(both)}), and none was named as that of the row: "
            "windows are rows in the order in which they come."
        )
    text = None if both else moments.only_written_time(old, new)
    if text is not None:
        notes.add(f"{text!r} is taken as the time: its dates follow on each other.")
    return text


def how_written(
    old: pa.ChunkedArray, new: pa.ChunkedArray, time: str, notes: Notes
) -> tuple[Written, Written]:
    """How either table writes its times; said where it is not plain."""
    found = moments.written(old, f"reference.{time}", new), moments.written(new, f"current.{time}", old)
    for said in dict.fromkeys(one.said for one in found if one.said):
        notes.add(f"{time!r} is read as {said}.")
    return found


def by_time(table: pa.Table, time: str, written: Written, where: str) -> tuple[pa.Table, NDArray[np.int64]]:
    """Rows in order of time, and their times."""
    values = moments.microseconds(written, table.column(time), f"{where}.{time}")
    if (values[1:] >= values[:-1]).all():
        return table, values
    order = np.argsort(values, kind="stable")
    return table.take(order), values[order]


def judged_inputs(old: pa.Table, new: pa.Table, apart: set[str | None], notes: Notes) -> list[str]:
    """The columns whose distributions are judged."""
    import pyarrow as pa

    chosen = []
    for column in old.schema:
        name = column.name
        if name in apart:
            continue
        if (
            pa.types.is_temporal(column.type)
            or pa.types.is_nested(column.type)
            or pa.types.is_null(column.type)
            or isinstance(column.type, pa.BaseExtensionType)
        ):
            notes.add(f"{name!r} is not judged: {column.type} columns are not profiled yet.")
            continue
        if names_rows(old.column(name)):
            notes.add_names_rows(name)
            continue
        chosen.append(name)
        if name not in new.column_names:
            notes.add(f"{name!r} is absent from the current data and counts as missing in every row.")
        else:
            notes.add(_changed_type(name, column.type, new.schema.field(name).type))
    extra = [name for name in new.column_names if name not in old.column_names and name not in apart]
    if extra:
        notes.add(f"Not in the reference, so not judged: {', '.join(extra)}.")
    if not chosen:
        raise MonitorError(
            "the reference has no column to judge",
            where="reference",
            expected="a column besides the target and the time, of numbers, booleans, text, images or sounds",
            received=", ".join(f"{column.name}: {column.type}" for column in old.schema),
            next_step="Name such a column's kind in kinds=, or take a reference with the model's inputs",
        )
    return chosen


def _changed_type(name: str, before: pa.DataType, now: pa.DataType) -> str:
    """What becomes of a column whose type has changed between numbers and another, in words."""
    import pyarrow as pa

    kinds = [one.value_type if pa.types.is_dictionary(one) else one for one in (before, now)]
    were, are = (pa.types.is_boolean(kind) or is_number(kind) for kind in kinds)
    if were == are or pa.types.is_null(kinds[1]):
        return ""
    effect = "it counts as missing in every row" if were else "its numbers are taken as text"
    return f"The schema changed: {name!r} was {kinds[0]} in the reference and is {kinds[1]} now, so {effect}."


def without_clocks(inputs: list[str], clocked: Collection[str], notes: Notes) -> list[str]:
    """Columns of a file without those that tell the time, unless none would be left."""
    left = [name for name in inputs if name not in clocked]
    if left:
        notes.add_clocks(clocked)
    return left or inputs


def names_rows(held: pa.ChunkedArray) -> bool:
    """Text of which nearly every value is distinct; of whole numbers those that count rows.

    Numbers that are distinct because they are large, as cents and bytes are, lie far apart and in no order.
    """
    import pyarrow as pa

    rows = len(held)
    whole = pa.types.is_integer(held.type)
    if rows < _LEAST_FOR_IDENTIFIER or not (whole or is_text(held.type)):
        return False
    if distinct_values(held) <= _IDENTIFIER_SHARE * rows:
        return False
    if not whole:
        return True
    numbers = held.drop_null().cast(pa.float64(), safe=False).to_numpy()
    steps = np.sign(np.diff(numbers))
    in_order = abs(float(steps.sum())) > _IDENTIFIER_SHARE * len(steps)
    low, high = np.quantile(numbers, [0.05, 0.95])
    return bool(in_order or high - low <= rows / _IDENTIFIER_SHARE)
