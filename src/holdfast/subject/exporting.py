"""Everything that is held about one subject, as one JSON document."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from holdfast.clock import Clock, iso_utc
from holdfast.prediction_log import LARGE, PredictionLog, PredictionLogError
from holdfast.privacy import SUBJECTS_FILE, Sealer, SubjectStore
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.subject.data_files import data_files, rows_of
from holdfast.subject.erasing import find


def export_subject(
    deployment: Deployment,
    registry: Registry,
    subject: str,
    *,
    pseudonym_key: bytes,
    sealer: Sealer | None,
    actor: str,
    clock: Clock,
) -> dict[str, Any]:
    """Predictions with their labels and large inputs, consents, and rows of references and data sets.

    A large input stands under its content hash as a NumPy `.npy` file in base64; null if its content is
    sealed or gone.

    Args:
        deployment: with `[privacy] subject_field`.
        registry: for the audit, where the reading of raw rows is written down.
        subject: as callers name the subject.
        pseudonym_key: under which the log knows the subject.
        sealer: opens encrypted values; None leaves them sealed.
        actor: who reads.
        clock: wall time.

    Raises:
        PrivacyError: the checklist names no subject field.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted, pseudonym, ids = find(deployment, subject, pseudonym_key, clock)
    batches = [
        batch.filter(pc.equal(batch.column("subject"), pseudonym))
        for batch in PredictionLog(deployment).joined()
    ]
    rows: list[dict[str, Any]] = []
    if batches:
        table = pa.Table.from_batches(batches)
        rows = (table if sealer is None else sealer.open_table(table)).to_pylist()
    log = PredictionLog(deployment)
    large = {
        digest: _large(log, digest, sealer, pseudonym)
        for digest in sorted({row[name] for row in rows for name in row if name.startswith(LARGE)} - {None})
    }
    consents = []
    if (deployment.folder / SUBJECTS_FILE).exists():
        with SubjectStore(deployment.folder) as store:
            consents = [
                {"agreed": one.agreed, "at": iso_utc(one.at_us), "prediction_id": one.prediction_id}
                for one in store.consents()
                if one.subject == pseudonym or one.prediction_id in ids
            ]
    files = {
        path.relative_to(deployment.folder).as_posix(): found.to_pylist()
        for path in data_files(deployment)
        if (found := rows_of(path, wanted)) is not None
    }
    registry.audit.add(actor=actor, action="read.subject", detail={"predictions": len(rows)})
    return {
        "deployment": deployment.name,
        "exported_at": iso_utc(clock.now_us()),
        "predictions": rows,
        "large_inputs": large,
        "consents": consents,
        "data_files": files,
    }


def _large(log: PredictionLog, digest: str, sealer: Sealer | None, pseudonym: str) -> str | None:
    try:
        value = log.large_input(digest, sealer=sealer, subject=pseudonym)
    except PredictionLogError:
        return None
    content = io.BytesIO()
    np.save(content, value, allow_pickle=False)
    return base64.b64encode(content.getvalue()).decode()
