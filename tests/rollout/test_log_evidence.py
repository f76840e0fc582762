"""What the log says of a rollout, against the same sums by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import beside_serve  # noqa: F401 - finds the next ones
import msgspec
import numpy as np
import pytest
from live_service import linear_model, mixed_model
from serve_process import make_deployment

from holdfast.clock import ManualClock
from holdfast.infer import Block, DataPlane, LoadedModel
from holdfast.prediction_log import Keeper, Label, PredictionLog, SpoolWriter
from holdfast.privacy import Redactor
from holdfast.registry import Registry, Rollout, RolloutKind
from holdfast.rollout.log_evidence import LogEvidence
from holdfast.rollout.losses import Losses
from holdfast.spec import Deployment

DAY_US = 86_400_000_000


class Log:
    """A log with one rollout of version 2 against version 1."""

    def __init__(self, folder: Path) -> None:
        self.deployment: Deployment = make_deployment(folder)
        self.clock = ManualClock(start_us=1_700_000_000_000_000)
        writer = SpoolWriter(self.deployment.log_folder, deployment="demo", replica="r", clock=self.clock)
        self.plane = DataPlane(writer, Redactor(self.deployment.checklist.privacy, b"k" * 32), self.clock)
        with Registry.open(self.deployment.registry_url, self.clock) as registry:
            self.rollout: Rollout = registry.rollouts.start(
                "2", kind="update", baseline={}, assignment_key=b"k" * 16, deadline_us=2**60,
                earliest_decision_us=0, reason="r", actor="a", checklist_hash="", report={},
            )  # fmt: skip

    def answer(self, model: LoadedModel, block: Block, arm: str) -> list[str]:
        return list(self.plane.answer(model, block, arm=arm).answer.prediction)

    def label(self, labels: dict[str, str]) -> None:
        now_us = self.clock.now_us()
        self.plane.append_labels([Label(name, y, now_us) for name, y in labels.items()])

    def evidence(self, losses: Losses, maturity_us: int, baseline: str | None = None) -> LogEvidence:
        Keeper(self.deployment, self.clock).run_once()
        return LogEvidence(PredictionLog(self.deployment), losses, maturity_us, baseline)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    yield made
    made.plane.close()


def test_classes_are_counted_in_groups_that_add_up_to_the_rows(log: Log) -> None:
    rows = 300
    rng = np.random.default_rng(1)
    city = [str(one) for one in rng.choice(["north", "south"], rows)]
    ids = [f"row-{row}" for row in range(rows)]

    def block(shift: float) -> Block:
        ages = np.arange(rows) % 7
        return Block(rows, {"age": ages, "city": city, "income": np.full(rows, shift)}, ids)

    theirs = log.answer(mixed_model("1"), block(-0.5), "champion")
    ours = log.answer(mixed_model("2"), block(-0.02), "shadow")
    truth = [str(one) for one in rng.choice(["no", "yes"], rows)]
    log.clock.advance_s(1)
    log.label(dict(zip(ids[:200], truth, strict=False)))
    losses = Losses("binary", "yes", truthy=False, false_positive=1.0, false_negative=0.5, scale=1.0)
    log.clock.advance_s(100)
    pairs = log.evidence(losses, 50_000_000).pairs(log.rollout, ("city",), log.clock.now_us())
    assert pairs.counts.sum() == rows
    assert len(pairs.counts) < 30
    assert (pairs.flips @ pairs.counts) == sum(a != b for a, b in zip(ours, theirs, strict=True))
    known = np.isfinite(pairs.loss)
    cost = {("yes", "no"): 1.0, ("no", "yes"): 0.5}
    for value in ("north", "south"):
        here = known & (pairs.slices["city"] == value)
        expected = sum(
            cost.get((a, y), 0.0) - cost.get((b, y), 0.0)
            for a, b, y, c in zip(ours[:200], theirs[:200], truth[:200], city[:200], strict=True)
            if c == value
        )
        assert float(pairs.loss[here] @ pairs.counts[here]) == pytest.approx(expected)
    assert pairs.score is not None
    assert pairs.score[1].sum() == rows


@pytest.mark.parametrize("kind", ["update", "first"])
def test_scores_are_judged_by_their_squared_distance_and_answers_without_one_as_sure(
    log: Log, kind: RolloutKind
) -> None:
    rows = 200
    ids = [f"row-{row}" for row in range(rows)]
    rng = np.random.default_rng(5)

    def block(income: float) -> Block:
        ages = np.arange(rows) % 7
        city = ["north", "south"] * (rows // 2)
        return Block(rows, {"age": ages, "city": city, "income": np.full(rows, income)}, ids)

    scores = {}
    for version, income, arm in (("1", -0.5, "champion"), ("2", -0.02, "shadow")):
        model = mixed_model(version)
        scores[version] = np.asarray(model.score(log.plane.answer(model, block(income), arm=arm).answer))
    truth = rng.choice(["no", "yes", "neither"], rows, p=[0.5, 0.4, 0.1])
    log.clock.advance_s(1)
    log.label({name: str(y) for name, y in zip(ids[:150], truth[:150], strict=True)})
    losses = Losses(
        "binary", "yes", truthy=False, false_positive=1.0, false_negative=1.0, scale=1.0, negative="no",
        by_score=True,
    )  # fmt: skip
    log.clock.advance_s(100)
    rollout = log.rollout
    if kind == "first":
        rollout = msgspec.structs.replace(rollout, kind="first", challenger="1", champion=None)
    evidence = log.evidence(losses, 50_000_000, "no" if kind == "first" else None)
    pairs = evidence.pairs(rollout, (), log.clock.now_us())
    known = np.isfinite(pairs.loss)
    assert (pairs.counts.sum(), pairs.counts[known].sum()) == (rows, 150)

    def brier(score: np.ndarray) -> np.ndarray:
        return np.where(truth == "neither", 1.0, (score - (truth == "yes")) ** 2)

    ours, theirs = (scores["1"], np.zeros(rows)) if kind == "first" else (scores["2"], scores["1"])
    expected = (brier(ours) - brier(theirs))[:150].mean()
    assert float(pairs.loss[known] @ pairs.counts[known]) / 150 == pytest.approx(expected, abs=1e-4)
    assert abs(expected) > 0.001
    if kind == "update":
        champion, _ = evidence.arms(rollout, rollout.started_at_us, log.clock.now_us())
        seen = np.isfinite(champion.loss)
        mean = float(champion.loss[seen] @ champion.counts[seen]) / champion.counts[seen].sum()
        assert mean == pytest.approx(brier(scores["1"])[:150].mean(), abs=1e-4)


def test_numbers_lose_at_most_their_last_digit_and_rows_without_labels_stay_unknown(log: Log) -> None:
    rows = 400
    ids = [f"row-{row}" for row in range(rows)]
    a = np.random.default_rng(2).normal(size=rows)
    block = Block(rows, {"a": a, "b": np.zeros(rows)}, ids)
    theirs = np.array(log.answer(linear_model("1", (2.0, 0.0)), block, "champion"), dtype=float)
    ours = np.array(log.answer(linear_model("2", (2.3, 0.0)), block, "shadow"), dtype=float)
    truth = 2.0 * a + 0.1
    log.clock.advance_s(1)
    log.label({name: str(y) for name, y in zip(ids[:300], truth[:300].tolist(), strict=True)})
    losses = Losses("regression", "", truthy=False, false_positive=1.0, false_negative=1.0, scale=3.0)
    log.clock.advance_s(100)
    pairs = log.evidence(losses, 50_000_000).pairs(log.rollout, (), log.clock.now_us())
    known = np.isfinite(pairs.loss)
    assert (pairs.counts.sum(), pairs.counts[known].sum()) == (rows, 300)
    assert pairs.volume_of == "mean answer"
    exact = np.minimum(np.abs(ours - truth) / 3, 1) - np.minimum(np.abs(theirs - truth) / 3, 1)
    mean = float(pairs.loss[known] @ pairs.counts[known]) / 300
    assert mean == pytest.approx(float(exact[:300].mean()), abs=1e-4)


def test_arms_are_the_rows_that_callers_got_and_only_when_old_enough(log: Log) -> None:
    for number, (version, weight, arm) in enumerate(
        [("1", 2.0, "champion"), ("2", 3.0, "challenger"), ("2", 3.0, "shadow")]
    ):
        block = Block(10, {"a": np.ones(10), "b": np.zeros(10)}, [f"{number}-{row}" for row in range(10)])
        log.answer(linear_model(version, (weight, 0.0)), block, arm)
        log.label({f"{number}-{row}": "2" for row in range(5)})
    losses = Losses("regression", "", truthy=False, false_positive=1.0, false_negative=1.0, scale=4.0)
    evidence = log.evidence(losses, DAY_US)
    early = evidence.arms(log.rollout, log.rollout.started_at_us, log.clock.now_us())
    assert [one.counts.sum() for one in early] == [0, 0]
    log.clock.advance_s(86_401)
    champion, challenger = evidence.arms(log.rollout, log.rollout.started_at_us, log.clock.now_us())
    for found, loss in ((champion, 0.0), (challenger, 0.25)):
        known = np.isfinite(found.loss)
        assert (found.counts.sum(), found.counts[known].sum()) == (10, 5)
        assert found.loss[known].tolist() == [loss]


def test_rows_that_nobody_assigned_give_pairs_and_belong_to_no_arm(log: Log) -> None:
    for version, weight, arm in (("1", 2.0, "pinned"), ("2", 3.0, "shadow")):
        block = Block(10, {"a": np.ones(10), "b": np.zeros(10)}, [str(row) for row in range(10)])
        log.answer(linear_model(version, (weight, 0.0)), block, arm)
    block = Block(4, {"a": np.ones(4), "b": np.zeros(4)}, [f"named-{row}" for row in range(4)])
    log.answer(linear_model("2", (3.0, 0.0)), block, "pinned")
    log.label({str(row): "2" for row in range(10)})
    losses = Losses("regression", "", truthy=False, false_positive=1.0, false_negative=1.0, scale=4.0)
    log.clock.advance_s(86_401)
    evidence = log.evidence(losses, DAY_US)
    pairs = evidence.pairs(log.rollout, (), log.clock.now_us())
    assert (pairs.counts.tolist(), pairs.loss.tolist()) == ([10], [0.25])
    arms = evidence.arms(log.rollout, log.rollout.started_at_us, log.clock.now_us())
    assert [one.counts.sum() for one in arms] == [0, 0]
