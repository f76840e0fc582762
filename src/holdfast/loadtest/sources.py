"""What a deployment's folder gives to a load test: where it is served, rows to ask, right answers, times."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Packer, Reference, ReferenceDataError, Signature, open_artifact
from holdfast.loadtest.errors import LoadTestError, UnreachableError
from holdfast.loadtest.target import Outputs, Requests, Target, make_requests
from holdfast.registry import ModelVersion
from holdfast.runtime import open_runtime
from holdfast.spec import Deployment

_REQUESTS: Final = 64
"""Different requests: enough to differ, few enough to know the right answer to each."""
_MOST_TIMES: Final = 1_000_000


class _Serving(msgspec.Struct):
    url: str


def running_service(deployment: Deployment) -> str:
    """The URL at which the deployment is being served on this machine.

    Raises:
        UnreachableError: it is not.
    """
    path = deployment.run_folder / "serve.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Serving).url
    except (OSError, msgspec.DecodeError) as error:
        raise UnreachableError(
            "the deployment is not being served on this machine",
            where=str(path),
            next_step="Start it with `holdfast serve`, or give --url.",
        ) from error


def reference_rows(
    deployment: Deployment, version: ModelVersion, signature: Signature, rows: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Rows of the version's reference, drawn at random with replacement, by column.

    Raises:
        LoadTestError: the version has no reference.
    """
    path = deployment.references_folder / version.version / "reference.parquet"
    try:
        reference = Reference.read(path)
    except (ReferenceDataError, OSError) as error:
        raise LoadTestError(
            "the version has no reference, so there are no rows to ask",
            where=str(path),
            next_step="Register it with --reference, or give rows with --rows.",
        ) from error
    places = rng.integers(0, len(reference), size=rows)
    return {
        name: values[places] for name, values in reference.columns(c.name for c in signature.columns).items()
    }


def asked_rows(
    deployment: Deployment, version: ModelVersion, signature: Signature, rows: int = _REQUESTS, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """The rows that `reference_requests` asks, by column.

    Raises:
        LoadTestError: the version has no reference.
    """
    return reference_rows(deployment, version, signature, rows, np.random.default_rng(seed))


def reference_requests(
    deployment: Deployment,
    version: ModelVersion,
    target: Target,
    *,
    sizes: tuple[int, ...] = (1,) * _REQUESTS,
    seed: int = 0,
) -> Requests:
    """Requests from the version's reference, with the answers that its artifact gives in this process.

    Args:
        deployment: whose folder holds both.
        version: which answers.
        target: where they will go.
        sizes: rows of each request.
        seed: draws the rows.

    Raises:
        LoadTestError: the version has no reference.
    """
    artifact = open_artifact(deployment.artifacts_folder / version.artifact_folder)
    signature = artifact.signature
    rows = asked_rows(deployment, version, signature, sum(sizes), seed)
    requests = make_requests(target, signature, rows, sizes)
    if target.protocol == "predict":
        return requests
    runtime = open_runtime(artifact, deployment.checklist.compute)
    try:
        outputs = runtime.run(Packer(signature).pack(rows, sum(sizes)))
    finally:
        runtime.close()
    expected: list[Outputs] = []
    start = 0
    for size in sizes:
        expected.append(
            {name: values[start : start + size].reshape(-1).tolist() for name, values in outputs.items()}
        )
        start += size
    return Requests(target, requests.payloads, requests.rows, tuple(expected))


def request_sizes(rows_per_request: int, times_us: NDArray[np.int64] | None) -> tuple[int, ...]:
    """Rows of each of the different requests; those that the log holds where it is replayed, each twice."""
    if times_us is None:
        return (rows_per_request,) * _REQUESTS
    _, rows = np.unique(times_us, return_counts=True)
    sizes = np.unique(rows)
    if len(sizes) > _REQUESTS // 2:
        sizes = np.unique(np.quantile(sizes, np.linspace(0, 1, _REQUESTS // 2), method="nearest"))
    return tuple(int(size) for size in sizes for _ in range(2))


def log_times(deployment: Deployment) -> NDArray[np.int64]:
    """When the newest rows of the prediction log arrived, microseconds since the epoch, ascending."""
    from holdfast.prediction_log import PredictionLog

    table = PredictionLog(deployment).predictions(columns=["logged_at"]).read_all()
    times = np.sort(table["logged_at"].cast("int64").to_numpy())
    return times[-_MOST_TIMES:]


def rows_of_file(path: Path, signature: Signature) -> dict[str, NDArray[Any]]:
    """Rows of a Parquet or CSV file, by the model's columns.

    A server's metadata know tensors, not columns: where one tensor takes a row of N numbers and the file has
    no column of its name, the N first columns are it.

    Raises:
        ReferenceDataError: it cannot be read, or lacks a column.
    """
    reference = Reference.read(path)
    found: dict[str, NDArray[Any]] = {}
    for column in signature.columns:
        width = column.shape[0] if len(column.shape) == 1 else 0
        if column.name not in reference.table.column_names and width > 0 and len(signature.columns) == 1:
            names = reference.input_names[:width]
            found[column.name] = np.stack([reference.values(name) for name in names], axis=1)
            continue
        reference.require((column.name,))
        found[column.name] = reference.values(column.name)
    return found
