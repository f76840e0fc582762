"""Several candidates from one data set, one after the other or on a Ray cluster; the best on dev is taken."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from holdfast.clock import Clock
from holdfast.spec.checklist import Training
from holdfast.train.errors import TrainerFailedError
from holdfast.train.running import Progress, Trained, run_trainer
from holdfast.train.trainer_process import Order


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one; stands in the evidence."""

    number: int
    loss: float | None = None
    """On dev; less is better."""
    seconds: float | None = None
    error: str | None = None
    node: str = ""
    """Where it was trained; empty: here."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A candidate with its model; None where it failed."""

    about: Candidate
    trained: Trained | None = None
    failure: TrainerFailedError | None = None


Runner = Callable[[list[Order], Progress | None], list[Finished]]


def train_candidates(
    order: Order,
    settings: Training,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress | None = None,
    show_output: bool = True,
) -> tuple[Trained, tuple[Candidate, ...]]:
    """Train `[training] candidates` and take the one with the least loss on dev, the first of equals.

    One that fails is left out, as long as another one does not.

    Args:
        order: of the first candidate; the others differ in their number and folder.
        settings: `[training]`.
        environ: of this process.
        clock: monotonic time.
        progress: called while trainers run.
        show_output: whether an error may repeat a trainer's last lines.

    Raises:
        TrainerFailedError: all failed, or of several one does not say how good it is.
        MissingExtraError: Ray is asked for and not installed.
    """
    orders = [_numbered(order, number, settings.candidates) for number in range(settings.candidates)]
    if settings.engine == "ray":
        from holdfast.train.on_ray import run_on_ray

        finished = run_on_ray(orders, settings, clock=clock, progress=progress, show_output=show_output)
    else:
        finished = [
            _run(one, settings, environ=environ, clock=clock, progress=progress, show_output=show_output)
            for one in orders
        ]
    return best(finished)


def best(finished: list[Finished]) -> tuple[Trained, tuple[Candidate, ...]]:
    """The model with the least loss, and what came of every candidate.

    Raises:
        TrainerFailedError: all failed, or of several one does not say how good it is.
    """
    made = [(one.about, one.trained) for one in finished if one.trained is not None]
    if not made:
        raise next(one.failure for one in finished if one.failure is not None)
    about = tuple(one.about for one in finished)
    if len(finished) == 1:
        return made[0][1], about
    for candidate, _ in made:
        if candidate.loss is None or not math.isfinite(candidate.loss):
            raise TrainerFailedError(
                "a candidate did not say how good it is on dev, so the best cannot be taken",
                where=f"candidate {candidate.number}",
                expected="data.report_loss(0.123), or a line of output such as @loss 0.123",
                received=str(candidate.loss),
            )
    return min(made, key=lambda one: (one[0].loss, one[0].number))[1], about


def _numbered(order: Order, number: int, of: int) -> Order:
    """One candidate has the folder of the training for itself; of several each has one in it."""
    if of == 1:
        return order
    folder = Path(order.folder, f"candidate-{number}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return msgspec.structs.replace(
        order,
        folder=str(folder),
        data_set=msgspec.structs.replace(order.data_set, candidate=number),
    )


def _run(
    order: Order,
    settings: Training,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress | None,
    show_output: bool,
) -> Finished:
    number = order.data_set.candidate
    try:
        trained = run_trainer(
            order,
            timeout_s=settings.timeout.seconds,
            environ=environ,
            clock=clock,
            progress=progress,
            show_output=show_output,
        )
    except TrainerFailedError as error:
        return Finished(Candidate(number=number, error=str(error)), None, error)
    about = Candidate(number=number, loss=trained.loss, seconds=round(trained.seconds, 3))
    return Finished(about, trained)
