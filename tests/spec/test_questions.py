"""The questions of `holdfast init`."""

from __future__ import annotations

import pytest

from holdfast.spec import ChecklistError, parse_checklist, questions, render_checklist, validate_answer
from holdfast.spec.keys import find_key

QUESTIONS = questions()
BY_PATH = {question.path: question for question in QUESTIONS}


def test_each_question_answers_one_key_and_each_key_is_asked_once() -> None:
    assert len(BY_PATH) == len(QUESTIONS)
    assert all(find_key(path) is not None for path in BY_PATH)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.path)
def test_a_question_is_one_plain_line_with_one_line_of_explanation(question: object) -> None:
    asked = BY_PATH[getattr(question, "path", "")]
    assert asked.text.endswith("?")
    assert "\n" not in asked.text + asked.explanation
    assert max(len(asked.text), len(asked.explanation)) <= 110


def test_the_default_s_text_is_a_valid_answer() -> None:
    for question in QUESTIONS:
        if question.default is not None:
            assert validate_answer(question, str(question.default)) == question.default


def test_every_choice_is_a_valid_answer_and_nothing_else_is() -> None:
    for question in QUESTIONS:
        for choice in question.choices:
            assert validate_answer(question, choice) == choice
        if question.choices:
            with pytest.raises(ChecklistError, match="unknown choice"):
                validate_answer(question, "neither")


def test_taking_every_default_makes_a_checklist_of_defaults() -> None:
    answers = {
        q.path: validate_answer(q, "fraud" if q.default is None else str(q.default)) for q in QUESTIONS
    }
    checklist = parse_checklist(render_checklist(answers, full=True), source="rendered")
    assert checklist == parse_checklist('[model]\nname = "fraud"', source="here")


def test_only_the_name_has_no_default() -> None:
    assert [question.path for question in QUESTIONS if question.default is None] == ["model.name"]


def test_a_batch_is_not_asked_for_its_latency() -> None:
    assert not BY_PATH["speed.p99_ms"].applies({"predictions.mode": "batch"})
    assert BY_PATH["speed.p99_ms"].applies({"predictions.mode": "realtime"})
    assert BY_PATH["speed.p99_ms"].applies({})
    assert BY_PATH["privacy.sensitivity"].applies({"predictions.mode": "batch"})


def test_a_question_comes_after_the_one_it_depends_on() -> None:
    order = [question.path for question in QUESTIONS]
    for question in QUESTIONS:
        if question.only_if is not None:
            assert order.index(question.only_if[0]) < order.index(question.path)


@pytest.mark.parametrize(
    ("path", "text", "answer"),
    [
        ("speed.p99_ms", " 300 ", 300.0),
        ("monitoring.label_delay", "24h", "1d"),
        ("monitoring.window", "1000 rows", "1000 rows"),
        ("logging.context_fields", "shop, app", ["shop", "app"]),
        ("logging.enabled", "no", False),
    ],
)
def test_an_answer_is_what_toml_would_hold(path: str, text: str, answer: object) -> None:
    assert validate_answer(path, text) == answer


def test_a_wrong_answer_names_its_key_and_what_is_expected() -> None:
    with pytest.raises(ChecklistError) as caught:
        validate_answer(BY_PATH["compute.cores"], "all")
    assert caught.value.where == "compute.cores"
    assert caught.value.expected == "a whole number, at least 1 and at most 1024"


def test_an_answer_that_contradicts_an_earlier_one_is_refused_when_those_are_given() -> None:
    earlier = {"speed.deadline_ms": 200}
    assert validate_answer("speed.p99_ms", "300") == 300
    with pytest.raises(ChecklistError, match="refused before the time"):
        validate_answer("speed.p99_ms", "300", earlier)
    assert validate_answer("speed.p99_ms", "100", earlier) == 100


def test_an_unknown_path_names_the_nearest() -> None:
    with pytest.raises(ChecklistError) as caught:
        validate_answer("speed.p99", "3")
    assert caught.value.next_step == 'Did you mean "p99_ms"?'


def test_a_path_whose_section_does_not_exist_is_told_where_its_key_belongs() -> None:
    with pytest.raises(ChecklistError) as caught:
        validate_answer("deployment.mode", "batch")
    assert caught.value.next_step == '"mode" belongs to [predictions].'
