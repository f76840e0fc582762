"""A table that comes with a description: what it is, who may use it, which column is what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec

from holdfast.artifact import Reference, ReferenceDataError
from holdfast.privacy import subject_pseudonym
from holdfast.registry.reference_table import time_column
from holdfast.spec import Deployment
from holdfast.train.errors import DataSetError, LeakageError
from holdfast.train.rows import ID, SUBJECT, TIME, Plan

if TYPE_CHECKING:
    import pyarrow as pa

Basis = Literal[
    "consent",
    "contract",
    "legal obligation",
    "vital interests",
    "public task",
    "legitimate interests",
    "not about people",
]


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The TOML file beside a table."""

    path: str
    """Parquet or CSV, relative to the description."""
    licence: Annotated[str, msgspec.Meta(min_length=1)]
    """Such as CC-BY-4.0, or a contract's number."""
    basis: Basis
    """Of using it, as in Article 6 of the GDPR, or that it is about nobody."""
    time: str
    label: str
    kind: Literal["historical", "licensed", "purchased"] = "historical"
    name: str = ""
    """By default the description's file name."""
    label_time: str = ""
    """When the label became known; without it label_delay after the row."""
    id: str = ""
    subject: str = ""
    consent: str = ""
    """Boolean column; needed where the basis is consent."""
    review: str = ""
    """Boolean column: the label came from a review queue."""
    columns: dict[str, str] = {}
    """From a feature to the column that holds it, where they have other names."""
    observed: dict[str, str] = {}
    """From a feature to the column that says when its value was observed."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A description and its table."""

    description: Description
    description_path: Path
    table: pa.Table = field(repr=False)

    @property
    def path(self) -> Path:
        """Of the table."""
        return self.description_path.parent / self.description.path

    @property
    def name(self) -> str:
        """As data sets call it."""
        return self.description.name or self.description_path.stem

    @property
    def features(self) -> tuple[str, ...]:
        """Every column that has no other role, by the name of its feature."""
        said = self.description
        taken = {said.time, said.label, said.label_time, said.id, said.subject, said.consent, said.review}
        taken |= set(said.observed.values())
        back = {column: feature for feature, column in said.columns.items()}
        return tuple(back.get(name, name) for name in self.table.column_names if name not in taken)

    def rows(self, plan: Plan, label_delay_us: int, pseudonym_key: bytes | None) -> pa.Table:
        """In the columns of `read_log`, in order of time.

        Raises:
            DataSetError: a column is missing, or has no times.
            LeakageError: a feature was observed after its label.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        said, table = self.description, self.table
        times = self._times(said.time)
        if said.label_time:
            known = self._times(said.label_time)
        else:
            known = pc.add(times.cast(pa.int64()), label_delay_us).cast(pa.timestamp("us", tz="UTC"))
        self._refuse_leakage(known)
        rows = table.num_rows
        name = self.name
        columns: dict[str, Any] = {
            ID: pc.cast(table.column(said.id), pa.string())
            if said.id
            else pa.array([f"{name}:{number}" for number in range(rows)]),
            SUBJECT: self._subjects(pseudonym_key),
            "consent": self._truths(said.consent, "consent") if said.consent else pa.nulls(rows, pa.bool_()),
            TIME: times,
        }
        for feature in plan.features:
            columns[f"input_{feature}"] = table.column(self._column(feature))
        if said.review:
            columns["reviewed"] = self._truths(said.review, "review")
        columns["y"] = table.column(said.label)
        columns["observed_at"] = known
        return pa.table(columns).sort_by([(TIME, "ascending"), (ID, "ascending")])

    def _times(self, column: str) -> pa.Array:
        try:
            return time_column(self.table.column(column), column)
        except ReferenceDataError as error:
            raise DataSetError.of(error, where=f"{self.path}: column {column!r}") from error

    def _truths(self, column: str, role: str) -> Any:
        """A Boolean column, or one of 0 and 1; nothing else is guessed to mean yes."""
        import pyarrow as pa
        import pyarrow.compute as pc

        values = self.table.column(column)
        if pa.types.is_integer(values.type) and set(pc.unique(values).to_pylist()) <= {0, 1, None}:
            values = values.cast(pa.bool_())
        if not (pa.types.is_boolean(values.type) or pa.types.is_null(values.type)):
            raise DataSetError(
                f"the {role} column is not Boolean",
                where=f"{self.path}: column {column!r}",
                expected="true, false or missing, or 1 and 0",
                received=str(values.type),
                next_step="Convert it: which of its values mean yes is not guessed",
            )
        return values.cast(pa.bool_())

    def _column(self, feature: str) -> str:
        name = self.description.columns.get(feature, feature)
        if name not in self.table.column_names:
            raise DataSetError(
                f"the table has no column for the feature {feature!r}",
                where=str(self.path),
                expected=", ".join(self.table.column_names),
                next_step=f"Name it in {self.description_path.name}: [columns] {feature} = ...",
            )
        return name

    def _subjects(self, pseudonym_key: bytes | None) -> pa.Array:
        import pyarrow as pa

        said = self.description
        if not said.subject:
            return pa.nulls(self.table.num_rows, pa.string())
        if pseudonym_key is None:
            raise DataSetError(
                "the table names people, and there is no key to replace their names",
                where=f"{self.description_path}: subject",
                next_step="Set HOLDFAST_PSEUDONYM_KEY to the one that the service uses",
            )
        return pa.array(
            [
                None if value is None else subject_pseudonym(pseudonym_key, value)
                for value in self.table.column(said.subject).to_pylist()
            ],
            pa.string(),
        )

    def _refuse_leakage(self, known: Any) -> None:
        import pyarrow.compute as pc

        for feature, column in self.description.observed.items():
            observed = self._times(column)
            late = pc.sum(pc.fill_null(pc.greater(observed, known), fill_value=False)).as_py() or 0
            if late:
                raise LeakageError(
                    f"the feature {feature!r} was observed after its label in {late} rows",
                    where=f"{self.path}: column {self._column(feature)!r}",
                    expected=f"{column!r} before {self.description.label_time or 'the label is known'!r}",
                    next_step="Take the value as it was when the prediction was needed, or leave it out",
                )


def open_file_source(path: Path) -> FileSource:
    """Read a description and its table.

    Raises:
        DataSetError: either cannot be read, or the description names a column that is not there.
    """
    try:
        description = msgspec.toml.decode(path.read_bytes(), type=Description)
    except OSError as error:
        raise DataSetError(
            "a source's description cannot be read", where=str(path), received=error.strerror
        ) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise DataSetError(
            "a source's description is not right",
            where=str(path),
            received=str(error),
            expected=f"basis: {', '.join(get_args(Basis))}" if "$.basis" in str(error) else None,
            next_step="docs/how-to/retrain.md lists the keys",
        ) from error
    try:
        table = Reference.read(path.parent / description.path).table
    except ReferenceDataError as error:
        raise DataSetError(
            "a source's table cannot be read",
            where=str(path.parent / description.path),
            received=error.received if (path.parent / description.path).exists() else "no such file",
            next_step=f"{path.name} names it as path",
        ) from error
    roles = {
        "time": description.time,
        "label": description.label,
        "label_time": description.label_time,
        "id": description.id,
        "subject": description.subject,
        "consent": description.consent,
        "review": description.review,
        **{f"columns.{name}": column for name, column in description.columns.items()},
        **{f"observed.{name}": column for name, column in description.observed.items()},
    }
    for role, column in roles.items():
        if column and column not in table.column_names:
            raise DataSetError(
                f"the table has no column {column!r}",
                where=f"{path}: {role}",
                expected=", ".join(table.column_names),
            )
    if description.basis == "consent" and not description.consent:
        raise DataSetError(
            "the basis is consent, and no column says who agreed",
            where=f"{path}: consent",
            expected="the name of a Boolean column",
        )
    source = FileSource(description, path, table)
    for feature in description.observed:
        if feature not in source.features:
            raise DataSetError(
                f"there is no feature {feature!r} whose observation could be late",
                where=f"{path}: observed.{feature}",
                expected=", ".join(source.features),
            )
    return source


def plan_of(files: Mapping[str, FileSource], deployment: Deployment) -> Plan:
    """Features and labels as the first file has them.

    Raises:
        DataSetError: there is no file, so nothing says what a model should take.
    """
    import pyarrow as pa

    first = next(iter(files.values()), None)
    if first is None:
        raise DataSetError(
            "there is neither a champion nor a table to learn from",
            where="[training] sources",
            next_step="Register a model first, or describe a table as a source (docs/how-to/retrain.md)",
        )
    for name in first.features:
        column = first.description.columns.get(name, name)
        if pa.types.is_temporal(first.table.column(column).type):
            raise DataSetError(
                "a column of times has no role, and a model takes none",
                where=f"{first.path}: column {column!r}",
                expected="a role such as label_time, or observed for the feature that was read then",
                next_step=f"Name its role in {first.description_path.name}, or take it out of the table",
            )
    labels = first.table.column(first.description.label)
    wanted = deployment.checklist.model.task
    number = pa.types.is_floating(labels.type)
    if wanted == "regression" or (wanted == "auto" and number):
        return Plan(first.features, "regression")
    if pa.types.is_boolean(labels.type):
        return Plan(first.features, "binary", (0, 1))
    found = sorted({one for one in labels.to_pylist() if one is not None})
    classes = tuple(int(one) if isinstance(one, int) else str(one) for one in found)
    return Plan(first.features, "binary" if len(classes) == 2 else "multiclass", classes)
