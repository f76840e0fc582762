"""Terms, standing and evidence with sensible values, to be changed one by one."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.rollout import Comparison, Evidence, Health, Standing, Terms

S = 1_000_000


def terms(**changes: Any) -> Terms:
    plain = Terms(
        alpha=0.05,
        margin=0.005,
        ramp=(0.01, 0.1, 1.0),
        shadow_us=100 * S,
        step_us=10 * S,
        maturity_us=50 * S,
        risk_budget=0.0,
        cost_per_loss=1.0,
        latency_target_s=0.05,
        max_latency_ratio=1.5,
        max_error_increase=0.005,
        max_flips=0.2,
        max_volume_change=0.05,
        max_crashes=3,
    )
    return msgspec.structs.replace(plain, **changes)


def standing(**changes: Any) -> Standing:
    plain = Standing(
        kind="update",
        phase="shadow",
        share=0.0,
        held=False,
        started_at_us=0,
        phase_at_us=0,
        deadline_us=10_000 * S,
        checked=True,
    )
    return msgspec.structs.replace(plain, **changes)


def comparison(lower: float, upper: float, name: str = "loss", n: int = 1000) -> Comparison:
    return Comparison(name=name, n=n, mean=(lower + upper) / 2, lower=lower, upper=upper)


def evidence(**changes: Any) -> Evidence:
    well = Health(requests=1000, errors_upper=0.01, p99_lower_s=0.001, p99_upper_s=0.01)
    plain = Evidence(now_us=200 * S, champion=well, challenger=well, rows_per_s=100.0)
    return msgspec.structs.replace(plain, **changes)


APPROVED = comparison(-0.01, 0.004)
UNDECIDED = comparison(-0.01, 0.02)
WORSE = comparison(0.001, 0.02)
