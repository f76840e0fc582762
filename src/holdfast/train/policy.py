"""When to train: state and settings in, a plan out. The same policy runs live and in replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from holdfast.spec.checklist import Training

_DAY_US = 86_400_000_000
BUDGET_US = 30 * _DAY_US
"""The stretch that `[training] budget` speaks of."""

Why = Literal["alarm", "schedule", "quality", "labels"]


@dataclass(frozen=True, slots=True)
class State:
    """What is known at a moment, times in microseconds since the epoch."""

    now_us: int
    trained_us: tuple[int, ...] = ()
    """When earlier trainings were, oldest first."""
    made_us: int | None = None
    """When the champion was made: the schedule counts from there until the first training."""
    alarm: bool = False
    """Whether an alarm stands."""
    quality: float | None = None
    """Of the newest mature rows, in the monitor's metric; None: not known."""
    higher_is_better: bool = True
    new_labels: int = 0
    """Since the last training."""
    fault: bool = False
    """Whether the standing alarm is of a broken pipe, from whose rows nothing should learn."""
    change_us: int | None = None
    """When the change began that the standing alarm tells of; where none stands, that of the newest training
    which an alarm started."""
    learnable_rows: int | None = None
    """Labelled rows since the change that a training now would learn from; None: not known since when."""
    taught_rows: int | None = None
    """As many of them the newest training could learn from; None: no alarm has started one yet."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Whether to train now."""

    train: bool
    trigger: Why | None
    reason: str
    """In words, for people and for the audit."""
    change_us: int | None = None
    """Beginning of the change that it is to learn, where an alarm told of one."""


def decide(state: State, settings: Training, triggers: tuple[str, ...] | None = None) -> Plan:
    """The first trigger that holds, unless the cool-down or the budget forbids it.

    Args:
        state: what is known.
        settings: `[training]`.
        triggers: in place of the checklist's.
    """
    asked = settings.triggers if triggers is None else triggers
    found = next((plan for name in asked if (plan := _holds(name, state, settings)) is not None), None)
    if found is None:
        return Plan(train=False, trigger=None, reason=_quiet(asked, state, settings))
    last = state.trained_us[-1] if state.trained_us else None
    if last is not None and state.now_us - last < settings.cool_down.microseconds:
        return Plan(
            train=False, trigger=found.trigger, reason=f"{found.reason}; the cool-down has not passed"
        )
    recent = sum(state.now_us - one < BUDGET_US for one in state.trained_us)
    if recent >= settings.budget:
        return Plan(
            train=False,
            trigger=found.trigger,
            reason=f"{found.reason}; the budget of {settings.budget} trainings in 30 days is spent",
        )
    return found


def _holds(name: str, state: State, settings: Training) -> Plan | None:
    last = state.trained_us[-1] if state.trained_us else state.made_us
    if name == "alarm" and state.alarm and _why_not_yet(state, settings) is None:
        return Plan(train=True, trigger="alarm", reason="an alarm stands", change_us=state.change_us)
    if name == "alarm" and not state.alarm and (words := _follows_up(state, settings)) is not None:
        return Plan(train=True, trigger="alarm", reason=words, change_us=state.change_us)
    if name == "schedule" and (last is None or state.now_us - last >= settings.schedule.microseconds):
        return Plan(train=True, trigger="schedule", reason=f"{settings.schedule} have passed")
    if name == "quality" and state.quality is not None and settings.least_quality is not None:
        bad = (
            state.quality < settings.least_quality
            if state.higher_is_better
            else state.quality > settings.least_quality
        )
        if bad:
            side = "below" if state.higher_is_better else "above"
            words = f"quality is {state.quality:.4g}, {side} {settings.least_quality:g}"
            return Plan(train=True, trigger="quality", reason=words)
    if name == "labels" and state.new_labels >= settings.new_labels:
        return Plan(train=True, trigger="labels", reason=f"{state.new_labels} new labels have come")
    return None


def _why_not_yet(state: State, settings: Training) -> str | None:
    """Why a standing alarm starts no training: there is nothing of the change to learn yet, or faults."""
    if state.fault:
        return "an alarm stands for a data fault: mend the pipe, a model would learn the fault"
    rows = state.learnable_rows
    if rows is not None and rows < settings.min_rows:
        old = "old enough" if settings.refit else "older than the test split"
        return (
            f"an alarm stands, and of the rows since the change {rows} have a label and are {old}; it waits "
            f"for {settings.min_rows} ([training] min_rows)"
        )
    return None


def _follows_up(state: State, settings: Training) -> str | None:
    """Why the training that an alarm started is not enough: what it had of the change has doubled since.

    Its model answers by then, mostly, so that no alarm stands; yet each doubling narrows what is known of the
    new world by the same factor, and the first ones have the most to gain.
    """
    rows, taught = state.learnable_rows, state.taught_rows
    if rows is None or taught is None or taught >= settings.follow_up_rows:
        return None
    if rows < max(2 * taught, settings.min_rows):
        return None
    return f"{rows} labelled rows since the change; the newest training had {taught} of them"


def _quiet(asked: tuple[str, ...], state: State, settings: Training) -> str:
    if not asked:
        return "no trigger is named in [training] triggers"
    if "alarm" in asked and state.alarm:
        return _why_not_yet(state, settings) or "an alarm stands"
    return "no trigger holds: " + ", ".join(asked)
