"""What a process writes of exceptions: class and place, and no text that may hold a value."""

from __future__ import annotations

import logging
import sys
from io import StringIO

import numpy as np
import pytest

from holdfast.telemetry import FailureFormatter

SECRET = "secretville"


def fail_inside() -> None:
    raise ValueError(f"no such town: {SECRET}")


def fail() -> None:
    try:
        fail_inside()
    except ValueError as error:
        raise KeyError(SECRET) from error


def fail_again() -> None:
    try:
        fail()
    except KeyError:
        np.zeros(3).reshape(2, 2)


def written(error: BaseException, *, exception_text: bool = False) -> str:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(FailureFormatter("%(message)s", exception_text=exception_text))
    handler.handle(
        logging.makeLogRecord({"msg": "it failed", "exc_info": (type(error), error, error.__traceback__)})
    )
    return stream.getvalue()


def test_class_and_place_of_the_whole_chain_are_written_and_no_text() -> None:
    with pytest.raises(ValueError, match="reshape") as caught:
        fail_again()
    text = written(caught.value)
    assert SECRET not in text
    assert "cannot reshape" not in text
    kinds = [text.index(f"\n{kind}\n") for kind in ("ValueError", "KeyError")]
    assert kinds == sorted(kinds)
    assert text.index("in fail_inside") < text.index("direct cause") < text.index("During handling")
    assert text.startswith("it failed\n")
    assert text.rstrip().endswith("exception_text = true shows them)")


def test_every_exception_of_a_group_is_written_without_its_text() -> None:
    group = ExceptionGroup(SECRET, [ValueError(SECRET), TypeError(SECRET)])
    text = written(group)
    assert SECRET not in text
    assert ("ExceptionGroup\n" in text, "ValueError\n" in text, "TypeError\n" in text) == (True, True, True)


def test_what_the_system_refuses_is_written_with_its_meaning_and_without_the_name_of_a_file() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open(f"/nowhere/{SECRET}")  # noqa: PTH123, SIM115 - for its error
    text = written(caught.value)
    assert SECRET not in text.replace(f'open(f"/nowhere/{{{"SECRET"}}}")', "")
    assert "FileNotFoundError: No such file or directory\n" in text


def test_a_cause_that_is_hidden_is_not_written() -> None:
    hidden = KeyError(SECRET)
    hidden.__context__, hidden.__suppress_context__ = ValueError(SECRET), True
    assert "ValueError\n" not in written(hidden)


def test_exceptions_that_lead_to_each_other_end() -> None:
    one, other = ValueError("x"), TypeError("y")
    one.__cause__, other.__cause__ = other, one
    assert written(one).count("TypeError\n") == 1


def test_texts_are_written_where_the_checklist_asks_for_them() -> None:
    with pytest.raises(ValueError, match=SECRET) as caught:
        fail_inside()
    assert f"ValueError: no such town: {SECRET}" in written(caught.value, exception_text=True)


def test_a_record_without_an_exception_is_as_usual() -> None:
    formatter = FailureFormatter("%(message)s")
    assert formatter.formatException((None, None, None)) == logging.Formatter().formatException(
        sys.exc_info()
    )
