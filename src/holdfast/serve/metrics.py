"""`/metrics`: what all workers have counted, of one deployment or of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response

from holdfast.serve.service import Service
from holdfast.telemetry import read_all, write_snapshot

if TYPE_CHECKING:
    from holdfast.telemetry.exposition import Shown


def show(service: Service, run_folder: Path, replica: str, workers: int) -> Shown:
    """What is to be said of one deployment.

    Args:
        service: in this worker.
        run_folder: where its workers' counts are.
        replica: this worker's name there.
        workers: of the whole service.
    """
    from holdfast.prediction_log import read_account
    from holdfast.telemetry.exposition import Shown

    # Our own file first, then only files: all workers show the same, ever growing numbers.
    service.refresh_gauges()
    try:
        write_snapshot(run_folder, replica, service.counts)
        counts = read_all(run_folder)
    except OSError:  # a full disk, of which these numbers are to tell
        counts = read_all(run_folder, (replica, service.counts))
    writer = service.plane.writer
    segments, size_bytes = (0, 0) if writer is None else writer.spool_size()
    account = None if writer is None else read_account(writer.log_folder)
    return Shown(service.name, counts, workers, segments, size_bytes, account)


def metrics_response(shown: Sequence[Shown]) -> Response:
    """The answer in Prometheus text."""
    from holdfast.telemetry.exposition import CONTENT_TYPE, exposition

    return Response(exposition(shown), headers={"content-type": CONTENT_TYPE})
