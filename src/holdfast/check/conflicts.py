"""Answers of one checklist that fight each other, or fight the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.artifact import Artifact
from holdfast.spec import Checklist

BROWSER_MB: Final = 25.0
"""A page that loads longer than some seconds is left; 25 MB take 4 s at 50 Mbit/s."""
_ROOM: Final = 3.0
"""Copies of the model in memory while a new champion is loaded: the file, the old session and the new one."""
_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two answers that cannot both be kept."""

    keys: tuple[str, ...]
    text: str
    """One sentence with the way out."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a deployment; of the model as much as there is."""

    checklist: Checklist
    model_mb: float | None = None
    runtime: str | None = None
    """`onnx` or `python`."""

    @classmethod
    def of(cls, checklist: Checklist, artifact: Artifact | None) -> Facts:
        """The facts of a stored version."""
        if artifact is None:
            return cls(checklist)
        return cls(checklist, artifact.size_bytes / 1e6, artifact.runtime)


def find_conflicts(facts: Facts) -> list[Conflict]:
    """Every pair of answers that fights; nothing here is only unwise."""
    return [*_of_target(facts), *_of_speed(facts), *_of_memory(facts), *_of_log(facts)]


def _of_target(facts: Facts) -> list[Conflict]:
    where, found = facts.checklist.target.where, []
    if where == "browser":
        if facts.model_mb is not None and facts.model_mb > BROWSER_MB:
            found.append(
                Conflict(
                    ("target.where", "compute.model_size_mb"),
                    f"A page would load {facts.model_mb:.0f} MB before its first answer: `holdfast "
                    f"compress` it below {BROWSER_MB:g} MB, or compute in the cloud.",
                )
            )
        if facts.runtime == "python":
            found.append(
                Conflict(("target.where",), "No browser runs a Python callable: export the model to ONNX.")
            )
        if facts.checklist.compute.accelerator != "none":
            found.append(
                Conflict(
                    ("target.where", "compute.accelerator"),
                    'A browser has no such accelerator: set accelerator = "none".',
                )
            )
        if facts.checklist.privacy.sensitivity == "high" and facts.checklist.logging.enabled:
            found.append(
                Conflict(
                    ("target.where", "privacy.sensitivity"),
                    "Answers computed in the caller's page leave it again for the log: turn the log off, or "
                    "compute in the cloud.",
                )
            )
    if where == "edge" and facts.runtime == "python":
        found.append(
            Conflict(
                ("target.where",),
                "A device would not have the Python callable, which the artifact only names: export to ONNX.",
            )
        )
    return found


def _of_speed(facts: Facts) -> list[Conflict]:
    checklist, found = facts.checklist, []
    if checklist.predictions.mode != "realtime":
        return []
    if checklist.logging.enabled and checklist.logging.durability == "synced" and checklist.speed.p99_ms < 5:
        found.append(
            Conflict(
                ("logging.durability", "speed.p99_ms"),
                f"An fsync before each answer takes milliseconds, and p99_ms is {checklist.speed.p99_ms:g}: "
                'set durability = "process", or promise at least 5 ms.',
            )
        )
    if facts.runtime == "python" and checklist.speed.qps / checklist.compute.cores > 1000:
        found.append(
            Conflict(
                ("speed.qps", "compute.cores"),
                "A Python callable answers some hundred single rows per second and core: export to ONNX, or "
                "give it more cores.",
            )
        )
    if checklist.compute.threads > checklist.compute.cores:
        found.append(
            Conflict(
                ("compute.threads", "compute.cores"),
                f"{checklist.compute.threads} threads would wait for {checklist.compute.cores} core(s).",
            )
        )
    return found


def _of_memory(facts: Facts) -> list[Conflict]:
    compute = facts.checklist.compute
    if facts.model_mb is None:
        return []
    needed = facts.model_mb * _ROOM * compute.cores
    if needed <= compute.memory_mb:
        return []
    return [
        Conflict(
            ("compute.memory_mb", "compute.cores"),
            f"{compute.cores} worker(s) with {facts.model_mb:.0f} MB of model need about {needed:.0f} MB "
            f"while a new champion is loaded, and memory_mb is {compute.memory_mb}.",
        )
    ]


def _of_log(facts: Facts) -> list[Conflict]:
    checklist, found = facts.checklist, []
    logging = checklist.logging
    delay_days = checklist.monitoring.label_delay.microseconds / 1e6 / 3600 / _HOURS
    if logging.enabled and logging.retention_days < delay_days:
        found.append(
            Conflict(
                ("logging.retention_days", "monitoring.label_delay"),
                f"A prediction is deleted after {logging.retention_days} days, before its label comes after "
                f"{delay_days:g}: keep it longer.",
            )
        )
    if not logging.enabled and checklist.training.triggers:
        found.append(
            Conflict(
                ("logging.enabled", "training.triggers"),
                "Without a log nothing can trigger a training, and there would be no data for it.",
            )
        )
    if (
        logging.enabled
        and logging.sampling_fraction < 1
        and (checklist.monitoring.cost_false_negative > 0 and logging.sampling_fraction < 0.1)
    ):
        found.append(
            Conflict(
                ("logging.sampling_fraction", "monitoring.cost_false_negative"),
                "Of a rare and costly error nine in ten rows would not be stored: log all of them.",
            )
        )
    return found
