"""How a CSV file is written: what stands between its columns, and what before its decimals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_DELIMITERS: Final = (",", ";", "\t", "|")
_LONGEST_HEAD: Final = 1 << 20
COMMA_DECIMALS: Final = frozenset({";", "\t"})
"""Delimiters of files whose numbers may have a decimal comma, as spreadsheets write them."""


def is_csv(path: Path) -> bool:
    """By the name, also where it is packed."""
    return path.name.lower().endswith((".csv", ".csv.gz"))


def csv_delimiter(path: Path) -> str:
    """A comma, semicolon, tab or bar: what the first line has most of.

    Raises:
        OSError: the file cannot be opened.
    """
    import pyarrow as pa

    with pa.input_stream(str(path), compression="detect") as file:
        head = file.read(_LONGEST_HEAD).partition(b"\n")[0].decode("utf-8", "replace")
    outside = re.sub(r'"[^"]*"', "", head)
    return max(_DELIMITERS, key=lambda one: (outside.count(one), -_DELIMITERS.index(one)))
