"""Fixtures of a real browser and a real service; a test module takes them as `browser = chromium`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_ward import make_ward, play
from playwright.sync_api import Browser, sync_playwright

from holdfast.demo.service import ServiceProcess
from holdfast.spec import Deployment

CHROMIUM = "HOLDFAST_CHROMIUM"


def _chromium() -> str:
    named = os.environ.get(CHROMIUM)
    found = (
        named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    )
    if found is None:
        pytest.skip(f"there is no Chromium: install the package chromium, or name one in {CHROMIUM}")
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One for a module: while it is open no other loop may run in this thread."""
    path = _chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def running_ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, ServiceProcess]]:
    """A running service with some days of traffic, open on loopback."""
    folder: Path = tmp_path_factory.mktemp("ward")
    deployment = make_ward(folder)
    with ServiceProcess(folder, "--no-monitor") as service:
        play(deployment, service)
        yield deployment, service
