"""Properties over generated checklists and over garbage."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.spec import (
    Checklist,
    ChecklistError,
    Duration,
    FalseAlarmBudget,
    WindowSize,
    as_answers,
    as_document,
    build_checklist,
    checklist_hash,
    json_schema,
    parse_checklist,
    render_checklist,
    render_document,
)
from holdfast.spec.keys import Key, bare, is_optional, keys, limit

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
slowly = settings(deadline=None, max_examples=60)

# One line of any characters but controls; TOML, JSON and the environment must all carry them.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
words = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
BY_PATTERN = {
    "logging.tables": st.sampled_from(["", "s3://predictions/fraud", "s3://abc"]),
    "model.name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    "training.trainer": st.sampled_from(["", "shop.train:run"]),
    "training.command": st.just([]),  # instead of a trainer
    "training.review_field": st.just(""),  # one of the context fields
    "training.unattended": st.sampled_from([False]),  # it needs triggers
    "training.triggers": st.lists(st.sampled_from(["alarm", "schedule", "labels"]), max_size=3),
    "monitoring.own_columns": st.lists(words.map(lambda word: f"{word}.py:{word}"), max_size=2),
    "logging.path": words.map(lambda word: f"logs/{word}"),
    "target.host": st.sampled_from(["127.0.0.1", "::1", "localhost"]),
    "security.api_key_hashes": st.just([]),
    "security.auth": st.just("keys"),
    "security.jwt_jwks": st.just(""),
    "security.tls_client_ca": st.just(""),
    "security.tls_key": st.just(""),
    "security.tls_certificate": st.just(""),
    "privacy.sensitivity": st.just("low"),  # high wants keys, which may not be drawn
    "privacy.field_actions": st.dictionaries(texts, st.sampled_from(["keep", "hash", "encrypt"]), max_size=3),
    "privacy.generalise": st.dictionaries(
        texts, st.sampled_from(["width 0.5", "prefix 3", "year"]), max_size=3
    ),
    "privacy.phone_regions": st.lists(st.sampled_from(["GB", "DE"]), max_size=2),
    "privacy.actions": st.dictionaries(
        st.sampled_from(["quasi-identifier", "sensitive", "plain"]), st.sampled_from(["keep", "drop", "mask"])
    ),
    "alerts.webhooks": st.lists(words.map(lambda word: f"https://example.org/{word}"), max_size=2),
    "alerts.channels": st.lists(words.map(lambda word: f"slack://{word}"), max_size=2),
    "alerts.pagers": st.lists(words.map(lambda word: f"env:{word.upper()}"), max_size=2),
    "alerts.quiet_hours": st.sampled_from(["", "22:00-07:00"]),
    "alerts.time_zone": st.sampled_from(["UTC", "Europe/Berlin"]),
    "alerts.dashboard": st.sampled_from(["", "https://example.org/ui/"]),
    "rollout.loss": st.sampled_from(["error_rate", "brier_score", "absolute_error"]),  # no cost is needed
    "rollout.ramp": st.lists(st.floats(0.001, 0.999), max_size=3, unique=True).map(
        lambda some: [*sorted(some), 1]
    ),
    # The fields of a record must differ from each other: each draws from names of its own.
    "predictions.id_field": words.map("id_{}".format),
    "predictions.time_field": words.map("time_{}".format),
    "privacy.subject_field": words.map("who_{}".format),
    "privacy.consent_field": words.map("yes_{}".format),
    "logging.context_fields": st.lists(texts.map(lambda text: f"x{text}"), max_size=3, unique=True),
    # A hop is judged against the window; a state's output belongs to no other state.
    "stream.hop_values": st.just(0),
    "stream.state": st.lists(texts, max_size=3, unique=True).map(
        lambda names: {name: f"{name}_next" for name in names}
    ),
    "speed.p50_ms": st.floats(0.01, 1),
    "speed.p99_ms": st.floats(1, 100),
    "speed.deadline_ms": st.one_of(st.integers(100, 10**6), st.floats(100, 1e6)),
}
durations = st.integers(1, 10**15).map(lambda us: str(Duration(us)))


def values_of(key: Key) -> st.SearchStrategy[Any]:
    return BY_PATTERN[key.path] if key.path in BY_PATTERN else by_type(key.type)


def by_type(wanted: Any) -> st.SearchStrategy[Any]:
    kind = bare(wanted)
    if kind is Duration:
        return durations
    if kind is WindowSize:
        return st.one_of(durations, st.integers(1, 10**9).map("{} rows".format))
    if kind is FalseAlarmBudget:
        return st.integers(2, 10**6).map("1.25 per {} windows".format)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is dict:
        name, value = get_args(kind)
        names = by_type(name) if get_origin(bare(name)) is Literal else texts
        return st.dictionaries(names, by_type(value), max_size=3)
    if get_origin(kind) is tuple:
        return st.lists(by_type(get_args(kind)[0]), max_size=3)
    if kind is bool:
        return st.booleans()
    if kind is str:
        pattern = limit(wanted, "pattern") or ""
        found = texts.map(lambda text: f"{text}x" if limit(wanted, "min_length") else text)
        return found.filter(lambda text: re.search(pattern, text) is not None)
    low = limit(wanted, "ge") if limit(wanted, "ge") is not None else limit(wanted, "gt")
    high = limit(wanted, "le") if limit(wanted, "le") is not None else limit(wanted, "lt")
    if kind is int:
        return st.integers(low, high if high is not None else 2**53)
    return st.floats(
        low,
        high if high is not None else 1e300,
        exclude_min=limit(wanted, "gt") is not None,
        exclude_max=limit(wanted, "lt") is not None,
        allow_nan=False,
        allow_infinity=False,
    )


@st.composite
def documents(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Valid checklists as plain values, each with some of the keys."""
    document: dict[str, dict[str, Any]] = {}
    for section, of_section in keys().items():
        chosen = draw(st.sets(st.sampled_from(sorted(of_section)))) | {
            n for n, k in of_section.items() if k.required
        }
        if chosen:
            document[section] = {name: draw(values_of(of_section[name])) for name in sorted(chosen)}
    if "requests_per_s_per_key" in document.get("security", {}):
        document["security"]["auth"] = "keys"
    return document


checklists = documents().map(lambda document: build_checklist(document, source="generated"))


def checklist_or_error(read: Callable[[], Checklist]) -> Checklist | ChecklistError:
    """Any other error passes through, and fails the test."""
    try:
        return read()
    except ChecklistError as error:
        return error


@slowly
@given(checklists, st.booleans())
def test_a_rendered_checklist_parses_back_to_the_same(checklist: Checklist, full: bool) -> None:
    text = render_checklist(as_answers(checklist), full=full)
    assert parse_checklist(text, source="rendered") == checklist


@slowly
@given(checklists)
def test_a_plain_rendering_holds_every_key_and_parses_back_to_the_same(checklist: Checklist) -> None:
    text = render_document(checklist)
    again = parse_checklist(text, source="rendered")
    assert again == checklist
    assert checklist_hash(again) == checklist_hash(checklist)
    assert {s: set(v) for s, v in tomllib.loads(text).items()} == {
        s: {name for name, value in v.items() if value is not None} for s, v in as_document(checklist).items()
    }


@slowly
@given(documents())
def test_the_schema_accepts_every_valid_checklist(document: dict[str, dict[str, Any]]) -> None:
    VALIDATOR.validate(document)
    VALIDATOR.validate(tomllib.loads(render_document(build_checklist(document, source="generated"))))


@slowly
@given(checklists)
def test_a_checklist_can_be_given_by_the_environment_alone(checklist: Checklist) -> None:
    import msgspec

    environ = {}
    for path, value in as_answers(checklist).items():
        section, _, name = path.partition(".")
        plain = (
            isinstance(value, str) and value.strip()[:1] != '"'
        )  # what begins with a quote is read as quoted
        text = value if plain else msgspec.json.encode(value).decode()
        environ[f"HOLDFAST_{section.upper()}__{name.upper()}"] = text
    assert parse_checklist("", source="nothing", environ=environ) == checklist


@slowly
@given(documents(), st.data())
def test_an_unknown_key_anywhere_is_always_an_error_at_its_path(
    document: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    section = data.draw(st.sampled_from(sorted(document)))
    name = data.draw(words.filter(lambda word: word not in keys()[section] and word not in keys()))
    value: Any = data.draw(st.one_of(st.integers(), texts, st.just({}), st.just([])))
    document[section][name] = value
    with pytest.raises(ChecklistError) as caught:
        build_checklist(document, source="here")
    assert caught.value.where == f"here: $.{section}.{name}"
    assert caught.value.what == "unknown key"
    assert not VALIDATOR.is_valid(document)


@slowly
@given(documents(), words.filter(lambda word: word not in keys()), st.one_of(st.integers(), st.just({})))
def test_an_unknown_section_is_always_an_error_at_its_path(
    document: dict[str, Any], name: str, value: Any
) -> None:
    document[name] = value
    with pytest.raises(ChecklistError) as caught:
        build_checklist(document, source="here")
    assert caught.value.where == f"here: $.{name}"
    assert not VALIDATOR.is_valid(document)


@settings(deadline=None, max_examples=300)
@given(st.text())
def test_garbage_gives_nothing_but_a_checklist_error(text: str) -> None:
    with pytest.raises(ChecklistError):
        parse_checklist(text, source="garbage")


@slowly
@given(checklists, st.data())
def test_a_damaged_file_gives_a_checklist_or_a_checklist_error(
    checklist: Checklist, data: st.DataObject
) -> None:
    text = render_document(checklist)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 4))
        text = text[:at] + data.draw(st.text('"[]{}=.,#\\\n0e-_\x00\u20ac', max_size=3)) + text[at + cut :]
    outcome = checklist_or_error(lambda: parse_checklist(text, source="damaged"))
    assert isinstance(outcome, Checklist) or str(outcome).startswith("damaged")


anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
        st.just(10**400), st.just(-(10**400)),
        st.just(dt.date(2026, 3, 14)), st.just(dt.time(2, 0)), st.datetimes(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
any_key = st.sampled_from([key for of_section in keys().values() for key in of_section.values()])


@settings(deadline=None, max_examples=300)
@given(any_key, anything)
def test_any_value_of_any_key_is_taken_or_refused_at_its_path(key: Key, value: Any) -> None:
    document: dict[str, dict[str, Any]] = {"model": {"name": "fraud"}}
    document.setdefault(key.section, {})[key.name] = value
    outcome = checklist_or_error(lambda: build_checklist(document, source="here"))
    if isinstance(outcome, ChecklistError):
        assert any(re.search(rf"\$\.{key.section}\.\w+", str(each.where)) for each in outcome.each())
        return
    assert len(checklist_hash(outcome)) == 64
    if value is not None or not is_optional(key.type):
        VALIDATOR.validate(document)


@settings(deadline=None, max_examples=300)
@given(any_key, st.text())
def test_any_text_of_any_variable_is_taken_or_refused_by_its_name(key: Key, text: str) -> None:
    environ = {"HOLDFAST_MODEL__NAME": "fraud", key.variable: text}
    outcome = checklist_or_error(lambda: parse_checklist("", source="nothing", environ=environ))
    if isinstance(outcome, ChecklistError):
        assert key.variable in str(outcome) or f"$.{key.section}" in str(outcome)
    else:
        assert len(checklist_hash(outcome)) == 64


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a" + ".a" * 2000 + " = 1"])
def test_hostile_toml_is_refused(text: str) -> None:
    with pytest.raises(ChecklistError):
        parse_checklist(text, source="hostile")
