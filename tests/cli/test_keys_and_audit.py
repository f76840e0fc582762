"""`holdfast key` and `holdfast audit`, as an operator runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from holdfast.cli.app import root
from holdfast.registry import RegistryError, UnknownKeyError, key_hash


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "fraud"\n')
    return tmp_path


def run(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(
        root, [*arguments, "-C", str(folder)], standalone_mode=False, catch_exceptions=False
    )


def test_a_key_is_made_listed_and_revoked_and_the_audit_tells_of_it(folder: Path) -> None:
    made = json.loads(
        run(folder, "key", "create", "shop", "--scope", "label", "--expires", "90d", "--json").output
    )
    assert made["scopes"] == ["label"]
    assert "No key is asked for yet" in run(folder, "key", "create", "till").output
    listed = json.loads(run(folder, "key", "list", "--json").output)
    assert [(one["name"], one["state"]) for one in listed] == [("shop", "active"), ("till", "active")]
    assert made["key"] not in json.dumps(listed)
    assert key_hash(made["key"]) not in json.dumps(listed)
    assert "is revoked" in run(folder, "key", "revoke", made["key_id"]).output
    table = run(folder, "key", "list").output
    assert "revoked" in table
    shown = run(folder, "audit", "show").output
    for act in ("key.create", "key.revoke", "shop", "label"):
        assert act in shown
    verified = run(folder, "audit", "verify")
    assert verified.return_value == 0
    head = verified.output.split()[-1]
    assert run(folder, "audit", "verify", "--head", head).return_value == 0
    assert run(folder, "audit", "verify", "--head", "0" * 63 + "1").return_value == 1


def test_a_wrong_id_or_rate_is_refused(folder: Path) -> None:
    with pytest.raises(UnknownKeyError):
        run(folder, "key", "revoke", "0123")
    with pytest.raises(RegistryError):
        run(folder, "key", "create", "shop", "--rate", "0")


def test_a_hash_for_the_checklist_is_that_of_the_key(folder: Path) -> None:
    made = json.loads(CliRunner().invoke(root, ["key", "hash", "--json"], standalone_mode=False).output)
    assert made["sha256"] == key_hash(made["key"])


def test_reading_raw_rows_is_written_down_without_the_values_of_a_query(folder: Path) -> None:
    run(folder, "log", "tail")
    with pytest.raises(Exception, match=r"."):  # an empty log has no such column
        run(folder, "log", "query", "SELECT nothing FROM predictions WHERE subject = 'ann' AND score > 0.5")
    entries = json.loads(run(folder, "audit", "show", "--json").output)
    assert [(one["action"], one["target"]) for one in entries] == [
        ("read.rows", "log tail"), ("read.rows", "log query"),
    ]  # fmt: skip
    assert "ann" not in entries[1]["detail"]["sql"]
    assert "subject = ?" in entries[1]["detail"]["sql"]
