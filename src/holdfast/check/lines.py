"""The lines of a check: what was asked, what was measured, the verdict, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Verdict = Literal["pass", "fail", "unknown"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the checklist and its evidence."""

    line: str
    """The key it speaks of, such as `speed.p99_ms`."""
    asked: Any
    """As the checklist says."""
    measured: Any
    """A number in the key's unit, or a few words."""
    verdict: Verdict
    interval: tuple[float, float] | None = None
    """Where the number is a measurement: of 95 %; of memory up to what cannot have been exceeded."""
    advice: str | None = None
    """What to do about anything but a pass."""
    at: str | None = None
    """ISO 8601, UTC: measured then, by an earlier check; None: by this one."""


class LastRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of the release before, for comparison."""

    version: str
    at: str
    verdict: Verdict
    measured: dict[str, Any]
    """By line."""


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every line, and the verdict of all."""

    name: str
    """Of the deployment."""
    version: str | None
    """None: the checklist itself is at fault, so no version could be run."""
    checklist_hash: str
    machine: str
    at: str
    """ISO 8601, UTC."""
    confined: str
    """How the service was held to `[compute]`."""
    lines: tuple[Line, ...]
    verdict: Verdict
    software: str = ""
    """What measured: versions of holdfast, Python and the runtime."""
    seconds: float = 0.0
    """Of load that were asked for."""
    last_release: LastRelease | None = None

    def evidence(self) -> dict[str, Any]:
        """As it stands in the registry, under the kind `check`."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return content

    def line(self, path: str) -> Line:
        """The line of a key.

        Raises:
            KeyError: there is none.
        """
        for line in self.lines:
            if line.line == path:
                return line
        raise KeyError(path)


def overall(lines: Sequence[Line]) -> Verdict:
    """Fail if one line fails, else unknown if one is, else pass; no line at all is unknown."""
    verdicts = {line.verdict for line in lines}
    if "fail" in verdicts:
        return "fail"
    return "pass" if verdicts == {"pass"} else "unknown"


def judge_at_most(
    line: str,
    asked: float,
    value: float | None,
    interval: tuple[float, float] | None,
    *,
    nearest: str,
    unsure: str,
    lower_only: bool = False,
) -> Line:
    """A number that may be at most what was asked.

    Args:
        line: the key.
        asked: the limit.
        value: as measured; None: there is none.
        interval: of the value; without one only a value that is missing is unknown.
        nearest: advice where it fails: the nearest value that could be kept.
        unsure: advice where the interval holds the limit.
        lower_only: the measurement is an upper bound of the truth (the generator's own lag is in it): it can
            pass and not fail.
    """
    if value is None:
        return Line(line=line, asked=asked, measured=None, verdict="unknown", advice=unsure)
    low, high = interval or (value, value)
    if high <= asked:
        return Line(line=line, asked=asked, measured=value, interval=interval, verdict="pass")
    if low > asked and not lower_only:
        return Line(line=line, asked=asked, measured=value, interval=interval, verdict="fail", advice=nearest)
    return Line(line=line, asked=asked, measured=value, interval=interval, verdict="unknown", advice=unsure)
