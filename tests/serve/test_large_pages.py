"""Where the weights of a model lie in memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.serve.large_pages import end_asking, with_large_pages

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
IN_A_THREAD = """
import threading
from pathlib import Path

import numpy as np

held = []
def load():
    np.ones(2 << 20)  # 16 MB that are freed: glibc then keeps the next ones in the thread's arena
    held.append(np.frombuffer(bytearray(2_000_000) * 8, dtype=np.uint8))
thread = threading.Thread(target=load)
thread.start()
thread.join()
sizes = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
print(sizes["AnonHugePages"].split()[0])
"""


def asked_for(environment: dict[str, str]) -> int:
    """kB of large pages in a process that loads 16 MB in a thread."""
    found = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD], env=environment, capture_output=True, check=True
    )
    return int(found.stdout)


def has_large_pages() -> bool:
    name, version = platform.libc_ver()
    recent = name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    return recent and SWITCH.exists() and "[madvise]" in SWITCH.read_text()


@pytest.mark.skipif(not has_large_pages(), reason="malloc asks for no large pages, or all are without asking")
def test_what_a_thread_loads_lies_in_large_pages() -> None:
    plain = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    plain.pop("GLIBC_TUNABLES", None)
    assert asked_for(plain) < 4 * 1024
    assert asked_for(with_large_pages(plain)) >= 8 * 1024


def test_what_an_operator_says_of_malloc_stays() -> None:
    ours = with_large_pages({"PATH": "/bin"})["GLIBC_TUNABLES"]
    assert ours.startswith("glibc.malloc.hugetlb=1:")
    beside = with_large_pages({"GLIBC_TUNABLES": "glibc.pthread.rseq=0"})["GLIBC_TUNABLES"]
    assert beside == f"glibc.pthread.rseq=0:{ours}"
    for said in ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, {"MALLOC_ARENA_MAX": "8"}):
        assert with_large_pages(said) == said


@pytest.mark.parametrize(
    "said",
    [
        {"PATH": "/bin"},
        {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"},
        {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"},
        {"MALLOC_ARENA_MAX": "8"},
    ],
)
def test_programs_that_a_model_starts_are_told_what_the_operator_said(said: dict[str, str]) -> None:
    environment = with_large_pages(said)
    end_asking(environment)
    assert environment == said
