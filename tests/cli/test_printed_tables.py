"""Tables that commands print."""

from __future__ import annotations

import pytest

from holdfast.cli.options import print_table


def test_a_row_in_a_pipe_is_one_line_however_long_its_cells_are(capsys: pytest.CaptureFixture[str]) -> None:
    error = "the channel answered 500 " * 20
    print_table("", ["written (UTC)", "error"], [["2026-11-30T12:00:00", error], ["2026-12-01T12:00:00", ""]])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["written", "(UTC)", "error"]
    assert first.rstrip() == f"2026-11-30T12:00:00  {error.strip()}"
    assert second.strip() == "2026-12-01T12:00:00"


def test_a_table_in_a_narrow_terminal_is_folded_to_its_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_table("", ["error"], [["the channel answered 500 " * 20]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) <= 60  # with the codes of colours
