"""Lines that need no running service: the artifact, the reference, the certificate, the trainer."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from holdfast.artifact import Artifact
from holdfast.check.conflicts import Facts, find_conflicts
from holdfast.check.lines import Line
from holdfast.registry import ModelVersion, Registry, reference_fault, rows_left
from holdfast.spec import Deployment

_DAY_S: Final = 86_400.0
_EXPIRES_SOON_DAYS: Final = 30
"""A certificate is renewed once a month at the latest."""


def offline_lines(
    deployment: Deployment, registry: Registry, version: ModelVersion, artifact: Artifact
) -> Iterator[Line]:
    """Every line that the stored version, the files of the deployment and the registry answer."""
    yield from _model(deployment, registry, version, artifact)
    yield from _accelerator(deployment)
    yield from _target(deployment, artifact)
    yield from _certificate(deployment)
    yield from _sensitivity(deployment)
    yield from monitoring_lines(deployment, registry, version)
    yield from _trainer(deployment)


def _model(
    deployment: Deployment, registry: Registry, version: ModelVersion, artifact: Artifact
) -> Iterator[Line]:
    checklist = deployment.checklist
    task = checklist.model.task
    found = artifact.signature.task
    fits = task in {"auto", found}
    yield Line(
        line="model.task",
        asked=task,
        measured=found,
        verdict="pass" if fits else "fail",
        advice=None if fits else f'Set task = "{found}", or register a model of the kind asked for.',
    )
    tolerance = checklist.model.parity_tolerance
    parity = registry.evidence(version.version, "parity", limit=1)
    if parity:
        gap = parity[0].payload.get("largest_difference")
        within = gap is not None and gap <= tolerance
        yield Line(
            line="model.parity_tolerance",
            asked=tolerance,
            measured=gap,
            verdict="pass" if within else "fail",
            advice=None if within else "Convert the model again, or accept the difference in the checklist.",
        )
    size_mb = round(artifact.size_bytes / 1e6, 6)
    limit = checklist.compute.model_size_mb
    yield Line(
        line="compute.model_size_mb",
        asked=limit,
        measured=size_mb,
        verdict="pass" if size_mb <= limit else "fail",
        advice=None
        if size_mb <= limit
        else f"`holdfast compress` looks for a smaller one; nearest possible with this one: {size_mb:.3g}",
    )


def _accelerator(deployment: Deployment) -> Iterator[Line]:
    wanted = deployment.checklist.compute.accelerator
    if wanted == "none":
        return
    import onnxruntime

    there = [name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers()]
    fits = any(name.lower() == wanted for name in there)
    yield Line(
        line="compute.accelerator",
        asked=wanted,
        measured=", ".join(there),
        verdict="pass" if fits else "fail",
        advice=None if fits else 'Install an onnxruntime that is built with it, or set accelerator = "none".',
    )


def _target(deployment: Deployment, artifact: Artifact) -> Iterator[Line]:
    found = find_conflicts(Facts.of(deployment.checklist, artifact))
    where = deployment.checklist.target.where
    yield Line(
        line="target.where",
        asked=where,
        measured=f"{artifact.runtime} model of {artifact.size_bytes / 1e6:.3g} MB"
        + (f", {len(found)} conflict(s)" if found else ", nothing conflicts"),
        verdict="fail" if found else "pass",
        advice=" ".join(conflict.text for conflict in found) or None,
    )


def _certificate(deployment: Deployment) -> Iterator[Line]:
    security = deployment.checklist.security
    if not security.tls_certificate:
        return
    path = deployment.folder / security.tls_certificate
    days = _days_left(path)
    key_open = _readable_by_others(deployment.folder / security.tls_key)
    verdict: Any = "unknown" if days is None else "pass"
    advice = "The certificate cannot be read: is it PEM?" if days is None else None
    if days is not None and days < _EXPIRES_SOON_DAYS:
        verdict = "fail"
        advice = f"Renew it: it is valid for {days:.0f} more days, and {_EXPIRES_SOON_DAYS} are asked for."
    elif key_open:
        verdict, advice = "fail", f"Others can read the private key: chmod 600 {security.tls_key}"
    yield Line(
        line="security.tls_certificate",
        asked=security.tls_certificate,
        measured=None if days is None else f"valid for {days:.0f} days",
        verdict=verdict,
        advice=advice,
    )


def _days_left(path: Path) -> float | None:
    from cryptography import x509

    with contextlib.suppress(OSError, ValueError, ssl.SSLError):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        return (certificate.not_valid_after_utc.timestamp() - time.time()) / _DAY_S
    return None


def _readable_by_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o004)
    except OSError:
        return False


def _sensitivity(deployment: Deployment) -> Iterator[Line]:
    privacy = deployment.checklist.privacy
    if privacy.sensitivity != "high":
        return
    reason = privacy.weakened_reason
    yield Line(
        line="privacy.sensitivity",
        asked="high",
        measured=f"weakened, for a written reason: {reason}" if reason else "no safeguard is weakened",
        verdict="pass",
    )


def monitoring_lines(deployment: Deployment, registry: Registry, version: ModelVersion) -> Iterator[Line]:
    """A monitor compares with the reference; without one it has nothing to say."""
    if not deployment.checklist.logging.enabled:
        return
    rows = rows_left(registry, version)
    asked = deployment.checklist.monitoring.min_rows
    fault = reference_fault(registry, version, deployment.references_folder) if rows else None
    if fault is not None:
        yield Line(
            line="monitoring.min_rows",
            asked=asked,
            measured=f"the reference cannot be trusted: {fault}",
            verdict="fail",
            advice="Register the model again with its reference, unless an erasure is to be repeated.",
        )
        return
    yield Line(
        line="monitoring.min_rows",
        asked=asked,
        measured=rows,
        verdict="pass" if rows >= asked else "unknown",
        advice=None
        if rows >= asked
        else "Register the model with --reference: without it there is nothing to compare with.",
    )


def _trainer(deployment: Deployment) -> Iterator[Line]:
    trainer = deployment.checklist.training.trainer
    if not trainer:
        return
    module = trainer.partition(":")[0]
    found = False
    with contextlib.suppress(ImportError, ValueError):
        found = find_spec(module) is not None
    yield Line(
        line="training.trainer",
        asked=trainer,
        measured="found" if found else "not found",
        verdict="pass" if found else "fail",
        advice=None
        if found
        else f"Install the package that holds {module}, or put its folder on PYTHONPATH.",
    )
