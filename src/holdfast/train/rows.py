"""The columns of every data set: what is holdfast's, what is the model's, and the label in its own type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from holdfast.artifact import Signature
from holdfast.prediction_log import label_text
from holdfast.train.errors import DataSetError

if TYPE_CHECKING:
    import pyarrow as pa

ID: Final = "prediction_id"
SUBJECT: Final = "subject"
TIME: Final = "time"
LABEL: Final = "label"
LABEL_TIME: Final = "label_time"
WEIGHT: Final = "row_weight"
SOURCE: Final = "row_source"
REVIEWED: Final = "row_reviewed"
OWN: Final = (ID, SUBJECT, TIME, LABEL, LABEL_TIME, WEIGHT, SOURCE, REVIEWED)
"""In front of the features, in this order. Erasure finds a subject's rows by the first two."""

LOG: Final = "log"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which columns and labels a data set has. Without a champion the first file decides."""

    features: tuple[str, ...]
    task: str
    """`binary`, `multiclass` or `regression`."""
    classes: tuple[str | int, ...] = ()
    types: dict[str, Any] = field(default_factory=dict)
    """Arrow types of features, where they are known."""

    def __post_init__(self) -> None:
        for name in self.features:
            if name in OWN:
                raise DataSetError(
                    "an input has a name that data sets use for something else",
                    where=name,
                    expected="any name but " + ", ".join(OWN),
                    next_step="Rename the input in the model and in requests",
                )

    @classmethod
    def of_signature(cls, signature: Signature) -> Plan:
        """What a champion takes and answers.

        Raises:
            DataSetError: it answers with neither a class nor a number.
        """
        import pyarrow as pa

        if signature.task == "tensor":
            raise DataSetError(
                "the champion answers with neither a class nor a number, so labels cannot be "
                "compared with it",
                next_step="Train it outside holdfast and register the file",
            )
        types = {
            one.name: pa.string() if one.dtype == "string" else pa.type_for_alias(one.dtype)
            for one in signature.columns
            if not one.shape
        }
        return cls(tuple(one.name for one in signature.columns), signature.task, signature.classes, types)

    def labels(self, values: Sequence[Any]) -> pa.Array:
        """Labels in the type of the answers; null for what is no class of a model of two, or no number."""
        import pyarrow as pa

        if self.task == "regression":
            return pa.array([_number(value) for value in values], pa.float64())
        texts = [label_text(value) for value in values]
        whole = bool(self.classes) and all(isinstance(name, int) for name in self.classes)
        known: dict[str | None, str | int] = {label_text(name): name for name in self.classes}
        if whole and "1" in known:
            known |= {"true": 1, "false": 0}
        if whole:
            return pa.array([known.get(text, self._new(text)) for text in texts], pa.int64())
        return pa.array([known.get(text, self._new(text)) for text in texts], pa.string())

    def _new(self, text: str | None) -> Any:
        """A class that the champion does not know: of several a further one, of two none."""
        if text is None or (self.task == "binary" and self.classes):
            return None
        if self.classes and isinstance(self.classes[0], int):
            return int(text) if text.lstrip("-").isdecimal() else None
        return text


def _number(value: Any) -> float | None:
    try:
        found = None if value is None else float(value)
    except (TypeError, ValueError):
        return None
    return None if found is None or found != found else found  # noqa: PLR0124 - the NaN test


def own_schema(label_type: pa.DataType) -> pa.Schema:
    """Types of holdfast's own columns."""
    import pyarrow as pa

    time = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            pa.field(ID, pa.string()),
            pa.field(SUBJECT, pa.string()),
            pa.field(TIME, time),
            pa.field(LABEL, label_type),
            pa.field(LABEL_TIME, time),
            pa.field(WEIGHT, pa.float64()),
            pa.field(SOURCE, pa.string()),
            pa.field(REVIEWED, pa.bool_()),
        ]
    )
