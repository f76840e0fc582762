"""A graph may take a boolean column as numbers; callers of tensors then send ones and zeros."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from holdfast.artifact import Column
from holdfast.infer import InputError, truths_of_numbers

ONLINE = Column(name="online", dtype="bool", kind="boolean")
KNOWN = Column(name="known", dtype="bool", kind="boolean", nullable=True)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_ones_and_zeros_are_true_and_false(dtype: str) -> None:
    found = truths_of_numbers(ONLINE, np.array([1, 0, 1], dtype=dtype))
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.bool_
    assert found.tolist() == [True, False, True]


def test_a_missing_number_is_a_missing_boolean_where_the_column_allows_it() -> None:
    found = truths_of_numbers(KNOWN, np.array([1.0, np.nan, 0.0]))
    assert list(found) == [True, None, False]


@pytest.mark.parametrize(
    "values", [np.array([1.0, 0.5]), np.array([0, 2]), np.array([1.0, np.nan]), np.array([0.0, np.inf])]
)
def test_any_other_number_is_refused_with_its_row_and_without_its_value(values: NDArray[np.generic]) -> None:
    with pytest.raises(InputError) as refused:
        truths_of_numbers(ONLINE, values)
    assert refused.value.where == "$[1].online"
    assert refused.value.received is None


def test_any_other_number_is_refused_in_a_column_with_gaps() -> None:
    with pytest.raises(InputError, match=r"\$\[2\]\.known"):
        truths_of_numbers(KNOWN, np.array([np.nan, 1.0, 3.0]))
