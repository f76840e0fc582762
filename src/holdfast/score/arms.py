"""Which version answers which row of a table: the champion alone, or both arms of an open rollout.

Where tables are the traffic (`[predictions] mode = "batch"`), a rollout lives on them as it lives on
requests where a service answers: in shadow the challenger answers copies that nobody sees; with a share it
answers that share of the rows, the same unit always by the same version. Nothing it does can keep the table
from its caller: rows on which it fails are answered by the champion.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Answer, ArtifactError
from holdfast.infer import (
    CHALLENGER_ARM,
    CHAMPION_ARM,
    SHADOW_ARM,
    AnsweredBatch,
    Block,
    DataPlane,
    LoadedModel,
    ModelFailedError,
    SeenUnits,
    is_below,
    keep_units_of,
    load_model,
    place_of,
    share_folder,
)
from holdfast.privacy.pseudonym import canonical_text
from holdfast.registry import ChallengerRoute, Registry
from holdfast.runtime import RuntimeFailure
from holdfast.score.answers import answer_fields
from holdfast.score.columns import take_rows
from holdfast.spec import Deployment
from holdfast.telemetry import ServiceCounts, retire, write_snapshot

BATCH_ARM: Final = "batch"
"""What stands as `arm` in the log beside rows of a table that belong to no rollout."""
ROUTE: Final = "/score"
"""Under which rows of tables are counted."""
LOCK_FILE: Final = "lock"
"""Held while a table adds what it counted."""


_random: Final = secrets.SystemRandom()


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What the challenger of a rollout did with a table."""

    rollout: int
    challenger: str
    loaded: bool
    """False: it cannot be loaded, or its answers have other columns; the champion answered alone."""
    answered: int = 0
    """Rows that the caller got from it."""
    copied: int = 0
    """Rows of which it answered copies that nobody saw."""
    failed: int = 0
    """Rows and copies on which it failed; the champion answered them."""

    def __str__(self) -> str:
        if not self.loaded:
            return (
                f"Rollout {self.rollout}: version {self.challenger} cannot be loaded and had no part in it."
            )
        text = f"Rollout {self.rollout}: version {self.challenger} answered {self.answered} rows, "
        text += f"and copies of {self.copied} that nobody sees"
        return text + (f"; it failed on {self.failed}." if self.failed else ".")


@dataclass(slots=True)
class Answered:
    """A block's answers, in the order of its rows."""

    answer: Answer
    ids: Sequence[str]
    versions: list[str]
    """Which version answered each row."""


class OneVersion:
    """One version answers all rows, outside of any rollout."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    @property
    def trial(self) -> Trial | None:
        """No rollout."""
        return None

    def answer(self, plane: DataPlane, block: Block) -> Answered:
        """Answer and log a block."""
        batch = plane.answer(self._model, block, arm=BATCH_ARM)
        return Answered(batch.answer, batch.ids, [self._model.version] * batch.rows)

    def finish(self) -> None:
        """Nothing was counted."""

    def close(self) -> None:
        """Nothing was opened."""


class BothArms:
    """The arms of an open rollout; the champion alone where it is a first deployment.

    Args:
        deployment: its checklist says by which field rows are assigned.
        champion: not closed here.
        number: of the rollout.
        route: of the challenger; None in a first deployment.
        folder: of the challenger's artifact.
        chance: a number in [0, 1), for rows that have nothing to be assigned by.
    """

    def __init__(
        self,
        deployment: Deployment,
        champion: LoadedModel,
        number: int,
        *,
        route: ChallengerRoute | None,
        folder: Path | None,
        chance: Callable[[], float] = _random.random,
    ) -> None:
        checklist = deployment.checklist
        self._champion = champion
        self._route = route
        self._number = number
        self._field = checklist.rollout.assign_by or checklist.predictions.id_field
        self._id_field = checklist.predictions.id_field
        self._chance = chance
        self._counts = ServiceCounts()
        share = 0.0 if route is None else route.share
        self._place = share_folder(deployment.scored_folder, number, share)
        self._units = SeenUnits(self._place)
        self._answered = 0
        self._challenger: LoadedModel | None = None
        if route is not None and folder is not None:
            self._challenger = _load_like(champion, folder, route.version, deployment)
            if self._challenger is None:
                self._counts.copy(route.version).load_failures += 1

    @property
    def trial(self) -> Trial | None:
        """What the challenger has done so far; None in a first deployment."""
        if self._route is None:
            return None
        copies = self._counts.copy(self._route.version)
        return Trial(
            rollout=self._number,
            challenger=self._route.version,
            loaded=self._challenger is not None,
            answered=self._answered,
            copied=copies.answered,
            failed=copies.failed,
        )

    def answer(self, plane: DataPlane, block: Block) -> Answered:
        """Answer and log a block.

        Raises:
            ModelFailedError: the champion failed; nothing was answered or logged by it.
        """
        challenger = self._challenger
        if challenger is None:
            return _whole(self._by_champion(plane, block))
        chosen = self._chosen(block)
        ours: AnsweredBatch | None = None
        if chosen.any():
            ours = self._by_challenger(plane, challenger, _rows_of(block, chosen))
            if ours is None:
                chosen[:] = False
        if ours is not None and chosen.all():
            return _whole(ours)
        theirs = self._by_champion(plane, block if ours is None else _rows_of(block, ~chosen))
        self._copy(plane, challenger, theirs)
        return _whole(theirs) if ours is None else _merged(ours, theirs, chosen)

    def finish(self) -> None:
        """Leave what was counted for the rollout's fast clock."""
        self._place.mkdir(parents=True, exist_ok=True)
        write_snapshot(self._place, f"score-{secrets.token_hex(8)}", self._counts)
        with (self._place / LOCK_FILE).open("a") as lock:  # the kernel lets go of it however we end
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Into one sum, with what a table before left that was killed here.
            for path in sorted(self._place.glob("score-*.counts")):
                retire(self._place, path.stem)
        self._units.write()

    def close(self) -> None:
        """Release the challenger."""
        if self._challenger is not None:
            self._challenger.close()

    def _by_champion(self, plane: DataPlane, block: Block) -> AnsweredBatch:
        batch = plane.answer(self._champion, block, arm=CHAMPION_ARM)
        self._count(self._champion, batch.rows)
        return batch

    def _by_challenger(self, plane: DataPlane, challenger: LoadedModel, block: Block) -> AnsweredBatch | None:
        try:
            batch = plane.answer(challenger, block, arm=CHALLENGER_ARM)
        except ModelFailedError:
            self._counts.copy(challenger.version).failed += block.rows
            statuses = self._counts.route(ROUTE, challenger.version).statuses
            statuses[500] = statuses.get(500, 0) + block.rows
            return None
        self._answered += batch.rows
        self._count(challenger, batch.rows)
        return batch

    def _copy(self, plane: DataPlane, challenger: LoadedModel, batch: AnsweredBatch) -> None:
        block = batch.block
        if block is None:
            return
        copies = self._counts.copy(challenger.version)
        copies.copied += block.rows
        same = Block(block.rows, block.columns, list(batch.ids), block.times_us, block.context)
        try:
            plane.answer(challenger, same, arm=SHADOW_ARM)
        except ModelFailedError:
            copies.failed += block.rows
            return
        copies.answered += block.rows
        row_s = challenger.last_run_s / block.rows
        copies.run_s.observe(row_s)
        self._counts.batch(challenger.version, block.rows, row_s)

    def _count(self, model: LoadedModel, rows: int) -> None:
        """Each row as a request that took its part of the run, since blocks of the arms differ in size."""
        row_s = model.last_run_s / rows
        self._counts.batch(model.version, rows, row_s)
        route = self._counts.route(ROUTE, model.version)
        route.statuses[200] = route.statuses.get(200, 0) + rows
        route.latency_s.observe(row_s, rows)

    def _chosen(self, block: Block) -> NDArray[np.bool_]:
        """`[rows]`: whether the challenger answers it."""
        route = self._route
        chosen = np.zeros(block.rows, dtype=np.bool_)
        if route is None or route.share <= 0:
            return chosen
        values = self._values(block)
        for row in range(block.rows):
            value = None if values is None else values[row]
            if value is None or (isinstance(value, str) and not value):
                chosen[row] = self._chance() < route.share
                new = True
            else:
                text = canonical_text(value) if np.ndim(value) == 0 else str(value)
                place = place_of(route.assignment_key, text)
                chosen[row] = is_below(place, route.share)
                new = self._units.add(place)
            if new:
                self._counts.unit(self._number, route.share, CHALLENGER_ARM if chosen[row] else CHAMPION_ARM)
        return chosen

    def _values(self, block: Block) -> Any:
        if self._field == self._id_field:
            return block.ids
        return block.context.get(self._field, block.columns.get(self._field))


Arms = OneVersion | BothArms


def open_arms(deployment: Deployment, registry: Registry, champion: LoadedModel) -> Arms:
    """How the champion's tables are answered now.

    Only where the checklist says that tables are the traffic: a table scored beside a service is nobody's
    request and must not decide a rollout.
    """
    rollout = registry.rollouts.open()
    keep_units_of(deployment.scored_folder, rollout)
    if deployment.checklist.predictions.mode != "batch" or rollout is None:
        return OneVersion(champion)
    if rollout.kind == "first":
        if rollout.challenger != champion.version:
            return OneVersion(champion)
        return BothArms(deployment, champion, rollout.number, route=None, folder=None)
    route = registry.route().challenger
    if route is None:
        return OneVersion(champion)
    folder = deployment.artifacts_folder / registry.version(route.version).artifact_folder
    return BothArms(deployment, champion, rollout.number, route=route, folder=folder)


def _load_like(
    champion: LoadedModel, folder: Path, version: str, deployment: Deployment
) -> LoadedModel | None:
    try:
        model = load_model(folder, version, deployment.checklist.compute)
    except (ArtifactError, RuntimeFailure):
        return None
    if answer_fields(model.signature) != answer_fields(champion.signature):
        model.close()
        return None
    return model


def _rows_of(block: Block, wanted: NDArray[np.bool_]) -> Block:
    rows = np.flatnonzero(wanted)
    listed = rows.tolist()
    return Block(
        len(listed),
        take_rows(block.columns, rows),
        None if block.ids is None else [block.ids[row] for row in listed],
        None if block.times_us is None else [block.times_us[row] for row in listed],
        take_rows(block.context, rows),
    )


def _whole(batch: AnsweredBatch) -> Answered:
    return Answered(batch.answer, batch.ids, [batch.model.version] * batch.rows)


def _merged(ours: AnsweredBatch, theirs: AnsweredBatch, chosen: NDArray[np.bool_]) -> Answered:
    """Both arms' rows, in the order of the table."""
    order = np.argsort(np.concatenate([np.flatnonzero(chosen), np.flatnonzero(~chosen)]))
    ids = [*ours.ids, *theirs.ids]
    versions = [ours.model.version] * ours.rows + [theirs.model.version] * theirs.rows
    a, b = ours.answer, theirs.answer
    probabilities = None
    if a.probabilities is not None and b.probabilities is not None:
        probabilities = np.concatenate([a.probabilities, b.probabilities])[order]
    outputs = {
        name: np.concatenate([np.asarray(values), np.asarray(b.outputs[name])])[order]
        for name, values in a.outputs.items()
    }
    prediction: Any = np.concatenate([np.asarray(a.prediction), np.asarray(b.prediction)])[order]
    return Answered(
        Answer(prediction, probabilities, outputs),
        [ids[row] for row in order],
        [versions[row] for row in order],
    )
