"""The policy replayed on history: what it would have done, against never, monthly and at every window.

The log is read once, in order of time, a window at a time; memory holds one window and the newest
`LARGEST_FIT` mature labelled rows, however long the history. Retrained models are boosted trees that stand in
for the trainer.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from holdfast.artifact import Reference, Signature, open_artifact
from holdfast.clock import iso_utc, parse_time_us
from holdfast.prediction_log import PredictionLog, label_text
from holdfast.registry import Registry
from holdfast.registry.candidate import answer_all
from holdfast.runtime import Runtime, open_runtime
from holdfast.spec import Deployment
from holdfast.spec.checklist import Monitoring, Training
from holdfast.train.diagnosed import DIAGNOSIS, onset_of
from holdfast.train.errors import TrainError
from holdfast.train.log_source import INPUT
from holdfast.train.player import Player
from holdfast.train.policy import State, decide
from holdfast.train.rows import LABEL, Plan
from holdfast.train.standing_in import LARGEST_FIT, Numbers, fit, newest

if TYPE_CHECKING:
    import pyarrow as pa

DAY_US: Final = 86_400_000_000
MOST_TEXTS: Final = 1000
"""Different texts of a column that are told apart."""


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
    """When the monitor's alarm was raised, or could have been: where labels raised it, at their maturity."""
    policies: tuple[PolicyOutcome, ...]
    currency: str
    notes: tuple[str, ...] = ()


def replay(deployment: Deployment, registry: Registry, *, memory_mb: int = 1024) -> Replay:
    """Play `[training]` through the log, beside three simple policies.

    A decision knows what was known at its time: a row teaches, and speaks for or against a model, only once
    it is `label_delay` old, with the label that had come by then; a label that came later teaches from then
    on. Without `refit` the newest rows are the test of every policy's trainings, and do not teach. The
    policies are judged by all labels that are known now.

    Args:
        deployment: with a log whose predictions have labels.
        registry: for the first version's artifact and reference, and for the diagnosis.
        memory_mb: of the query that sorts the log.

    Raises:
        TrainError: the log holds no labelled prediction, or the task has neither one chance nor one number.
    """
    return _Run(deployment, registry, memory_mb).play()


@dataclass(frozen=True, slots=True)
class _Alarms:
    """Whether the monitor's alarm stood at a moment, by what was known then.

    The stored windows were judged with today's labels. An alarm that only the labels raise could not stand
    before they were mature.
    """

    by_inputs: tuple[tuple[int, bool], ...]
    """When it is known, in order of time, and whether the alarm stands."""
    by_labels: tuple[tuple[int, bool], ...]
    delay_us: int

    @classmethod
    def of(cls, diagnosis: dict[str, Any], delay_us: int) -> _Alarms:
        inputs, labels = [], []
        for window in diagnosis.get("windows", ()):
            end_us, alarm = parse_time_us(window["end"]), bool(window["alarm"])
            needs_labels = (window.get("log_e_concept") or 0) >= 1 > (window.get("log_e_data") or 0)
            inputs.append((end_us, alarm and not needs_labels))
            labels.append((end_us + delay_us, alarm and needs_labels))
        return cls(tuple(inputs), tuple(labels), delay_us)

    def stands(self, now_us: int) -> bool:
        """At this moment."""
        return any(_last(events, now_us) for events in (self.by_inputs, self.by_labels))

    def since(self, now_us: int) -> int | None:
        """End of the window that raised the standing alarm; None where none stands."""
        begun = [
            begun_us - late_us
            for events, late_us in ((self.by_inputs, 0), (self.by_labels, self.delay_us))
            if (begun_us := _begun(events, now_us)) is not None
        ]
        return min(begun, default=None)

    def raised(self) -> list[int]:
        """When it began to stand."""
        moments = sorted({at for at, _ in (*self.by_inputs, *self.by_labels)})
        standing = [self.stands(at) for at in moments]
        return [
            at
            for at, before, now in zip(moments, [False, *standing], standing, strict=False)
            if now and not before
        ]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What every policy knows at a moment."""

    began_us: int
    """Time of the first row: the schedule counts from there until the first training, as it does live."""
    learnt_us: int
    """Time of the newest row that can be learnt from."""
    history: tuple[Numbers, Numbers]
    alarm_us: int | None
    """Beginning of the window that raised the monitor's standing alarm."""
    learnt: list[tuple[int, int]]
    """Time of the newest row, and rows, of each part that can be learnt from."""

    def rows_since(self, change_us: int) -> int:
        """That can be learnt from, since a change."""
        return sum(rows for at_us, rows in self.learnt if at_us >= change_us)


def _begun(events: tuple[tuple[int, bool], ...], now_us: int) -> int | None:
    """When what stands at a moment began to stand."""
    found = None
    for at_us, stands in events[: bisect_right(events, now_us, key=lambda event: event[0])]:
        found = (at_us if found is None else found) if stands else None
    return found


def _last(events: tuple[tuple[int, bool], ...], now_us: int) -> bool:
    place = bisect_right(events, now_us, key=lambda event: event[0])
    return place > 0 and events[place - 1][1]


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
            Player(name, classes, signature.threshold, monitoring)
            for name in ("checklist", "never", "monthly", "always")
        ]
        diagnosis, notes = self._diagnosis(version)
        delay_us = monitoring.label_delay.microseconds
        monitor = _Alarms.of(diagnosis, delay_us)
        change_us = onset_of(diagnosis)
        history = self._reference(version, signature)
        waiting: list[tuple[int, int, int, Numbers, Numbers]] = []
        held: list[tuple[int, int, Numbers, Numbers]] = []
        held_us = _held_us(training, delay_us)
        rows = labelled = unanswered = windows = 0
        first_us = last_us = None
        learnt_us = 0
        learnt: list[tuple[int, int]] = []
        for end_us, table in self._windows(signature):
            times = table.column("time").to_numpy()
            first_us = int(times[0]) if first_us is None else first_us
            last_us = int(times[-1])
            windows += 1
            rows += table.num_rows
            inputs, base, truth = self._arrays(table, version, signature, runtime)
            known = np.isfinite(truth) & np.isfinite(base)
            labelled += int(known.sum())
            unanswered += int((np.isfinite(truth) & ~np.isfinite(base)).sum())
            observed = table.column("observed").to_numpy(zero_copy_only=False)[known]
            in_time = observed <= times[known] + delay_us
            inputs, base, truth = inputs[known], base[known], truth[known]
            for player in players:
                player.answer(
                    base, inputs, truth, in_time, begun_us=int(times[0]), ripe_us=last_us + delay_us
                )
            if in_time.any():
                ready_us = last_us + delay_us
                heapq.heappush(waiting, (ready_us, windows, last_us, inputs[in_time], truth[in_time]))
            if not in_time.all():  # the window's stragglers together, once the last of them is there
                late = ~in_time
                ready_us = int(observed[late].max())
                heapq.heappush(waiting, (ready_us, -windows, last_us, inputs[late], truth[late]))
            while waiting and waiting[0][0] <= end_us:
                _, number, at_us, new_inputs, new_truth = heapq.heappop(waiting)
                heapq.heappush(held, (at_us, number, new_inputs[-LARGEST_FIT:], new_truth[-LARGEST_FIT:]))
                for player in players:
                    player.labels += len(new_truth)
            while held and held[0][0] <= end_us - held_us:
                at_us, _, new_inputs, new_truth = heapq.heappop(held)
                learnt_us = max(learnt_us, at_us)
                learnt.append((at_us, len(new_truth)))
                history = newest(history, new_inputs, new_truth)
            for player in players:
                player.ripen(end_us)
                raised_us = monitor.since(end_us)
                since_us = None if raised_us is None else raised_us - self._window_us
                seen = _Seen(first_us, learnt_us, history, since_us, learnt)
                self._decide(player, end_us, seen, training)
        if first_us is None or last_us is None or not labelled:
            raise TrainError("no prediction of the log has a label", where=str(self.deployment.log_folder))
        if unanswered:
            notes = [
                *notes,
                f"{unanswered} labelled rows are left out: version {version} answers them with no number.",
            ]
        return Replay(
            since=iso_utc(first_us),
            until=iso_utc(last_us),
            windows=windows,
            rows=rows,
            labelled=labelled,
            version=version,
            change=None if change_us is None else iso_utc(change_us),
            alarms=tuple(iso_utc(one) for one in monitor.raised()),
            policies=tuple(_outcome(one, change_us, training) for one in players),
            currency=monitoring.currency,
            notes=tuple(notes),
        )

    def _decide(self, player: Player, now_us: int, seen: _Seen, training: Training) -> None:
        trained = tuple(at for at, _ in player.trained)
        reason = change_us = None
        if player.name == "always":
            reason = "every window"
        elif player.name == "monthly":
            if now_us - (trained[-1] if trained else seen.began_us) >= 30 * DAY_US:
                reason = "a month has passed"
        elif player.name == "checklist":
            # The monitor judged the first model; of later ones the replay must tell by their loss.
            alarm_us = seen.alarm_us if player.model is None else player.worse_since_us
            change_us = player.change_us if alarm_us is None else alarm_us
            state = State(
                now_us=now_us,
                trained_us=trained,
                made_us=seen.began_us,
                alarm=alarm_us is not None,
                change_us=change_us,
                learnable_rows=None if change_us is None else seen.rows_since(change_us),
                taught_rows=player.taught_rows if alarm_us is None else None,
                quality=player.quality(),
                higher_is_better=player.classes,
                new_labels=player.labels,
            )
            plan = decide(state, training)
            reason, change_us = (plan.reason if plan.train else None), plan.change_us
        if reason is None:
            return
        judged = player.name == "checklist" and "alarm" in training.triggers
        model = fit(seen.history, classes=player.classes, seed=training.seed, judged=judged)
        if model is not None:
            player.train(model, now_us, reason, seen.learnt_us)
            player.change_us = player.change_us if change_us is None else change_us
            if player.change_us is not None:
                player.taught_rows = seen.rows_since(player.change_us)

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
        return newest(nothing, self._inputs(table, signature)[known], truth[known])

    @property
    def _window_us(self) -> int:
        size = self.deployment.checklist.monitoring.window.duration
        return DAY_US if size is None else size.microseconds

    def _windows(self, signature: Signature) -> Iterator[tuple[int, pa.Table]]:
        """Rows of each window with its end, in order; empty windows are left out."""
        import pyarrow as pa

        length_us = self._window_us
        names = ", ".join('p."' + f"{INPUT}{one.name}".replace('"', '""') + '"' for one in signature.columns)
        reader = PredictionLog(self.deployment).query(
            f"SELECT epoch_us(p.time) AS time, p.model_version, p.score, p.prediction, p.y, "  # noqa: S608 - quoted
            f"epoch_us(p.observed_at) AS observed, {names} "
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


def _held_us(training: Training, delay_us: int) -> int:
    """How much older than just known a row must be to teach: the test judges, and does not teach."""
    if training.refit or training.split != "time":
        return 0
    gap_us = delay_us if training.gap is None else training.gap.microseconds
    return delay_us + training.test.microseconds + gap_us


def _outcome(player: Player, change_us: int | None, training: Training) -> PolicyOutcome:
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
        quality=player.whole.quality(),
        mean_loss=player.whole.loss / player.whole.rows if player.whole.rows else 0.0,
        error_cost=player.cost,
        training_cost=len(player.trained) * training.cost,
    )
