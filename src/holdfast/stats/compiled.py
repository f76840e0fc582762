"""The library of `counting.c` and `distinct.c`, where it was compiled, and how arrays are handed to it."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_LIBRARY: Final = Path(__file__).with_name("counting.compiled")
ADDRESS: Final = ctypes.c_void_p


class RowsAt(ctypes.Structure):
    """As `Rows` in counting.c."""

    _fields_: Final = [  # type: ignore[misc]  # ctypes looks for a list
        ("rows", ctypes.c_int64),
        ("windows", ctypes.c_int64),
        ("ends", ADDRESS),
        ("local", ADDRESS),
        ("mixed", ADDRESS),
    ]


class NumbersAt(ctypes.Structure):
    """As `Numbers` there."""

    _fields_: Final = [  # type: ignore[misc]  # as above
        ("values", ADDRESS),
        ("kind", ctypes.c_int64),
        ("apart", ctypes.c_int64),
        ("valid", ADDRESS),
        ("first_valid", ctypes.c_int64),
    ]


class BinsAt(ctypes.Structure):
    """As `Bins` in counting.c."""

    _fields_: Final = [  # type: ignore[misc]  # as above
        ("cells", ctypes.c_int64),
        ("scores", ADDRESS),
        ("places", ctypes.c_int64),
        ("first", ctypes.c_int64),
        ("scale", ctypes.c_double),
        ("least", ctypes.c_double),
        ("greatest", ctypes.c_double),
        ("bin_of", ADDRESS),
        ("edges", ADDRESS),
        ("inner", ctypes.c_int64),
        ("passed", ADDRESS),
        ("grid_cells", ctypes.c_int64),
        ("grid_low", ctypes.c_double),
        ("grid_scale", ctypes.c_double),
        ("whole", ADDRESS),
        ("whole_least", ctypes.c_int64),
        ("whole_greatest", ctypes.c_int64),
        ("missing", ctypes.c_uint16),
    ]


class ColumnAt(ctypes.Structure):
    """As `Column` there."""

    _fields_: Final = [  # type: ignore[misc]  # as above
        ("cells", ctypes.c_int64),
        ("bins", ADDRESS),
        ("numbers", NumbersAt),
        ("codes", ADDRESS),
        ("width", ctypes.c_int64),
        ("words", ctypes.c_int64),
        ("table", ADDRESS),
        ("counts", ADDRESS),
        ("paired", ADDRESS),
        ("found", ADDRESS),
    ]


@lru_cache(maxsize=1)
def compiled_counting() -> ctypes.CDLL | None:
    """The library, where it is there and can be loaded."""
    try:
        library = ctypes.CDLL(str(_LIBRARY))
        count, products = library.holdfast_count, library.holdfast_products
        spread, drawn = library.holdfast_spread, library.holdfast_drawn
        distinct, texts = library.holdfast_distinct, library.holdfast_distinct_texts
        extremes, views = library.holdfast_extremes, library.holdfast_distinct_views
    except (OSError, AttributeError):
        return None
    whole = ctypes.c_int64
    count.argtypes, count.restype = [ADDRESS, ADDRESS, whole], None
    spread.argtypes, spread.restype = [ADDRESS, whole, ADDRESS], None
    drawn.argtypes, drawn.restype = [ADDRESS, whole, ctypes.c_uint64, ADDRESS], whole
    distinct.argtypes = [ADDRESS, whole, whole, ctypes.c_int, ADDRESS, ADDRESS, ADDRESS]
    distinct.restype = whole
    texts.argtypes = [ADDRESS, whole, ADDRESS, ctypes.c_int, whole, ADDRESS, whole, ADDRESS, ADDRESS]
    texts.restype = whole
    views.argtypes = [ADDRESS, whole, ADDRESS, ADDRESS, whole, ADDRESS, whole, ADDRESS, ADDRESS]
    views.restype = whole
    extremes.argtypes, extremes.restype = [ADDRESS, whole, ADDRESS], None
    products.argtypes, products.restype = [ADDRESS, whole, whole, whole, ADDRESS], None
    return library


@lru_cache(maxsize=1)
def compiled_with_objects() -> ctypes.PyDLL | None:
    """The same, called without letting go of the interpreter: for functions that ask it for text."""
    try:
        library = ctypes.PyDLL(str(_LIBRARY))
        objects = library.holdfast_distinct_objects
    except (OSError, AttributeError):
        return None
    objects.argtypes = [ADDRESS, ctypes.c_int64, ADDRESS, ADDRESS, ADDRESS]
    objects.restype = ctypes.c_int64
    return library


def is_plain(array: NDArray[Any], kind: type[np.generic]) -> bool:
    """Whether compiled code can take an array as it lies."""
    return array.dtype == kind and array.flags.c_contiguous


def address_of(array: NDArray[Any] | None) -> int | None:
    """Where its numbers begin."""
    # A third of what `array.ctypes.data` takes.
    return None if array is None else array.__array_interface__["data"][0]
