"""Compress one version: split its reference, make candidates, measure, judge, choose, register."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import (
    Artifact,
    Packer,
    Reference,
    ReferenceDataError,
    open_artifact,
)
from holdfast.clock import Clock, iso_utc
from holdfast.compress.candidates import Candidate, NotTried, Original, Way, open_session
from holdfast.compress.dense import low_rank, pruned, sparse
from holdfast.compress.errors import CompressError
from holdfast.compress.forests import fewer_trees
from holdfast.compress.judging import Judge
from holdfast.compress.probe import BATCH_ROWS, Probed, ProbePlan
from holdfast.compress.quantising import quantised
from holdfast.compress.report import CompressReport, Measured, Skipped, frontier
from holdfast.compress.simplifying import half_arithmetic, half_weights, slimmed
from holdfast.compress.students import distilled
from holdfast.errors import HoldfastError
from holdfast.registry import Candidate as Prepared
from holdfast.registry import ModelVersion, Registry, prepare_variant, register_variant, stored_reference
from holdfast.spec import Compute, Deployment

EVIDENCE_KIND: Final = "compression"
WAYS: Final[tuple[tuple[str, Way], ...]] = (
    ("slim", slimmed),
    ("half weights", half_weights),
    ("half arithmetic", half_arithmetic),
    ("int8", quantised),
    ("pruned", pruned),
    ("sparse", sparse),
    ("low rank", low_rank),
    ("trees", fewer_trees),
    ("students", distilled),
)
_LEARN_SHARE: Final = 0.4
"""Of the reference, to calibrate and teach; the rest judges, since a bound needs rows more than a student."""
_FEWEST_JUDGES: Final = 100
_MOST_ROWS: Final = 100_000
_PROBE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a candidate must keep."""

    allowed_loss: float
    model_size_mb: float
    p99_ms: float


@dataclass(slots=True)
class _Bench:
    """Measures candidates against the original, in files of one folder."""

    folder: Path
    original: Artifact
    compute: Compute
    cores: tuple[int, ...]
    round_s: float

    def probe(self, model: bytes, prepared: Prepared) -> Probed:
        path = self.folder / "candidate.onnx"
        path.write_bytes(model)
        plan = ProbePlan(
            candidate=str(path),
            original=str(self.original.model_file),
            candidate_execution=prepared.execution,
            original_execution=self.original.execution,
            feeds=str(self.folder / "feeds.npz"),
            compute=self.compute,
            cores=self.cores,
            round_s=self.round_s,
        )
        (self.folder / "plan.json").write_bytes(msgspec.json.encode(plan))
        done = subprocess.run(
            [sys.executable, "-P", "-m", "holdfast.compress.probe", str(self.folder / "plan.json")],
            capture_output=True,
            check=False,
            timeout=_PROBE_S,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise CompressError("the candidate cannot be measured", received=lines[-1][:300])
        return msgspec.json.decode(done.stdout, type=Probed)


def compress_version(
    deployment: Deployment,
    registry: Registry,
    clock: Clock,
    *,
    version: str | None = None,
    allowed_loss: float | None = None,
    extra: Reference | None = None,
    register: bool = True,
    actor: str,
    seed: int = 0,
    round_s: float = 0.08,
    machine: str = "",
    said: Callable[[str], None] = lambda _: None,
) -> CompressReport:
    """Try every way, measure and judge each candidate, and register the smallest that keeps the budget.

    A minute or two: each candidate is measured for about `28 * round_s` seconds in a process of its own.

    Args:
        deployment: whose `[compute]`, `[speed]` and `[rollout] margin` are the budget.
        registry: of the deployment.
        clock: time.
        version: which; the champion by default.
        allowed_loss: by which it may be worse, in units of the loss; `[rollout] margin` by default.
        extra: rows without labels, for students to learn from (of the log).
        register: the chosen one becomes a challenger.
        actor: who asks.
        seed: of every split and draw.
        round_s: length of one turn of measurement.
        machine: in words, for the evidence.
        said: is told of each step.

    Raises:
        CompressError: no champion, no reference, too few rows, or a model that is no graph.
    """
    found = _find(registry, version)
    artifact = open_artifact(deployment.artifacts_folder / found.artifact_folder)
    if artifact.runtime != "onnx":
        raise CompressError(
            "a Python callable is no graph that could be compressed", next_step="Export the model to ONNX."
        )
    learn, judges = _split(_reference(deployment, found), seed)
    original = _original(artifact, learn, extra, seed)
    budget = Budget(
        deployment.checklist.rollout.margin if allowed_loss is None else allowed_loss,
        deployment.checklist.compute.model_size_mb,
        deployment.checklist.speed.p99_ms,
    )
    candidates, skipped = _made(original, said)
    judge = _judge(artifact, judges, len(candidates), seed)
    cores = _cores(deployment.checklist.compute.cores)
    with tempfile.TemporaryDirectory(prefix="holdfast-compress-") as name:
        bench = _Bench(Path(name), artifact, deployment.checklist.compute, cores[:1], round_s)
        _store_feeds(bench.folder, artifact, judges)
        base = bench.probe(original.model, _prepared(original.model, artifact, judges, "the original"))
        measured, ready = [], {}
        for candidate in candidates:
            said(f"measuring: {candidate.name}")
            try:
                one = _measure(bench, judge, artifact, candidate)
            except HoldfastError as error:
                skipped.append(Skipped(name=candidate.name, why=str(error)[:300]))
                continue
            gains = one.gains(base.memory_mb)
            if not gains:
                skipped.append(Skipped(name=candidate.name, why="better on no axis"))
            measured.append(one)
            ready[candidate.name] = candidate
    best = frontier(measured, base.memory_mb)
    chosen, missing = choose(best, budget)
    registered = None
    if chosen is not None and register:
        final = _ready(deployment, found, artifact, ready[chosen.name])
        registered = _register(deployment, registry, final, (found, chosen), actor=actor, clock=clock)
    return CompressReport(
        version=found.version,
        size_bytes=artifact.size_bytes,
        memory_mb=base.memory_mb,
        p50_ms=base.p50_ms,
        rows_per_s=base.rows_per_s,
        allowed_loss=budget.allowed_loss,
        rows_learned_from=original.rows,
        rows_judged_on=len(judges),
        tried=len(candidates),
        frontier=best,
        skipped=tuple(skipped),
        chosen=None if chosen is None else chosen.name,
        registered=registered,
        missing=missing,
        confined="affinity to one core, a worker's share of [compute]",
        machine=machine,
    )


def _find(registry: Registry, version: str | None) -> ModelVersion:
    wanted = version or registry.route().champion
    if wanted is None:
        raise CompressError(
            "there is no champion to compress", next_step="holdfast register MODEL --reference FILE"
        )
    return registry.version(wanted)


def _reference(deployment: Deployment, version: ModelVersion) -> Reference:
    try:
        reference = stored_reference(deployment, version)
    except ReferenceDataError as error:
        raise CompressError(
            "the version has no reference to judge candidates on",
            where=f"version {version.version}",
            next_step="Register it with --reference.",
        ) from error
    if len(reference) < 2 * _FEWEST_JUDGES:
        raise CompressError(
            "the reference is too short to judge a candidate on",
            expected=f"at least {2 * _FEWEST_JUDGES} rows",
            received=str(len(reference)),
        )
    return reference


def _split(reference: Reference, seed: int) -> tuple[Reference, Reference]:
    """Rows to learn from and rows that judge, at random."""
    order = np.random.default_rng(seed).permutation(len(reference))[:_MOST_ROWS]
    cut = int(len(order) * _LEARN_SHARE)
    parts = [reference.table.take(np.sort(rows)) for rows in (order[:cut], order[cut:])]
    first, second = (Reference(part, reference.label, reference.time) for part in parts)
    return first, second


def _feeds(artifact: Artifact, rows: Reference) -> dict[str, NDArray[Any]]:
    columns = rows.columns(column.name for column in artifact.signature.columns)
    return dict(Packer(artifact.signature).pack(columns, len(rows)))


def _original(artifact: Artifact, learn: Reference, extra: Reference | None, seed: int) -> Original:
    model = artifact.model_file.read_bytes()
    feeds = _feeds(artifact, learn)
    if extra is not None and len(extra):
        more = _feeds(artifact, extra)
        feeds = {name: np.concatenate([values, more[name]]) for name, values in feeds.items()}
    names = [tensor.name for tensor in artifact.signature.outputs]
    outputs = dict(zip(names, open_session(model).run(names, feeds), strict=True))
    return Original(model, artifact.signature, feeds, outputs, seed)


def _made(original: Original, said: Callable[[str], None]) -> tuple[list[Candidate], list[Skipped]]:
    candidates, skipped = [], []
    seen = {original.model}
    for name, way in WAYS:
        said(f"making: {name}")
        for one in _guarded(name, way, original):
            if isinstance(one, NotTried):
                skipped.append(Skipped(name=one.name, why=one.why))
            elif one.model not in seen:
                seen.add(one.model)
                candidates.append(one)
    return candidates, skipped


def _guarded(name: str, way: Way, original: Original) -> Iterator[Candidate | NotTried]:
    try:
        yield from way(original)
    except Exception as error:  # noqa: BLE001 - a tool that fails on this graph leaves the other ways alone
        text = str(error).strip().splitlines() or [type(error).__name__]
        yield NotTried(name, f"{type(error).__name__}: {text[0][:200]}")


def _judge(artifact: Artifact, judges: Reference, tries: int, seed: int) -> Judge:
    prepared = _prepared(artifact.model_file.read_bytes(), artifact, judges, "the original")
    answer = prepared.answer(judges)
    prepared.runtime.close()
    return Judge(artifact.signature, judges, answer, max(tries, 1), seed)


def _prepared(model: bytes, artifact: Artifact, judges: Reference, how: str) -> Prepared:
    return prepare_variant(model, artifact.signature, judges, where=how)


def _store_feeds(folder: Path, artifact: Artifact, judges: Reference) -> None:
    feeds = _feeds(artifact, judges.head(BATCH_ROWS))
    plain = {name: values.astype(str) if values.dtype == object else values for name, values in feeds.items()}
    np.savez(str(folder / "feeds.npz"), **plain)  # type: ignore[arg-type] # every keyword is an array's name


def _measure(bench: _Bench, judge: Judge, artifact: Artifact, candidate: Candidate) -> Measured:
    prepared = _prepared(candidate.model, artifact, judge.reference, candidate.how)
    try:
        answer = prepared.answer(judge.reference)
    finally:
        prepared.runtime.close()
    return Measured(
        name=candidate.name,
        how=candidate.how,
        size_bytes=len(candidate.model),
        size_ratio=len(candidate.model) / artifact.size_bytes,
        probed=bench.probe(candidate.model, prepared),
        judgement=judge.judge(answer),
        one_by_one=prepared.execution.one_by_one,
    )


def choose(best: tuple[Measured, ...], budget: Budget) -> tuple[Measured | None, str]:
    """The smallest that keeps the budget; or None and, in words, what is missing and by how much."""
    if not best:
        return None, "nothing is to be gained: no candidate is better than the original on any axis"
    faults = {one.name: _fault(one, budget) for one in best}
    for one in best:
        if faults[one.name] is None:
            return one, ""
    nearest = min(best, key=lambda one: one.judgement.upper)
    return None, f"nearest is {nearest.name}: {faults[nearest.name]}"


def _fault(one: Measured, budget: Budget) -> str | None:
    faults = []
    if one.judgement.upper > budget.allowed_loss:
        by = one.judgement.upper - budget.allowed_loss
        faults.append(
            f"its loss may be up to {one.judgement.upper:.4f}, {by:.4f} more than the allowed "
            f"{budget.allowed_loss:g} (measured {one.judgement.loss:+.4f} on {one.judgement.rows} rows; "
            "more rows narrow the bound)"
        )
    size_mb = one.size_bytes / 1e6
    if size_mb > budget.model_size_mb:
        faults.append(
            f"it has {size_mb:.3g} MB, {size_mb - budget.model_size_mb:.3g} more than model_size_mb"
        )
    if one.probed.p99_ms > budget.p99_ms:
        over = one.probed.p99_ms - budget.p99_ms
        faults.append(f"one row takes {one.probed.p99_ms:.3g} ms at p99, {over:.3g} more than p99_ms")
    return "; ".join(faults) or None


def _ready(
    deployment: Deployment, original: ModelVersion, artifact: Artifact, candidate: Candidate
) -> Prepared:
    return prepare_variant(
        candidate.model,
        artifact.signature,
        stored_reference(deployment, original),
        where=f"version {original.version}, compressed: {candidate.name}",
        notes=(f"{candidate.how}; made of version {original.version}",),
    )


def _register(
    deployment: Deployment,
    registry: Registry,
    candidate: Prepared,
    what: tuple[ModelVersion, Measured],
    *,
    actor: str,
    clock: Clock,
) -> str:
    original, measured = what
    reference = stored_reference(deployment, original)
    try:
        added = register_variant(deployment, registry, candidate, reference, actor=actor, clock=clock)
    finally:
        candidate.runtime.close()
    payload = {**msgspec.to_builtins(measured), "made_of": original.version, "at": iso_utc(clock.now_us())}
    registry.attach_evidence(added.version, EVIDENCE_KIND, payload)
    return added.version


def _cores(count: int) -> tuple[int, ...]:
    import os

    return tuple(sorted(os.sched_getaffinity(0))[-count:]) if hasattr(os, "sched_getaffinity") else ()
