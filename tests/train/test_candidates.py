"""Several candidates from one data set: the best on dev is taken, and one that fails stops nobody."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from shop import TOML, Shop, open_shop

from holdfast.clock import SystemClock
from holdfast.errors import MissingExtraError
from holdfast.train import TrainerFailedError, TrainError, past_runs
from holdfast.train.tabular import settings_of

CODE = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

def train(data):
    print(f"candidate {data.candidate}")
    if data.candidate == 1:
        raise RuntimeError("no luck")
    numbers, texts = ("n", "passthrough", ["amount", "items"]), ("t", OneHotEncoder(), ["country"])
    steps = ColumnTransformer([numbers, texts])
    rows = data.train
    strength = [1e-6, None, 1.0, 1e-4][data.candidate]
    model = Pipeline([("columns", steps), ("model", LogisticRegression(C=strength, max_iter=2000))])
    model.fit(data.frame(rows), data.labels(rows))
    dev = data.dev
    data.report_loss(1 - model.score(data.frame(dev), data.labels(dev)))
    return model
"""
MINE = TOML + 'trainer = "mine:train"\ncandidates = 4\n'


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = open_shop(tmp_path / "shop")
    shop.days(0, 20)
    (shop.deployment.folder / "mine.py").write_text(CODE)
    yield shop
    shop.close()


@pytest.mark.slow
def test_the_best_candidate_on_dev_is_judged_and_each_has_its_log(shop: Shop) -> None:
    shop.reopen(MINE)
    report = shop.train()
    made = shop.registry.evidence(report.version, "training")[0].payload["candidates"]
    losses = [one["loss"] for one in made]
    assert losses[1] is None
    assert "no luck" in made[1]["error"]
    assert losses[2] == min(one for one in losses if one is not None) < losses[0]
    assert report.comparison.overall["error_rate"].verdict != "worse"
    (run,) = past_runs(shop.deployment)
    folder = shop.deployment.training_folder / run.id
    assert [(folder / f"candidate-{n}" / "log.txt").read_text().split("\n")[0] for n in range(4)] == [
        f"candidate {n}" for n in range(4)
    ]


def test_candidates_that_do_not_say_how_good_they_are_cannot_be_chosen_from(shop: Shop) -> None:
    silent = CODE.replace("    data.report_loss", "    print").replace("data.candidate == 1", "False")
    (shop.deployment.folder / "mine.py").write_text(silent.replace("None, 1.0", "1.0, 1.0"))
    shop.reopen(MINE.replace("= 4", "= 2"))
    with pytest.raises(TrainerFailedError, match="how good it is"):
        shop.train()
    assert [one.version for one in shop.registry.versions()] == ["1"]


def test_further_candidates_of_the_ready_made_trainer_are_drawn_by_seed_and_number() -> None:
    assert settings_of(0, 1) == settings_of(0, 2)
    drawn = [settings_of(number, 1) for number in range(1, 5)]
    assert drawn == [settings_of(number, 1) for number in range(1, 5)]
    assert len({one["learning_rate"] for one in [*drawn, settings_of(1, 2)]}) == 5


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed here")
def test_without_ray_the_error_names_the_extra(shop: Shop) -> None:
    shop.reopen(MINE + 'engine = "ray"\n')
    with pytest.raises(MissingExtraError, match=r"holdfast\[ray\]"):
        shop.train()


def test_opened_inputs_are_not_sent_to_a_cluster(tmp_path: Path) -> None:
    shop = open_shop(
        tmp_path / "sealed", TOML + 'engine = "ray"\n' + '[privacy.field_actions]\namount = "encrypt"\n'
    )
    from holdfast.privacy import open_sealer
    from holdfast.train import Secrets

    environ = {"HOLDFAST_MASTER_KEY": "ab" * 32}
    sealer = open_sealer(shop.deployment.checklist.privacy, shop.deployment.folder, environ, SystemClock())
    assert sealer is not None
    shop.secrets = Secrets(sealer=sealer)
    shop.days(0, 20)
    with sealer, pytest.raises(TrainError, match="do not leave this machine"):
        shop.train()
    shop.close()
