"""Compress one version: split its reference, make candidates, measure, judge, choose, register."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version as version_of
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
from holdfast.building import building_folder
from holdfast.clock import Clock, iso_utc
from holdfast.compress.bench import Bench
from holdfast.compress.candidates import Candidate, NotTried, Original, Way, open_session
from holdfast.compress.choosing import Budget, choose
from holdfast.compress.dense import low_rank, pruned, sparse
from holdfast.compress.errors import CompressError
from holdfast.compress.forests import fewer_trees
from holdfast.compress.judging import Judge, Judgement
from holdfast.compress.probe import Probed
from holdfast.compress.progress import Progress
from holdfast.compress.quantising import quantised
from holdfast.compress.report import GAIN, CompressReport, Measured, Skipped, frontier
from holdfast.compress.simplifying import half_arithmetic, half_weights, slimmed
from holdfast.compress.students import distilled
from holdfast.errors import HoldfastError
from holdfast.registry import Candidate as Prepared
from holdfast.registry import ModelVersion, Registry, prepare_variant, register_variant, stored_reference
from holdfast.spec import Deployment

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

    Each candidate is judged first; what loses far more than is allowed is measured only where nothing else
    fits. A measurement takes about `28 * round_s` seconds in a process of its own, less where no gain shows.

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
    rows = 0 if extra is None else len(extra)
    ways = [name for name, _ in WAYS]
    what = f"{found.sha256} {found.version} {seed} {rows} {round_s} {machine} {ways} {version_of('holdfast')}"
    progress = Progress(deployment.run_folder, what)
    made = progress.made()
    if made is None:
        made = _made(original, said)
        progress.keep_made(*made)
    else:
        said("going on where the last one was broken off")
    candidates, skipped = made
    judge = _judge(artifact, judges, len(candidates), seed)
    cores = _cores(deployment.checklist.compute.cores)
    with building_folder(Path(tempfile.gettempdir()), "holdfast-compress-") as folder:
        bench = Bench(folder, artifact, deployment.checklist.compute, cores[:1], round_s)
        bench.store_feeds(judges)
        prepared = _prepared(original.model, artifact, judges, "the original")
        prepared.runtime.close()  # only how it is run is asked for
        base = bench.probe(original.model, prepared, limited=False)
        budget = _budget(deployment, artifact, base, allowed_loss)
        trial = _Trial(bench, judge, budget=budget, base=base, progress=progress, said=said)
        trial.measure(candidates)
        best = frontier(trial.measured, base.memory_mb)
        chosen, missing = choose(best, budget)
        if chosen is None and trial.hopeless:
            trial.measure([candidate for candidate, _ in trial.hopeless], hopeless_too=True)
            best = frontier(trial.measured, base.memory_mb)
            chosen, missing = choose(best, budget)
    if not trial.measured and trial.skipped:
        missing = f"no candidate could be measured: {trial.skipped[0].why}"
    skipped += trial.skipped
    skipped += [
        Skipped(
            name=candidate.name,
            why=f"not measured: it loses {judgement.loss:.4f}, and {budget.allowed_loss:g} is allowed",
        )
        for candidate, judgement in trial.hopeless
    ]
    ready = {candidate.name: candidate for candidate in candidates}
    registered = None
    if chosen is not None and register:
        final = _ready(deployment, found, artifact, ready[chosen.name])
        registered = _register(deployment, registry, final, (found, chosen), actor=actor, clock=clock)
    progress.end()
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
        confined="affinity to one core, a worker's share of [compute]; each candidate alone within memory_mb",
        machine=machine,
    )


def _budget(deployment: Deployment, artifact: Artifact, base: Probed, allowed_loss: float | None) -> Budget:
    checklist = deployment.checklist
    compute, speed = checklist.compute, checklist.speed
    return Budget(
        checklist.rollout.margin if allowed_loss is None else allowed_loss,
        compute.model_size_mb,
        speed.p99_ms,
        qps=speed.qps if checklist.predictions.mode == "realtime" else 0.0,
        cores=compute.cores,
        must_shrink=artifact.size_bytes > compute.model_size_mb * 1e6 or base.memory_mb > compute.memory_mb,
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


class _Trial:
    """Judges candidates, then measures those that may come into question."""

    def __init__(
        self,
        bench: Bench,
        judge: Judge,
        *,
        budget: Budget,
        base: Probed,
        progress: Progress,
        said: Callable[[str], None],
    ) -> None:
        self._bench, self._judge, self._artifact = bench, judge, bench.original
        self._budget, self._base, self._said = budget, base, said
        self._progress = progress
        self.measured: list[Measured] = []
        self.skipped: list[Skipped] = []
        self.hopeless: list[tuple[Candidate, Judgement]] = []
        """Far worse than is allowed, so that their speed is of no interest while others are left."""

    def measure(self, candidates: list[Candidate], *, hopeless_too: bool = False) -> None:
        """Those that are hopeless are put aside, unless they are asked for."""
        if hopeless_too:
            self.hopeless = []
        for number, candidate in enumerate(candidates, 1):
            one = self._progress.measured(candidate)
            if one is None:
                self._said(f"measuring {number} of {len(candidates)}: {candidate.name}")
            try:
                one = one or self._one(candidate, hopeless_too=hopeless_too)
            except HoldfastError as error:
                self.skipped.append(Skipped(name=candidate.name, why=str(error)[:300]))
                continue
            if one is None:
                continue
            self._progress.keep(candidate, one)
            if not one.gains(self._base.memory_mb):
                self.skipped.append(Skipped(name=candidate.name, why="better on no axis"))
            self.measured.append(one)

    def _one(self, candidate: Candidate, *, hopeless_too: bool) -> Measured | None:
        artifact = self._artifact
        prepared = _prepared(candidate.model, artifact, self._judge.reference, candidate.how)
        try:
            answer = prepared.answer(self._judge.reference)
        finally:
            prepared.runtime.close()
        judgement = self._judge.judge(answer)
        if self._budget.is_hopeless(judgement) and not hopeless_too:
            self.hopeless.append((candidate, judgement))
            return None
        ratio = len(candidate.model) / artifact.size_bytes
        return Measured(
            name=candidate.name,
            how=candidate.how,
            size_bytes=len(candidate.model),
            size_ratio=ratio,
            probed=self._bench.probe(candidate.model, prepared, saves=ratio < 1 / GAIN),
            judgement=judgement,
            one_by_one=prepared.execution.one_by_one,
        )


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
