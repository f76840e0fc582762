"""Texts in CSV that a spreadsheet would take for formulas, and how they are written so that it does not.

A caller's text may be `=HYPERLINK(...)`, and whoever opens the rows in a spreadsheet would run it. OWASP's
advice (https://owasp.org/www-community/attacks/CSV_Injection) is a single quote before a text that begins
with one of `= + - @`, a tab or a carriage return. Texts that are numbers stay as they are: a spreadsheet
takes `-3.5` for -3.5. Texts that begin with quotes and then such a character get one quote more, so that
one less gives the text back.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_FORMULA: Final = r"^'*[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
"""Also the wide forms of the four signs, which some spreadsheets take for the same."""
_NUMBER: Final = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_QUOTED: Final = re.compile("'+[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]").match


def guarded(column: pa.Array) -> pa.Array:
    """The column with a quote before each text that a spreadsheet would take for a formula."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return guarded(column.dictionary_decode())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return column
    texts = column.cast(pa.string()) if pa.types.is_string_view(kind) else column
    functions: Any = pc
    found = functions.and_not(
        functions.match_substring_regex(texts, _FORMULA), functions.match_substring_regex(texts, _NUMBER)
    )
    if not functions.any(found).as_py():
        return column
    quoted = functions.binary_join_element_wise(pa.scalar("'", texts.type), texts, pa.scalar("", texts.type))
    return functions.if_else(found, quoted, texts)


def without_guard(text: str) -> str:
    """The text as it was before it was guarded."""
    return text[1:] if _QUOTED(text) else text
