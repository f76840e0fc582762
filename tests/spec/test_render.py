"""The commented file that `holdfast init` writes."""

from __future__ import annotations

import tomllib

import pytest

from holdfast.spec import ChecklistError, build_checklist, parse_checklist, render_checklist
from holdfast.spec.keys import keys

ANSWERS = {
    "model.name": "fraud",
    "speed.p99_ms": 50,
    "privacy.fields": {"name": "identifier", "a b": "plain"},
}


def test_the_full_file_has_every_key_under_its_description() -> None:
    lines = render_checklist(ANSWERS, full=True).splitlines()
    for section, of_section in keys().items():
        assert f"[{section}]" in lines
        for key in of_section.values():
            assert any(line.lstrip("#").startswith(f"{key.name} =") for line in lines), key.path
    text = " ".join(line.lstrip("# ") for line in lines)
    for of_section in keys().values():
        for key in of_section.values():
            assert key.description in text, key.path


def test_only_answers_are_in_force() -> None:
    assert tomllib.loads(render_checklist(ANSWERS, full=True)) == {
        **{section: {} for section in keys()},
        "model": {"name": "fraud"},
        "speed": {"p99_ms": 50},
        "privacy": {"fields": {"name": "identifier", "a b": "plain"}},
    }


def test_the_commented_defaults_are_the_defaults() -> None:
    text = render_checklist({"model.name": "fraud"}, full=True)
    lines = [
        line[1:] if line.startswith("#") and line[1:2] != " " and not line.endswith("=") else line
        for line in text.splitlines()
    ]
    uncommented = parse_checklist("\n".join(lines), source="uncommented")
    assert uncommented == build_checklist({"model": {"name": "fraud"}}, source="here")


def test_the_short_file_has_the_answers_alone() -> None:
    text = render_checklist(ANSWERS, full=False)
    assert tomllib.loads(text).keys() == {"model", "speed", "privacy"}
    assert "#qps" not in text
    assert "99th percentile" in text


def test_no_line_is_longer_than_a_terminal_of_110_columns() -> None:
    assert max(map(len, render_checklist(ANSWERS, full=True).splitlines())) <= 110


def test_answers_may_be_text_as_typed() -> None:
    text = render_checklist(
        {"model.name": "fraud", "compute.cores": "4", "rollout.ramp": "0.2, 1", "logging.enabled": "false"},
        full=False,
    )
    assert tomllib.loads(text) == {
        "model": {"name": "fraud"},
        "compute": {"cores": 4},
        "logging": {"enabled": False},
        "rollout": {"ramp": [0.2, 1]},
    }


def test_none_stands_for_the_default() -> None:
    assert tomllib.loads(render_checklist({"model.name": "a", "speed.p50_ms": None}, full=False)) == {
        "model": {"name": "a"}
    }


@pytest.mark.parametrize(
    ("answers", "where"),
    [
        ({"speed.p99_ms": 50}, "the answers: $.model.name"),
        ({"model.name": "fraud", "speed.p99": 50}, "the answers: $.speed.p99"),
        ({"model.name": "fraud", "speed.p99_ms": 5000}, "the answers: $.speed.deadline_ms"),
        ({"model.name": "fraud", "compute.cores": "many"}, "the answers: $.compute.cores"),
        ({"model.name": "fraud", "cores": 2}, "the answers: $.cores"),
    ],
)
def test_answers_that_make_no_checklist_are_refused(answers: dict[str, object], where: str) -> None:
    with pytest.raises(ChecklistError) as caught:
        render_checklist(answers, full=True)
    assert caught.value.where == where
