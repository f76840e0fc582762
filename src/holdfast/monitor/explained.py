"""What is found out beyond the alarm: parts of a verdict as data."""

from __future__ import annotations

import msgspec

from holdfast.stats import ASSUMPTION, Estimate


class EstimatedQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality to be expected without labels, with 95 % intervals."""

    metric: str
    reference: Estimate | None
    """Measured on the reference's labels."""
    before: Estimate | None
    """Before the onset; all windows where there is none."""
    after: Estimate | None
    """Since the onset."""
    assumption: str = ASSUMPTION


class LossChange(msgspec.Struct, frozen=True, kw_only=True):
    """Why the mean loss since the onset is another than on the reference: the parts add up to the total."""

    loss: str
    total: Estimate
    harder_inputs: Estimate
    """More of the inputs that were always hard."""
    changed_mapping: Estimate
    """P(y|x) is another at inputs that both have: concept drift."""
    new_inputs: Estimate
    """Inputs that the reference hardly had."""
    overlap: float
    """Share of the laws of inputs that both have, 0 to 1; the parts are guesses below 0.1."""


class ChangedRegion(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the inputs in which the truth has moved, confirmed on rows that did not choose it."""

    words: str
    columns: tuple[str, ...]
    """Empty where the truth has moved everywhere."""
    share: float
    """Of the rows since the onset."""
    change: Estimate
    """Of the mean truth beyond what the reference leads to expect."""
    moved: str = ""
    """The same in words."""


class ClassShares(msgspec.Struct, frozen=True, kw_only=True):
    """Without labels: the share of positives since the onset if only the shares of the classes changed."""

    before: float
    """In the reference."""
    after: Estimate
    """With its 95 % interval, as long as `explains` holds."""
    chance: float
    """Of scores so far from every mixture of the reference's classes, under label shift."""
    explains: bool
    """Whether label shift can explain the scores; it may still be that something else does."""


class Multivariate(msgspec.Struct, frozen=True, kw_only=True):
    """Can a classifier tell current rows from reference rows?"""

    area: Estimate
    """Area under its ROC curve on held-back rows: 0.5 if they are alike."""
    columns: tuple[tuple[str, float], ...]
    """Area that is lost when a column is shuffled; the largest first."""


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do about a change, and what it would have saved so far."""

    action: str
    """`leave`, `wait`, `recalibrate`, `move the threshold`, `retrain` or `roll back`."""
    detail: str
    gain: Estimate
    """Loss saved for each row against leaving the model as it is, on rows that came after what was learnt."""
    unit: str
    """Of the gain: the loss, or the currency where costs of errors are stated."""
    sure: bool
    """Whether the whole interval lies above 0."""
    wait_days: float | None = None


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the change has cost while it stood, against the reference, with 95 % intervals."""

    loss: str
    basis: str
    """`labels`, or `estimate` where there are none: then concept drift is not in it."""
    per_row: Estimate
    """Rise of the mean loss, in metric points."""
    rows: int
    """While it stood, labelled or not."""
    so_far: Estimate
    """`per_row` times `rows`: further errors, or further absolute error."""
    per_day: Estimate | None = None
    """While it stands, at the traffic of that time; None without times."""
    currency: str | None = None
    """None where no cost of an error was stated; the money is then None too."""
    money_so_far: Estimate | None = None
    money_per_day: Estimate | None = None
