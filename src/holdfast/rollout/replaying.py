"""Replaying a rollout of a deployment."""

from __future__ import annotations

from holdfast.artifact import open_artifact
from holdfast.clock import Clock
from holdfast.prediction_log import PredictionLog
from holdfast.registry import Registry
from holdfast.rollout.errors import RolloutError
from holdfast.rollout.log_evidence import LogEvidence
from holdfast.rollout.losses import losses_of
from holdfast.rollout.replay import Replayed, replay
from holdfast.rollout.starting import baseline_answers
from holdfast.rollout.values import terms_of
from holdfast.spec import Deployment


def replay_rollout(
    deployment: Deployment, registry: Registry, number: int, *, clock: Clock, looks: int
) -> list[Replayed]:
    """What the policy would have done in a rollout under the deployment's checklist; see `replay`.

    Args:
        deployment: with the terms.
        registry: of the deployment.
        number: of the rollout.
        clock: the end of the replay is now, where the rollout's deadline is later.
        looks: how many, evenly.

    Raises:
        RolloutError: there is no such rollout, or its baseline cannot be read.
    """
    known = {one.number: one for one in registry.rollouts.all()}
    rollout = known.get(number)
    if rollout is None:
        raise RolloutError(
            "there is no such rollout",
            where=str(number),
            expected=", ".join(map(str, known)) or "none, since none has been started",
        )
    version = registry.version(rollout.challenger)
    signature = open_artifact(deployment.artifacts_folder / version.artifact_folder).signature
    terms = terms_of(deployment.checklist)
    log = LogEvidence(
        PredictionLog(deployment),
        losses_of(deployment, signature, rollout),
        terms.maturity_us,
        baseline_answers(rollout.baseline),
    )
    if not log.has_answers:
        return []
    settings = deployment.checklist.rollout
    slices = [
        (field, value) for field in settings.slices for value in log.frequent(field, settings.most_slices)
    ]
    until_us = min(clock.now_us(), rollout.deadline_us)
    every_us = max((until_us - rollout.started_at_us) // looks, 1)
    return replay(terms, log, rollout, slices, until_us=until_us, every_us=every_us)
