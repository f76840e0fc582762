"""What a system's processes cost: processor time of those it started, whatever they call themselves."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from pathlib import Path


def cpu_s(first: int) -> float:
    """Processor time that a process, all others of its session and all that those started have used.

    Some servers start each worker in a session of its own, others leave their children to process 1; both
    are found. Processes that ended are counted by whoever waited for them.
    """
    used_s: dict[int, float] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    waiting = []
    per_s = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            pid, parent, session = int(path.parent.name), int(fields[1]), int(fields[3])
            used_s[pid] = sum(map(int, fields[11:15])) / per_s
            children[parent].append(pid)
            if session == first:
                waiting.append(pid)
    counted: set[int] = set()
    while waiting:
        pid = waiting.pop()
        if pid not in counted:
            counted.add(pid)
            waiting += children[pid]
    return sum(used_s[pid] for pid in counted)
