"""Text of large tables as codes of its words, where these are few: made once, in one pass over the bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.columns import is_plain_text
from holdfast.stats import distinct_objects, distinct_strings, distinct_texts

if TYPE_CHECKING:
    import pyarrow as pa

_NARROW: Final = 1 << 7
"""Words whose numbers fit into eight bits."""


def with_coded_texts(*tables: pa.Table) -> list[pa.Table]:
    """The tables with text as codes where no row is without and words are few; each table by a thread."""
    with ThreadPoolExecutor(len(tables)) as threads:
        return list(threads.map(_with_codes, tables))


def coded_objects(values: NDArray[np.object_]) -> pa.Array | None:
    """Of objects that are all text and few different ones; None of others."""
    found = distinct_objects(values)
    if found is None:
        found = distinct_strings(values)
    if found is None:
        return None
    codes, first = found
    words = values[first].tolist()
    if not all(type(word) is str for word in words):
        return None
    return _numbered([(codes, words)])[0]


def _with_codes(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    for place, column in enumerate(table.schema):
        if not is_plain_text(column.type) or table.column(place).null_count:
            continue
        parts = [_coded(chunk) for chunk in table.column(place).chunks if len(chunk)]
        known = [part for part in parts if part is not None]
        if known and len(known) == len(parts):
            table = table.set_column(place, column.name, pa.chunked_array(_numbered(known)))
    return table


def _coded(chunk: pa.Array) -> tuple[NDArray[np.int32], list[str]] | None:
    """The number of each text among the words of this part, and these."""
    import pyarrow as pa

    kind = np.dtype(np.int64 if pa.types.is_large_string(chunk.type) else np.int32)
    _, places, texts = chunk.buffers()
    bounds = np.frombuffer(places, kind, len(chunk) + 1, chunk.offset * kind.itemsize)
    held: Any = b"" if texts is None else texts
    found = distinct_texts(np.frombuffer(held, np.uint8), bounds)
    return None if found is None else (found[0], chunk.take(pa.array(found[1])).to_pylist())


def _numbered(parts: list[tuple[NDArray[np.int32], list[str]]]) -> list[pa.Array]:
    """Parts with words of their own as codes of the words of all."""
    import pyarrow as pa

    number: dict[str, int] = {}
    for _, words in parts:
        for word in words:
            number.setdefault(word, len(number))
    kind = np.int8 if len(number) <= _NARROW else np.int32
    texts = pa.array([*number], pa.string())
    # Without a look at whether each code is one of a word.
    return [
        pa.DictionaryArray.from_arrays(
            pa.array(np.array([number[word] for word in words], dtype=kind)[codes]), texts, safe=False
        )
        for codes, words in parts
    ]
