"""What an earlier check measured, taken again where nothing it depends on has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from holdfast.check.lines import CheckReport, Line
from holdfast.clock import parse_time_us
from holdfast.registry import Registry

_LOOKED_AT: Final = 50
"""Newest checks of the version."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a measurement depends on, beside the version; two checks with the same measure the same."""

    checklist_hash: str
    machine: str
    software: str
    confined: str
    seconds: float
    """Of load: an earlier check with more has narrower intervals, and will do too."""

    def cover(self, earlier: CheckReport) -> bool:
        """Whether what the earlier check measured still holds."""
        return (
            self.checklist_hash == earlier.checklist_hash
            and self.machine == earlier.machine
            and self.software == earlier.software
            and self.confined == earlier.confined
            and self.seconds <= earlier.seconds
        )


def reusable_lines(
    registry: Registry,
    kind: str,
    version: str,
    *,
    inputs: Inputs,
    since_us: int,
    anew: Collection[str],
) -> tuple[Line, ...] | None:
    """The measured lines of the newest check with these inputs, each with the time of its measurement.

    They are taken all together or not at all, as they were measured on one start of the service, and only
    where all of them pass: what is unknown is worth another try, and what failed may have been mended
    outside of what is compared, such as a full disk.

    Args:
        registry: with the evidence.
        kind: of the evidence.
        version: that was checked.
        inputs: of the check that is to be made.
        since_us: nothing measured before is taken.
        anew: keys of the lines that this check has already answered.

    Returns:
        None: there is no such check, or something has changed since.
    """
    earlier = next(filter(inputs.cover, _reports(registry, version, kind)), None)
    if earlier is None:
        return None
    lines = tuple(
        line if line.at is not None else msgspec.structs.replace(line, at=earlier.at)
        for line in earlier.lines
        if line.line not in anew
    )
    good = all(line.verdict == "pass" and parse_time_us(line.at or "") >= since_us for line in lines)
    return lines if lines and good else None


def _reports(registry: Registry, version: str, kind: str) -> Iterator[CheckReport]:
    """Newest first; those of a release that wrote them otherwise are left out."""
    for found in registry.evidence(version, kind, limit=_LOOKED_AT):
        with contextlib.suppress(msgspec.ValidationError):
            yield msgspec.convert(found.payload, CheckReport)
