"""Whether a diagnosis says what really happened: nothing missed, nothing made up, and on the right day."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.clock import parse_time_us

if TYPE_CHECKING:
    from holdfast.demo.world import Truth
    from holdfast.monitor import Diagnosis

_DAY_US = 86_400 * 1_000_000


def disagreements(truth: Truth, diagnosis: Diagnosis) -> tuple[str, ...]:
    """What is wrong with a diagnosis, in words; () when it agrees with the truth.

    It agrees when an alarm stands exactly if something changed, the kinds are the true ones and no other, and
    the estimated onset is at most a window, which is a day, away from the true one.
    """
    wrong = []
    if diagnosis.alarm != bool(truth.kinds):
        wrong.append(
            "an alarm without a change" if diagnosis.alarm else "no alarm although there was a change"
        )
    missed = sorted(set(truth.kinds) - set(diagnosis.kinds))
    made_up = sorted(set(diagnosis.kinds) - set(truth.kinds))
    if missed:
        wrong.append("missed: " + ", ".join(missed))
    if made_up:
        wrong.append("made up: " + ", ".join(made_up))
    if truth.since is not None:
        if diagnosis.since is None:
            wrong.append("it does not say since when")
        else:
            away_us = abs(_time_us(diagnosis.since.estimate) - _time_us(truth.since))
            if away_us > _DAY_US:
                wrong.append(f"the onset is {away_us / _DAY_US:.1f} days away from the true one")
    return tuple(wrong)


def _time_us(text: str) -> int:
    return parse_time_us(datetime.fromisoformat(text).isoformat())
