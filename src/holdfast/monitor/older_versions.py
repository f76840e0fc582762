"""What earlier champions would have answered: rolling back is one of the options after a change."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Column, Signature
from holdfast.errors import HoldfastError
from holdfast.infer import LoadedModel, load_model
from holdfast.monitor.rows import Rows, Task
from holdfast.prediction_log import label_text
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.stats import Coded

Numbers = NDArray[np.float64]
MOST_VERSIONS: Final = 2
"""The champion before this one, and the one before that: older ones were replaced for a reason twice."""
_log: Final = logging.getLogger("holdfast.monitor")


def earlier_champions(registry: Registry, champion: str) -> list[str]:
    """Versions that were champion before, the latest first."""
    led = [one.version for one in reversed(registry.decisions()) if one.version != champion]
    return list(dict.fromkeys(led))[:MOST_VERSIONS]


def older_answers(
    deployment: Deployment, registry: Registry, champion: str, signature: Signature, rows: Rows
) -> dict[str, Numbers]:
    """What earlier champions answer these rows: 1 for the positive class and else 0, a class's number, or y.

    A version whose artifact is gone, that takes an input which is judged by features alone, or that fails on
    the rows is left out: nobody can roll back to it on this evidence.

    Args:
        deployment: where the artifacts are.
        registry: of the deployment.
        champion: whose rows they are.
        signature: of the champion, whose task and classes count.
        rows: of the log.
    """
    found = {}
    task, classes = signature.task, signature.classes
    if task == "tensor":
        return {}
    for version in earlier_champions(registry, champion):
        try:
            folder = deployment.artifacts_folder / registry.version(version).artifact_folder
            model = load_model(folder, version)
            try:
                answers = _answers(model, task, rows, classes)
            finally:
                model.close()
        except (HoldfastError, OSError, ValueError) as error:
            _log.info("version %s is no option: %s", version, type(error).__name__)
            continue
        if answers is not None:
            found[version] = answers
    return found


def _answers(
    model: LoadedModel, task: Task, rows: Rows, classes: Sequence[str | int | bool]
) -> Numbers | None:
    signature: Signature = model.signature
    if signature.task != task or any(one.shape or one.name not in rows.columns for one in signature.columns):
        return None
    columns = {one.name: _given(one, rows.columns[one.name]) for one in signature.columns}
    answer = model.predict(columns, len(rows))
    said = np.asarray(answer.prediction)
    if task == "binary":
        return np.asarray(said == signature.positive_class, dtype=np.float64).reshape(-1)
    if task == "multiclass":
        number = {label_text(name): float(code) for code, name in enumerate(classes)}
        return np.array([number.get(label_text(one) or "", -1.0) for one in said.reshape(-1).tolist()])
    return said.astype(np.float64).reshape(-1)


def _given(column: Column, values: Any) -> Any:
    """A column of the monitor as a model takes it."""
    if isinstance(values, Coded):
        words: list[Any] = [*values.words, None]
        return [words[code] for code in values.codes.tolist()]
    if column.dtype == "string" or not isinstance(values, np.ndarray):
        return list(values)
    if np.isnan(values).any() or column.dtype.startswith("float"):
        return values.astype(column.dtype if column.dtype.startswith("float") else np.float64)
    return values.astype(column.dtype)
