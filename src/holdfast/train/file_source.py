"""A table that comes with a description: what it is, who may use it, which column is what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from holdfast.artifact import Reference
from holdfast.privacy import subject_pseudonym
from holdfast.registry.reference_table import time_column
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
    licence: str
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
        times = time_column(table.column(said.time), said.time)
        if said.label_time:
            known = time_column(table.column(said.label_time), said.label_time)
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
            "consent": table.column(said.consent).cast(pa.bool_())
            if said.consent
            else pa.nulls(rows, pa.bool_()),
            TIME: times,
        }
        for feature in plan.features:
            columns[f"input_{feature}"] = table.column(self._column(feature))
        if said.review:
            columns["reviewed"] = table.column(said.review).cast(pa.bool_())
        columns["y"] = table.column(said.label)
        columns["observed_at"] = known
        return pa.table(columns).sort_by([(TIME, "ascending"), (ID, "ascending")])

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
            observed = time_column(self.table.column(column), column)
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
            next_step="docs/how-to/retrain.md lists the keys",
        ) from error
    table = Reference.read(path.parent / description.path).table
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
    return FileSource(description, path, table)
