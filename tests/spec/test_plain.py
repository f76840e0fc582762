"""Plain values and the hash."""

from __future__ import annotations

import hashlib
import json

from holdfast.spec import as_answers, as_document, checklist_hash, parse_checklist

NAME = '[model]\nname = "fraud"\n'


def hashed(text: str, **environ: str) -> str:
    return checklist_hash(parse_checklist(text, source="here", environ=environ))


def test_the_hash_is_sha_256_of_the_sorted_json_of_every_key() -> None:
    checklist = parse_checklist(NAME + "[speed]\np99_ms = 50\n", source="here")
    text = json.dumps(as_document(checklist), sort_keys=True, separators=(",", ":"))
    assert checklist_hash(checklist) == hashlib.sha256(text.encode()).hexdigest()


def test_order_comments_and_spelling_do_not_change_the_hash() -> None:
    one = hashed(NAME + '[speed]\nqps = 5\np99_ms = 50\n[logging]\ncommit_interval = "60s"\n')
    assert one == hashed(
        '# a comment\nlogging.commit_interval = "1min"\n'
        'speed = { p99_ms = 50.0, qps = 5.0 }\nmodel.name = "fraud"'
    )


def test_a_written_default_does_not_change_the_hash() -> None:
    assert hashed(NAME) == hashed(NAME + "[compute]\ncores = 1\n[speed]\n")
    assert hashed(NAME + "[monitoring]\ncost_false_positive = -0.0\n") == hashed(NAME)


def test_every_other_value_changes_the_hash() -> None:
    assert hashed(NAME) != hashed(NAME + "[compute]\ncores = 2\n")


def test_an_override_changes_the_hash_as_the_file_would() -> None:
    assert hashed(NAME, HOLDFAST_COMPUTE__CORES="2") == hashed(NAME + "[compute]\ncores = 2\n")


def test_answers_are_what_differs_from_the_defaults() -> None:
    checklist = parse_checklist(NAME + '[monitoring]\nwindow = "6h"\nlabel_delay = "14d"\n', source="here")
    assert as_answers(checklist) == {"model.name": "fraud", "monitoring.window": "6h"}
