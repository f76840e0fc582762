"""Rollouts whose truth is known: false decisions, what is caught, and what it costs until then.

    uv run python bench/rollout.py --quick --json

Each rollout: 2000 rows a tick, 100 ticks; labels count at 10 ticks of age; shadow for 5 ticks, then 1 %, 10 %
and 50 % of the requests for 5 ticks each at least. The champion is wrong in 10 % of the rows; two equal
versions differ in 5 % of their answers. Five slices of 40, 25, 15, 10 and 10 %. holdfast's arm is the policy
itself (`holdfast.rollout.decide`) on the bounds that it gets live.

The others see the labels of the canary's two arms as they come, at the same shares:
  fixed horizon   a two-proportion z test at 5 %, once, at the end of the ramp
  peeking         the same test at every tick, as dashboards invite to
  threshold       as common canary controllers do: a tick fails if the canary's rate of wrong answers is a
                  point above the primary's or its p99 is above the target; 5 failures roll back, the end of
                  the ramp promotes
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.registry import Phase
from holdfast.rollout import Comparison, Evidence, Health, Shares, Standing, Terms, decide
from holdfast.rollout.health import ArmCounts, health
from holdfast.stats import betting_bounds, log_capital

TICK_US: Final = 1_000_000
ROWS, TICKS, MATURITY, SHADOW, STEP = 2000, 100, 10, 5, 5
RAMP: Final = (0.01, 0.1, 0.5, 1.0)
BASE, DIFFER, ALPHA, MARGIN = 0.10, 0.05, 0.05, 0.005
SLICES: Final = np.array([0.40, 0.25, 0.15, 0.10, 0.10])
TARGET_S: Final = 0.05
EDGES_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
CHECK_EVERY: Final = 5
"""Ticks between two looks at the labels of the arms."""
TERMS: Final = Terms(
    alpha=ALPHA, margin=MARGIN, ramp=RAMP, shadow_us=SHADOW * TICK_US, step_us=STEP * TICK_US,
    maturity_us=MATURITY * TICK_US, risk_budget=20_000.0, cost_per_loss=1.0, latency_target_s=TARGET_S,
    max_latency_ratio=1.5, max_error_increase=0.005, max_flips=0.3, max_volume_change=0.2, max_crashes=3,
)  # fmt: skip
SHARES: Final = Shares.of(ALPHA, len(SLICES))
Numbers = NDArray[Any]


@dataclass(frozen=True)
class World:
    name: str
    worse: float = 0.0
    """Points of loss by which the challenger is worse, over all slices."""
    slice_worse: float = 0.0
    """In the last slice only."""
    slow: bool = False
    """Half of the challenger's requests take longer than the target."""
    late: bool = False
    """Labels of wrong answers come after 8 ticks in the challenger's arm, after 2 in the champion's."""


WORLDS: Final = (
    World("A/A: equal"),
    World("worse by the margin", MARGIN),
    World("1 point worse", 0.01),
    World("3 points worse", 0.03),
    World("10 points worse", 0.10),
    World("one slice, 10 points", slice_worse=0.10),
    World("latency only", slow=True),
    World("A/A, labels late in one arm", late=True),
    World("3 points, labels late in one arm", 0.03, late=True),
)


@dataclass
class Outcome:
    act: str
    tick: int
    exposed: int


def simulate(world: World, seed: int) -> tuple[Outcome, dict[str, Outcome]]:
    rng = np.random.default_rng([seed, sum(map(ord, world.name))])
    worse = np.full(len(SLICES), world.worse)
    worse[-1] += world.slice_worse
    up = np.maximum(DIFFER / 2 + worse / 2, worse)
    chances = np.stack([up - worse, 1 - 2 * up + worse, up], axis=1)
    # Differences -1, 0, 1 by tick and slice, for the rows that champion and shadow both answer.
    rows = rng.multinomial(ROWS, SLICES, size=TICKS)
    paired = np.stack([rng.multinomial(rows[:, k], chances[k]) for k in range(len(SLICES))], axis=1)
    rate = float(SLICES @ worse) + BASE
    ours = holdfast(world, rng, paired, rate)
    return ours, others(world, rng, rate)


def holdfast(world: World, rng: np.random.Generator, paired: Numbers, rate: float) -> Outcome:
    seen = np.cumsum(paired, axis=0)
    whole = seen.sum(axis=1)
    points = np.array([0.0, 0.5, 1.0])
    harm = log_capital(points, whole, 0.5, above=True) >= np.log(1 / SHARES.quality)
    fine = log_capital(points, whole, (1 + MARGIN) / 2, above=False) >= np.log(1 / SHARES.quality)
    hurt = log_capital(points, seen, 0.5, above=True) >= np.log(1 / SHARES.guardrail)
    phase: Phase = "shadow"
    share, since, exposed = 0.0, 0, 0
    arms: list[tuple[int, int, int, int]] = []
    requests = slow = 0
    found: Comparison | None = None
    for tick in range(1, TICKS + 1):
        got = round(ROWS * share)
        exposed += got
        requests += got if phase == "canary" else ROWS
        slow += int(rng.binomial(got if phase == "canary" else ROWS, 0.5 if world.slow else 0.002))
        arms.append((got, int(rng.binomial(got, rate)), ROWS - got, int(rng.binomial(ROWS - got, BASE))))
        mature = tick - MATURITY
        quality, slices = None, ()
        if mature > 0:
            at = mature - 1
            quality = crossed("loss", int(whole[at].sum()), worse=bool(harm[at]), fine=bool(fine[at]))
            slices = tuple(crossed(str(k), 1, worse=bool(hurt[at, k])) for k in range(len(SLICES)))
            if tick % CHECK_EVERY == 0:
                found = compare_arms(arms[:mature])
        plan = decide(
            TERMS,
            Standing(
                kind="update",
                phase=phase,
                share=share,
                held=False,
                started_at_us=0,
                phase_at_us=since * TICK_US,
                deadline_us=TICKS * TICK_US,
                checked=True,
            ),
            Evidence(
                now_us=tick * TICK_US,
                champion=counted(ROWS * (tick - since), round(0.002 * ROWS * (tick - since))),
                challenger=counted(requests, slow),
                quality=quality,
                slices=slices,
                arms=found,
                rows_per_s=ROWS,
                exposed=exposed,
            ),
        )
        if plan.act == "advance":
            phase, share, since, requests, slow = "canary", plan.share, tick, 0, 0
        elif plan.act in {"promote", "roll back", "expire"}:
            return Outcome(plan.act, tick, exposed)
    return Outcome("expire", TICKS, exposed)


def crossed(name: str, n: int, *, worse: bool, fine: bool = False) -> Comparison:
    """All that is decided on is whether 0 and the margin are refuted, not where the bounds are."""
    return Comparison(
        name=name, n=n, mean=None, lower=1e-9 if worse else -1.0, upper=MARGIN / 2 if fine else 1.0
    )


def compare_arms(arms: list[tuple[int, int, int, int]]) -> Comparison | None:
    ours, wrong, theirs, their_wrong = (sum(column) for column in zip(*arms, strict=True))
    if not ours:
        return None
    values = np.array([0.0, 1.0])
    a = betting_bounds(values, SHARES.guardrail, counts=np.array([ours - wrong, wrong]))
    b = betting_bounds(values, SHARES.guardrail, counts=np.array([theirs - their_wrong, their_wrong]))
    return Comparison(name="arms", n=ours, mean=None, lower=a.lower - b.upper, upper=a.upper - b.lower)


@lru_cache(maxsize=100_000)
def counted(requests: int, slow: int) -> Health:
    """A tenth of the quick ones between 5 and 10 ms, all slow ones between 100 and 250 ms."""
    quick = requests - slow
    latency = (quick - quick // 10, quick // 10, 0, 0, 0, slow, 0)
    arm = ArmCounts(requests=requests, errors=0, edges_s=EDGES_S, latency=latency)
    return health(arm, TERMS, len(SLICES))


def others(world: World, rng: np.random.Generator, rate: float) -> dict[str, Outcome]:
    shares = np.repeat(RAMP[:-1], STEP)
    ours = np.round(ROWS * shares).astype(int)
    theirs = ROWS - ours
    wrong, their_wrong = rng.binomial(ours, rate), rng.binomial(theirs, BASE)
    slow = 0.5 if world.slow else 0.002
    delay, their_delay = (8, 2) if world.late else (2, 2)
    found: dict[str, Outcome] = {}
    failures = 0
    for tick in range(1, len(shares) + 1):
        # Right answers are confirmed after 2 ticks, wrong ones after their delay, as they come.
        known = [max(tick - 2, 0), max(tick - delay, 0), max(tick - their_delay, 0)]
        right = int((ours - wrong)[: known[0]].sum()), int((theirs - their_wrong)[: known[0]].sum())
        bad = int(wrong[: known[1]].sum()), int(their_wrong[: known[2]].sum())
        n = right[0] + bad[0], right[1] + bad[1]
        exposed = int(ours[:tick].sum())
        z = 0.0
        if min(n):
            a, b, pooled = bad[0] / n[0], bad[1] / n[1], sum(bad) / sum(n)
            spread = np.sqrt(max(pooled * (1 - pooled), 1e-12) * (1 / n[0] + 1 / n[1]))
            z = (a - b) / spread
            failures += int(a > b + 0.01 or slow > 0.01)
        else:
            failures += int(slow > 0.01)
        if z > 1.96 and "peeking" not in found:
            found["peeking"] = Outcome("roll back", tick, exposed)
        if failures >= 5 and "threshold" not in found:
            found["threshold"] = Outcome("roll back", tick, exposed)
    end, exposed = len(shares), int(ours.sum())
    found["fixed horizon"] = Outcome("roll back" if z > 1.96 else "promote", end, exposed)
    for name in ("peeking", "threshold"):
        found.setdefault(name, Outcome("promote", end, exposed))
    return found


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    n = len(outcomes)
    backs = [one for one in outcomes if one.act == "roll back"]
    shipped = sum(one.act == "promote" for one in outcomes)
    bounds = [wilson(count, n) for count in (len(backs), shipped)]
    return {
        "rolled_back": len(backs) / n,
        "rolled_back_95": bounds[0],
        "promoted": shipped / n,
        "promoted_95": bounds[1],
        "undecided": 1 - (len(backs) + shipped) / n,
        "exposed_requests": float(np.mean([one.exposed for one in outcomes])),
        "ticks": float(np.median([one.tick for one in outcomes])),
    }


def wilson(count: int, n: int) -> list[float]:
    centre, half = (count + 1.92) / (n + 3.84), 1.96 * np.sqrt(count * (n - count) / n + 0.96) / (n + 3.84)
    return [round(max(centre - half, 0.0), 4), round(min(centre + half, 1.0), 4)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="200 equal and 200 seeded rollouts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rollouts", type=int, default=1000)
    chosen = parser.parse_args()
    began_s = time.monotonic()
    plan = [(world, chosen.rollouts) for world in WORLDS]
    if chosen.quick:
        seeded = [world for world in WORLDS if world.worse >= 0.01 or world.slice_worse or world.slow]
        plan = [(WORLDS[0], 200)] + [
            (world, 200 // len(seeded) + (k < 200 % len(seeded))) for k, world in enumerate(seeded)
        ]
    table: dict[str, dict[str, Any]] = {}
    for world, runs in plan:
        both = [simulate(world, seed) for seed in range(runs)]
        table[world.name] = {"rollouts": runs, "holdfast": summary([one for one, _ in both])}
        for name in ("fixed horizon", "peeking", "threshold"):
            table[world.name][name] = summary([found[name] for _, found in both])
    seconds = time.monotonic() - began_s
    if chosen.json:
        equal = table[WORLDS[0].name]["holdfast"]
        print(
            json.dumps(
                {
                    "false_decisions": equal["rolled_back"],
                    "false_decisions_95": equal["rolled_back_95"],
                    "alpha": ALPHA,
                    "exposed_requests": {
                        name: row["holdfast"]["exposed_requests"] for name, row in table.items()
                    },
                    "worlds": table,
                    "seconds": round(seconds, 1),
                },
                indent=2,
            )
        )
        return
    print(f"{'world':34} {'rule':14} back  promoted  exposed  ticks")
    for world_name, row in table.items():
        for rule in ("holdfast", "fixed horizon", "peeking", "threshold"):
            one = row[rule]
            print(
                f"{world_name:34} {rule:14} {one['rolled_back']:.3f} {one['promoted']:.3f} "
                f"{one['exposed_requests']:10.0f} {one['ticks']:6.0f}"
            )
    print(f"{seconds:.1f} s")


if __name__ == "__main__":
    main()
