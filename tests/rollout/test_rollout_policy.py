"""What the policy does with each state and each piece of evidence."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_evidence import APPROVED, UNDECIDED, WORSE, S, comparison, evidence, standing, terms

from holdfast.rollout import Evidence, Health, Shares, decide, earliest_decision_us, most_share, rows_missing
from holdfast.rollout.gate import compare
from holdfast.rollout.values import Comparison

CANARY = {"phase": "canary", "share": 0.1, "phase_at_us": 0}


def test_a_healthy_shadow_goes_to_the_first_share_when_its_time_is_over() -> None:
    early = decide(terms(), standing(phase_at_us=150 * S), evidence())
    assert (early.act, early.reason) == ("none", "50 s left at this share")
    plan = decide(terms(), standing(), evidence())
    assert (plan.act, plan.share) == ("advance", 0.01)


@pytest.mark.parametrize(
    ("seconds", "said"), [(119, "119 s"), (7199, "120 min"), (85_329, "24 h"), (3 * 86_400, "3 d")]
)
def test_what_is_left_at_a_share_is_said_as_a_person_would(seconds: int, said: str) -> None:
    waiting = decide(terms(shadow_us=seconds * S), standing(), evidence(now_us=0))
    assert waiting.reason == f"{said} left at this share"


def test_without_labels_it_is_never_promoted_however_long_it_waits() -> None:
    for quality in (None, comparison(-1, 1, n=0)):
        plan = decide(terms(), standing(**CANARY), evidence(now_us=9_999 * S, quality=quality))
        assert (plan.act, plan.clock) == ("none", "labels")


def test_without_traffic_it_holds_even_when_labels_approve() -> None:
    plan = decide(terms(), standing(**CANARY), evidence(challenger=Health(), quality=APPROVED))
    assert plan.act == "none"
    assert "no traffic" in plan.reason


def test_labels_promote_when_the_upper_bound_is_below_the_margin() -> None:
    assert decide(terms(), standing(**CANARY), evidence(quality=APPROVED)).act == "promote"
    assert decide(terms(), standing(**CANARY), evidence(quality=UNDECIDED)).act == "none"


def test_an_approved_challenger_still_climbs_the_ramp_step_by_step() -> None:
    plan = decide(terms(), standing(phase="canary", share=0.01), evidence(quality=APPROVED))
    assert (plan.act, plan.share) == ("advance", 0.1)


def test_labels_send_it_back_when_the_lower_bound_is_above_zero() -> None:
    plan = decide(terms(), standing(**CANARY), evidence(quality=WORSE))
    assert (plan.act, plan.clock) == ("roll back", "labels")


@pytest.mark.parametrize("where", ["arms", "slices"])
def test_harm_in_one_slice_or_between_the_arms_sends_it_back(where: str) -> None:
    harm = comparison(0.01, 0.2, name="country = DE")
    found: dict[str, Any] = {where: (harm,) if where == "slices" else harm}
    plan = decide(terms(), standing(**CANARY), evidence(quality=APPROVED, **found))
    assert plan.act == "roll back"
    assert plan.reason.startswith("country = DE")


def test_errors_above_the_tolerance_send_it_back_at_once_even_when_held() -> None:
    failing = Health(requests=1000, errors=40, errors_lower=0.03, errors_upper=0.05)
    plan = decide(terms(), standing(held=True, **CANARY), evidence(challenger=failing))
    assert (plan.act, plan.clock) == ("roll back", "fast")
    assert "40 of 1000" in plan.reason


@pytest.mark.parametrize(
    ("slow_s", "act"), [(0.2, "roll back"), (0.04, "none")], ids=["above the target", "within the target"]
)
def test_latency_counts_only_above_the_target_and_above_the_champion(slow_s: float, act: str) -> None:
    slow = Health(requests=1000, p99_lower_s=slow_s, p99_upper_s=1.0)
    assert decide(terms(), standing(phase_at_us=199 * S), evidence(challenger=slow)).act == act
    both = evidence(challenger=slow, champion=slow)
    assert decide(terms(), standing(phase_at_us=199 * S), both).act == "none"


def test_a_challenger_that_dies_or_cannot_be_loaded_is_given_up() -> None:
    assert decide(terms(), standing(), evidence(crashes=2)).act != "roll back"
    assert decide(terms(), standing(), evidence(crashes=3)).act == "roll back"
    assert decide(terms(), standing(**CANARY), evidence(load_failures=1)).act == "roll back"


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        ("ratio", {"ratio_evidence": 20.0}),
        ("coverage", {"coverage": comparison(0.01, 0.1)}),
        ("flips", {"flips": comparison(0.21, 0.3)}),
        ("share of positives", {"volume": comparison(-0.2, -0.06)}),
        ("mean answer", {"volume": comparison(-0.2, -0.06), "volume_of": "mean answer"}),
        ("mean score", {"score": comparison(0.06, 0.1)}),
    ],
)
def test_what_labels_need_not_show_holds_until_a_person_lets_it_go(
    subject: str, found: dict[str, Any]
) -> None:
    plan = decide(terms(), standing(**CANARY), evidence(quality=APPROVED, **found))
    assert (plan.act, plan.subject) == ("hold", subject)
    resumed = decide(terms(), standing(accepted=(subject,), **CANARY), evidence(quality=APPROVED, **found))
    assert resumed.act == "promote"


def test_at_the_deadline_it_never_ships() -> None:
    for quality in (None, APPROVED, UNDECIDED):
        plan = decide(terms(), standing(**CANARY), evidence(now_us=10_000 * S, quality=quality))
        assert plan.act == "expire"


def test_a_held_rollout_moves_only_back() -> None:
    assert decide(terms(), standing(held=True, **CANARY), evidence(quality=APPROVED)).act == "none"
    assert decide(terms(), standing(held=True, **CANARY), evidence(quality=WORSE)).act == "roll back"


def test_without_a_passed_check_it_waits() -> None:
    plan = decide(terms(), standing(checked=False, **CANARY), evidence(quality=APPROVED))
    assert plan.act == "none"
    assert "check" in plan.reason


def test_a_first_deployment_waits_for_a_person() -> None:
    plan = decide(terms(), standing(kind="first"), evidence(quality=APPROVED))
    assert (plan.act, plan.subject) == ("hold", "confirmation")
    assert decide(terms(), standing(kind="first"), evidence(quality=UNDECIDED)).act == "none"


def test_a_first_deployment_may_answer_otherwise_than_the_rule_before_it() -> None:
    many = evidence(quality=APPROVED, flips=comparison(0.4, 0.5), volume=comparison(0.2, 0.3))
    assert decide(terms(), standing(kind="update"), many).subject == "flips"
    assert decide(terms(), standing(kind="first"), many).subject == "confirmation"


def test_the_risk_budget_bounds_the_share_until_labels_lower_the_worst_loss() -> None:
    # 100 rows/s for 50 s are 5000 predictions, of which a share of 1 % can lose 50.
    bounded = terms(risk_budget=50.0)
    assert most_share(bounded, evidence(), approved=False) == pytest.approx(0.01)
    known = evidence(quality=comparison(-0.1, 0.1))
    assert most_share(bounded, known, approved=False) == pytest.approx(0.1)
    assert most_share(terms(risk_budget=50.0, cost_per_loss=2.0), evidence(), approved=False) == (
        pytest.approx(0.005)
    )
    plan = decide(bounded, standing(phase="canary", share=0.01), evidence())
    assert (plan.act, plan.clock) == ("none", "labels")
    assert decide(bounded, standing(phase="canary", share=0.01), known).act == "advance"


def test_without_a_stated_budget_only_the_first_share_is_risked() -> None:
    assert most_share(terms(), evidence(), approved=False) == 0.01
    assert most_share(terms(), evidence(), approved=True) == 1.0


def test_a_budget_without_a_known_rate_risks_nothing() -> None:
    assert most_share(terms(risk_budget=5.0), evidence(rows_per_s=0.0), approved=False) == 0.0


def test_the_earliest_decision_is_after_maturity_and_after_the_ramp() -> None:
    plain = terms()
    assert earliest_decision_us(plain, 0, 0.0) == plain.shadow_us + 2 * plain.step_us
    slow = terms(maturity_us=5000 * S)
    assert earliest_decision_us(slow, 7, 0.0) == 5000 * S + 7
    assert earliest_decision_us(slow, 7, 10.0) > 5000 * S + 7


def test_alpha_is_split_whole() -> None:
    for slices in (0, 1, 20):
        shares = Shares.of(0.05, slices)
        assert shares.quality + (3 + slices) * shares.guardrail == pytest.approx(0.05)


@given(
    lower=st.floats(-1, 1),
    width=st.floats(0, 1),
    requests=st.integers(0, 5),
    now_s=st.integers(0, 20_000),
    share=st.sampled_from([0.0, 0.01, 0.1]),
    held=st.booleans(),
)
def test_nothing_is_promoted_without_labels_that_say_so(
    *, lower: float, width: float, requests: int, now_s: int, share: float, held: bool
) -> None:
    found: Evidence = evidence(
        now_us=now_s * S,
        quality=comparison(lower, lower + width),
        challenger=Health(requests=requests),
    )
    phase = "canary" if share else "shadow"
    plan = decide(terms(), standing(phase=phase, share=share, held=held), found)
    if plan.act == "promote":
        assert lower + width < 0.005
        assert lower <= 0
        assert requests
        assert not held
        assert now_s < 10_000
    if plan.act == "advance":
        assert share < plan.share <= max(plan.most_share, 0.01)


@given(st.integers(300, 3000), st.floats(0.02, 0.3), st.floats(-0.9, 0.3))
def test_labels_approve_about_when_they_are_said_to(rows: int, flips: float, lean: float) -> None:
    """On the bounds themselves: the same shares of better and worse answers, in more rows."""
    better = round(rows * flips * (1 - lean) / 2)
    counts = np.array([better, rows - round(rows * flips), round(rows * flips) - better])

    def seen(times: float) -> Comparison:
        return compare("loss", np.array([-1.0, 0.0, 1.0]), np.round(counts * times).astype(int), 0.025)

    now = seen(1.0)
    missing = rows_missing(terms(margin=0.05), now)
    assert missing is not None
    if missing == 0:
        assert now.upper < 0.05
    elif missing == float("inf"):
        assert seen(50.0).upper >= 0.05
    elif missing < 100 * rows:
        whole = (rows + missing) / rows
        assert seen(0.6 * whole).upper >= 0.05 or 0.6 * whole < 1
        assert seen(1.7 * whole).upper < 0.05


def test_what_is_still_missing_is_said_only_where_it_can_be() -> None:
    assert rows_missing(terms(), None) is None
    assert rows_missing(terms(), comparison(-1, 1, n=0)) is None
    so_far = msgspec.structs.replace(comparison(-0.01, 0.03, n=1000), mean=0.0)
    assert rows_missing(terms(margin=0.01), so_far) == pytest.approx(8000)
    said = decide(terms(margin=0.01), standing(**CANARY), evidence(quality=so_far)).reason
    assert said.endswith("if it goes on so, about 8,000 more rows will do")
    worse = msgspec.structs.replace(so_far, mean=0.02)
    said = decide(terms(margin=0.01), standing(**CANARY), evidence(quality=worse)).reason
    assert said.endswith("0.01 is allowed, and so far it is +0.02")
