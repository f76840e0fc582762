"""Where the weights of models lie in memory: what a process that runs models asks of glibc when it begins."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final

_VARIABLE: Final = "GLIBC_TUNABLES"
_TUNABLES: Final = {
    "glibc.malloc.hugetlb": 1,
    "glibc.malloc.arena_max": 1,
    "glibc.malloc.mmap_threshold": 4 * 1024 * 1024,
    "glibc.malloc.trim_threshold": 8 * 1024 * 1024,
}
"""Of glibc's `malloc`, from 2.35 on. It asks for large pages, but not for the arenas that threads have, so
all share one. What is large, as weights are, has pages of its own and gives them back; by default that ends
with the first large block that is freed (manual of the GNU C Library, Memory Allocation Tunables).
"""
_ASKED: Final = ":".join(f"{name}={value}" for name, value in _TUNABLES.items())


def with_large_pages(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that runs models: weights lie in pages of 2 MB, where the system has such.

    Every run reads all weights, and must find each of their pages. Where an operator has said anything of
    `malloc`, that stays as it is; systems without glibc do not know the variable.
    """
    said = environment.get(_VARIABLE, "")
    if "glibc.malloc." in said or any(name.startswith("MALLOC_") for name in environment):
        return dict(environment)
    return {**environment, _VARIABLE: f"{said}:{_ASKED}" if said else _ASKED}


def end_asking(environment: MutableMapping[str, str]) -> None:
    """Take back what `with_large_pages` has said.

    glibc has read it when the process began; programs that a model starts are no concern of it.
    """
    said = environment.get(_VARIABLE, "")
    if said == _ASKED:
        del environment[_VARIABLE]
    elif said.endswith(f":{_ASKED}"):
        environment[_VARIABLE] = said.removesuffix(f":{_ASKED}")
