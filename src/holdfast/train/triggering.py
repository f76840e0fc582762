"""What the policy must know, read from registry, log and earlier trainings."""

from __future__ import annotations

from holdfast.clock import Clock
from holdfast.prediction_log import PredictionLog
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.train.diagnosed import DIAGNOSIS, onset_of
from holdfast.train.log_source import now_of
from holdfast.train.policy import Plan, State, decide
from holdfast.train.runs import Run, past_runs


def due(
    deployment: Deployment, registry: Registry, clock: Clock, triggers: tuple[str, ...] | None = None
) -> Plan:
    """Whether a training is due now. The alarm and the quality are those of the newest stored diagnosis.

    Args:
        deployment: the deployment.
        registry: of the deployment.
        clock: wall time, where rows do not carry their own.
        triggers: to ask; None: those of the checklist.
    """
    return decide(state_of(deployment, registry, clock), deployment.checklist.training, triggers)


def state_of(deployment: Deployment, registry: Registry, clock: Clock) -> State:
    """What is known now. Trainings that failed, or are under way, count: they cost as much."""
    log = PredictionLog(deployment)
    now_us = now_of(deployment, log, clock)
    timed = bool(deployment.checklist.predictions.time_field)
    runs = list(past_runs(deployment))
    trained = sorted(
        one.data_until_us if timed and one.data_until_us is not None else one.started_at_us for one in runs
    )
    champion = registry.route().champion
    found = [] if champion is None else registry.evidence(champion, DIAGNOSIS, limit=1)
    payload = found[0].payload if found else {}
    change_us, taught = onset_of(payload) if payload.get("alarm") else None, None
    if not payload.get("alarm") and (told := told_of(runs)) is not None:
        change_us, taught = told
    quality = payload.get("quality") or {}
    newest = quality.get("after") or quality.get("before") or {}
    metric = str(quality.get("metric") or "")
    since_us = trained[-1] if trained else None
    return State(
        now_us=now_us,
        trained_us=tuple(trained),
        made_us=_made_us(registry, log, champion, timed=timed),
        alarm=bool(payload.get("alarm")),
        quality=newest.get("value"),
        higher_is_better="error" not in metric,
        new_labels=_labels_since(log, since_us),
        fault=bool(payload.get("alarm")) and "data fault" in payload.get("kinds", ()),
        change_us=change_us,
        learnable_rows=None if change_us is None else learnable_rows(deployment, log, change_us, now_us),
        taught_rows=taught,
    )


def told_of(runs: list[Run]) -> tuple[int, int] | None:
    """Beginning of the change that an alarm told of last, and the rows since then that were learnt from.

    Args:
        runs: oldest first.

    Returns:
        None where no alarm has started a training.
    """
    change_us = next((one.change_us for one in reversed(runs) if one.change_us is not None), None)
    if change_us is None:
        return None
    taught = (one.change_rows or 0 for one in runs if one.change_us == change_us and one.state != "failed")
    return change_us, max(taught, default=0)


def learnable_rows(deployment: Deployment, log: PredictionLog, since_us: int, now_us: int) -> int:
    """Rows of the log since a change that would teach now."""
    training, delay_us = (
        deployment.checklist.training,
        deployment.checklist.monitoring.label_delay.microseconds,
    )
    end_us = now_us - (0 if training.immature == "correct" else delay_us)
    if training.split == "time" and not training.refit:
        gap_us = delay_us if training.gap is None else training.gap.microseconds
        end_us -= training.test.microseconds + gap_us
    labelled = "" if training.unlabelled == "negative" else " AND y IS NOT NULL"
    query = (
        f"SELECT count(*) AS n FROM joined WHERE time >= make_timestamptz({int(since_us)}) "  # noqa: S608 - numbers
        f"AND time < make_timestamptz({int(end_us)}) AND coalesce(arm, '') <> 'shadow'{labelled}"
    )
    return int(log.query(query).read_all().column("n").to_pylist()[0])


def _made_us(registry: Registry, log: PredictionLog, champion: str | None, *, timed: bool) -> int | None:
    """When the champion was registered; where rows carry their own time, that of the first of them."""
    if champion is None:
        return None
    if not timed:
        return registry.version(champion).created_at_us
    found = log.query("SELECT epoch_us(min(time)) AS first FROM predictions").read_all()
    first: int | None = found.column("first").to_pylist()[0]
    return first


def _labels_since(log: PredictionLog, since_us: int | None) -> int:
    where = "" if since_us is None else f" WHERE observed_at >= make_timestamptz({int(since_us)})"
    query = f"SELECT count(DISTINCT prediction_id) AS n FROM labels{where}"  # noqa: S608 - a number
    return int(log.query(query).read_all().column("n").to_pylist()[0])
