"""What must be so before a challenger sees traffic."""

from __future__ import annotations

from pathlib import Path

import beside_serve  # noqa: F401 - finds the next one
import msgspec
import numpy as np
import pandas as pd
import pytest
from live_service import linear_signature
from sklearn.linear_model import LinearRegression

from holdfast.artifact.signature import Column, Signature
from holdfast.clock import ManualClock
from holdfast.registry import Registry, register_model
from holdfast.registry.deciding import DecidingLoss
from holdfast.rollout.contract import incompatibilities, write_contract
from holdfast.rollout.losses import Losses
from holdfast.spec import Deployment

A, B = linear_signature().columns


def signature(*columns: Column, **changes: object) -> Signature:
    return msgspec.structs.replace(linear_signature(), columns=columns, **changes)


def test_the_same_records_and_answers_are_compatible_in_any_order() -> None:
    assert incompatibilities(signature(B, A), signature(A, B)) == ()


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        (signature(A, B, msgspec.structs.replace(B, name="c")), "c: callers do not send it"),
        (signature(A), "b: needed to go back to the champion"),
        (signature(A, msgspec.structs.replace(B, dtype="int64")), "b: float32[] becomes int64[]"),
        (signature(A, B, task="binary"), "the task: regression becomes binary"),
        (signature(A, B, classes=("no", "yes")), "the classes: [] become ['no', 'yes']"),
    ],
)
def test_what_callers_of_today_could_not_use_is_named(ours: Signature, expected: str) -> None:
    assert expected in incompatibilities(ours, signature(A, B))


def test_null_may_become_accepted_but_not_refused() -> None:
    nullable = msgspec.structs.replace(B, nullable=True)
    assert incompatibilities(signature(A, nullable), signature(A, B)) == ()
    assert incompatibilities(signature(A, B), signature(A, nullable)) == (
        "b: null is answered today and would be refused",
    )


def losses(task: str, *, dear: float = 1.0) -> Losses:
    return Losses(task, "1", truthy=True, false_positive=1.0, false_negative=dear, scale=10.0)


def test_losses_of_two_classes_cost_what_is_stated_and_truth_may_say_true() -> None:
    found = losses("binary", dear=0.5).loss([1, 0, 1, 0, 1], ["0", "1", "true", None, "1"])
    np.testing.assert_array_equal(found, [1.0, 0.5, 0.0, np.nan, 0.0])
    np.testing.assert_array_equal(losses("binary").volume([1, 0, 1], [0, 0, 1]), [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(losses("binary").flips([1, 0], ["1", 1]), [0.0, 1.0])


def test_losses_of_numbers_are_shares_of_the_scale_and_at_most_one() -> None:
    found = losses("regression").loss([1.0, 100.0, 3.0, 3.0], ["6", "0", None, "many"])
    np.testing.assert_array_equal(found, [0.5, 1.0, np.nan, np.nan])
    np.testing.assert_array_equal(losses("regression").volume([1.0, 99.0], [2.0, 0.0]), [-0.1, 1.0])


def test_losses_of_more_classes_are_one_for_a_wrong_one() -> None:
    np.testing.assert_array_equal(losses("multiclass").loss(["a", "b"], ["a", "a"]), [0.0, 1.0])


def test_answers_that_are_numbers_have_a_mean_and_no_positives(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "houses"\n')
    deployment = Deployment.open(tmp_path, {})
    rows = pd.DataFrame({"size": np.arange(40.0)})
    truth = rows["size"] * 2.0
    decides = DecidingLoss(name="absolute_error", reason="stated", scale=80.0)
    with Registry.open(deployment.registry_url, ManualClock(start_us=11)) as registry:
        for rise in (1.0, 3.0):
            model = LinearRegression().fit(rows, truth * rise)
            register_model(
                deployment,
                registry,
                model,
                reference=rows.assign(price=truth),
                labels="price",
                clock=ManualClock(start_us=11),
            )
        found = write_contract(deployment, registry, "2", "1", decides)
    assert found.volume_of == "mean answer"
    assert any(said.startswith("the mean answer changes by +0.") for said in found.beyond)
