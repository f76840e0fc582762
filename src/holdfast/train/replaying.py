"""The policy replayed on history: what it would have done, against never, monthly and at every window.

The log is read once, in order of time, a window at a time; memory holds one window and the newest
`LARGEST_FIT` mature labelled rows, however long the history. Retrained models are boosted trees that stand in
for the trainer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from holdfast.artifact import Signature, open_artifact
from holdfast.clock import iso_utc
from holdfast.prediction_log import PredictionLog
from holdfast.registry import Registry
from holdfast.runtime import Runtime, open_runtime
from holdfast.spec import Deployment
from holdfast.spec.checklist import Training
from holdfast.train.diagnosed import DIAGNOSIS, onset_of
from holdfast.train.errors import TrainError
from holdfast.train.learnable import Learnable
from holdfast.train.past_alarms import PastAlarms
from holdfast.train.player import Player
from holdfast.train.policy import State, decide
from holdfast.train.replayed_rows import ReplayedRows
from holdfast.train.standing_in import fit

DAY_US: Final = 86_400_000_000
POLICIES: Final = ("checklist", "never", "monthly", "always")


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


def replay(deployment: Deployment, registry: Registry) -> Replay:
    """Play `[training]` through the log, beside three simple policies.

    A decision knows what was known at its time: a row teaches, and speaks for or against a model, only once
    it is `label_delay` old, with the label that had come by then; a label that came later teaches from then
    on. Without `refit` the newest rows are the test of every policy's trainings, and do not teach. The
    policies are judged by all labels that are known now.

    Args:
        deployment: with a log whose predictions have labels.
        registry: for the first version's artifact and reference, and for the diagnosis.

    Raises:
        TrainError: the log holds no labelled prediction, or the task has neither one chance nor one number.
    """
    return _Run(deployment, registry).play()


@dataclass(frozen=True, slots=True)
class _Run:
    deployment: Deployment
    registry: Registry

    def play(self) -> Replay:
        version, signature, runtime = self._first()
        size = self.deployment.checklist.monitoring.window.duration
        window_us = DAY_US if size is None else size.microseconds
        rows = ReplayedRows(self.deployment, signature, version, runtime, window_us)
        try:
            return self._play(rows)
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

    def _play(self, source: ReplayedRows) -> Replay:
        training, monitoring = self.deployment.checklist.training, self.deployment.checklist.monitoring
        diagnosis, notes = self._diagnosis(source.version)
        delay_us = monitoring.label_delay.microseconds
        monitor, change_us = PastAlarms.of(diagnosis, delay_us), onset_of(diagnosis)
        learnable = Learnable(delay_us, _held_us(training, delay_us), source.reference())
        threshold, classes = source.signature.threshold, source.signature.task == "binary"
        players = [Player(name, classes, threshold, monitoring) for name in POLICIES]
        rows = labelled = unanswered = windows = 0
        first_us = last_us = None
        for window in source.windows():
            first_us = int(window.time_us[0]) if first_us is None else first_us
            last_us = int(window.time_us[-1])
            windows += 1
            rows += len(window)
            known = window.labelled
            labelled += int(known.sum())
            unanswered += int((np.isfinite(window.truth) & ~known).sum())
            inputs, truth, observed_us = window.inputs[known], window.truth[known], window.observed_us[known]
            in_time = observed_us <= window.time_us[known] + delay_us
            for player in players:
                player.answer(
                    window.base[known],
                    inputs,
                    truth,
                    in_time,
                    begun_us=int(window.time_us[0]),
                    ripe_us=last_us + delay_us,
                )
            learnable.add(inputs, truth, observed_us, in_time, number=windows, last_us=last_us)
            new_labels = learnable.learn(window.end_us)
            raised_us = monitor.since(window.end_us)
            alarm_us = None if raised_us is None else raised_us - source.window_us
            for player in players:
                player.labels += new_labels
                player.ripen(window.end_us)
                _decide(
                    player, learnable, training, now_us=window.end_us, began_us=first_us, alarm_us=alarm_us
                )
        if first_us is None or last_us is None or not labelled:
            raise TrainError("no prediction of the log has a label", where=str(self.deployment.log_folder))
        if unanswered:
            notes.append(
                f"{unanswered} labelled rows are left out: version {source.version} answers them with no "
                "number."
            )
        return Replay(
            since=iso_utc(first_us),
            until=iso_utc(last_us),
            windows=windows,
            rows=rows,
            labelled=labelled,
            version=source.version,
            change=None if change_us is None else iso_utc(change_us),
            alarms=tuple(iso_utc(one) for one in monitor.raised()),
            policies=tuple(_outcome(one, change_us, training) for one in players),
            currency=monitoring.currency,
            notes=tuple(notes),
        )

    def _diagnosis(self, version: str) -> tuple[dict[str, Any], list[str]]:
        found = self.registry.evidence(version, DIAGNOSIS, limit=1)
        if not found:
            return {}, ["no diagnosis is stored, so the monitor's alarms are not known: run holdfast monitor"]
        return found[0].payload, []


def _decide(
    player: Player,
    learnable: Learnable,
    training: Training,
    *,
    now_us: int,
    began_us: int,
    alarm_us: int | None,
) -> None:
    """Train, if the player's policy says so.

    Args:
        player: who decides, on what every policy knows at this moment.
        learnable: rows that can be learnt from.
        training: as the checklist says.
        now_us: the end of a window.
        began_us: time of the first row: the schedule counts from there until the first training, as it does
            live.
        alarm_us: beginning of the window that raised the monitor's standing alarm.
    """
    trained = tuple(at for at, _ in player.trained)
    reason = change_us = None
    if player.name == "always":
        reason = "every window"
    elif player.name == "monthly":
        if now_us - (trained[-1] if trained else began_us) >= 30 * DAY_US:
            reason = "a month has passed"
    elif player.name == "checklist":
        # The monitor judged the first model; of later ones the replay must tell by their loss.
        alarm_us = alarm_us if player.model is None else player.worse_since_us
        change_us = player.change_us if alarm_us is None else alarm_us
        state = State(
            now_us=now_us,
            trained_us=trained,
            made_us=began_us,
            alarm=alarm_us is not None,
            change_us=change_us,
            learnable_rows=None if change_us is None else learnable.rows_since(change_us),
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
    model = fit(learnable.history, classes=player.classes, seed=training.seed, judged=judged)
    if model is not None:
        player.train(model, now_us, reason, learnable.newest_us)
        player.change_us = player.change_us if change_us is None else change_us
        if player.change_us is not None:
            player.taught_rows = learnable.rows_since(player.change_us)


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
