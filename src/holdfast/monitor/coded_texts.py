"""Text of large tables as codes of its words, where these are few: made once, in one pass over the bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.columns import is_plain_text
from holdfast.stats import distinct_objects, distinct_strings, distinct_texts, distinct_views

if TYPE_CHECKING:
    import pyarrow as pa

_NARROW: Final = 1 << 7
"""Words whose numbers fit into eight bits."""
_MISSING: Final = -1
_LEAST_ROWS: Final = 1 << 15
"""Of a stretch whose words are found by themselves."""


def with_coded_texts(*tables: pa.Table) -> list[pa.Table]:
    """The tables with text as codes where words are few; each table by a thread."""
    with ThreadPoolExecutor(len(tables)) as threads:
        return list(threads.map(_with_codes, tables))


def coded_objects(values: NDArray[np.object_]) -> pa.Array | None:
    """Of objects that are text or missing, and few different ones; None of others."""
    found = distinct_objects(values)
    if found is None:
        found = distinct_strings(values)
    if found is None:
        return None
    codes, first = found
    words = [None if _is_missing(word) else word for word in values[first].tolist()]
    known = [word for word in words if word is not None]
    if not known or not all(type(word) is str for word in known):
        return None
    if len(known) < len(words):
        codes = (np.cumsum([word is not None for word in words], dtype=np.int32) - 1)[codes]
        gone = np.array([word is None for word in words])[found[0]]
        codes[gone] = _MISSING
    return _numbered([(codes, known)])[0]


def coded_views(chunks: Sequence[pa.Array]) -> pa.ChunkedArray | None:
    """Of views of texts of which few differ; None of others."""
    import pyarrow as pa

    parts = []
    for chunk in chunks:
        valid, *held = chunk.buffers()
        views, *texts = [np.frombuffer(one if len(chunk) else b"", np.uint8) for one in held]
        there = np.frombuffer(valid, np.uint8) if chunk.null_count else None
        some = views[16 * chunk.offset :][: 16 * len(chunk)]
        found = distinct_views(some, texts, there, chunk.offset)
        if found is None:
            return None
        parts.append((found[0], [chunk[row].as_py() for row in found[1].tolist()]))
    return pa.chunked_array(_numbered(parts)) if parts else None


def _is_missing(word: object) -> bool:
    return word is None or (isinstance(word, float) and math.isnan(word))


def _with_codes(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    for place, column in enumerate(table.schema):
        if not is_plain_text(column.type):
            continue
        parts = [_coded(part) for part in _stretches(table.column(place).chunks)]
        known = [part for part in parts if part is not None]
        if known and len(known) == len(parts):
            table = table.set_column(place, column.name, pa.chunked_array(_numbered(known)))
    return table


def _stretches(chunks: Sequence[pa.Array]) -> Iterator[pa.Array]:
    """The same rows in chunks that are not small, as those of a stream are: each has words of its own."""
    import pyarrow as pa

    some: list[pa.Array] = []
    rows = 0
    for number, chunk in enumerate(chunks):
        some.append(chunk)
        rows += len(chunk)
        if rows and (rows >= _LEAST_ROWS or number == len(chunks) - 1):
            yield some[0] if len(some) == 1 else pa.concat_arrays(some)
            some, rows = [], 0


def _coded(chunk: pa.Array) -> tuple[NDArray[np.int32], list[str]] | None:
    """The number of each text among the words of this part, and these."""
    import pyarrow as pa

    kind = np.dtype(np.int64 if pa.types.is_large_string(chunk.type) else np.int32)
    valid, places, texts = chunk.buffers()
    bounds = np.frombuffer(places, kind, len(chunk) + 1, chunk.offset * kind.itemsize)
    held: Any = b"" if texts is None else texts
    there = np.frombuffer(valid, np.uint8) if chunk.null_count else None
    found = distinct_texts(np.frombuffer(held, np.uint8), bounds, there, chunk.offset)
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
    made = []
    for codes, words in parts:
        # The last is what a missing one's number stands for.
        at = np.array([*(number[word] for word in words), _MISSING], dtype=kind)[codes]
        missing = codes < 0
        held = pa.array(at, mask=missing) if missing.any() else pa.array(at)
        # Without a look at whether each code is one of a word.
        made.append(pa.DictionaryArray.from_arrays(held, texts, safe=False))
    return made
