"""What is given as rows and is none ends in an error that says so."""

from __future__ import annotations

import pytest

from holdfast.infer import InputError
from holdfast.score.errors import TableError
from holdfast.score.frames import as_table
from holdfast.score.loading import records_body


@pytest.mark.parametrize("values", [[2**70], ["\ud800"], [object()], [1, "two"]])
def test_a_column_that_no_table_holds_is_refused(values: list[object]) -> None:
    with pytest.raises(TableError, match="cannot be read as a table"):
        as_table({"x": values})


@pytest.mark.parametrize("value", [object(), {1, 2j}, "\ud800"])
def test_a_record_that_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="cannot be sent as JSON"):
        records_body([{"x": value}])
