"""What the policy must know, read from registry, log and earlier trainings."""

from __future__ import annotations

from holdfast.clock import Clock
from holdfast.prediction_log import PredictionLog
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.train.diagnosed import DIAGNOSIS
from holdfast.train.log_source import now_of
from holdfast.train.policy import Plan, State, decide
from holdfast.train.runs import past_runs


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
    trained = sorted(
        one.data_until_us if timed and one.data_until_us is not None else one.started_at_us
        for one in past_runs(deployment)
    )
    champion = registry.route().champion
    found = [] if champion is None else registry.evidence(champion, DIAGNOSIS, limit=1)
    payload = found[0].payload if found else {}
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
    )


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
