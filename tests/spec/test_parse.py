"""What `parse_checklist` and `load_checklist` accept and how they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import HoldfastError
from holdfast.spec import Checklist, ChecklistError, Duration, load_checklist, parse_checklist

NAME = '[model]\nname = "fraud"\n'


def fault(text: str) -> ChecklistError:
    with pytest.raises(ChecklistError) as caught:
        parse_checklist(text, source="holdfast.toml")
    return caught.value


def parsed(text: str) -> Checklist:
    return parse_checklist(text, source="holdfast.toml")


def test_a_name_is_a_whole_checklist() -> None:
    checklist = parsed(NAME)
    assert checklist.model.name == "fraud"
    assert checklist.speed.p99_ms == 100
    assert checklist.monitoring.label_delay == Duration(14 * 86_400_000_000)
    assert checklist.target.host == "127.0.0.1"


def test_the_example_of_the_design_is_read_with_its_units() -> None:
    checklist = parsed("""
        [model]
        name = "fraud"
        [predictions]
        mode = "realtime"            # or "batch"
        [target]
        where = "cloud"              # "edge" | "browser"
        [compute]
        cores = 2
        memory_mb = 2048
        [speed]
        p99_ms = 50
        qps = 1000
        [logging]
        durability = "process"       # "synced"
        retention_days = 365
        [privacy]
        sensitivity = "low"          # "high"
        [monitoring]
        window = "1d"
        label_delay = "14d"
        false_alarms = "1 per 1000 windows"
    """)
    assert checklist.speed.p99_ms == 50
    assert isinstance(checklist.speed.p99_ms, float)
    assert checklist.compute.cores == 2
    assert checklist.monitoring.window.duration == Duration(86_400_000_000)
    assert checklist.monitoring.false_alarms.average_run_length_windows == 1000


def test_an_unknown_key_names_its_path_the_valid_keys_and_the_nearest() -> None:
    assert str(fault(NAME + "[speed]\np99 = 50\n")) == (
        "holdfast.toml: $.speed.p99: unknown key; expected one of p50_ms, p99_ms, qps, deadline_ms. "
        'Did you mean "p99_ms"?'
    )


def test_a_key_in_the_wrong_section_is_told_where_it_belongs() -> None:
    error = fault(NAME + '[speed]\nwindow = "1d"\n')
    assert error.where == "holdfast.toml: $.speed.window"
    assert error.next_step == '"window" belongs to [monitoring].'


def test_a_mistyped_key_of_another_section_is_found_there() -> None:
    error = fault(NAME + '[alerts]\nlabels_delay = "1d"\n')
    assert error.next_step == 'Did you mean "label_delay" of [monitoring]?'


def test_a_key_outside_of_any_section_is_told_where_it_belongs() -> None:
    error = fault("p99_ms = 50\n" + NAME)
    assert error.what == "unknown key outside of any section"
    assert error.next_step == '"p99_ms" belongs to [speed].'


@pytest.mark.parametrize("written", ["Speed", "speeds", "SPEED"])
def test_an_unknown_section_names_the_nearest(written: str) -> None:
    error = fault(NAME + f"[{written}]\nqps = 1\n")
    assert error.where == f"holdfast.toml: $.{written}"
    assert "[speed]" in str(error.expected)
    assert error.next_step == "Did you mean [speed]?"


def test_a_section_that_does_not_exist_is_told_where_its_keys_belong() -> None:
    error = fault(NAME + '[service]\nmode = "batch"\n')
    assert error.next_step == '"mode" belongs to [predictions].'


def test_a_name_like_no_other_gets_no_guess() -> None:
    assert fault(NAME + "[speed]\nxyzzy = 1\n").next_step is None


@pytest.mark.parametrize(
    ("lines", "path", "expected", "received"),
    [
        ('[speed]\np99_ms = "fast"', "speed.p99_ms", "a number, above 0", '"fast"'),
        ("[speed]\np99_ms = 0", "speed.p99_ms", "a number, above 0", "0"),
        ("[speed]\np99_ms = true", "speed.p99_ms", "a number, above 0", "true"),
        ("[speed]\np99_ms = nan", "speed.p99_ms", "a number, above 0", "nan"),
        ("[speed]\np99_ms = inf", "speed.p99_ms", "a number, above 0", "inf"),
        ("[compute]\ncores = 1.5", "compute.cores", "a whole number, at least 1 and at most 1024", "1.5"),
        ("[logging]\nenabled = 1", "logging.enabled", "true or false", "1"),
        ("[logging]\npath = 2026-03-14", "logging.path", "text that is not empty", "a date"),
        (
            '[predictions]\nmode = "stream"',
            "predictions.mode",
            'one of "realtime", "batch"',
            '"stream"',
        ),
        (
            '[monitoring]\nwindow = "1 day"',
            "monitoring.window",
            'a window such as "1d", "6h", "15min" or "1000 rows"',
            '"1 day"',
        ),
        (
            '[monitoring]\nfalse_alarms = "none"',
            "monitoring.false_alarms",
            'a budget such as "1 per 1000 windows"',
            '"none"',
        ),
        ("[rollout]\nramp = [0.5, 2]", "rollout.ramp[1]", "a number, above 0 and at most 1", "2"),
        (
            '[privacy.fields]\n"first name" = "secret"',
            'privacy.fields["first name"]',
            'one of "identifier", "quasi-identifier", "sensitive", "free-text", "plain"',
            '"secret"',
        ),
        (
            '[privacy.actions]\nplain = "destroy"',
            "privacy.actions.plain",
            'one of "keep", "drop", "mask", "hash", "generalise", "redact", "encrypt"',
            '"destroy"',
        ),
    ],
)
def test_a_value_that_is_not_allowed_names_path_expected_and_received(
    lines: str, path: str, expected: str, received: str
) -> None:
    error = fault(f"{NAME}{lines}\n")
    assert error.where == f"holdfast.toml: $.{path}"
    assert error.expected == expected
    assert error.received == received


def test_a_section_that_is_no_table_is_refused() -> None:
    error = fault("speed = 3\n" + NAME)
    assert error.where == "holdfast.toml: $.speed"
    assert error.expected == "a section [speed]"


def test_the_name_is_required() -> None:
    error = fault("[speed]\nqps = 1\n")
    assert error.where == "holdfast.toml: $.model.name"
    assert error.what == "missing"


def test_every_fault_of_a_file_is_in_one_error() -> None:
    error = fault('[model]\nname = "a b"\n[speed]\np99 = 1\nqps = -1\n')
    assert [each.where for each in error.each()] == [
        "holdfast.toml: $.speed.p99",
        "holdfast.toml: $.model.name",
        "holdfast.toml: $.speed.qps",
    ]
    assert str(error).count("\n") == 2
    assert error.as_dict()["error"] == str(error)


def test_a_fault_of_syntax_names_line_and_column() -> None:
    error = fault('[model]\nname = "fraud"\nspeed = fast\n')
    assert error.where == "holdfast.toml: line 3, column 9"
    assert error.what == "not TOML: invalid value"


def test_a_key_given_twice_is_refused() -> None:
    assert "line 3" in str(fault('[model]\nname = "a"\nname = "b"\n').where)


def test_text_of_secrets_is_not_repeated() -> None:
    error = fault(
        NAME + '[security]\nauth = "keys"\napi_key_hashes = ["the-key-itself"]\n'
        '[alerts]\nwebhooks = ["hooks.example.org/services/T0/SECRET"]\n'
    )
    assert len(error.each()) == 2
    assert "the-key-itself" not in str(error)
    assert "SECRET" not in str(error)
    assert error.received == "text of 14 characters"


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ChecklistError) as caught:
        load_checklist(tmp_path / "my cards" / "holdfast.toml", {})
    assert caught.value.what == "there is no checklist"
    assert caught.value.next_step == f"Write one with: holdfast init '{tmp_path}/my cards'"


def test_a_folder_in_the_file_s_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChecklistError, match="cannot be read"):
        load_checklist(tmp_path, {})


def test_a_file_that_is_not_utf_8_names_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.toml"
    path.write_bytes(NAME.encode() + b"# caf\xe9\n")
    with pytest.raises(ChecklistError) as caught:
        load_checklist(path, {})
    assert caught.value.where == f"{path}: byte {len(NAME) + 6}"


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "holdfast.toml"
    path.write_bytes(b"\xef\xbb\xbf" + NAME.encode())
    assert load_checklist(path, {}).model.name == "fraud"


def test_the_error_is_a_holdfast_error_with_json_parts() -> None:
    error = fault(NAME + "[speed]\np99 = 50\n")
    assert isinstance(error, HoldfastError)
    assert error.as_dict() == {
        "error": str(error),
        "what": "unknown key",
        "where": "holdfast.toml: $.speed.p99",
        "expected": "one of p50_ms, p99_ms, qps, deadline_ms",
        "next_step": 'Did you mean "p99_ms"?',
    }


def test_a_missing_name_is_asked_for_in_one_sentence() -> None:
    said = str(fault("[model]\n"))
    assert "missing; expected the deployment's name" in said
    assert said.endswith("at most 63. It has no default.")
    assert ".." not in said
