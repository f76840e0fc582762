from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.clock import ManualClock
from holdfast.registry import (
    Registry,
    RegistryError,
    UnknownKeyError,
    WentBack,
    revoke_key,
    revoking,
    roll_back,
)
from holdfast.registry.going_back import _by_registry

REASON = 'error rate up, "see" page 3; naïve'


def make(folder: Path, acts: Sequence[str]) -> tuple[str, ManualClock]:
    """A registry with three versions on which these acts were tried."""
    clock = ManualClock(start_us=1_000_000)
    url = f"sqlite:///{folder}/registry.db"
    with Registry.open(url, clock) as registry:
        for index in range(3):
            registry.add_version(
                name="fraud", sha256=f"{index:064x}", created_at_us=5, created_by="ann", metadata={}
            )
        for act in acts:
            clock.advance_s(1)
            try:
                _try(registry, act)
            except RegistryError:
                continue
    clock.advance_s(1)
    return url, clock


def _try(registry: Registry, act: str) -> None:
    if act == "rollback":
        registry.rollback(reason="r", actor="ann")
    elif act.startswith("promote"):
        registry.promote(act[-1], reason="p", actor="bob", checklist_hash="c")
    else:
        registry.rollouts.start(
            act[-1], kind="update", baseline={}, assignment_key=b"k" * 16, deadline_us=9, reason="r",
            earliest_decision_us=5, actor="bob", checklist_hash="c", report={"found": 1.5, "at": "ü"},
            waived="w",
        )  # fmt: skip


def _outcome(act: Callable[[], WentBack]) -> WentBack | str:
    try:
        return act()
    except RegistryError as error:
        return str(error)


def dump(url: str) -> list[str]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        return list(connection.iterdump())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(["promote 1", "promote 2", "promote 3", "start 2", "start 3", "rollback"]), max_size=6
    )
)
def test_what_it_writes_is_byte_for_byte_what_the_registry_writes(
    tmp_path_factory: pytest.TempPathFactory, acts: list[str]
) -> None:
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    url, clock = make(one, acts)
    shutil.copytree(one, other, dirs_exist_ok=True)
    twin = f"sqlite:///{other}/registry.db"
    before = dump(url)
    wanted = _outcome(lambda: _by_registry(twin, clock, reason=REASON, actor="eve"))
    assert _outcome(lambda: roll_back(url, clock, reason=REASON, actor="eve")) == wanted
    assert dump(url) == (dump(twin) if isinstance(wanted, WentBack) else before)
    with Registry.open(url, clock) as registry:
        assert registry.audit.verify().ok


def test_a_key_is_revoked_byte_for_byte_as_the_registry_does(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    url, clock = make(tmp_path / "one", [])
    with Registry.open(url, clock) as registry:
        made = [registry.api_keys.create(name=f"shop {n}", scopes=["read"], actor="ann") for n in range(2)]
        ids = [one.entry.key_id for one in made]
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    twin = f"sqlite:///{tmp_path}/other/registry.db"
    for key_id in (ids[0], ids[0], ids[1]):
        clock.advance_s(1)
        wanted = revoking._by_registry(twin, clock, key_id, actor="eve")
        assert revoke_key(url, clock, key_id, actor="eve") == wanted
        assert wanted.revoked_at_us is not None
        assert dump(url) == dump(twin)
    with pytest.raises(UnknownKeyError, match="none, since no key is active"):
        revoke_key(url, clock, "0123", actor="eve")
    with Registry.open(url, clock) as registry:
        assert registry.audit.verify().ok


def test_it_loads_no_database_library(tmp_path: Path) -> None:
    url, _ = make(tmp_path, ["promote 1", "promote 2"])
    code = (
        "import sys; from holdfast.clock import SystemClock; from holdfast.registry import roll_back; "
        f"print(roll_back({url!r}, SystemClock(), reason='r', actor='a').after, 'sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_a_registry_of_another_schema_is_left_to_the_registry(tmp_path: Path) -> None:
    url, clock = make(tmp_path, ["promote 1", "promote 2"])
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(RegistryError, match="schema 99"):
        roll_back(url, clock, reason="r", actor="a")


def test_a_rollback_waits_for_a_writer_and_loses_nothing(tmp_path: Path) -> None:
    url, clock = make(tmp_path, ["promote 1", "promote 2"])
    writer = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    code = (
        "from holdfast.clock import SystemClock; from holdfast.registry import roll_back; "
        f"roll_back({url!r}, SystemClock(), reason='r', actor='a')"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    writer.execute("COMMIT")
    writer.close()
    assert process.wait(30) == 0
    with Registry.open(url, clock) as registry:
        assert registry.route().champion == "1"


def test_a_new_folder_says_that_there_is_no_champion(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no champion to go back to"):
        roll_back(f"sqlite:///{tmp_path}/registry.db", ManualClock(), reason="r", actor="a")
