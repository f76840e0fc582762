"""Codes of texts that are few: of Arrow's, and of Python's objects, without one look-up in Python a row."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.compiled import (
    ADDRESS,
    address_of,
    compiled_counting,
    compiled_with_objects,
    is_plain,
)

_OBJECT_BITS: Final = 11
_MOST_WORDS: Final = 1 << (_OBJECT_BITS - 1)
"""As `WORDS` in distinct.c."""
Distinct = tuple[NDArray[np.int32], NDArray[np.intp]]
"""The number of each row's text, in the order in which they are met, and the row where each is first."""


def distinct_objects(values: NDArray[np.object_]) -> Distinct | None:
    """Codes of objects, one for each, and the row where it is first; equal objects may be several.

    Returns:
        None where there are more than a thousand, or without the compiled library.

    Example:
        >>> word, other = "word", "other"
        >>> found = distinct_objects(np.array([word, other, word], dtype=object))
        >>> found is None or (found[0].tolist(), found[1].tolist()) == ([0, 1, 0], [0, 1])
        True
    """
    library = compiled_counting()
    if library is None or not is_plain(values, np.object_):
        return None
    places = np.full(1 << _OBJECT_BITS, -1, dtype=np.int32)
    codes, first = np.empty(len(values), dtype=np.int32), np.empty(_MOST_WORDS, dtype=np.intp)
    count = library.holdfast_distinct(
        address_of(values),
        len(values),
        _MOST_WORDS,
        _OBJECT_BITS,
        address_of(places),
        address_of(codes),
        address_of(first),
    )
    return None if count < 0 else (codes, first[:count])


def distinct_strings(values: NDArray[np.object_]) -> Distinct | None:
    """The same of objects of text, of which equal ones have one code.

    Returns:
        None where there are more than a thousand, where one is no text or not ASCII, or without the compiled
        library.

    Example:
        >>> found = distinct_strings(np.array(["ab", "".join(["a", "b"]), "c"], dtype=object))
        >>> found is None or (found[0].tolist(), found[1].tolist()) == ([0, 0, 1], [0, 2])
        True
    """
    library = compiled_with_objects()
    if library is None or not is_plain(values, np.object_) or values.ndim != 1:
        return None
    codes, first = np.empty(len(values), dtype=np.int32), np.empty(_MOST_WORDS, dtype=np.intp)
    text = ctypes.cast(ctypes.pythonapi.PyUnicode_AsUTF8AndSize, ADDRESS)
    try:
        count = library.holdfast_distinct_objects(
            address_of(values), len(values), text, address_of(codes), address_of(first)
        )
    except (TypeError, UnicodeError):
        return None
    return None if count < 0 else (codes, first[:count])


def distinct_texts(
    texts: NDArray[np.uint8],
    bounds: NDArray[Any],
    valid: NDArray[np.uint8] | None = None,
    first_valid: int = 0,
) -> Distinct | None:
    """The same of texts that lie behind each other; the number of those that are missing is -1.

    Args:
        texts: their bytes.
        bounds: `[N + 1]` of int32 or int64, where each begins, and where the last one ends.
        valid: a bit for each, lowest first, 0 where it is missing; None: all are there.
        first_valid: number of the first one's bit.

    Returns:
        None where there are more than a thousand, or without the compiled library.

    Example:
        >>> texts = np.frombuffer(b"abcdab", dtype=np.uint8)
        >>> found = distinct_texts(texts, np.array([0, 2, 4, 6], dtype=np.int32))
        >>> found is None or (found[0].tolist(), found[1].tolist()) == ([0, 1, 0], [0, 1])
        True
    """
    library = compiled_counting()
    known = is_plain(bounds, np.int32) or is_plain(bounds, np.int64)
    if library is None or not known or not is_plain(texts, np.uint8) or len(bounds) == 0:
        return None
    rows = len(bounds) - 1
    codes, first = np.empty(rows, dtype=np.int32), np.empty(_MOST_WORDS, dtype=np.intp)
    count = library.holdfast_distinct_texts(
        address_of(texts),
        len(texts),
        address_of(bounds),
        bounds.itemsize,
        rows,
        address_of(valid),
        first_valid,
        address_of(codes),
        address_of(first),
    )
    return None if count < 0 else (codes, first[:count])


def distinct_views(
    views: NDArray[np.uint8],
    parts: Sequence[NDArray[np.uint8]],
    valid: NDArray[np.uint8] | None = None,
    first_valid: int = 0,
) -> Distinct | None:
    r"""The same of views of texts, as Arrow has them; the number of those that are missing is -1.

    Args:
        views: `[16 N]`, 16 bytes of each.
        parts: bytes of texts of more than twelve.
        valid: as for `distinct_texts`.
        first_valid: as there.

    Returns:
        None where there are more than a thousand, or without the compiled library.

    Example:
        >>> words = [b"ab", b"c", b"ab"]
        >>> views = b"".join(bytes([len(word), 0, 0, 0]) + word.ljust(12, b"\0") for word in words)
        >>> found = distinct_views(np.frombuffer(views, np.uint8), [])
        >>> found is None or (found[0].tolist(), found[1].tolist()) == ([0, 1, 0], [0, 1])
        True
    """
    library = compiled_counting()
    if library is None or not all(is_plain(one, np.uint8) for one in (views, *parts)):
        return None
    rows = len(views) // 16
    codes, first = np.empty(rows, dtype=np.int32), np.empty(_MOST_WORDS, dtype=np.intp)
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    count = library.holdfast_distinct_views(
        address_of(views),
        rows,
        (ADDRESS * len(parts))(*map(address_of, parts)),
        address_of(sizes),
        len(parts),
        address_of(valid),
        first_valid,
        address_of(codes),
        address_of(first),
    )
    return None if count < 0 else (codes, first[:count])
