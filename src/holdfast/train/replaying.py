"""The policy replayed on history: what it would have done, against never, monthly and at every window.

The log is read once, in order of time, a window at a time; memory holds one window and the newest
`LARGEST_FIT` mature labelled rows, however long the history. Retrained models are boosted trees that stand in
for the trainer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Reference, Signature, open_artifact
from holdfast.clock import iso_utc, parse_time_us
from holdfast.prediction_log import PredictionLog, label_text
from holdfast.registry import Registry
from holdfast.registry.candidate import answer_all
from holdfast.runtime import Runtime, open_runtime
from holdfast.spec import Deployment
from holdfast.spec.checklist import Monitoring, Training
from holdfast.stats.domain import fitted, least_leaf
from holdfast.train.diagnosed import DIAGNOSIS
from holdfast.train.errors import TrainError
from holdfast.train.log_source import INPUT
from holdfast.train.policy import State, decide
from holdfast.train.rows import LABEL, Plan

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = NDArray[np.float64]

DAY_US: Final = 86_400_000_000
LARGEST_FIT: Final = 20_000
LEAST_FIT: Final = 400
"""Mature labelled rows below which nothing is retrained."""
SCORE_CELLS: Final = 512
MOST_TEXTS: Final = 1000
"""Different texts of a column that are told apart."""
_HELD: Final = 0.2
"""Newest share of what is learnt from that says what loss is to be expected."""
_SURE: Final = 3.0
"""Standard errors by which a retrained model's loss must rise to count as an alarm."""
_TREES: Final = {"max_iter": 80, "learning_rate": 0.1, "max_leaf_nodes": 8, "l2_regularization": 1.0}


class PolicyOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one policy would have done."""

    policy: str
    trainings: tuple[str, ...]
    """When, ISO 8601."""
    reasons: tuple[str, ...]
    days_late: float | None
    """From the change to the first training that had learnt from a row after it; None: there was none."""
    metric: str
    quality: float | None
    """Over all labelled rows."""
    mean_loss: float
    """Share of wrong answers, or mean absolute error."""
    error_cost: float
    training_cost: float


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """The policies side by side."""

    since: str
    until: str
    windows: int
    rows: int
    labelled: int
    version: str
    change: str | None
    """When the newest diagnosis says that the change began."""
    alarms: tuple[str, ...]
    """Ends of the windows in which the monitor's alarm was raised."""
    policies: tuple[PolicyOutcome, ...]
    currency: str
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Model:
    """A stand-in that was fitted in the replay, and the loss to be expected of it."""

    trees: Any
    classes: bool
    expected: float
    spread: float
    held: int

    def score(self, inputs: Numbers) -> Numbers:
        said: Numbers = self.trees.predict_proba(inputs)[:, 1] if self.classes else self.trees.predict(inputs)
        return said


@dataclass(slots=True)
class _Player:
    """One policy on its way through the windows. Its memory does not grow with the rows."""

    name: str
    classes: bool
    threshold: float
    costs: Monitoring
    model: _Model | None = None
    trained: list[tuple[int, str]] = field(default_factory=list)
    learnt_until_us: list[int] = field(default_factory=list)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, SCORE_CELLS), dtype=np.int64))
    loss: float = 0.0
    cost: float = 0.0
    rows: int = 0
    recent: tuple[float, int] = (0.0, 0)
    labels: int = 0

    def answer(self, base: Numbers, inputs: Numbers, truth: Numbers) -> None:
        """Judge the present model on one window's labelled rows."""
        if not len(truth):
            return
        score = base if self.model is None else self.model.score(inputs)
        self.rows += len(truth)
        if not self.classes:
            off = np.abs(score - truth)
            self.loss += float(off.sum())
            self.recent = (float(off.mean()), len(truth))
            return
        said = score >= self.threshold
        wrong = said != (truth > 0)
        self.loss += float(wrong.sum())
        self.cost += self.costs.cost_false_positive * float((said & wrong).sum())
        self.cost += self.costs.cost_false_negative * float((~said & wrong).sum())
        cells = np.clip((score * SCORE_CELLS).astype(int), 0, SCORE_CELLS - 1)
        np.add.at(self.counts, ((truth > 0).astype(int), cells), 1)
        self.recent = (float(log_loss(score, truth).mean()), len(truth))

    @property
    def alarmed(self) -> bool:
        """Whether the retrained model is surely worse than when it was made."""
        if self.model is None or not self.recent[1]:
            return False
        error = self.model.spread * np.sqrt(1 / self.recent[1] + 1 / max(self.model.held, 1))
        return bool(self.recent[0] - self.model.expected > _SURE * error)

    def quality(self) -> float | None:
        """Area under the curve from counts, or mean absolute error; None without both classes."""
        if not self.classes:
            return self.loss / self.rows if self.rows else None
        negative, positive = self.counts
        if not negative.sum() or not positive.sum():
            return None
        below = np.cumsum(negative) - negative
        return float(positive @ (below + negative / 2)) / float(negative.sum() * positive.sum())


def log_loss(score: Numbers, truth: Numbers) -> Numbers:
    """`[N]`, minus the log of the chance that was given to what came true."""
    loss: Numbers = -np.log(np.clip(np.where(truth > 0, score, 1 - score), 1e-15, 1))
    return loss


def replay(deployment: Deployment, registry: Registry, *, memory_mb: int = 1024) -> Replay:
    """Play `[training]` through the log, beside three simple policies.

    A row teaches a model only once it is `label_delay` old, and each model is judged on rows that come after
    it. The triggers `alarm` (after the first training) and `quality` read a window's labels at its
    end: where `label_delay` is long against the window they fire up to that much too early.

    Args:
        deployment: with a log whose predictions have labels.
        registry: for the first version's artifact and reference, and for the diagnosis.
        memory_mb: of the query that sorts the log.

    Raises:
        TrainError: the log holds no labelled prediction, or the task has neither one chance nor one number.
    """
    return _Run(deployment, registry, memory_mb).play()


@dataclass(slots=True)
class _Run:
    deployment: Deployment
    registry: Registry
    memory_mb: int
    texts: dict[str, dict[str, int]] = field(default_factory=dict)

    def play(self) -> Replay:
        checklist = self.deployment.checklist
        training, monitoring = checklist.training, checklist.monitoring
        version, signature, runtime = self._first()
        try:
            return self._play(version, signature, runtime, training, monitoring)
        finally:
            runtime.close()

    def _first(self) -> tuple[str, Signature, Runtime]:
        log = PredictionLog(self.deployment)
        found = log.query("SELECT arg_min(model_version, time) AS first FROM predictions").read_all()
        version = (found.column("first").to_pylist() or [None])[0]
        if version is None:
            raise TrainError("the log holds no prediction yet", where=str(self.deployment.log_folder))
        stored = self.registry.version(version)
        artifact = open_artifact(self.deployment.artifacts_folder / stored.artifact_folder)
        if artifact.signature.task not in {"binary", "regression"}:
            raise TrainError(
                "only models of two classes and of numbers can be replayed",
                received=f"task {artifact.signature.task}",
            )
        return version, artifact.signature, open_runtime(artifact)

    def _play(
        self,
        version: str,
        signature: Signature,
        runtime: Runtime,
        training: Training,
        monitoring: Monitoring,
    ) -> Replay:
        classes = signature.task == "binary"
        players = [
            _Player(name, classes, signature.threshold, monitoring)
            for name in ("checklist", "never", "monthly", "always")
        ]
        diagnosis, notes = self._diagnosis(version)
        alarms = [
            parse_time_us(window["end"])
            for before, window in zip(
                [{}, *diagnosis.get("windows", ())], diagnosis.get("windows", ()), strict=False
            )
            if window["alarm"] and not before.get("alarm")
        ]
        change_us = _onset_us(diagnosis)
        history = self._reference(version, signature)
        waiting: list[tuple[int, Numbers, Numbers]] = []
        rows = labelled = windows = 0
        first_us = last_us = None
        standing = {parse_time_us(one["end"]): one["alarm"] for one in diagnosis.get("windows", ())}
        alarm_now = False
        learnt_us = 0
        for end_us, table in self._windows(signature):
            times = table.column("time").to_numpy()
            first_us = int(times[0]) if first_us is None else first_us
            last_us = int(times[-1])
            windows += 1
            rows += table.num_rows
            inputs, base, truth = self._arrays(table, version, signature, runtime)
            known = np.isfinite(truth)
            labelled += int(known.sum())
            for player in players:
                player.answer(base[known], inputs[known], truth[known])
            waiting.append((last_us, inputs[known], truth[known]))
            mature_us = end_us - monitoring.label_delay.microseconds
            while waiting and waiting[0][0] <= mature_us:
                learnt_us, new_inputs, new_truth = waiting.pop(0)
                history = _newest(history, new_inputs, new_truth)
                for player in players:
                    player.labels += len(new_truth)
            alarm_now = standing.get(end_us, alarm_now)
            for player in players:
                self._decide(player, end_us, learnt_us, history, training, alarm=alarm_now)
        if first_us is None or last_us is None or not labelled:
            raise TrainError("no prediction of the log has a label", where=str(self.deployment.log_folder))
        return Replay(
            since=iso_utc(first_us),
            until=iso_utc(last_us),
            windows=windows,
            rows=rows,
            labelled=labelled,
            version=version,
            change=None if change_us is None else iso_utc(change_us),
            alarms=tuple(iso_utc(one) for one in alarms),
            policies=tuple(_outcome(one, change_us, training) for one in players),
            currency=monitoring.currency,
            notes=tuple(notes),
        )

    def _decide(
        self,
        player: _Player,
        now_us: int,
        learnt_us: int,
        history: tuple[Numbers, Numbers],
        training: Training,
        *,
        alarm: bool,
    ) -> None:
        trained = tuple(at for at, _ in player.trained)
        reason = None
        if player.name == "always":
            reason = "every window"
        elif player.name == "monthly":
            if not trained or now_us - trained[-1] >= 30 * DAY_US:
                reason = "a month has passed"
        elif player.name == "checklist":
            state = State(
                now_us=now_us,
                trained_us=trained,
                # The monitor judged the first model; of later ones the replay must tell by their loss.
                alarm=alarm if player.model is None else player.alarmed,
                quality=player.quality(),
                higher_is_better=player.classes,
                new_labels=player.labels,
            )
            plan = decide(state, training)
            reason = plan.reason if plan.train else None
        if reason is None:
            return
        judged = player.name == "checklist" and "alarm" in training.triggers
        model = _fit(history, classes=player.classes, seed=training.seed, judged=judged)
        if model is None:
            return
        player.model = model
        player.trained.append((now_us, reason))
        player.learnt_until_us.append(learnt_us)
        player.labels = 0

    def _diagnosis(self, version: str) -> tuple[dict[str, Any], list[str]]:
        found = self.registry.evidence(version, DIAGNOSIS, limit=1)
        if not found:
            return {}, ["no diagnosis is stored, so the monitor's alarms are not known: run holdfast monitor"]
        return found[0].payload, []

    def _reference(self, version: str, signature: Signature) -> tuple[Numbers, Numbers]:
        """What the first model was judged good on, as the first rows to learn from."""
        from pyarrow import parquet

        path = self.deployment.references_folder / version / "reference.parquet"
        nothing = np.empty((0, len(signature.columns))), np.empty(0)
        if not path.exists():
            return nothing
        table = parquet.read_table(path)
        if LABEL not in table.column_names:
            return nothing
        truth = _truth(table.column(LABEL).to_pylist(), signature)
        known = np.isfinite(truth)
        return _newest(nothing, self._inputs(table, signature)[known], truth[known])

    def _windows(self, signature: Signature) -> Iterator[tuple[int, pa.Table]]:
        """Rows of each window with its end, in order; empty windows are left out."""
        import pyarrow as pa

        size = self.deployment.checklist.monitoring.window.duration
        length_us = DAY_US if size is None else size.microseconds
        names = ", ".join('p."' + f"{INPUT}{one.name}".replace('"', '""') + '"' for one in signature.columns)
        reader = PredictionLog(self.deployment).query(
            f"SELECT epoch_us(p.time) AS time, p.model_version, p.score, p.prediction, p.y, {names} "  # noqa: S608 - quoted
            "FROM joined p WHERE coalesce(p.arm, '') <> 'shadow' ORDER BY p.time, p.prediction_id",
            memory_mb=self.memory_mb,
        )
        held: list[pa.Table] = []
        number: int | None = None
        for batch in reader:
            table = pa.Table.from_batches([batch])
            places = table.column("time").to_numpy() // length_us
            for place in np.unique(places):
                part = table.filter(pa.array(places == place))
                if number is not None and place != number:
                    yield (number + 1) * length_us, pa.concat_tables(held)
                    held = []
                number = int(place)
                held.append(part)
        if held and number is not None:
            yield (number + 1) * length_us, pa.concat_tables(held)

    def _arrays(
        self, table: pa.Table, version: str, signature: Signature, runtime: Runtime
    ) -> tuple[Numbers, Numbers, Numbers]:
        """Inputs, the first version's score, and the truth."""
        plain = table.rename_columns([name.removeprefix(INPUT) for name in table.column_names])
        column = "prediction" if signature.task == "regression" else "score"
        base = np.asarray(table.column(column).to_pylist(), dtype=np.float64)
        others = np.array([one != version for one in table.column("model_version").to_pylist()])
        others |= ~np.isfinite(base)
        if others.any():
            import pyarrow as pa

            chosen = plain.filter(pa.array(others)).select([one.name for one in signature.columns])
            answer = answer_all(runtime, signature, Reference(chosen))
            if signature.task == "regression" or answer.probabilities is None:
                base[others] = np.asarray(answer.prediction, dtype=np.float64)
            else:
                place = signature.classes.index(signature.positive_class or signature.classes[-1])
                base[others] = answer.probabilities[:, place]
        truth = _truth(table.column("y").to_pylist(), signature)
        return self._inputs(plain, signature), base, truth

    def _inputs(self, table: pa.Table, signature: Signature) -> Numbers:
        """`[N, D]` numbers for trees; each text by the place at which it first came."""
        import pyarrow as pa

        columns = []
        for one in signature.columns:
            column = table.column(one.name)
            kind = column.type
            if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
                wide = column.cast(pa.int8()) if pa.types.is_boolean(kind) else column
                columns.append(np.asarray(wide.cast(pa.float64()).to_numpy(), dtype=np.float64))
                continue
            known = self.texts.setdefault(one.name, {})
            codes = np.full(table.num_rows, np.nan)
            for row, value in enumerate(column.to_pylist()):
                if value is not None:
                    text = str(value)
                    if text not in known and len(known) < MOST_TEXTS:
                        known[text] = len(known)
                    codes[row] = known.get(text, MOST_TEXTS)
            columns.append(codes)
        return np.stack(columns, axis=1)


def _truth(values: list[Any], signature: Signature) -> Numbers:
    if signature.task == "regression":
        return np.array([np.nan if one is None else float(one) for one in values])
    labels = Plan((), "binary", signature.classes).labels(values).to_pylist()
    positive = label_text(signature.positive_class)
    return np.array([np.nan if one is None else float(label_text(one) == positive) for one in labels])


def _newest(history: tuple[Numbers, Numbers], inputs: Numbers, truth: Numbers) -> tuple[Numbers, Numbers]:
    return (
        np.concatenate([history[0], inputs])[-LARGEST_FIT:],
        np.concatenate([history[1], truth])[-LARGEST_FIT:],
    )


def _fit(history: tuple[Numbers, Numbers], *, classes: bool, seed: int, judged: bool) -> _Model | None:
    """Trees on all of it; where it is to be judged, the loss of such trees on the newest fifth, held out."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    inputs, truth = history
    if len(truth) < LEAST_FIT or (classes and min(truth.sum(), (1 - truth).sum()) < 10):
        return None
    cut = int(len(truth) * (1 - _HELD))
    maker = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor

    def grown(rows: int) -> Any:
        trees = maker(**_TREES, early_stopping=False, min_samples_leaf=least_leaf(rows), random_state=seed)
        return fitted(trees, inputs[:rows], truth[:rows])

    if not judged:
        return _Model(grown(len(truth)), classes, 0.0, 0.0, 0)
    if classes and min(truth[:cut].sum(), (1 - truth[:cut]).sum()) < 1:
        return None
    held = _Model(grown(cut), classes, 0.0, 0.0, len(truth) - cut)
    score = held.score(inputs[cut:])
    loss = log_loss(score, truth[cut:]) if classes else np.abs(score - truth[cut:])
    return _Model(grown(len(truth)), classes, float(loss.mean()), float(loss.std()), len(loss))


def _outcome(player: _Player, change_us: int | None, training: Training) -> PolicyOutcome:
    late = None
    if change_us is not None:
        for (at, _), learnt_us in zip(player.trained, player.learnt_until_us, strict=True):
            if learnt_us >= change_us:
                late = round((at - change_us) / DAY_US, 2)
                break
    return PolicyOutcome(
        policy=player.name,
        trainings=tuple(iso_utc(at) for at, _ in player.trained),
        reasons=tuple(reason for _, reason in player.trained),
        days_late=late,
        metric="area under the ROC curve" if player.classes else "mean absolute error",
        quality=player.quality(),
        mean_loss=player.loss / player.rows if player.rows else 0.0,
        error_cost=player.cost,
        training_cost=len(player.trained) * training.cost,
    )


def _onset_us(diagnosis: dict[str, Any]) -> int | None:
    try:
        return parse_time_us(str((diagnosis.get("since") or {})["estimate"]))
    except (KeyError, ValueError):
        return None
