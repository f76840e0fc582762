from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from holdfast.clock import ManualClock, SystemClock
from holdfast.registry import Registry, RegistryError, UnknownVersionError


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/registry.db"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(url(tmp_path), ManualClock(start_us=7)) as opened:
        yield opened


def add(registry: Registry, count: int = 1) -> None:
    for index in range(count):
        registry.add_version(
            name="fraud",
            sha256=f"{index:064x}",
            created_at_us=5,
            created_by="ann",
            metadata={"notes": ["hello"]},
        )


def test_versions_are_numbered_in_order_and_found_by_name(registry: Registry) -> None:
    add(registry, 3)
    assert [one.version for one in registry.versions()] == ["1", "2", "3"]
    second = registry.version("2")
    assert (second.sha256, second.status, second.notes) == (f"{1:064x}", "registered", ("hello",))
    assert second.artifact_folder == second.sha256[:32]


@pytest.mark.parametrize("name", ["9", "two", "", "-1", "1 OR 1=1", "99999999999999999999"])
def test_an_unknown_version_lists_the_known_ones(registry: Registry, name: str) -> None:
    add(registry, 2)
    for ask in (
        lambda: registry.version(name),
        lambda: registry.promote(name, reason="r", actor="a"),
        lambda: registry.attach_evidence(name, "k", {}),
        lambda: registry.evidence(name),
    ):
        with pytest.raises(UnknownVersionError, match=r"no such model version; expected 1, 2"):
            ask()
    assert registry.route().champion is None


def test_promotion_changes_the_route_and_is_written_down(registry: Registry) -> None:
    add(registry, 2)
    assert (registry.route().champion, registry.route().generation) == (None, 0)
    registry.promote("1", reason="first", actor="ann", checklist_hash="abc")
    registry.promote("2", reason="better", actor="bob")
    assert (registry.route().champion, registry.route().generation) == ("2", 2)
    decisions = registry.decisions()
    assert [(one.action, one.version, one.previous, one.actor, one.reason) for one in decisions] == [
        ("promote", "1", None, "ann", "first"),
        ("promote", "2", "1", "bob", "better"),
    ]
    assert (decisions[0].checklist_hash, decisions[0].at_us, decisions[0].generation) == ("abc", 7, 1)
    assert [one.status for one in registry.versions()] == ["former champion", "champion"]


def test_promoting_the_champion_changes_nothing(registry: Registry) -> None:
    add(registry)
    registry.promote("1", reason="first", actor="ann")
    assert registry.promote("1", reason="again", actor="ann").generation == 1
    assert len(registry.decisions()) == 1


def test_rollback_goes_back_step_by_step_and_never_to_what_was_rolled_back(registry: Registry) -> None:
    add(registry, 3)
    for version in ("1", "2", "3"):
        registry.promote(version, reason="r", actor="a")
    assert registry.rollback(reason="bad", actor="a") == "2"
    assert registry.rollback(reason="worse", actor="a") == "1"
    with pytest.raises(RegistryError, match="no champion to go back to"):
        registry.rollback(reason="?", actor="a")
    registry.promote("3", reason="fixed", actor="a")
    assert registry.rollback(reason="no", actor="a") == "1"
    assert registry.route().generation == 7


def test_evidence_comes_newest_first_and_by_version_and_kind(registry: Registry) -> None:
    add(registry, 2)
    registry.attach_evidence("1", "parity", {"x": 1}, at_us=10)
    registry.attach_evidence("2", "parity", {"x": 2}, at_us=30)
    registry.attach_evidence("1", "diagnosis", {"kinds": ["data drift"]}, at_us=20)
    assert [one.at_us for one in registry.evidence()] == [30, 20, 10]
    assert [one.payload for one in registry.evidence("1", "parity")] == [{"x": 1}]
    assert [one.at_us for one in registry.evidence(limit=1)] == [30]


def test_what_is_written_cannot_be_changed_even_by_hand(registry: Registry, tmp_path: Path) -> None:
    add(registry)
    registry.promote("1", reason="r", actor="a")
    registry.attach_evidence("1", "k", {})
    with closing(sqlite3.connect(tmp_path / "registry.db")) as by_hand, by_hand:
        for statement in (
            "UPDATE versions SET sha256 = 'x'",
            "DELETE FROM versions",
            "UPDATE decisions SET actor = 'nobody'",
            "DELETE FROM evidence",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                by_hand.execute(statement)
    by_hand.close()


def test_nothing_is_added_if_publishing_fails(registry: Registry) -> None:
    def fail(_: str) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        registry.add_version(
            name="f", sha256="0" * 64, created_at_us=0, created_by="a", metadata={}, before_commit=fail
        )
    assert registry.versions() == []


def test_a_registry_of_a_later_holdfast_is_not_touched(tmp_path: Path) -> None:
    Registry.open(url(tmp_path), ManualClock()).close()
    with closing(sqlite3.connect(tmp_path / "registry.db")) as by_hand, by_hand:
        by_hand.execute("UPDATE schema_version SET version = 99")
    by_hand.close()
    with pytest.raises(RegistryError, match="schema 99"):
        Registry.open(url(tmp_path), ManualClock())


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text("hello " * 1000)
    with pytest.raises(RegistryError, match="cannot be opened"):
        Registry.open(url(tmp_path), ManualClock())


def _open_and_add(folder: str) -> None:
    with Registry.open(url(Path(folder)), SystemClock()) as registry:
        add(registry, 5)


def _promote_often(folder: str, actor: str) -> None:
    with Registry.open(url(Path(folder)), SystemClock()) as registry:
        for turn in range(25):
            registry.promote(str(1 + (turn + len(actor)) % 5), reason=f"turn {turn}", actor=actor)
            if turn % 5 == 4:
                registry.rollback(reason="back", actor=actor)


def _run(target: Callable[..., None], arguments: list[tuple[str, ...]]) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=given) for given in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_processes_that_create_register_and_promote_at_once_serialise(tmp_path: Path) -> None:
    """Each change sees the one before it: no hole in the generations, `previous` is the last decision's."""
    folder = str(tmp_path)
    _run(_open_and_add, [(folder,)] * 3)
    with Registry.open(url(tmp_path), SystemClock()) as registry:
        assert [one.version for one in registry.versions()] == [str(number) for number in range(1, 16)]
    _run(_promote_often, [(folder, "a"), (folder, "bb"), (folder, "ccc")])
    with Registry.open(url(tmp_path), SystemClock()) as registry:
        decisions = registry.decisions()
        assert [one.generation for one in decisions] == list(range(1, len(decisions) + 1))
        assert decisions[0].previous is None
        assert all(later.previous == earlier.version for earlier, later in pairwise(decisions))
        assert registry.route().champion == decisions[-1].version
        assert registry.route().generation == len(decisions)
        assert {one.actor for one in decisions} == {"a", "bb", "ccc"}


def test_a_registry_that_cannot_be_written_says_so(registry: Registry, tmp_path: Path) -> None:
    add(registry)
    with closing(sqlite3.connect(tmp_path / "registry.db")) as other, other:
        other.execute("ALTER TABLE versions RENAME TO elsewhere")
    with pytest.raises(
        RegistryError, match=r"registry\.db: the registry cannot be written; nothing was changed"
    ):
        add(registry)
