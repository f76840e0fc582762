"""Sizes, stretches of time and moments, where a unit ends or a zone is not named."""

from __future__ import annotations

import time

import pytest

from holdfast.ui import words


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.size(999_400), "999 kB"),
        (words.size(999_600), "1 MB"),
        (words.size(999_999_999), "1 GB"),
        (words.size(1.2e13), "12 TB"),
        (words.duration(0.9994), "999 ms"),
        (words.duration(0.9996), "1 s"),
    ],
)
def test_what_rounds_to_a_thousand_of_a_unit_is_one_of_the_next(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(("text", "expected"), [("417771", "row 417,771"), ("20260314", "row 20,260,314")])
def test_a_number_of_a_row_is_called_a_row_whatever_its_length(text: str, expected: str) -> None:
    assert str(words.when(text)) == expected


def test_a_moment_without_a_zone_is_utc_wherever_the_service_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert "14 Mar 2026, 02:00 UTC" in words.when("2026-03-14T02:00")
    finally:
        monkeypatch.undo()
        time.tzset()
