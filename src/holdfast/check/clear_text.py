"""Whether values that must not stand in the log in the clear do: looked for in what the load left behind."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import open_artifact
from holdfast.check.lines import Line
from holdfast.check.scratch import Scratch
from holdfast.loadtest import asked_rows
from holdfast.prediction_log import PredictionLog, search_bytes
from holdfast.privacy import field_actions

_HIDING: Final = frozenset({"drop", "mask", "hash", "encrypt"})
"""Actions after which no value is left as it was."""
_SHORTEST: Final = 6
"""Of a text that is not found by chance among random bytes."""
_MOST: Final = 300


def clear_text_line(scratch: Scratch) -> Line | None:
    """Search the log of the copy for the values that were sent; None where none is to be hidden.

    Call when everything is in the tables and the service is gone.
    """
    deployment = scratch.deployment
    if not deployment.checklist.logging.enabled:
        return None
    signature = open_artifact(deployment.artifacts_folder / scratch.version.artifact_folder).signature
    by_field, others = field_actions(deployment.checklist.privacy)
    hidden = [c.name for c in signature.columns if by_field.get(c.name, others) in _HIDING]
    if not hidden:
        return None
    rows = asked_rows(deployment, scratch.version, signature)
    found = [name for name in hidden if name in _in_columns(scratch, hidden, rows)]
    texts = {
        value
        for name in hidden
        for value in rows[name].reshape(-1).tolist()
        if isinstance(value, str) and len(value.encode()) >= _SHORTEST
    }
    places = search_bytes(deployment.log_folder, sorted(texts)[:_MOST]) if texts else []
    values = sum(len(rows[name]) for name in hidden)
    fits = not found and not places
    where = f"column(s) {', '.join(found)}" if found else f"{len(places)} place(s) of its files"
    return Line(
        line="privacy.fields",
        asked=f"{len(hidden)} field(s) hidden in the log",
        measured=f"none of {values} values sent is in the log" if fits else f"values are in {where}",
        verdict="pass" if fits else "fail",
        advice=None if fits else "A hidden value must not be in the log: report this, it is a defect.",
    )


def _in_columns(scratch: Scratch, hidden: list[str], rows: dict[str, NDArray[Any]]) -> set[str]:
    """Names of hidden columns of the log's table that hold a value as it was sent."""
    table = PredictionLog(scratch.deployment).predictions().read_all()
    found = set()
    for name in hidden:
        if name not in table.column_names:
            continue
        sent = {str(value) for value in np.asarray(rows[name]).reshape(-1).tolist()}
        stored = {str(value) for value in table[name].to_pylist() if value is not None}
        if sent & stored:
            found.add(name)
    return found
