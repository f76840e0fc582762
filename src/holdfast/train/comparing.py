"""Challenger and champion on the same test: overall, by slice, calibration; differences with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Answer, Signature
from holdfast.prediction_log import label_text
from holdfast.registry import DecidingLoss
from holdfast.stats import (
    Paired,
    StatisticsError,
    average_precision,
    paired_area,
    paired_bootstrap,
    paired_mean,
)
from holdfast.train.rows import LABEL, REVIEWED, SUBJECT, TIME

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = NDArray[np.float64]
Verdict = Literal["better", "worse", "not told apart"]

COMPARISON: Final = "comparison"
"""Kind of the evidence."""
BASELINE: Final = "constant"
"""Stands as the champion where there is none: the train split's share or mean, for every row."""
LEAST_SLICE_ROWS: Final = 100
MOST_SLICES: Final = 40
MOST_VALUES: Final = 12
"""Of a categorical feature, the most frequent ones."""
LARGEST_BOOTSTRAP: Final = 20_000
"""Rows that are redrawn; of a larger test an even part."""
_CALIBRATION_CELLS: Final = 10
HIGHER_IS_BETTER: Final = frozenset({"roc_auc", "average_precision"})
_CLOSE: Final = 1e-15


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both, and challenger minus champion with its 95 % interval; null where it is endless."""

    champion: float
    challenger: float
    difference: float
    low: float | None
    high: float | None
    better: Literal["higher", "lower"]

    @property
    def verdict(self) -> Verdict:
        """Which is better, where the whole interval says so."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "not told apart"
        return "better" if (self.low > 0) == (self.better == "higher") else "worse"


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the rows."""

    name: str
    rows: int
    metrics: dict[str, Difference]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the evidence."""

    challenger: str
    champion: str
    """A version, or `constant`."""
    test_rows: int
    main_metric: str
    """The one that decides, here and in a rollout."""
    verdict: Verdict
    overall: dict[str, Difference]
    slices: tuple[Slice, ...]
    dataset: str
    """SHA-256 of the data set's content."""
    test_since: str
    test_until: str
    loss: DecidingLoss | None = None
    """What `main_metric` is and why it decides; None in evidence of earlier versions of holdfast."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said of the test, in the terms of its task."""

    task: str
    chance: Numbers = field(repr=False)
    """Binary `[N]` of the positive class; several `[N, K]` of the known classes; else empty."""
    answer: Numbers = field(repr=False)
    """Regression: the numbers. Otherwise the code of the answered class; -1: none of them."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What was true of the test."""

    task: str
    classes: tuple[str, ...]
    """Texts of the classes; of two the positive one last."""
    label: Numbers = field(repr=False)
    """Codes, or numbers."""
    clusters: NDArray[Any] | None = field(repr=False)
    """Subjects, where rows have them."""

    @classmethod
    def of(cls, test: pa.Table, signature: Signature) -> Truth:
        """From the labels of a test table and the task of the challenger."""
        labels = test.column(LABEL).to_pylist()
        subjects = test.column(SUBJECT).to_pylist()
        clusters = None
        if any(one is not None for one in subjects):
            # A row without a subject stands for itself.
            clusters = np.array([one or f"\0{number}" for number, one in enumerate(subjects)], dtype=object)
        if signature.task == "regression":
            return cls("regression", (), np.asarray(labels, dtype=np.float64), clusters)
        texts = [str(label_text(one)) for one in labels]
        classes = [str(label_text(one)) for one in signature.classes]
        if signature.task == "binary":
            positive = str(label_text(signature.positive_class))
            classes.sort(key=lambda one: one == positive)
        classes += sorted(set(texts) - set(classes))
        code = {name: number for number, name in enumerate(classes)}
        return cls(
            signature.task, tuple(classes), np.array([code[one] for one in texts], dtype=np.float64), clusters
        )

    def answers(self, signature: Signature, answer: Answer) -> Answers:
        """A model's answers on the same codes; a model without probabilities is as sure as it can be."""
        said = np.asarray(answer.prediction)
        if self.task == "regression":
            return Answers(self.task, np.empty(0), said.astype(np.float64).reshape(-1))
        code = {name: number for number, name in enumerate(self.classes)}
        chosen = np.array([code.get(str(label_text(one)), -1) for one in said.tolist()], dtype=np.float64)
        chance = np.zeros((len(chosen), len(self.classes)))
        if answer.probabilities is not None:
            for place, name in enumerate(signature.classes):
                number = code.get(str(label_text(name)))
                if number is not None:
                    chance[:, number] = answer.probabilities[:, place]
        else:
            known = chosen >= 0
            chance[np.flatnonzero(known), chosen[known].astype(int)] = 1.0
        return Answers(self.task, chance[:, 1] if self.task == "binary" else chance, chosen)

    def constant(self, train_labels: list[Any]) -> Answers:
        """The answer of nobody: the train split's shares, or its median."""
        rows = len(self.label)
        if self.task == "regression":
            middle = float(np.median(np.asarray(train_labels, dtype=np.float64)))
            return Answers(self.task, np.empty(0), np.full(rows, middle))
        texts = [str(label_text(one)) for one in train_labels]
        share = np.array([texts.count(name) for name in self.classes], dtype=np.float64) / max(len(texts), 1)
        answered = np.full(rows, float(np.argmax(share)))
        chance = np.full(rows, share[1]) if self.task == "binary" else np.tile(share, (rows, 1))
        return Answers(self.task, chance, answered)


def compare(
    truth: Truth,
    champion: Answers,
    challenger: Answers,
    test: pa.Table,
    decides: DecidingLoss,
    *,
    seed: int = 0,
) -> tuple[dict[str, Difference], tuple[Slice, ...]]:
    """Every metric over the whole test, and the plain ones over its slices.

    Args:
        truth: of the test.
        champion: its answers.
        challenger: its answers.
        test: for the slices.
        decides: the deciding loss, which is among the metrics.
        seed: of the bootstrap.
    """
    losses = dict(_losses(truth, champion, challenger, decides))
    overall = {name: _told(paired_mean(*pair, truth.clusters), name) for name, pair in losses.items()}
    if truth.task == "binary":
        overall |= _ranking(truth, champion, challenger, seed)
    slices = []
    for name, chosen in slices_of(test):
        metrics = {
            metric: _told(paired_mean(a[chosen], b[chosen], _part(truth.clusters, chosen)), metric)
            for metric, (a, b) in losses.items()
        }
        if truth.task == "binary":
            positive = truth.label[chosen] == 1
            try:
                area = paired_area(positive, champion.chance[chosen], challenger.chance[chosen])
                metrics["roc_auc"] = _told(area, "roc_auc")
            except StatisticsError:
                pass
        slices.append(Slice(name=name, rows=int(chosen.sum()), metrics=metrics))
    return overall, tuple(slices)


def _part(clusters: NDArray[Any] | None, chosen: NDArray[np.bool_]) -> NDArray[Any] | None:
    return None if clusters is None else clusters[chosen]


def _losses(
    truth: Truth, champion: Answers, challenger: Answers, decides: DecidingLoss
) -> Iterator[tuple[str, tuple[Numbers, Numbers]]]:
    """Losses of each row, the champion's first; an answer or a chance that is no number loses the most.

    Errors of numbers have no most, so they are left out where an answer is none.
    """
    y = truth.label
    both = (champion, challenger)

    def each(loss: Callable[[Answers], Numbers]) -> tuple[Numbers, Numbers]:
        return loss(both[0]), loss(both[1])

    if truth.task == "regression":
        if all(np.isfinite(one.answer).all() for one in both):
            yield "mean_absolute_error", each(lambda one: np.abs(one.answer - y))
            yield "mean_squared_error", each(lambda one: (one.answer - y) ** 2)
        yield decides.name, each(lambda one: np.fmin(np.abs(one.answer - y) / decides.scale, 1.0))
        return
    if truth.task == "binary":
        yield (
            "log_loss",
            each(lambda one: _surprise(np.where(y == 1, one.chance, 1 - one.chance))),
        )
        yield "brier_score", each(lambda one: np.fmin((one.chance - y) ** 2, 1.0))
    else:
        code = y.astype(int)
        row = np.arange(len(y))
        yield "log_loss", each(lambda one: _surprise(one.chance[row, code]))
    yield "error_rate", each(lambda one: (one.answer != y).astype(np.float64))
    if decides.name == "cost":
        wrong_positive = decides.false_positive * decides.scale
        wrong_negative = decides.false_negative * decides.scale
        yield (
            "cost",
            each(
                lambda one: (
                    wrong_positive * ((one.answer == 1) & (y != 1))
                    + wrong_negative * ((one.answer != 1) & (y == 1))
                )
            ),
        )


def _surprise(chance: Numbers) -> Numbers:
    """Minus the log of the chance that was given to what came true; none at all where it is no number."""
    loss: Numbers = -np.log(np.clip(np.fmax(chance, 0.0), _CLOSE, 1))
    return loss


def _ranking(truth: Truth, champion: Answers, challenger: Answers, seed: int) -> dict[str, Difference]:
    """What only a whole list of rows has: areas, and how far chances are from shares."""
    positive = truth.label == 1
    found: dict[str, Difference] = {}
    try:
        area = paired_area(positive, champion.chance, challenger.chance)
    except StatisticsError:
        return found
    found["roc_auc"] = _told(area, "roc_auc")
    step = -(-len(positive) // LARGEST_BOOTSTRAP)
    some = np.arange(0, len(positive), step)
    clusters = None if truth.clusters is None else truth.clusters[some]
    y, a, b = positive[some], champion.chance[some], challenger.chance[some]

    def precision(chosen: NDArray[np.intp]) -> tuple[float, float]:
        return average_precision(y[chosen], a[chosen]), average_precision(y[chosen], b[chosen])

    def calibration(chosen: NDArray[np.intp]) -> tuple[float, float]:
        return calibration_error(y[chosen], a[chosen]), calibration_error(y[chosen], b[chosen])

    found["average_precision"] = _told(
        paired_bootstrap(precision, len(some), clusters, replicates=200, seed=seed), "average_precision"
    )
    found["calibration_error"] = _told(
        paired_bootstrap(calibration, len(some), clusters, replicates=200, seed=seed), "calibration_error"
    )
    return found


def calibration_error(positive: NDArray[np.bool_], chance: Numbers) -> float:
    """Mean distance between chance and share of positives over ten equally full cells of the chance.

    Biased upwards by noise, alike for both models: a right model of n rows has about 0.4 / sqrt(n / 10) for a
    share of a half.
    """
    order = np.argsort(chance, kind="stable")
    cells = np.array_split(order, _CALIBRATION_CELLS)
    distance = [
        abs(float(chance[one].mean()) - float(positive[one].mean())) * len(one) for one in cells if len(one)
    ]
    return sum(distance) / len(chance)


def slices_of(test: pa.Table) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Values of categorical features, missing values, labels from the review queue, and halves of the time.

    At most `MOST_SLICES`, each of at least `LEAST_SLICE_ROWS` rows and of less than all.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = test.num_rows
    found: list[tuple[str, NDArray[np.bool_]]] = []
    times = test.column(TIME).cast(pa.int64()).to_numpy()
    middle = np.median(times)
    found += [("first half of the test", times < middle), ("second half of the test", times >= middle)]
    reviewed = np.asarray(test.column(REVIEWED).to_numpy())
    found += [("labels from the review queue", reviewed), ("labels from elsewhere", ~reviewed)]
    for name in test.column_names[test.column_names.index(REVIEWED) + 1 :]:
        column = test.column(name)
        kind = column.type
        if pa.types.is_nested(kind):
            continue
        if column.null_count:
            found.append((f"{name} is missing", np.asarray(pc.is_null(column).to_numpy())))
        few = pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind)
        if few and pc.count_distinct(column).as_py() <= (MOST_VALUES if pa.types.is_integer(kind) else rows):
            counts = sorted(pc.value_counts(column).to_pylist(), key=lambda one: -one["counts"])
            for one in counts[:MOST_VALUES]:
                if one["values"] is not None:
                    chosen = pc.fill_null(pc.equal(column, pa.scalar(one["values"], kind)), fill_value=False)
                    found.append((f"{name} = {one['values']}", np.asarray(chosen.to_numpy())))
    large = [(name, chosen) for name, chosen in found if LEAST_SLICE_ROWS <= chosen.sum() < rows]
    yield from large[:MOST_SLICES]


def _told(one: Paired, metric: str) -> Difference:
    return Difference(
        champion=one.first,
        challenger=one.second,
        difference=one.difference,
        low=one.low if np.isfinite(one.low) else None,
        high=one.high if np.isfinite(one.high) else None,
        better="higher" if metric in HIGHER_IS_BETTER else "lower",
    )
