"""Whoever follows a registry hears of every change of others, and looks only then."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from holdfast.clock import ManualClock
from holdfast.registry import Registry
from holdfast.registry.watch import LONGEST_TRUST_S, RegistryWatch

REGISTER = """
import sys
from holdfast.clock import SystemClock
from holdfast.registry import Registry
with Registry.open(sys.argv[1], SystemClock()) as registry:
    registry.add_version(name="fraud", sha256="0" * 64, created_at_us=5, created_by="ann", metadata={})
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    with Registry.open(url, ManualClock(start_us=7)) as opened:
        yield opened


def test_a_change_by_another_process_is_told_once(registry: Registry, url: str) -> None:
    with registry.watch() as watch:
        assert watch.may_have_changed()
        assert not watch.may_have_changed()
        subprocess.run([sys.executable, "-c", REGISTER, url], check=True, timeout=60)
        assert watch.may_have_changed()
        assert registry.version("1").name == "fraud"
        assert not watch.may_have_changed()


def test_a_change_by_the_same_registry_is_told_too(registry: Registry) -> None:
    with registry.watch() as watch:
        watch.may_have_changed()
        registry.audit.add(actor="ann", action="look", target="fraud")
        assert watch.may_have_changed()
        registry.route()
        assert not watch.may_have_changed()


def test_a_look_that_came_to_nothing_is_repeated(registry: Registry) -> None:
    with registry.watch() as watch:
        watch.may_have_changed()
        watch.forget()
        assert watch.may_have_changed()
        assert not watch.may_have_changed()


def test_an_unchanged_registry_is_looked_at_now_and_then(url: str) -> None:
    now_s = 100.0
    engine = sa.create_engine(url)
    with RegistryWatch(engine, lambda: now_s) as watch:
        assert watch.may_have_changed()
        now_s += LONGEST_TRUST_S - 0.1
        assert not watch.may_have_changed()
        now_s += 0.2
        assert watch.may_have_changed()
    engine.dispose()


def test_of_another_database_it_is_not_known(url: str) -> None:
    engine = sa.create_mock_engine("postgresql://", lambda *_: None)
    with RegistryWatch(engine) as watch:  # type: ignore[arg-type]  # has a dialect like any engine
        assert all(watch.may_have_changed() for _ in range(3))
