"""The JSON Schema agrees with the parser on single keys."""

from __future__ import annotations

import tomllib
from typing import Any

import jsonschema
import pytest

from holdfast.spec import ChecklistError, as_document, build_checklist, json_schema, parse_checklist

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [schema, *schema["properties"].values()]


def test_it_is_a_valid_schema_of_draft_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_no_table_takes_keys_that_it_does_not_name() -> None:
    assert all(each["additionalProperties"] is False for each in objects(SCHEMA))


def test_every_section_and_key_has_a_description_for_the_editor() -> None:
    for section in SCHEMA["properties"].values():
        assert section["description"]
        for key in section["properties"].values():
            assert len(key["description"]) > 20


def test_its_defaults_are_the_checklist_s() -> None:
    defaults = as_document(build_checklist({"model": {"name": "fraud"}}, source="here"))
    for section, values in defaults.items():
        for name, value in values.items():
            if (section, name) != ("model", "name"):
                assert SCHEMA["properties"][section]["properties"][name].get("default") == value


def test_its_own_examples_are_valid() -> None:
    for section, of_section in SCHEMA["properties"].items():
        for name, key in of_section["properties"].items():
            for example in key.get("examples", []):
                document: dict[str, Any] = {"model": {"name": "fraud"}}
                document.setdefault(section, {})[name] = example
                VALIDATOR.validate(document)
                build_checklist(document, source="here")


GOOD = """
[model]
name = "patients.v2"
positive_class = "1"
[speed]
p50_ms = 20
p99_ms = 50.5
[logging]
context_fields = ["ward"]
commit_interval = "250ms"
[security]
auth = "keys"
[privacy]
sensitivity = "high"
fields = { "first name" = "identifier", note = "free-text" }
actions = { sensitive = "drop" }
[monitoring]
window = "1000 rows"
false_alarms = "0.5 per 365 windows"
[rollout]
ramp = [0.05, 1]
[alerts]
webhooks = ["https://hooks.example.org/x"]
"""


def test_a_good_checklist_is_valid() -> None:
    VALIDATOR.validate(tomllib.loads(GOOD))
    parse_checklist(GOOD, source="good")


@pytest.mark.parametrize(
    "bad",
    [
        "[speed]\np99 = 1",
        "[speeds]\np99_ms = 1",
        "speed = 3",
        "[speed]\np99_ms = 0",
        '[speed]\np99_ms = "1"',
        "[speed]\np50_ms = -1",
        "[compute]\ncores = 1.5",
        "[compute]\ncores = true",
        "[target]\nport = 65536",
        '[predictions]\nmode = "stream"',
        '[predictions]\nid_field = ""',
        "[predictions]\nmax_rows_per_request = 0",
        '[logging]\ncommit_interval = "1 second"',
        "[logging]\ncontext_fields = [1]",
        "[logging]\nsampling_fraction = 1.01",
        '[security]\napi_key_hashes = ["abc"]',
        '[privacy.fields]\nname = "secret"',
        '[privacy.actions]\nsecret = "drop"',
        '[monitoring]\nwindow = "1 day"',
        '[monitoring]\nfalse_alarms = "few"',
        '[training]\ntrainer = "train.py"',
        '[training]\ntriggers = ["moon"]',
        "[rollout]\nramp = []",
        "[rollout]\nramp = [0, 1]",
        "[rollout]\nalpha = 1",
        '[alerts]\nwebhooks = ["example.org"]',
    ],
)
def test_schema_and_parser_refuse_the_same(bad: str) -> None:
    text = bad if bad.startswith("speed") else f'model.name = "fraud"\n{bad}'
    if bad.startswith("speed"):
        text = f'{bad}\nmodel.name = "fraud"'
    assert not VALIDATOR.is_valid(tomllib.loads(text))
    with pytest.raises(ChecklistError):
        parse_checklist(text, source="bad")


@pytest.mark.parametrize(
    "bad", ["", "[model]", '[model]\nname = "a b"', '[model]\nname = ""', "[model]\nname = 1"]
)
def test_schema_and_parser_ask_for_a_name(bad: str) -> None:
    assert not VALIDATOR.is_valid(tomllib.loads(bad))
    with pytest.raises(ChecklistError, match=r"\$\.model\.name"):
        parse_checklist(bad, source="bad")
