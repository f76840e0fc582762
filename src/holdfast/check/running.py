"""A whole check: the offline lines, then a copy of the deployment run and loaded inside `[compute]`."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final

from holdfast.artifact import open_artifact
from holdfast.check.alert_channels import alert_lines
from holdfast.check.batch import batch_lines
from holdfast.check.clear_text import clear_text_line
from holdfast.check.confines import Confines
from holdfast.check.errors import CheckError
from holdfast.check.lines import CheckReport, LastRelease, Line, overall
from holdfast.check.live import Effort, LiveCheck, log_line
from holdfast.check.offline import offline_lines
from holdfast.check.reusing import Inputs, reusable_lines
from holdfast.check.scratch import Scratch, scratch_copy
from holdfast.check.service import run_service
from holdfast.clock import Clock, iso_utc
from holdfast.errors import HoldfastError
from holdfast.registry import Evidence, ModelVersion, Registry
from holdfast.spec import ChecklistError, Deployment

EVIDENCE_KIND: Final = "check"


def check_deployment(
    deployment: Deployment,
    registry: Registry,
    clock: Clock,
    environ: Mapping[str, str],
    *,
    version: str | None = None,
    effort: Effort | None = None,
    send_alerts: bool = False,
    reuse_us: int = 0,
    said: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Answer every line of the checklist for one version, and store the answers as its evidence.

    Runs a copy of the deployment, so that neither its log nor its callers notice; takes about half a minute.

    Args:
        deployment: with its checklist.
        registry: of the deployment; gets the evidence.
        clock: time.
        environ: of this process, from which the service gets its secrets.
        version: which; the champion by default, or the newest where there is none.
        effort: how long to measure.
        send_alerts: send each channel of `[alerts]` a test message; else nothing is sent.
        reuse_us: take what the last check of the version measured, where it is no older than this and nothing
            it depends on has changed: version, checklist, machine, software, confines.
        said: is told of each step.

    Raises:
        CheckError: no version is registered.
        UnknownVersionError: there is no such version.
    """
    found = _find(registry, version)
    artifact = open_artifact(deployment.artifacts_folder / found.artifact_folder)
    compute = deployment.checklist.compute
    lines = list(offline_lines(deployment, registry, found, artifact))
    lines += alert_lines(deployment, registry, clock, environ, send=send_alerts)
    effort = effort or Effort()
    confines = Confines(compute.cores, compute.memory_mb * 1_000_000)
    try:
        inputs = Inputs(deployment.checklist_hash, machine(), software(), confines.how, effort.seconds)
        reused = None
        if reuse_us:
            since_us = clock.now_us() - reuse_us
            anew = {line.line for line in lines}
            reused = reusable_lines(
                registry, EVIDENCE_KIND, found.version, inputs=inputs, since_us=since_us, anew=anew
            )
        if reused is None:
            passed = {name: value for name, value in environ.items() if not _is_override(name)}
            lines += _run(deployment, found, confines, _How(clock, passed, effort, said))
        else:
            said(f"taking what was measured at {min(line.at or '' for line in reused)}: nothing has changed")
            lines += reused
    finally:
        confines.close()
    report = CheckReport(
        name=deployment.name,
        version=found.version,
        checklist_hash=deployment.checklist_hash,
        machine=inputs.machine,
        at=iso_utc(clock.now_us()),
        confined=inputs.confined,
        lines=tuple(sorted(lines, key=_order)),
        verdict=overall(lines),
        software=inputs.software,
        seconds=effort.seconds,
        last_release=_last_release(registry, found),
    )
    registry.attach_evidence(found.version, EVIDENCE_KIND, report.evidence())
    return report


def check_invalid(name: str, error: ChecklistError, clock: Clock) -> CheckReport:
    """The report of a checklist that contradicts itself: each fault is a line that fails.

    A weakened safeguard without a written reason is such a fault.
    """
    lines = [
        Line(
            line=(fault.where or "holdfast.toml").rpartition("$.")[2],
            asked=fault.expected,
            measured=fault.received or fault.what,
            verdict="fail",
            advice=". ".join(text for text in (fault.what, fault.next_step) if text),
        )
        for fault in error.each()
    ]
    return CheckReport(
        name=name,
        version=None,
        checklist_hash="",
        machine=machine(),
        at=iso_utc(clock.now_us()),
        confined="nothing was run",
        lines=tuple(lines),
        verdict="fail",
    )


def _find(registry: Registry, version: str | None) -> ModelVersion:
    if version is None:
        version = registry.route().champion
    if version is not None:
        return registry.version(version)
    known = registry.versions()
    if not known:
        raise CheckError(
            "no model version is registered, so there is nothing to run",
            next_step="holdfast register MODEL --reference FILE",
        )
    return known[-1]


@dataclass(frozen=True, slots=True)
class _How:
    """What every step of a run needs."""

    clock: Clock
    environ: Mapping[str, str] = field(repr=False)
    """Without overrides of the checklist, which the copy's own file has already."""
    effort: Effort
    said: Callable[[str], None]


def _run(deployment: Deployment, version: ModelVersion, confines: Confines, how: _How) -> list[Line]:
    mode = deployment.checklist.predictions.mode
    lines = []
    how.said(f"starting version {version.version} in a folder of its own: {confines.how}")
    try:
        with scratch_copy(deployment, version, how.environ, how.clock) as scratch:
            if mode == "batch":
                lines += list(batch_lines(scratch, confines, how.environ))
            else:
                lines += list(_live(scratch, confines, how))
    except HoldfastError as error:
        lines.append(
            Line(
                line="predictions.mode",
                asked=mode,
                measured="not run to the end",
                verdict="fail" if isinstance(error, CheckError) else "unknown",
                advice=str(error),
            )
        )
    return lines


def _live(scratch: Scratch, confines: Confines, how: _How) -> Iterator[Line]:
    with run_service(scratch.deployment, confines, how.environ) as service:
        live = LiveCheck(scratch, service, confines, how.effort, how.said)
        yield from live.lines()
        yield Line(
            line="predictions.mode",
            asked="realtime",
            measured=f"answered {live.answered} requests " + ", ".join(scratch.changed),
            verdict="pass",
        )
        how.said("killing it, to see what the log keeps")
        line = log_line(scratch, service, live.answered, how.clock)
        if line is not None:
            yield line
        hidden = clear_text_line(scratch)
        if hidden is not None:
            yield hidden


def _is_override(name: str) -> bool:
    """An override of the checklist, which the copy's own file has already."""
    return name.startswith("HOLDFAST_") and "__" in name


def _order(line: Line) -> int:
    from holdfast.spec.keys import keys

    paths = [key.path for of_section in keys().values() for key in of_section.values()]
    return paths.index(line.line) if line.line in paths else len(paths)


def _last_release(registry: Registry, version: ModelVersion) -> LastRelease | None:
    """The evidence of the version that answers now; of this one's earlier check where it is that version."""
    champion = registry.route().champion
    found: list[Evidence] = []
    if champion is not None:
        found = registry.evidence(champion, EVIDENCE_KIND, limit=1)
    if not found:
        found = registry.evidence(version.version, EVIDENCE_KIND, limit=1)
    if not found:
        return None
    payload = found[0].payload
    return LastRelease(
        version=found[0].version,
        at=str(payload.get("at", "")),
        verdict=payload.get("verdict", "unknown"),
        measured={line["line"]: line.get("measured") for line in payload.get("lines", [])},
    )


def machine() -> str:
    """What this machine is, for whoever compares two checks."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
            if line.startswith("model name")
        ]
        model = named[0] if named else model
    return f"{platform.node()}: {model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def software() -> str:
    """What measures here; another release may be faster or slower."""
    return (
        f"holdfast {version_of('holdfast')}, onnxruntime {version_of('onnxruntime')}, "
        f"Python {sys.version.split()[0]}"
    )
