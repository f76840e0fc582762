"""Answers that the model file and the reference suggest, each with its reason, for `holdfast init`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holdfast.artifact import Reference
from holdfast.clock import parse_time_us
from holdfast.privacy import redact_text
from holdfast.spec import FieldClass

_SAMPLE: Final = 200
_BASE_MB: Final = 450
"""A service with one worker, keeper and monitor, without its model (measured: 406 MB)."""
_PER_WORKER_MB: Final = 100
_COPIES: Final = 3
"""Of the model while a new champion is loaded: the file, the old session, the new one."""
_STEP_MB: Final = 256
_KINDS: Final = 20
"""Different values that a column of kinds or counts may have among the sample."""
_UNIQUE: Final = 0.98
"""Share of different values from which a whole number or a text names one thing each."""

_PERSON: Final = re.compile(
    r"(patient|customer|client|user|person|member|subject|holder|insured|employee)", re.IGNORECASE
)
_NUMBERED: Final = re.compile(r"(^|[_\W])(id|nbr|number|no|key|uuid|code)$|id$", re.IGNORECASE)
_DIRECT: Final = re.compile(
    r"(^|[_\W])(e?mail|phone|mobile|ssn|iban|passport|first_?name|last_?name|surname|full_?name|name|street|address"
    r"|card_?number|account|licen[cs]e|plate|ip)([_\W]|$)",
    re.IGNORECASE,
)
_BORN: Final = re.compile(r"(birth|(^|[_\W])dob([_\W]|$))", re.IGNORECASE)
_QUASI: Final = re.compile(
    r"(zip_?code|post_?code|postal|ethnic|nationality|(^|[_\W\d])(zip|ages?|gender|sex|race|city)([_\W\d]|$))",
    re.IGNORECASE,
)
_SENSITIVE: Final = re.compile(
    r"(diagnos|disease|illness|medication|insulin|blood|glucose|symptom|treatment|religion|salary|income"
    r"|(^|[_\W\d])(diag|icd|hiv|a1c)([_\W\d]|$))",
    re.IGNORECASE,
)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
"""Where a word begins in a name such as `patientAge`."""
_TIME: Final = re.compile(r"(time|date|stamp|_at$|datum)", re.IGNORECASE)
_LABEL: Final = re.compile(
    r"^(y|label|target|class|truth|outcome|(is_)?fraud|readmitted|price)$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One answer and why."""

    path: str
    value: Any
    reason: str
    """One line; names columns and never a value of theirs."""


@dataclass(frozen=True, slots=True)
class Suggested:
    """Everything that was read out of the files."""

    proposals: tuple[Proposal, ...]
    model_mb: float | None = None
    runtime: str | None = None
    """`onnx` or `python`; None: it depends on how it is registered."""
    notes: tuple[str, ...] = field(default=())
    """What is worth knowing and answers no question, such as which column looks like the label."""

    def value(self, path: str) -> Any:
        """The proposed answer to a key; None: there is none."""
        return next((one.value for one in self.proposals if one.path == path), None)


def suggest(model: Path | None, reference: Path | None, cores: int = 1) -> Suggested:
    """Read the size of the model and the columns of the reference; nothing of the model is run.

    Args:
        model: its file; a pickle is not opened.
        reference: Parquet or CSV.
        cores: of the service.

    Raises:
        ReferenceDataError: the reference cannot be read.
        OSError: there is no such model file.
    """
    proposals: list[Proposal] = []
    notes: list[str] = []
    model_mb = runtime = None
    if model is not None and model.suffix == ".py":
        runtime = "python"
        notes.append(f"{model.name} holds a callable, not a model: what it loads is not known here")
    elif model is not None:
        model_mb = model.stat().st_size / 1e6
        runtime = "onnx" if model.suffix == ".onnx" else None
        proposals += _of_model(model_mb, cores)
    if reference is not None:
        table = Reference.read(reference)
        found = list(_of_reference(table))
        proposals += found
        label = next((name for name in table.table.column_names if _LABEL.match(name)), None)
        if label is not None:
            notes.append(f"column {label!r} looks like the true answer: register with --labels {label}")
    return Suggested(tuple(proposals), model_mb, runtime, tuple(notes))


def memory_proposal(model_mb: float, cores: int) -> Proposal:
    """Memory of a service with one worker on each core."""
    needed = _BASE_MB + cores * (_PER_WORKER_MB + _COPIES * model_mb)
    return Proposal(
        "compute.memory_mb",
        math.ceil(needed / _STEP_MB) * _STEP_MB,
        f"{cores} worker(s) with a model of {model_mb:.3g} MB, twice while a new champion is loaded",
    )


def _of_model(model_mb: float, cores: int) -> Iterator[Proposal]:
    yield memory_proposal(model_mb, cores)
    size_mb = max(round(model_mb * 2, 1), 1.0)
    yield Proposal("compute.model_size_mb", size_mb, f"twice the {model_mb:.3g} MB of this model")


def _of_reference(reference: Reference) -> Iterator[Proposal]:
    classes: dict[str, FieldClass] = {}
    reasons = []
    subject = None
    for name in reference.table.column_names:
        if _LABEL.match(name):
            continue
        if subject is None and _PERSON.search(name) and (_NUMBERED.search(name) or _tells(reference, name)):
            subject = name
            continue
        found = _class_of(reference, name)
        if found is not None:
            classes[name], why = found
            reasons.append(f"{name}: {why}")
    time = next((name for name in reference.table.column_names if _is_time(reference, name)), None)
    if time is not None:
        yield Proposal("predictions.time_field", time, f"column {time!r} holds times")
    if subject is not None:
        yield Proposal(
            "privacy.subject_field", subject, f"column {subject!r} looks like the number of a person"
        )
    if classes:
        yield Proposal("privacy.fields", classes, "; ".join(reasons))
    if "sensitive" in classes.values() and (subject is not None or "identifier" in classes.values()):
        yield Proposal(
            "privacy.sensitivity",
            "high",
            "columns about health, belief or money beside what tells people apart",
        )
        yield Proposal("security.auth", "keys", 'sensitivity = "high" asks for it')


def _tells(reference: Reference, column: str) -> bool:
    """Whether a column that is called as a person is tells many apart, and is not one of kinds or counts."""
    if not _PERSON.fullmatch(column):
        return False
    values = set(reference.table.column(column).slice(0, _SAMPLE).to_pylist()) - {None}
    return len(values) > _KINDS and all(isinstance(value, int | str) for value in values)


def _class_of(reference: Reference, column: str) -> tuple[FieldClass, str] | None:
    values = [
        value for value in reference.table.column(column).slice(0, _SAMPLE).to_pylist() if value is not None
    ]
    name = _HUMP.sub("_", column)
    texts = [value for value in values if isinstance(value, str)]
    if _DIRECT.search(name):
        return "identifier", "its name"
    if texts:
        personal = sum(redact_text(text) != text for text in texts)
        if personal > len(texts) / 2:
            return (
                ("free-text", "texts with personal data")
                if _is_prose(texts)
                else ("identifier", "its values")
            )
        if _is_prose(texts):
            return "free-text", "sentences"
    if _SENSITIVE.search(name):
        return "sensitive", "its name"
    if _QUASI.search(name) or _BORN.search(name):
        return "quasi-identifier", "its name"
    whole = values and all(isinstance(value, int | str) and not isinstance(value, bool) for value in values)
    if whole and _NUMBERED.search(name) and len(set(values)) >= _UNIQUE * len(values):
        return "identifier", "a different value in every row"
    return None


def _is_prose(texts: list[str]) -> bool:
    return sum(len(text.split()) for text in texts) > 4 * len(texts)


def _is_time(reference: Reference, name: str) -> bool:
    import pyarrow as pa

    if _BORN.search(name):
        return False
    column = reference.table.column(name)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return True
    if not _TIME.search(name):
        return False
    texts = [value for value in column.slice(0, 20).to_pylist() if value is not None]
    if not texts or not all(isinstance(text, str) for text in texts):
        return False
    try:
        for text in texts:
            parse_time_us(text)
    except ValueError:
        return False
    return True
