from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import ManualClock
from holdfast.registry import Registry, RegistryError, UnknownKeyError, key_hash

GOLDEN = Path(__file__).parents[1] / "golden" / "registry_v1.db"
DAY_S = 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_us=1_000_000)


@pytest.fixture
def registry(tmp_path: Path, clock: ManualClock) -> Iterator[Registry]:
    with Registry.open(f"sqlite:///{tmp_path}/registry.db", clock) as opened:
        yield opened


def test_a_key_is_handed_out_once_and_stands_in_no_file(registry: Registry, tmp_path: Path) -> None:
    made = registry.api_keys.create(name="shop", scopes=["label", "predict"], actor="ann")
    assert made.key.startswith(f"hfk_{made.entry.key_id}_")
    assert made.entry.scopes == ("predict", "label")
    assert registry.api_keys.all() == [made.entry]
    assert made.entry.sha256 == key_hash(made.key)
    secret = made.key.removeprefix(f"hfk_{made.entry.key_id}_").encode()
    assert len(secret) == 43  # 32 bytes in base64; the alphabet holds "_" too
    assert secret not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_a_key_shows_neither_itself_nor_its_hash_in_a_repr(registry: Registry) -> None:
    made = registry.api_keys.create(name="shop", scopes=["predict"], actor="ann")
    assert made.key not in repr(made)
    assert made.entry.sha256 not in repr(made)


def test_two_keys_have_nothing_in_common(registry: Registry) -> None:
    keys = [registry.api_keys.create(name="shop", scopes=["read"], actor="ann") for _ in range(50)]
    assert len({one.key for one in keys}) == len({one.entry.key_id for one in keys}) == 50


def test_a_revoked_key_stays_revoked_whoever_writes_to_the_database(
    registry: Registry, tmp_path: Path
) -> None:
    made = registry.api_keys.create(name="shop", scopes=["predict"], actor="ann")
    before = registry.api_keys.fingerprint()
    ended = registry.api_keys.revoke(made.entry.key_id, actor="bob")
    assert (ended.revoked_at_us, ended.revoked_by) == (1_000_000, "bob")
    assert registry.api_keys.fingerprint() != before
    assert registry.api_keys.revoke(made.entry.key_id, actor="carol") == ended
    with closing(sqlite3.connect(tmp_path / "registry.db")) as raw, raw:
        for statement in (
            "UPDATE api_keys SET revoked_at_us = NULL",
            "UPDATE api_keys SET sha256 = 'x'",
            "DELETE FROM api_keys",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                raw.execute(statement)


def test_a_key_expires_by_the_clock(registry: Registry, clock: ManualClock) -> None:
    made = registry.api_keys.create(
        name="shop", scopes=["predict"], actor="ann", expires_at_us=clock.now_us() + DAY_S * 1_000_000
    )
    assert made.entry.state(clock.now_us()) == "active"
    clock.advance_s(DAY_S)
    assert made.entry.state(clock.now_us()) == "expired"


def test_an_unknown_id_lists_the_active_ones_and_never_repeats_a_key(registry: Registry) -> None:
    made = registry.api_keys.create(name="shop", scopes=["predict"], actor="ann")
    with pytest.raises(UnknownKeyError, match=made.entry.key_id):
        registry.api_keys.revoke("0123", actor="ann")
    with pytest.raises(UnknownKeyError, match="a whole key") as refused:
        registry.api_keys.revoke(made.key, actor="ann")
    assert made.key not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": " "},
        {"name": "x" * 101},
        {"name": "a\nb"},
        {"scopes": []},
        {"scopes": ["all"]},
        {"expires_at_us": 1_000_000},
        {"requests_per_s": 0.0},
        {"requests_per_s": float("nan")},
    ],
)
def test_a_key_that_makes_no_sense_is_refused(registry: Registry, arguments: dict[str, Any]) -> None:
    with pytest.raises(RegistryError):
        registry.api_keys.create(**{"name": "shop", "scopes": ["predict"], "actor": "ann", **arguments})
    assert registry.api_keys.all() == []
    assert registry.audit.entries() == []


def test_a_registry_of_the_first_schema_gets_keys_and_keeps_its_decisions(tmp_path: Path) -> None:
    shutil.copy(GOLDEN, tmp_path / "registry.db")
    url = f"sqlite:///{tmp_path}/registry.db"
    for _ in range(2):
        with Registry.open(url, ManualClock(start_us=9)) as registry:
            assert [one.version for one in registry.decisions()] == ["1", "2"]
            assert registry.evidence("1")[0].payload == {"largest": 1e-7}
            registry.api_keys.create(name="shop", scopes=["predict"], actor="ann")
    with Registry.open(url, ManualClock(start_us=9)) as registry:
        assert len(registry.api_keys.all()) == registry.audit.verify().entries == 2
        assert registry.rollback(reason="r", actor="a") == "1"
    with (
        closing(sqlite3.connect(tmp_path / "registry.db")) as raw,
        raw,
        pytest.raises(sqlite3.IntegrityError),
    ):
        raw.execute("DELETE FROM audit")
