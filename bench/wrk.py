"""Load by `wrk` (`apt-get install wrk`): one round of one question, and what was seen of it."""

from __future__ import annotations

import math
import re
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from peers import Question
from processes import cpu_s
from systems import System


@dataclass(frozen=True)
class Case:
    """What is asked."""

    codec: str
    rows: int
    connections: int


@dataclass
class Round:
    """What wrk saw in one round."""

    requests_per_s: float
    """Answered with success."""
    p50_ms: float
    p99_ms: float
    failures: int
    cpu_us: float
    """Processor time of all the system's processes per request: it hardly depends on what else runs."""
    client_us: float
    """Processor time of wrk per request."""


def load(system: System, question: Question, script: Path, connections: int, seconds: float) -> Round:
    duration = f"-d{max(1, round(seconds))}s"
    command = ["wrk", "-t1", f"-c{connections}", duration, "--latency", "--timeout", "10s", "-s", str(script)]
    url = system.url + question.path
    before_s, own_before_s = cpu_s(system.pid), _children_s()
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    spent_s, own_s = cpu_s(system.pid) - before_s, _children_s() - own_before_s
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    if found is None or count is None:
        raise RuntimeError(text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failures = (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
    requests = max(int(count[1]), 1)
    # wrk counts refusals too, and a refusal is no answer.
    answered_per_s = float(found[1]) * (1 - (int(bad[1]) if bad else 0) / requests)
    return Round(
        answered_per_s, milliseconds(text, "50%"), milliseconds(text, "99%"), failures,
        spent_s / requests * 1e6, own_s / requests * 1e6,
    )  # fmt: skip


def _children_s() -> float:
    """Processor time of children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def milliseconds(text: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)", text)
    factors = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
    return math.nan if found is None else float(found[1]) * factors[found[2]]


def lua(question: Question) -> str:
    """A script for wrk that sends this request; the body as hexadecimal, since it may be any bytes."""
    headers = dict((("Content-Type", question.content_type), *question.headers))
    lines = [
        "wrk.method = 'POST'",
        "local function byte(digits) return string.char(tonumber(digits, 16)) end",
        f"wrk.body = ('{question.body.hex()}'):gsub('..', byte)",
        *(f"wrk.headers['{name}'] = '{value}'" for name, value in headers.items()),
    ]
    return "\n".join(lines) + "\n"
