"""The verdict as data, and as words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from holdfast.monitor.explained import (
    ChangedRegion,
    ClassShares,
    Cost,
    EstimatedQuality,
    LossChange,
    Multivariate,
    Option,
)
from holdfast.stats import Estimate, Manner

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

DriftKind = Literal["data fault", "data drift", "label shift", "concept drift"]
DriftShape = Literal["sudden", "gradual", "temporary", "recurring", "too early to tell"]
_FEATURES_IN_TEXT: Final = 8
_FEATURES_IN_TABLE: Final = 12


class Onset(msgspec.Struct, frozen=True):
    """When the change began: ISO 8601 in UTC where rows have times, else a row number as text."""

    earliest: str
    estimate: str
    latest: str


class Ramp(msgspec.Struct, frozen=True, kw_only=True):
    """How long a gradual change took; times are written as in `Onset`."""

    begin: str
    """The first window that is not as before."""
    end: str | None
    """The first window of the new level; None while it climbs, by all likelihood."""
    windows: float
    """How many the change took, with what is probable to 95 %: little is known while it climbs."""
    windows_low: float
    windows_high: float
    arrived: float
    """Probability that it does not climb any more."""
    manner: Manner | None = None
    """`incremental`: all rows of the column that shows it most moved together; `mixed`: ever more rows were
    of the new kind. None where windows cannot tell, and for a change of the mapping."""


class Period(msgspec.Struct, frozen=True):
    """Windows in which a change stood that is over, or that came again; times as in `Onset`."""

    start: str
    end: str | None
    """The first window that is as before again; None while it stands."""


class FeatureFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in one column."""

    name: str
    kinds: tuple[DriftKind, ...]
    log_e: float
    """Strength: half the square of the largest standard normal value, a log likelihood ratio."""
    shift_sd: float | None
    """Numeric columns: shift of the mean normal score since the onset, in standard deviations."""
    psi: float | None
    """Population stability index since the onset, on coarse cells."""
    description: str
    since: str | None = None
    """Likeliest beginning of the change of this column, written as `Onset` is."""
    onset: Onset | None = None
    """The same with its interval."""
    of_column: bool = True
    """Whether `name` is a column, or two: not "overall" for all answers, "score" for the model's own score,
    "rows" for some that came twice, "time" where a wrong clock gave it, or "labels" where those are broken.
    Columns may be called so too."""


class ColumnMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """How far a column is from the reference, in alarm or not: its rows since the onset, or all without one.

    Distances of few rows are biased upwards, but for the first and the shift of the mean: see the page on
    distances. None where the column has no order, or no row a value.
    """

    name: str
    missing_before: float
    """Share of the reference's rows, 0 to 1."""
    missing: float
    psi: float | None
    """Population stability index, and the next three, on coarse cells."""
    jensen_shannon: float | None
    hellinger: float | None
    total_variation: float | None
    kolmogorov_smirnov: float | None = None
    wasserstein: float | None = None
    """In the column's unit, as those that follow; values beyond the reference's range count as its end."""
    mean_shift: float | None = None
    median_before: float | None = None
    median: float | None = None


class QualityChange(msgspec.Struct, frozen=True, kw_only=True):
    """Quality on the labelled rows, with 95 % intervals."""

    metric: str
    reference: Estimate | None
    before: Estimate | None
    """Before the onset; all labelled rows where there is none."""
    after: Estimate | None
    """Since the onset, while the change stood."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What the verdict rests on."""

    reference_rows: int
    rows: int
    windows: int
    labelled: int
    label_coverage: float
    """Share of the rows that have a label, 0 to 1."""
    unaccounted: int | None = None
    """Rows served that the log does not hold; None where there is no log."""


class WindowEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One window."""

    start: str
    end: str
    rows: int
    labelled: int
    log_e_data: float
    """Strength of the evidence against an unchanged P(x), relative to the alarm at 1."""
    log_e_concept: float | None
    """The same against an unchanged P(y|x); None without labels."""
    alarm: bool
    quality: float | None = None
    estimated_quality: Estimate | None = None
    """To be expected without labels, in the same metric: it cannot see concept drift."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed, since when, where, and what to do."""

    verdict: str
    """`healthy`, or the kinds joined by "and"."""
    kinds: tuple[DriftKind, ...]
    alarm: bool
    shape: DriftShape | None
    shape_probability: float | None = None
    """Of no ramp of eight windows or more where it is `sudden`, of no step where it is `gradual`: at least
    0.95; against a change that stands where it is `temporary`, against one visit where it is `recurring`.
    None where it is too early, and for a jump that other changes follow."""
    ramp: Ramp | None = None
    """Where the change is `gradual`."""
    periods: tuple[Period, ...] = ()
    """When it stood, where it is `temporary` or `recurring`."""
    since: Onset | None
    features: tuple[FeatureFinding, ...]
    """Strongest first; only those in alarm."""
    measures: tuple[ColumnMeasures, ...] = ()
    """Of every column, the most changed first."""
    quality: QualityChange | None
    coverage: Coverage
    advice: tuple[str, ...]
    summary: str
    """One paragraph in plain words."""
    notes: tuple[str, ...] = ()
    """Choices made and assumptions that limit the verdict."""
    windows: tuple[WindowEvidence, ...] = ()
    model_version: str | None = None
    estimated: tuple[EstimatedQuality, ...] = ()
    """Quality to be expected without labels."""
    loss_change: LossChange | None = None
    """Why the loss on labelled rows changed, in three parts."""
    class_shares: ClassShares | None = None
    """Without labels, two classes: whether other shares of them alone explain the scores since the onset."""
    regions: tuple[ChangedRegion, ...] = ()
    """Where the truth has moved, the most first."""
    cost: Cost | None = None
    multivariate: Multivariate | None = None
    options: tuple[Option, ...] = ()
    """What to do, tried on the past; the one to take first. Only where asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in the JSON document."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def to_json(self) -> str:
        """One JSON document, indented. Numbers that JSON cannot hold are null."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()

    def to_html(self) -> str:
        """One self-contained page with pictures of evidence and quality, without scripts."""
        from holdfast.monitor.rendering import as_page

        return as_page(self)

    def to_markdown(self) -> str:
        """The verdict for a ticket, a chat or a pull request."""
        from holdfast.monitor.rendering import as_markdown

        return as_markdown(self)

    def __str__(self) -> str:
        lines = [self.summary]
        lines += [f"  - {found.description}" for found in self.features[:_FEATURES_IN_TEXT]]
        if (more := len(self.features) - _FEATURES_IN_TEXT) > 0:
            lines.append(f"  - and {more} more, which `features` holds")
        if self.advice:
            lines.append("What to do:")
            lines += [f"  - {one}" for one in self.advice]
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines)

    def __repr__(self) -> str:
        """A line for a prompt or a log, whatever the number of columns."""
        since = None if self.since is None else self.since.estimate
        names = [found.name for found in self.features[:_FEATURES_IN_TEXT]]
        names += ["..."] if len(self.features) > len(names) else []
        return (
            f"Diagnosis(verdict={self.verdict!r}, shape={self.shape!r}, since={since!r}, features={names}, "
            f"windows={len(self.windows)}, rows={self.coverage.rows})"
        )

    def _repr_html_(self) -> str:
        from holdfast.monitor.rendering import as_fragment

        return as_fragment(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        colour = "red" if self.alarm else "green"
        yield Text(self.verdict.capitalize(), style=f"bold {colour}")
        yield Text(self.summary)
        if self.features:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for heading in ("column", "kind", "found"):
                table.add_column(heading)
            for one in self.features[:_FEATURES_IN_TABLE]:
                table.add_row(Text(one.name), ", ".join(one.kinds), Text(one.description))
            if (more := len(self.features) - _FEATURES_IN_TABLE) > 0:
                table.add_row(f"{more} more")
            yield Padding(table, (1, 0, 1, 2))
        for line in self.advice:
            yield Text(f"→ {line}")
        for note in self.notes:
            yield Text(note, style="dim")
