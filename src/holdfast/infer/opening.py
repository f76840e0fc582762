"""Opening the data plane of one process, as the checklist asks."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.clock import Clock
from holdfast.infer.large_inputs import LargeRule
from holdfast.infer.plane import DataPlane
from holdfast.prediction_log import SpoolWriter
from holdfast.privacy import open_redactor
from holdfast.spec import Deployment


def open_plane(
    deployment: Deployment,
    replica: str,
    clock: Clock,
    *,
    log_folder: Path | None = None,
    pseudonym_key: bytes | None = None,
) -> DataPlane:
    """The data plane with the log that the checklist asks for.

    Args:
        deployment: whose checklist.
        replica: begins the name under which this process writes.
        clock: of arrival times and ids.
        log_folder: to write into, instead of the deployment's log.
        pseudonym_key: None: read from the environment.

    Raises:
        PseudonymKeyError: the log needs a key that the environment does not hold.
        PredictionLogError: the log's folder cannot be written.
    """
    settings = deployment.checklist.logging
    if not settings.enabled:
        return DataPlane(None, None, clock)
    synced = settings.durability == "synced"
    redactor = open_redactor(
        deployment.checklist.privacy,
        deployment.folder,
        os.environ,
        clock,
        synced=synced,
        pseudonym_key=pseudonym_key,
    )
    writer = SpoolWriter(
        log_folder or deployment.log_folder,
        deployment=deployment.name,
        replica=replica,
        clock=clock,
        durability=settings.durability,
        segment_bytes=round(settings.segment_mb * 1024 * 1024),
        sampling_fraction=settings.sampling_fraction,
        large_fraction=settings.large_input_fraction,
        on_full=settings.on_full,
    )
    return DataPlane(writer, redactor, clock, synced=synced, large=LargeRule.of(settings))
