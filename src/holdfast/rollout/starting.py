"""Starting a rollout: check, update contract, slices, earliest date, and only then traffic."""

from __future__ import annotations

import csv
import hashlib
import secrets
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.artifact import open_artifact
from holdfast.clock import Clock
from holdfast.prediction_log import PredictionLog
from holdfast.registry import Registry, Rollout, deciding_loss_of
from holdfast.rollout.checks import require_check
from holdfast.rollout.contract import Contract, write_contract
from holdfast.rollout.errors import ContractError, RolloutError
from holdfast.rollout.exposure import earliest_decision_us
from holdfast.rollout.log_evidence import LogEvidence
from holdfast.rollout.losses import Losses
from holdfast.rollout.values import terms_of
from holdfast.spec import Deployment

_RATE_US: Final = 86_400_000_000
"""Stretch of the log from which the expected rate is taken."""


def start_rollout(
    deployment: Deployment,
    registry: Registry,
    version: str,
    *,
    clock: Clock,
    actor: str,
    reason: str,
    waive: str = "",
    baseline: str = "",
    supersede: bool = False,
) -> tuple[Rollout, Contract | None]:
    """Open a rollout, in shadow.

    Args:
        deployment: its checklist's terms hold until the end.
        registry: of the deployment.
        version: the challenger.
        clock: the time of the start.
        actor: who starts it.
        reason: for the audit.
        waive: why a missing check or a change beyond the contract is accepted; "": it is not.
        baseline: of a first deployment, what is in place today: `constant:ANSWER` or `answers:FILE`, a CSV
            file with the columns prediction_id and answer. "": an update of the champion.
        supersede: stop the open rollout of another challenger with the start of this one.

    Returns:
        The rollout, and for an update the contract.

    Raises:
        UncheckedError: the version has no passed check.
        ContractError: it would not answer today's callers, or changes more than the checklist allows.
        RegistryError: one is open already, there is nothing to compare with, or no loss that could decide.
        RolloutError: the baseline cannot be read.
    """
    found = registry.version(version)
    described: dict[str, Any] = read_baseline(baseline) if baseline else {}
    require_check(registry, version, deployment.checklist_hash, waive)
    champion = registry.route().champion
    contract: Contract | None = None
    signature = open_artifact(deployment.artifacts_folder / found.artifact_folder).signature
    known = (version,) if baseline or champion is None else (champion, version)
    decides = deciding_loss_of(deployment, signature, *known)
    if not baseline and champion is not None and champion != version:
        contract = write_contract(deployment, registry, version, champion, decides)
        registry.attach_evidence(version, "contract", msgspec.to_builtins(contract))
        _keep(contract, version, waive)
    terms = terms_of(deployment.checklist)
    log = LogEvidence(PredictionLog(deployment), Losses.of(signature, decides), terms.maturity_us)
    _check_assignment(deployment, {column.name for column in signature.columns})
    now_us = clock.now_us()
    logged = deployment.checklist.logging.enabled
    rate = log.rows_per_s(now_us - _RATE_US, now_us) if logged else 0.0
    settings = deployment.checklist.rollout
    slices = _slices(log, settings.slices, settings.most_slices) if settings.slices else []
    rollout = registry.rollouts.start(
        version,
        kind="first" if baseline else "update",
        baseline=described,
        assignment_key=secrets.token_bytes(16),
        deadline_us=now_us + deployment.checklist.rollout.deadline.microseconds,
        earliest_decision_us=earliest_decision_us(terms, now_us, rate),
        reason=reason,
        actor=actor,
        checklist_hash=deployment.checklist_hash,
        report={},
        waived=waive,
        supersede=supersede,
    )
    registry.rollouts.report(rollout.number, {}, {"slices": slices})
    return rollout, contract


def _check_assignment(deployment: Deployment, inputs: set[str]) -> None:
    field = deployment.checklist.rollout.assign_by
    checklist = deployment.checklist
    known = {
        *inputs,
        *checklist.logging.context_fields,
        checklist.predictions.id_field,
        checklist.privacy.subject_field,
    }
    if field and field not in known:
        raise RolloutError(
            "records have no such field to assign by",
            where="rollout.assign_by",
            expected="one of " + ", ".join(sorted(known - {""})),
            received=repr(field),
        )


def _slices(log: LogEvidence, fields: tuple[str, ...], most: int) -> list[tuple[str, str]]:
    """The values to watch; a slice that cannot be watched stops the start, since it would go unseen."""
    found = []
    for field in fields:
        values = log.frequent(field, most)
        if not values:
            raise RolloutError(
                "the log holds no values of a slice, so nobody would see it get worse",
                where=f"rollout.slices: {field}",
                expected="an input or context field that is logged as it is, and some traffic",
                next_step="Wait for the champion's traffic, log the field, or take it out of slices",
            )
        found += [(field, value) for value in values]
    return found


def _keep(contract: Contract, version: str, waive: str) -> None:
    if contract.incompatible:
        raise ContractError(
            "the challenger and the champion do not take the same records or give the same answers",
            where=f"version {version}",
            received="; ".join(contract.incompatible),
            next_step="Register a version with today's signature, or change callers and promote by hand",
        )
    if contract.beyond and not waive.strip():
        raise ContractError(
            "the challenger changes more than the checklist allows",
            where=f"version {version}",
            received="; ".join(contract.beyond),
            next_step="Accept it with --waive REASON, or raise max_flips or max_volume_change in [rollout]",
        )


def read_baseline(text: str) -> dict[str, Any]:
    """What is in place today, as it stands in the registry.

    Raises:
        RolloutError: neither `constant:ANSWER` nor `answers:FILE`, or the file cannot be read.
    """
    kind, _, value = text.partition(":")
    if kind == "constant" and value:
        return {"kind": "constant", "answer": value}
    if kind == "answers" and value:
        path = Path(value).absolute()
        answers = baseline_answers({"kind": "answers", "file": str(path)})
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {"kind": "answers", "file": str(path), "sha256": digest, "rows": len(answers or ())}
    raise RolloutError(
        "not a baseline",
        where="--baseline",
        expected="constant:ANSWER, or answers:FILE with the columns prediction_id and answer",
        received=repr(text[:80]),
    )


def baseline_answers(baseline: dict[str, Any]) -> dict[str, str] | str | None:
    """The answers of today's rule or person by prediction id, or the one constant.

    Raises:
        RolloutError: the file is gone, is not what it was, or lacks a column.
    """
    if baseline.get("kind") == "constant":
        return str(baseline["answer"])
    if baseline.get("kind") != "answers":
        return None
    path = Path(baseline["file"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RolloutError("the answers cannot be read", where=str(path), received=error.strerror) from error
    expected = baseline.get("sha256")
    if expected is not None and hashlib.sha256(data).hexdigest() != expected:
        raise RolloutError(
            "the answers are not those that the rollout was started with",
            where=str(path),
            next_step="Start a new rollout with the new file",
        )
    reader = csv.DictReader(data.decode("utf-8").splitlines())
    if not {"prediction_id", "answer"} <= set(reader.fieldnames or ()):
        raise RolloutError(
            "columns are missing",
            where=str(path),
            expected="prediction_id and answer",
            received=", ".join(reader.fieldnames or ()) or "an empty file",
        )
    return {row["prediction_id"]: row["answer"] for row in reader}
