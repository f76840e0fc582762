"""From a deployment to a challenger in its registry: data set, training, judgement, registration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from holdfast.artifact import Answer, Artifact, OnnxSource, Reference, Signature, open_artifact
from holdfast.clock import Clock
from holdfast.errors import HoldfastError
from holdfast.prediction_log import PredictionLog, settle
from holdfast.registry import Judgement, ModelVersion, Registry, deciding_loss_of, register_model
from holdfast.registry.candidate import answer_all
from holdfast.runtime import open_runtime
from holdfast.spec import Deployment
from holdfast.spec.checklist import Training
from holdfast.train.building import Secrets, build_data_set
from holdfast.train.candidates import Candidate, train_candidates
from holdfast.train.card import card_sections
from holdfast.train.comparing import (
    BASELINE,
    COMPARISON,
    Answers,
    Comparison,
    Truth,
    compare,
)
from holdfast.train.data_set import DataSetPaths
from holdfast.train.diagnosed import Recipe, recipe_of
from holdfast.train.errors import TrainerFailedError, TrainError, WorseError
from holdfast.train.log_source import now_of
from holdfast.train.noting import mixed, notes_of, one_answer
from holdfast.train.recalibrating import recalibrated
from holdfast.train.refitting import NOTE, Twin, moved_up
from holdfast.train.rows import ID, LABEL, SUBJECT, TIME, WEIGHT, Plan
from holdfast.train.running import Progress, Trained
from holdfast.train.runs import Run, only_training, past_runs, start_run, write_run
from holdfast.train.storing import Built
from holdfast.train.trainer_process import READY_MADE, Order
from holdfast.train.triggering import learnable_rows, told_of

if TYPE_CHECKING:
    import pyarrow as pa

TRAINING: Final = "training"
"""Kind of the evidence that says how a version was made."""
_OURS: Final = (LABEL, TIME)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a training is asked for, beyond the checklist."""

    trigger: str = "by hand"
    change_us: int | None = None
    """Beginning of the change that an alarm told of, where one is the trigger."""
    since_us: int | None = None
    until_us: int | None = None
    from_diagnosis: int | None = None
    keep_worse: bool = False
    """Register a challenger that is surely worse than the champion all the same."""


class TrainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a training."""

    run: str
    version: str
    champion: str | None
    data_set: str
    rows: dict[str, int]
    comparison: Comparison
    seconds: float
    recipe: str
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Champion:
    version: ModelVersion
    artifact: Artifact
    answers: Answers | None = field(default=None, repr=False)


def train_challenger(
    deployment: Deployment,
    registry: Registry,
    asked: Asked,
    *,
    clock: Clock,
    secrets: Secrets,
    environ: Mapping[str, str],
    actor: str,
    progress: Progress | None = None,
) -> TrainReport:
    """Build the data set, train, judge on its test against the champion, and register the challenger.

    Whatever fails, the registry holds either the whole challenger with its evidence or nothing of it. Each
    training leaves a folder under `training` with what was asked for, the trainer's output, and the outcome.

    Args:
        deployment: the deployment.
        registry: of the deployment.
        asked: what is wanted beyond the checklist.
        clock: wall and monotonic time.
        secrets: for encrypted inputs and for files that name people.
        environ: of this process.
        actor: who trains, for the audit.
        progress: called while the trainer runs.

    Raises:
        DataSetError: the data set cannot be built.
        TrainerFailedError: the trainer gave no model.
        WorseError: the challenger is surely worse than the champion.
        TrainError: another training is under way.
        ArtifactError: the model cannot be registered.
    """
    with only_training(deployment):
        settle(deployment, clock)
        log = PredictionLog(deployment)
        now_us = now_of(deployment, log, clock)
        change_us = asked.change_us
        if change_us is None and (told := told_of(list(past_runs(deployment)))) is not None:
            change_us = told[0]
        run, folder = start_run(
            deployment,
            asked.trigger,
            asked.from_diagnosis,
            clock,
            data_until_us=now_us,
            change=None
            if change_us is None
            else (change_us, learnable_rows(deployment, log, change_us, now_us)),
        )
        job = _Job(deployment, registry, asked, clock, secrets, environ, actor, progress, folder)
        return _recorded(job, run)


def _recorded(job: _Job, run: Run) -> TrainReport:
    """Do it, and write down what came of it."""
    registry, asked, clock, folder = job.registry, job.asked, job.clock, job.folder
    began_s = clock.monotonic_s()
    try:
        report = job.run(run)
    except BaseException as error:
        state: Literal["worse", "failed"] = "worse" if isinstance(error, WorseError) else "failed"
        text = str(error) if isinstance(error, HoldfastError) else type(error).__name__
        ended = msgspec.structs.replace(
            run,
            state=state,
            error=text,
            seconds=clock.monotonic_s() - began_s,
            data_set=job.data_set,
            comparison=job.comparison,
        )
        write_run(folder, ended)
        registry.audit.add(
            actor=job.actor, action="train", target="", detail={"run": run.id, "outcome": state}
        )
        raise
    ended = msgspec.structs.replace(
        run,
        state="registered",
        version=report.version,
        champion=report.champion,
        data_set=job.data_set,
        seconds=clock.monotonic_s() - began_s,
        comparison=job.comparison,
    )
    write_run(folder, ended)
    registry.audit.add(
        actor=job.actor,
        action="train",
        target=report.version,
        detail={
            "run": run.id,
            "outcome": "registered",
            "trigger": asked.trigger,
            "data_set": report.data_set,
        },
    )
    return msgspec.structs.replace(report, seconds=ended.seconds or 0.0)


@dataclass(slots=True)
class _Job:
    deployment: Deployment
    registry: Registry
    asked: Asked
    clock: Clock
    secrets: Secrets
    environ: Mapping[str, str]
    actor: str
    progress: Progress | None
    folder: Path
    data_set: str | None = None
    comparison: dict[str, Any] | None = None
    candidates: tuple[Candidate, ...] = ()
    refitted: bool = False
    """Whether the registered model has learnt from the test too."""

    def run(self, run: Run) -> TrainReport:
        champion = self._champion()
        plan = None if champion is None else Plan.of_signature(champion.artifact.signature)
        recipe = recipe_of(self.registry, self.asked.from_diagnosis, self.deployment.checklist.training)
        since_us = self.asked.since_us if self.asked.since_us is not None else recipe.since_us
        built = build_data_set(
            self.deployment,
            plan,
            clock=self.clock,
            secrets=self.secrets,
            since_us=since_us,
            until_us=self.asked.until_us,
            settings=recipe.settings,
        )
        self.data_set = built.manifest.sha256
        try:
            return self._challenge(run, champion, recipe, built)
        finally:
            if not built.manifest.files_kept:
                for name in built.manifest.splits:
                    (built.folder / f"{name}.parquet").unlink(missing_ok=True)

    def _champion(self) -> _Champion | None:
        champion = self.registry.route().champion
        if champion is None:
            return None
        version = self.registry.version(champion)
        return _Champion(version, open_artifact(self.deployment.artifacts_folder / version.artifact_folder))

    def _whose(self, built: Built) -> pa.Table | None:
        """By what an erasure finds the reference's rows, where they are about people."""
        if not self.deployment.checklist.privacy.subject_field:
            return None
        return built.splits["test"].select([ID, SUBJECT])

    def _challenge(self, run: Run, champion: _Champion | None, recipe: Recipe, built: Built) -> TrainReport:
        test = _reference_table(built)
        model: str | OnnxSource
        compared: list[Comparison] = []
        twin: Twin | None = None

        def judge(signature: Signature, answer: Answer) -> Judgement:
            if twin is not None:
                twin.check(signature)
            comparison = compared[0] if compared else self._compared(built, champion, signature, answer)
            self.comparison = msgspec.to_builtins(comparison)
            compared.append(comparison)
            if comparison.verdict == "worse" and champion is not None and not self.asked.keep_worse:
                raise _worse(comparison, self.folder)
            return self._judgement(run, built, comparison, trained, recipe)

        if recipe.action == "recalibrate" and champion is not None:
            model, trained = self._recalibrated(champion, built)
        else:
            order = self._order(built, champion, recipe.settings)
            trained = self._trained(order, recipe.settings)
            if recipe.settings.refit:
                self.refitted = True
                twin = Twin.of(
                    str(trained.model), test, _OURS, self.deployment.checklist, own=trained.from_callable
                )
                judge(twin.signature, twin.answer)
                trained = self._trained_again(order, built, trained, recipe.settings)
            model = str(trained.model)

        version = register_model(
            self.deployment,
            self.registry,
            model,
            reference=test,
            labels=LABEL,
            time=TIME,
            whose=self._whose(built),
            trust_pickle=trained is None or trained.from_callable,
            actor=self.actor,
            clock=self.clock,
            judge=judge,
            answer=None if twin is None else twin.answer,
        )
        if not compared:
            raise TrainerFailedError("the model was not judged", where=str(model)[:200])
        comparison = msgspec.structs.replace(compared[0], challenger=version.version)
        return TrainReport(
            run=run.id,
            version=version.version,
            champion=None if champion is None else champion.version.version,
            data_set=built.manifest.sha256,
            rows={name: split.rows for name, split in built.manifest.splits.items()},
            comparison=comparison,
            seconds=0.0,
            recipe=recipe.words,
            notes=(*built.manifest.notes, *version.notes),
        )

    def _order(self, built: Built, champion: _Champion | None, settings: Training) -> Order:
        if settings.engine == "ray" and not built.manifest.files_kept:
            raise TrainError(
                "opened inputs do not leave this machine",
                where='[training] engine = "ray"',
                received="a log whose inputs are encrypted",
                next_step='Train it here: engine = "local"',
            )
        request = built.manifest.request
        signature = None if champion is None else champion.artifact.signature
        paths = DataSetPaths(
            train=str(built.folder / "train.parquet"),
            dev=str(built.folder / "dev.parquet"),
            features=request.features,
            task=request.task,
            classes=request.classes,
            positive_class=None if signature is None else signature.positive_class,
            seed=settings.seed,
            cores=settings.cores,
        )
        return Order(
            data_set=paths,
            trainer="" if settings.command else settings.trainer or READY_MADE,
            command=settings.command,
            folder=str(self.folder),
            import_from=str(self.deployment.folder),
            memory_mb=settings.memory_mb,
        )

    def _trained(self, order: Order, settings: Training) -> Trained:
        trained, self.candidates = train_candidates(
            order,
            settings,
            environ=self.environ,
            clock=self.clock,
            progress=self.progress,
            show_output=self.deployment.checklist.privacy.sensitivity != "high",
        )
        return trained

    def _trained_again(self, order: Order, built: Built, twin: Trained, settings: Training) -> Trained:
        """By the candidate that was the best, with the test's rows."""
        with moved_up(order, built, settings, twin.candidate) as again:
            trained, _ = train_candidates(
                again,
                msgspec.structs.replace(settings, candidates=1),
                environ=self.environ,
                clock=self.clock,
                progress=self.progress,
                show_output=self.deployment.checklist.privacy.sensitivity != "high",
            )
        return replace(trained, seconds=twin.seconds + trained.seconds)

    def _recalibrated(self, champion: _Champion, built: Built) -> tuple[OnnxSource, None]:
        """On train and dev together: two numbers need no early stopping."""
        import pyarrow as pa

        rows = pa.concat_tables([built.splits["train"], built.splits["dev"]])
        signature = champion.artifact.signature
        answer = _answers(champion.artifact, Reference(rows, LABEL, TIME))
        model, _ = recalibrated(
            champion.artifact.model_file.read_bytes(),
            signature,
            answer,
            rows.column(LABEL).to_numpy(),
            rows.column(WEIGHT).to_numpy(),
        )
        nulls = {one.name: one.null_text for one in signature.columns}
        return OnnxSource(model, f"version {champion.version.version}, recalibrated", nulls), None

    def _compared(
        self, built: Built, champion: _Champion | None, signature: Signature, answer: Answer
    ) -> Comparison:
        test = built.splits["test"]
        truth = Truth.of(test, signature)
        challenger = truth.answers(signature, answer)
        if champion is None:
            before = truth.constant(built.splits["train"].column(LABEL).to_pylist())
        else:
            said = _answers(champion.artifact, Reference(_reference_table(built), LABEL, TIME))
            before = truth.answers(champion.artifact.signature, said)
        known = () if champion is None else (champion.version.version,)
        decides = deciding_loss_of(
            self.deployment, signature, *known, labels=truth.label if truth.task == "regression" else None
        )
        overall, slices = compare(
            truth, before, challenger, test, decides, seed=self.deployment.checklist.training.seed
        )
        main = decides.name
        record = built.manifest.splits["test"]
        return Comparison(
            challenger="",
            champion=BASELINE if champion is None else champion.version.version,
            test_rows=record.rows,
            main_metric=main,
            verdict=overall[main].verdict,
            overall=overall,
            slices=slices,
            dataset=built.manifest.sha256,
            test_since=record.since or "",
            test_until=record.until or "",
            loss=decides,
            notes=(
                *mixed(overall, main),
                *one_answer(truth, before, challenger),
                *notes_of(built.manifest, _learnt_until(champion), record.since or ""),
                *((NOTE,) if self.refitted else ()),
            ),
        )

    def _judgement(
        self, run: Run, built: Built, comparison: Comparison, trained: Trained | None, recipe: Recipe
    ) -> Judgement:
        manifest = built.manifest
        place = built.folder.relative_to(self.deployment.folder).as_posix()
        made = {
            "run": run.id,
            "trigger": self.asked.trigger,
            "from_diagnosis": self.asked.from_diagnosis,
            "recipe": recipe.words,
            "data_set": manifest.sha256,
            "trainer": _trainer_words(recipe),
            "seed": recipe.settings.seed,
            "seconds": None if trained is None else round(trained.seconds, 3),
            "candidates": msgspec.to_builtins(self.candidates),
            "refit": self.refitted,
        }

        def evidence(number: str) -> dict[str, Any]:
            compared = msgspec.structs.replace(comparison, challenger=number)
            self.comparison = msgspec.to_builtins(compared)
            return {COMPARISON: self.comparison, TRAINING: made}

        return Judgement(
            metadata={
                "data_set": manifest.sha256,
                "data_sets": [f"{place}/{name}.parquet" for name in manifest.splits],
                "trained_until": manifest.splits["test" if self.refitted else "dev"].until,
                "training": made,
            },
            evidence=evidence,
            data_sets=(f"{self.deployment.name}-{manifest.name[:12]}",),
            card_sections=card_sections(manifest, comparison, made),
        )


def _answers(artifact: Artifact, rows: Reference) -> Answer:
    runtime = open_runtime(artifact)
    try:
        return answer_all(runtime, artifact.signature, rows)
    finally:
        runtime.close()


def _reference_table(built: Built) -> pa.Table:
    """The test as a reference: features, label and time."""
    return built.splits["test"].select([*built.manifest.request.features, *_OURS])


def _trainer_words(recipe: Recipe) -> str:
    if recipe.action == "recalibrate":
        return "the champion, recalibrated"
    settings = recipe.settings
    return " ".join(settings.command) or settings.trainer or "ready made: boosted trees"


def _learnt_until(champion: _Champion | None) -> str:
    return "" if champion is None else str(champion.version.metadata.get("trained_until") or "")


def _worse(comparison: Comparison, folder: Path) -> WorseError:
    main = comparison.overall[comparison.main_metric]
    low, high = (float("nan") if one is None else one for one in (main.low, main.high))
    return WorseError(
        f"the challenger is surely worse than champion {comparison.champion}; it was not registered",
        where=str(folder / "run.json"),
        expected=f"a {comparison.main_metric} of no more than {main.champion:.5g}",
        received=f"{main.challenger:.5g} ({main.difference:+.4g}, 95 % interval {low:+.4g} to {high:+.4g})",
        next_step=f"Tested on {_days(comparison)}. --keep-worse registers it all the same",
    )


def _days(comparison: Comparison) -> str:
    """The test, in words."""
    return f"{comparison.test_rows} rows of {comparison.test_since[:10]} to {comparison.test_until[:10]}"
