"""Workers ask for huge pages, and what an operator has said of them stands."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.serve.children import start_worker, with_huge_pages


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}, "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_huge_pages_are_asked_for_unless_the_environment_says_otherwise(
    given: dict[str, str], expected: str
) -> None:
    assert with_huge_pages({**given, "HOME": "/"}) == {"GLIBC_TUNABLES": expected, "HOME": "/"}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system does not say")
def test_a_worker_is_started_with_them_and_with_all_else_that_the_service_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OF_THE_SERVICE", "kept")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        worker = start_worker(0, listening, [])
    with closing(worker.control):
        told = Path(f"/proc/{worker.process.pid}/environ").read_bytes().split(b"\0")
        worker.process.kill()
        worker.process.wait()
    assert {b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1", b"OF_THE_SERVICE=kept"} <= set(told)
    assert len(set(told)) >= len(os.environ)
