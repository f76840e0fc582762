"""Opening the data plane of one process, as the checklist asks."""

from __future__ import annotations

import os

from holdfast.clock import SystemClock
from holdfast.infer import DataPlane, LargeRule
from holdfast.prediction_log import SpoolWriter
from holdfast.privacy import open_redactor
from holdfast.spec import Deployment


def open_plane(deployment: Deployment, replica: str, clock: SystemClock) -> DataPlane:
    """The data plane with the log that the checklist asks for.

    Raises:
        PseudonymKeyError: the log needs a key that the environment does not hold.
        PredictionLogError: the log's folder cannot be written.
    """
    settings = deployment.checklist.logging
    if not settings.enabled:
        return DataPlane(None, None, clock)
    synced = settings.durability == "synced"
    privacy = deployment.checklist.privacy
    redactor = open_redactor(privacy, deployment.folder, os.environ, clock, synced=synced)
    writer = SpoolWriter(
        deployment.log_folder,
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
