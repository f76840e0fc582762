"""A diagnosis chooses how a challenger is made; a recalibrated champion keeps its order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from pyarrow import parquet
from scipy.stats import spearmanr
from shop import DAY_US, START_US, Shop, open_shop

from holdfast.artifact import Answer, open_artifact
from holdfast.cli.app import root
from holdfast.clock import iso_utc
from holdfast.registry import Registry
from holdfast.score import load
from holdfast.spec.checklist import Training
from holdfast.stats import log_odds
from holdfast.train import Asked, TrainError
from holdfast.train.diagnosed import recipe_of
from holdfast.train.recalibrating import recalibrated


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = open_shop(tmp_path / "shop")
    yield shop
    shop.close()


def diagnosis(registry: Registry, *options: tuple[str, str], day: int | None = 3) -> int:
    since = None if day is None else {"estimate": iso_utc(START_US + day * DAY_US)}
    payload: dict[str, Any] = {
        "verdict": "concept drift",
        "alarm": True,
        "since": since,
        "options": [{"action": action, "detail": detail} for action, detail in options],
    }
    return registry.attach_evidence("1", "diagnosis", payload).id


@pytest.mark.parametrize(
    ("options", "action", "since", "weights"),
    [
        ([("retrain", "on the rows since the change")], "retrain", True, "none"),
        ([("retrain", "on all labelled rows"), ("recalibrate", "")], "retrain", False, "none"),
        ([("retrain", "on all rows, newer ones weighing more")], "retrain", False, "age"),
        ([("move the threshold", ""), ("recalibrate", "")], "recalibrate", True, "none"),
        ([], "retrain", False, "age"),
    ],
)
def test_the_best_option_that_makes_a_challenger_is_taken(
    shop: Shop, options: list[tuple[str, str]], action: str, since: bool, weights: str
) -> None:
    made = recipe_of(shop.registry, diagnosis(shop.registry, *options), Training())
    assert (made.action, made.settings.weights) == (action, weights)
    assert made.since_us == (START_US + 3 * DAY_US if since else None)


def test_waiting_and_rolling_back_train_nothing_and_an_unknown_diagnosis_lists_those_there_are(
    shop: Shop,
) -> None:
    for action, match in (("wait", "says to wait"), ("roll back", "says to roll back")):
        with pytest.raises(TrainError, match=match):
            recipe_of(shop.registry, diagnosis(shop.registry, (action, "for 100 rows")), Training())
    with pytest.raises(TrainError, match=r"expected 2, 1|no such diagnosis"):
        recipe_of(shop.registry, 99, Training())


def test_a_recalibrated_champion_has_the_scaled_log_odds_and_is_registered(shop: Shop) -> None:
    shop.days(0, 30)
    number = diagnosis(shop.registry, ("recalibrate", ""), day=0)
    report = shop.train(Asked(from_diagnosis=number, keep_worse=True))
    assert "recalibrate" in report.recipe
    test = parquet.read_table(shop.deployment.datasets_folder / report.data_set[:32] / "test.parquet")
    with load(shop.deployment.folder, "1") as old, load(shop.deployment.folder, report.version) as new:
        before, after = old.predict(test).score, new.predict(test).score
    assert before is not None
    assert after is not None
    assert spearmanr(before, after).statistic == pytest.approx(1.0, abs=1e-3)  # float32 near 0 and 1
    inside = (before > 1e-3) & (before < 1 - 1e-3)
    before, after = before[inside].astype(np.float64), after[inside].astype(np.float64)
    slope, level = np.polyfit(log_odds(before), log_odds(after), 1)
    assert np.abs(log_odds(after) - (slope * log_odds(before) + level)).max() < 1e-3


def test_a_recalibrated_number_is_a_line_of_the_number() -> None:
    from onnx import TensorProto, helper

    from holdfast.artifact import Column, Signature, Tensor

    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "same",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    tensor = Tensor(name="x", dtype="float32", shape=(-1, 1), columns=("x",))
    signature = Signature(
        columns=(Column(name="x", dtype="float32", kind="numeric"),),
        inputs=(tensor,),
        outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
        task="regression",
        prediction_output="y",
    )
    x = np.arange(10.0)
    data, found = recalibrated(
        model.SerializeToString(), signature, Answer(x, None, {}), 3 * x + 1, np.ones(10)
    )
    assert (found.slope, found.level) == pytest.approx((3.0, 1.0))
    said = onnxruntime.InferenceSession(data).run(None, {"x": np.array([[2.0], [5.0]], np.float32)})[0]
    assert said.tolist() == [[7.0], [16.0]]
    with pytest.raises(TrainError, match="no recalibration helps"):
        recalibrated(model.SerializeToString(), signature, Answer(x, None, {}), -x, np.ones(10))


def test_the_commands_do_what_they_say(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOLDFAST_PSEUDONYM_KEY", "HOLDFAST_MASTER_KEY"):
        monkeypatch.delenv(name, raising=False)
    shop.days(0, 25)
    at = ["-C", str(shop.deployment.folder)]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(root, arguments, standalone_mode=False, catch_exceptions=False)

    number = diagnosis(shop.registry, ("recalibrate", ""), day=0)
    assert "no trigger is named" in run("train", "--trigger", "due", *at).output
    assert "no trigger holds: labels" in run("train", "--trigger", "labels", *at).output
    assert str(number) in run("train", "diagnoses", *at).output
    done = run("train", "--from-diagnosis", str(number), "--trigger", "alarm", "--keep-worse", "--json", *at)
    document = json.loads(done.stdout)
    assert document["version"] == "2"
    assert set(document["comparison"]["overall"]["log_loss"]) == {
        "champion", "challenger", "difference", "low", "high", "better",
    }  # fmt: skip
    assert "the cool-down has not passed" in run("train", "--trigger", "alarm", *at).output
    name = document["data_set"][:12]
    assert name in run("train", "sets", *at).output
    again = run("train", "rebuild", name, *at)
    assert again.return_value == 0
    assert "The same data set" in again.output
    replayed = json.loads(run("train", "replay", "--json", *at).stdout)
    assert [one["policy"] for one in replayed["policies"]] == ["checklist", "never", "monthly", "always"]
    assert "never" in run("train", "replay", *at).output
    artifact = open_artifact(shop.deployment.artifacts_folder / shop.registry.version("2").artifact_folder)
    assert artifact.signature.probability_output == "recalibrated_probabilities"
