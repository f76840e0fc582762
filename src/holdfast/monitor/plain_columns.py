"""Large tables in memory as they lie, for Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.coded_texts import coded_objects, coded_views
from holdfast.monitor.columns import is_plain_text
from holdfast.monitor.pandas_frames import plain_objects
from holdfast.stats import PLAIN_KINDS

if TYPE_CHECKING:
    import pyarrow as pa

_LARGE_ROWS: Final = 1 << 17


def plain_columns(frame: Any, *, coded: bool = True) -> Any:
    """A large frame of pandas or polars, or arrays by name, as Arrow: what is plain as it lies.

    pandas' own way to Arrow looks for NaN in all numbers and copies those it finds into nulls, which takes as
    long as a third of the report. NaN may stay where it is: it is missing all the same. Of categories pandas
    looks at every code as well, and of text that is objects at every word. polars' own way puts the parts of
    a frame together first, which is a copy of all.

    Args:
        frame: anything else is returned as it is.
        coded: whether text becomes codes of its words where these are few.
    """
    import pyarrow as pa

    if isinstance(frame, Mapping):
        return {name: _plain_column(values, coded=coded) for name, values in frame.items()}
    if type(frame).__module__.partition(".")[0] == "polars" and hasattr(frame, "get_columns"):
        if len(frame) <= _LARGE_ROWS or any(str(kind) == "Object" for kind in frame.dtypes):
            return frame
        columns = {one.name: pa.chunked_array(one) for one in frame.get_columns()}
        return pa.table({name: _of_views(one) if coded else one for name, one in columns.items()})
    large = type(frame).__module__.partition(".")[0] == "pandas" and len(frame) > _LARGE_ROWS
    if not large or not hasattr(frame, "columns") or len(set(frame.columns)) < len(frame.columns):
        return frame
    if not all(isinstance(name, str) for name in frame.columns):
        return frame
    found = {name: _plain_column(frame[name], coded=coded) for name in frame.columns}
    plain = {name: one for name, one in found.items() if isinstance(one, pa.Array)}
    if len(plain) == len(found):
        return pa.table(plain)
    try:
        rest = pa.Table.from_pandas(plain_objects(frame.drop(columns=[*plain])), preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError):
        return frame  # what is wrong with it is said by the reader of all tables
    return pa.table({name: plain[name] if name in plain else rest.column(name) for name in frame.columns})


def _plain_column(held: Any, *, coded: bool) -> Any:
    """Plain numbers, categories, and many words of which few differ; any other column as it is."""
    import pyarrow as pa

    if isinstance(held, np.ma.MaskedArray):
        return held
    kind = getattr(held, "dtype", None)
    if isinstance(kind, np.dtype) and (kind in PLAIN_KINDS or kind == np.bool_):
        values = np.asarray(held)
        if values.ndim != 1:
            return held
        return _bits(values) if kind == np.bool_ else pa.array(values)
    if coded and kind == np.object_ and len(held) > _LARGE_ROWS:
        objects = np.asarray(held)
        words = coded_objects(objects) if objects.ndim == 1 else None
        return held if words is None else words
    if getattr(held, "cat", None) is None:
        return held
    # `held.cat.codes` would copy them.
    codes, texts = np.asarray(held.array.codes), pa.array(held.cat.categories)
    if not is_plain_text(texts.type):
        return held
    missing = codes < 0
    # Without a look at whether each code is one of a word.
    return pa.DictionaryArray.from_arrays(
        pa.array(codes, mask=missing) if missing.any() else pa.array(codes), texts, safe=False
    )


def _of_views(held: pa.ChunkedArray) -> pa.ChunkedArray:
    """Views of few words in many rows as codes, anything else as it is."""
    import pyarrow as pa

    if not pa.types.is_string_view(held.type):
        return held
    found = coded_views(held.chunks)
    return held if found is None else found


def _bits(truths: NDArray[np.bool_]) -> pa.BooleanArray:
    """As Arrow holds them; its own way takes twenty times as long."""
    import pyarrow as pa

    bits = pa.py_buffer(np.packbits(truths, bitorder="little"))
    return pa.BooleanArray.from_buffers(pa.bool_(), len(truths), [None, bits])
