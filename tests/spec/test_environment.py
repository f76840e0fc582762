"""Overrides by environment variables."""

from __future__ import annotations

import pytest

from holdfast.spec import Checklist, ChecklistError, WindowSize, parse_checklist

TEXT = '[model]\nname = "fraud"\n[speed]\np99_ms = 80\n'


def overridden(**environ: str) -> Checklist:
    return parse_checklist(TEXT, source="holdfast.toml", environ=environ)


def fault(**environ: str) -> ChecklistError:
    with pytest.raises(ChecklistError) as caught:
        overridden(**environ)
    return caught.value


def test_a_variable_overrides_the_file_and_the_default() -> None:
    checklist = overridden(HOLDFAST_SPEED__P99_MS="50", HOLDFAST_COMPUTE__CORES="4")
    assert checklist.speed.p99_ms == 50
    assert checklist.compute.cores == 4


def test_a_required_key_may_come_from_the_environment_alone() -> None:
    checklist = parse_checklist("", source="holdfast.toml", environ={"HOLDFAST_MODEL__NAME": "prices"})
    assert checklist.model.name == "prices"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("0", False), ("No", False), ("1", True)])
def test_a_boolean_is_true_or_false_one_or_zero_yes_or_no(text: str, *, value: bool) -> None:
    assert overridden(HOLDFAST_LOGGING__ENABLED=text).logging.enabled is value


@pytest.mark.parametrize("text", ["shop, app", '["shop", "app"]', "shop,app,"])
def test_a_list_is_separated_by_commas_or_json(text: str) -> None:
    assert overridden(HOLDFAST_LOGGING__CONTEXT_FIELDS=text).logging.context_fields == ("shop", "app")


def test_a_list_of_numbers_is_typed_by_the_struct() -> None:
    assert overridden(HOLDFAST_ROLLOUT__RAMP="0.2, 1").rollout.ramp == (0.2, 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "name=identifier, note=free-text",
        '{"name":"identifier","note":"free-text"}',
        '{ name = "identifier", note = "free-text" }',
    ],
)
def test_a_table_is_pairs_or_json(text: str) -> None:
    fields = overridden(HOLDFAST_PRIVACY__FIELDS=text).privacy.fields
    assert fields == {"name": "identifier", "note": "free-text"}


@pytest.mark.parametrize("text", ["500 rows", '"500 rows"'])
def test_quantities_are_read_as_in_the_file_quotes_and_all(text: str) -> None:
    assert overridden(HOLDFAST_MONITORING__WINDOW=text).monitoring.window == WindowSize(rows=500)


def test_an_empty_variable_empties_a_list_and_unsets_what_may_be_unset() -> None:
    checklist = overridden(HOLDFAST_ALERTS__WEBHOOKS="", HOLDFAST_SPEED__P50_MS="")
    assert checklist.alerts.webhooks == ()
    assert checklist.speed.p50_ms is None


def test_text_that_looks_like_a_number_stays_text() -> None:
    assert overridden(HOLDFAST_MODEL__POSITIVE_CLASS="1").model.positive_class == "1"


def test_a_value_that_is_not_allowed_names_the_variable() -> None:
    error = fault(HOLDFAST_COMPUTE__CORES="many")
    assert error.where == "environment variable HOLDFAST_COMPUTE__CORES"
    assert error.received == '"many"'


def test_an_item_that_is_not_allowed_is_named_by_its_place() -> None:
    error = fault(HOLDFAST_ROLLOUT__RAMP="0.2,2")
    assert error.where == "environment variable HOLDFAST_ROLLOUT__RAMP: $[1]"


@pytest.mark.parametrize(
    "variable", ["HOLDFAST_SPEED__P99", "HOLDFAST_SPEEDS__P99_MS", "HOLDFAST_speed__p99_ms"]
)
def test_a_variable_that_names_no_key_is_an_error_with_the_nearest(variable: str) -> None:
    error = fault(**{variable: "50"})
    assert error.where == f"environment variable {variable}"
    assert error.next_step == "Did you mean HOLDFAST_SPEED__P99_MS?"


def test_names_without_two_underscores_are_something_else() -> None:
    checklist = overridden(HOLDFAST_PSEUDONYM_KEY="secret", HOLDFAST_LOG="1", OTHER__THING="1", HOLDFAST_="")
    assert checklist == parse_checklist(TEXT, source="holdfast.toml")


def test_a_rule_broken_by_an_override_names_the_variable() -> None:
    error = fault(HOLDFAST_SPEED__DEADLINE_MS="20")
    assert error.where == "holdfast.toml: $.speed.deadline_ms (set by HOLDFAST_SPEED__DEADLINE_MS)"


def test_bytes_of_another_encoding_are_refused() -> None:
    error = fault(HOLDFAST_MODEL__POSITIVE_CLASS=b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert error.what == "not Unicode"


def test_an_override_does_not_hide_a_fault_of_the_file() -> None:
    with pytest.raises(ChecklistError, match=r"holdfast\.toml: \$\.speed\.qps"):
        parse_checklist(
            '[model]\nname = "fraud"\n[speed]\nqps = "many"\n',
            source="holdfast.toml",
            environ={"HOLDFAST_SPEED__QPS": "5"},
        )
