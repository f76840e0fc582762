from __future__ import annotations

import hashlib
import json
import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.clock import ManualClock, SystemClock
from holdfast.registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(f"sqlite:///{tmp_path}/registry.db", ManualClock(start_us=7)) as opened:
        yield opened


def act(registry: Registry, count: int) -> None:
    for index in range(count):
        registry.audit.add(actor="ann", action="read.rows", target="predictions", detail={"rows": index})


def tamper(folder: Path, *statements: str) -> None:
    """What somebody with the file in hands can do: drop the triggers, then anything."""
    with closing(sqlite3.connect(folder / "registry.db")) as raw, raw:
        for name in ("audit_no_update", "audit_no_delete"):
            raw.execute(f"DROP TRIGGER IF EXISTS {name}")
        for statement in statements:
            raw.execute(statement)


def test_every_administrative_act_is_written_down(registry: Registry) -> None:
    registry.add_version(name="fraud", sha256="0" * 64, created_at_us=1, created_by="ann", metadata={})
    registry.add_version(name="fraud", sha256="1" * 64, created_at_us=1, created_by="bob", metadata={})
    registry.promote("1", reason="first", actor="ann")
    registry.promote("2", reason="better", actor="bob")
    registry.rollback(reason="worse", actor="carol")
    made = registry.api_keys.create(name="shop", scopes=["predict"], actor="dora")
    registry.api_keys.revoke(made.entry.key_id, actor="emil")
    assert [(one.actor, one.action, one.target) for one in registry.audit.entries()] == [
        ("ann", "register", "1"),
        ("bob", "register", "2"),
        ("ann", "promote", "1"),
        ("bob", "promote", "2"),
        ("carol", "rollback", "1"),
        ("dora", "key.create", made.entry.key_id),
        ("emil", "key.revoke", made.entry.key_id),
    ]
    assert registry.audit.verify().ok


def test_an_act_that_fails_leaves_no_entry(registry: Registry) -> None:
    def fail(_: str) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        registry.add_version(
            name="fraud", sha256="0" * 64, created_at_us=1, created_by="a", metadata={}, before_commit=fail
        )
    assert registry.audit.entries() == []


def test_the_hash_is_sha256_of_the_entry_as_sorted_json(registry: Registry) -> None:
    act(registry, 2)
    first, second = registry.audit.entries()
    assert first.previous == "0" * 64
    assert second.previous == first.hash
    text = json.dumps(
        {
            "number": 2, "at_us": 7, "actor": "ann", "action": "read.rows", "target": "predictions",
            "detail": {"rows": 1}, "previous": first.hash,
        },
        sort_keys=True, separators=(",", ":"),
    )  # fmt: skip
    assert second.hash == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE number = 3", "entry 3 is not what was written"),
        ("UPDATE audit SET detail = '{\"rows\":9}' WHERE number = 3", "entry 3 is not what was written"),
        ("UPDATE audit SET at_us = 8 WHERE number = 3", "entry 3 is not what was written"),
        ("DELETE FROM audit WHERE number = 3", "entries 3 to 3 are missing"),
        ("DELETE FROM audit WHERE number = 1", "entries 1 to 1 are missing"),
    ],
)
def test_an_entry_that_was_changed_or_removed_is_named(
    registry: Registry, tmp_path: Path, statement: str, fault: str
) -> None:
    act(registry, 5)
    tamper(tmp_path, statement)
    report = registry.audit.verify()
    assert not report.ok
    assert report.broken[0] == fault


def test_an_entry_rewritten_with_a_fitting_hash_breaks_the_one_behind_it(
    registry: Registry, tmp_path: Path
) -> None:
    act(registry, 3)
    entry = registry.audit.entries()[1]
    text = json.dumps(
        {
            "number": 2, "at_us": 7, "actor": "eve", "action": "read.rows", "target": "predictions",
            "detail": {"rows": 1}, "previous": entry.previous,
        },
        sort_keys=True, separators=(",", ":"),
    )  # fmt: skip
    forged = hashlib.sha256(text.encode()).hexdigest()
    tamper(tmp_path, f"UPDATE audit SET actor = 'eve', hash = '{forged}' WHERE number = 2")
    assert registry.audit.verify().broken == ("entry 3 does not follow the one before it",)


def test_entries_cut_off_at_the_end_are_missed_by_a_head_kept_elsewhere(
    registry: Registry, tmp_path: Path
) -> None:
    act(registry, 4)
    head = registry.audit.verify().head
    act(registry, 1)
    assert registry.audit.verify(head=head).ok
    tamper(tmp_path, "DELETE FROM audit WHERE number > 2")
    assert registry.audit.verify().ok
    assert not registry.audit.verify(head=head).ok


def test_a_database_refuses_to_change_an_entry(registry: Registry, tmp_path: Path) -> None:
    act(registry, 1)
    with closing(sqlite3.connect(tmp_path / "registry.db")) as raw, raw:
        for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
            with pytest.raises(sqlite3.IntegrityError):
                raw.execute(statement)


def _act_in_process(url: str) -> None:
    with Registry.open(url, SystemClock()) as registry:
        act(registry, 20)


@pytest.mark.slow
def test_several_processes_write_one_chain(registry: Registry, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    url = f"sqlite:///{tmp_path}/registry.db"
    processes = [context.Process(target=_act_in_process, args=(url,)) for _ in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(60)
    report = registry.audit.verify()
    assert (report.ok, report.entries) == (True, 40)
