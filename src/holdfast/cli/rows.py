"""Printing rows of Arrow batches, a batch at a time."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

    from holdfast.prediction_log import Ledger

_MOST_ROWS_SHOWN: Final = 200
"""In a table for people: about four screens."""


class CoverageOfLog(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what was served the log can show."""

    served: int
    readable: int
    sampled_out: int
    dropped: int
    expired: int
    erased: int
    unaccounted: int

    def __str__(self) -> str:
        share = self.readable / self.served if self.served else 1.0
        text = f"Coverage: {self.readable} of {self.served} rows served ({share:.1%})"
        names = ("sampled_out", "dropped", "expired", "erased", "unaccounted")
        rest = [f"{getattr(self, name)} {name.replace('_', ' ')}" for name in names if getattr(self, name)]
        return f"{text}; {', '.join(rest)}." if rest else f"{text}."


def coverage_of(ledger: Ledger) -> CoverageOfLog:
    """The coverage that a ledger proves."""
    return CoverageOfLog(
        served=ledger.served,
        readable=ledger.stored + ledger.spooled - ledger.expired - ledger.erased,
        sampled_out=ledger.sampled_out,
        dropped=ledger.dropped,
        expired=ledger.expired,
        erased=ledger.erased,
        unaccounted=ledger.unaccounted,
    )


def print_csv(rows: pa.RecordBatchReader, *, verbatim: bool) -> None:
    """All rows as CSV; lists as JSON text, formulas of a spreadsheet behind a quote unless verbatim."""
    from holdfast.prediction_log.exporting import write_csv

    sys.stdout.flush()
    write_csv(rows, sys.stdout.buffer, verbatim=verbatim)


def print_rows_json(rows: pa.RecordBatchReader, coverage: CoverageOfLog) -> None:
    """One JSON document: `columns`, `coverage`, and `rows` as objects; NaN and infinities are null."""
    columns = [{"name": field.name, "type": str(field.type)} for field in rows.schema]
    head = msgspec.json.encode({"columns": columns, "coverage": coverage}).decode()
    click.echo(f'{head[:-1]},"rows":[', nl=False)
    first = True
    for batch in rows:
        for row in batch.to_pylist():
            click.echo(("" if first else ",") + "\n" + msgspec.json.encode(row).decode(), nl=False)
            first = False
    click.echo("\n]}")


def print_rows(rows: pa.RecordBatchReader) -> None:
    """A table for people; at most 200 rows, and a note when there are more."""
    from holdfast.cli.options import print_table

    shown: list[list[str]] = []
    more = False
    for batch in rows:
        part = batch.slice(0, _MOST_ROWS_SHOWN - len(shown))
        shown += [[_text(value) for value in row.values()] for row in part.to_pylist()]
        more = more or part.num_rows < batch.num_rows
        if more:
            break
    print_table("", rows.schema.names, shown)
    if more:
        click.echo(f"The first {len(shown)} rows; --csv and --json give all of them.", err=True)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value.isoformat() if isinstance(value, datetime) else str(value)
