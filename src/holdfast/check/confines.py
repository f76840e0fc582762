"""Holding a service to its `[compute]`: cores by CPU affinity, memory by a cgroup or else by rlimit."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from holdfast.check.cgroup import Place, make_place
from holdfast.check.memory import Resident

CGROUPS: Final = Path("/sys/fs/cgroup")


class Confines:
    """Made before the service starts; its processes enter by `enter`, the limit is set once they run.

    A cgroup (version 2) is used where this process may make one with the memory controller (see `cgroup`); it
    holds the whole service to the limit. Otherwise each process gets the limit as its RLIMIT_DATA, which
    bounds each alone, and the sum is measured.

    Args:
        cores: that the service may use.
        memory_bytes: that all of it may use.
        cgroups: where cgroup 2 is mounted.
        own: the text of `/proc/self/cgroup`.
    """

    def __init__(
        self, cores: int, memory_bytes: int, *, cgroups: Path = CGROUPS, own: str | None = None
    ) -> None:
        self.memory_bytes = memory_bytes
        self.cores = _choose_cores(cores)
        """Those that the service runs on; empty: this system cannot choose."""
        self.others = tuple(sorted(_available() - set(self.cores)))
        """Those that are left for the load."""
        self._place: Place | None = make_place(cgroups, own if own is not None else _own_cgroup())
        self.group = None if self._place is None else self._place.group

    @property
    def how(self) -> str:
        """In words, for the report."""
        where = (
            f"affinity to {len(self.cores)} core(s)" if self.cores else "no affinity (this system has none)"
        )
        if not self.others:
            where += ", shared with the load: no core is left for it"
        limit = "memory by a cgroup" if self.group else "memory by rlimit of each process, its sum measured"
        return f"{where}; {limit}"

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Keep this thread, and those that it starts, off the service's cores, where that leaves it any.

        What it did there would count as the work of other programs.
        """
        if not self.others or not self.cores:
            yield
            return
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.others)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    def enter(self) -> Callable[[], None]:
        """What a child calls before its program starts."""
        cores, group = self.cores, self.group

        def confine() -> None:
            if cores:
                os.sched_setaffinity(0, cores)
            if group is not None:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        return confine

    def limit(self, pids: list[int]) -> None:
        """Hold the running processes to the memory limit from now on."""
        if self.group is not None:
            (self.group / "memory.max").write_text(str(self.memory_bytes))
            return
        with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
            import resource

            for pid in pids:
                resource.prlimit(pid, resource.RLIMIT_DATA, (self.memory_bytes, self.memory_bytes))

    def busy_s(self, stat: Path = Path("/proc/stat")) -> float | None:
        """Processor time that all programs took on the service's cores so far; None: not known.

        Interrupts are left out: those of the service's own network are counted there too.
        """
        try:
            lines = stat.read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        names = {f"cpu{core}" for core in self.cores}
        found = [line.split() for line in lines if line.split()[:1] and line.split()[0] in names]
        # user, nice, system, then idle, iowait, irq, softirq, and what the hypervisor took.
        ticks = sum(sum(map(int, fields[1:4])) + int(fields[8]) for fields in found if len(fields) > 8)
        return ticks / os.sysconf("SC_CLK_TCK") if found else None

    def killed(self) -> int:
        """Processes that the kernel ended at the memory limit; without a cgroup it ends none."""
        if self.group is None:
            return 0
        with contextlib.suppress(OSError, ValueError):
            for line in (self.group / "memory.events").read_text(encoding="ascii").splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
        return 0

    def close(self) -> None:
        """Remove the cgroup; its processes must have ended."""
        if self._place is not None:
            self._place.remove()


def _available() -> set[int]:
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set()


def _choose_cores(cores: int) -> tuple[int, ...]:
    """The last ones: the first core of a machine answers most interrupts."""
    return tuple(sorted(_available())[-cores:])


def _own_cgroup() -> str:
    try:
        return Path("/proc/self/cgroup").read_text(encoding="ascii")
    except OSError:
        return ""


class Usage:
    """What a session of processes uses, read from `/proc`.

    Args:
        session: the id of the session, which is the pid of its first process.
        proc: where procfs is.
    """

    def __init__(self, session: int, proc: Path = Path("/proc")) -> None:
        self._session = session
        self._proc = proc

    def pids(self) -> list[int]:
        """Of the session's live processes."""
        if not sys.platform.startswith("linux"):
            return []
        found = []
        for entry in self._proc.iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    fields = (entry / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
                    if int(fields[3]) == self._session and fields[0] != "Z":
                        found.append(int(entry.name))
        return sorted(found)

    def memory(self) -> Resident | None:
        """What all processes take together now; None where the system does not tell."""
        sums = {"Pss:": 0, "Rss:": 0, "VmHWM:": 0}
        for pid in self.pids():
            for name in ("smaps_rollup", "status"):
                with contextlib.suppress(OSError, ValueError):
                    for line in (self._proc / str(pid) / name).read_text(encoding="latin-1").splitlines():
                        key = line.split(None, 1)[0] if line.strip() else ""
                        if key in sums:
                            sums[key] += int(line.split()[1]) * 1024
        if not sums["Pss:"]:
            return None
        return Resident(sums["Pss:"], sums["Rss:"], sums["VmHWM:"])

    def cpu_s(self) -> float:
        """Processor time of the live processes so far."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (
                    (self._proc / str(pid) / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
                )
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")
