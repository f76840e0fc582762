"""From a log with labels to a challenger with evidence, and nothing half done where that fails."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pyarrow import parquet
from shop import KEY, TOML, Shop, open_shop
from sklearn.metrics import roc_auc_score

from holdfast.privacy import subject_pseudonym
from holdfast.score import load
from holdfast.subject import erase_subject
from holdfast.train import Asked, TrainerFailedError, WorseError, past_runs
from holdfast.train.comparing import BASELINE
from holdfast.train.manifest import read_manifest
from holdfast.train.refitting import NOTE


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = open_shop(tmp_path / "shop")
    yield shop
    shop.close()


def trainer(shop: Shop, code: str, *, keys: str = "") -> None:
    """A trainer of the user's own, in the deployment folder."""
    (shop.deployment.folder / "mine.py").write_text(code)
    shop.reopen(TOML + f'trainer = "mine:train"\n{keys}')


@pytest.mark.slow
def test_an_erased_subject_is_gone_from_the_reference_of_the_version_that_was_judged_on_it(
    tmp_path: Path,
) -> None:
    shop = open_shop(tmp_path / "shop", TOML + '[privacy]\nsubject_field = "who"\n')
    shop.days(0, 30, context={"who": [f"customer-{row % 4}" for row in range(200)]})
    version = shop.train(Asked(keep_worse=True)).version
    path = shop.deployment.references_folder / version / "reference.parquet"
    gone = subject_pseudonym(KEY, "customer-1")
    before = parquet.read_table(path)
    mine = [row for row in before.to_pylist() if row["subject"] == gone]
    assert len(mine) == before.num_rows // 4
    folder = shop.deployment.artifacts_folder / shop.registry.version(version).artifact_folder
    assert not (folder / "warmup.json").exists()
    done = erase_subject(
        shop.deployment, shop.registry, "customer-1", pseudonym_key=KEY, signing_key=bytes(32),
        actor="carol", clock=shop.clock,
    ).certificate  # fmt: skip
    assert done.complete
    assert done.judged_on == (version,)
    assert done.data_files[f"references/{version}/reference.parquet"] == len(mine)
    amounts = {row["amount"] for row in mine}
    for left in shop.deployment.folder.rglob("*.parquet"):
        table = parquet.read_table(left)
        for name in {"amount", "input_amount"} & set(table.column_names):
            assert amounts.isdisjoint(table[name].to_pylist()), left
    shop.close()


@pytest.mark.slow
def test_a_challenger_beats_a_champion_whose_world_has_turned(shop: Shop) -> None:
    shop.days(0, 10)
    shop.days(10, 30, turned=True)
    report = shop.train(Asked(since_us=shop.clock.now_us() - 30 * 86_400_000_000))
    assert (report.version, report.champion) == ("2", "1")
    assert report.comparison.verdict == "better"
    assert report.comparison.overall["roc_auc"].champion < 0.3
    assert report.comparison.overall["roc_auc"].challenger > 0.8
    assert shop.registry.route().champion == "1"
    stored = shop.registry.evidence("2", "comparison")[0].payload
    assert (stored["challenger"], stored["champion"], stored["dataset"]) == ("2", "1", report.data_set)
    assert stored["test_rows"] == report.rows["test"] == 1000
    metric = stored["overall"]["log_loss"]
    assert metric["low"] < metric["difference"] < metric["high"] < 0
    assert metric["difference"] == pytest.approx(metric["challenger"] - metric["champion"])
    assert {"country = NL", "country is missing", "second half of the test"} & {
        one["name"] for one in stored["slices"]
    }
    version = shop.registry.version("2")
    assert version.metadata["data_sets"] == [
        f"datasets/{report.data_set[:32]}/{name}.parquet" for name in ("train", "dev", "test")
    ]
    card = (shop.deployment.artifacts_folder / version.artifact_folder / "README.md").read_text()
    assert report.data_set in card
    assert "## Training data" in card
    assert "| log_loss |" in card
    assert [run.state for run in past_runs(shop.deployment)] == ["registered"]
    acts = [(one.action, one.target) for one in shop.registry.audit.entries()]
    assert acts[-1] == ("train", "2")


@pytest.mark.slow
def test_scores_of_the_challenger_are_calibrated_and_unseen_texts_are_answered(shop: Shop) -> None:
    shop.days(0, 40)
    report = shop.train(Asked(keep_worse=True))
    test = parquet.read_table(shop.deployment.datasets_folder / report.data_set[:32] / "test.parquet")
    with load(shop.deployment.folder, "2") as model:
        score = model.predict(test).score
        assert score is not None
        strange = model.predict([{"amount": 50.0, "country": "XX", "items": 3}]).score
    truth = test.column("label").to_numpy()
    assert score.mean() == pytest.approx(truth.mean(), abs=3 * truth.std() / np.sqrt(len(truth)))
    assert strange is not None
    assert 0 < strange[0] < 1


@pytest.mark.slow
def test_a_challenger_of_shuffled_labels_is_refused_and_leaves_nothing_behind(shop: Shop) -> None:
    shop.days(0, 30)
    trainer(
        shop,
        "import numpy as np\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "def train(data):\n"
        "    rows = data.train\n"
        "    frame = data.frame(rows)[['amount', 'items']]\n"
        "    labels = np.random.permutation(data.labels(rows))\n"
        "    return LogisticRegression().fit(frame, labels)\n",
    )
    with pytest.raises(WorseError, match="surely worse than champion 1"):
        shop.train()
    assert [one.version for one in shop.registry.versions()] == ["1"]
    assert not (shop.deployment.references_folder / "2").exists()
    run = next(past_runs(shop.deployment))
    assert run.state == "worse"
    assert run.comparison is not None
    assert run.comparison["verdict"] == "worse"
    assert shop.train(Asked(keep_worse=True)).comparison.verdict == "worse"


def area(score: Any, truth: Any) -> float:
    return float(roc_auc_score(truth, score))


@pytest.mark.slow
def test_with_refit_the_test_judges_a_twin_and_teaches_the_model_that_is_registered(shop: Shop) -> None:
    shop.days(0, 26)
    shop.days(26, 7, turned=True)  # the newest rows alone: the test, and what is younger than label_delay
    trainer(
        shop,
        "import numpy as np\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "def train(data):\n"
        "    rows = data.dev\n"
        "    both = [data.train, rows]\n"
        "    times = np.concatenate([data.times(one) for one in both])\n"
        "    weights = np.concatenate([data.weights(one) for one in both])\n"
        "    age = (times.max() - times) / np.timedelta64(10, 'D')\n"
        "    assert np.ptp(weights * 2.0 ** age) < 1e-9 * weights.max()\n"
        "    frame = data.frame(rows)[['amount', 'items']]\n"
        "    return LogisticRegression().fit(frame, data.labels(rows))\n",
        keys='refit = true\nweights = "age"\nhalf_life = "10d"\n',
    )
    report = shop.train(Asked(keep_worse=True))
    assert NOTE in report.comparison.notes
    assert report.comparison.overall["roc_auc"].challenger < 0.3
    folder = shop.deployment.datasets_folder / report.data_set[:32]
    test = parquet.read_table(folder / "test.parquet")
    truth = test.column("label").to_numpy()
    with load(shop.deployment.folder, "2") as model:
        assert area(model.predict(test).score, truth) > 0.8
    reference = parquet.read_table(shop.deployment.references_folder / "2" / "reference.parquet")
    assert area(reference.column("probability").to_numpy(), reference.column("label").to_numpy()) < 0.3
    version = shop.registry.version("2")
    assert version.metadata["trained_until"] == read_manifest(folder).splits["test"].until
    assert shop.registry.evidence("2", "training")[0].payload["refit"] is True
    work = shop.deployment.training_folder / report.run
    assert sorted(work.rglob("*.parquet")) == []
    assert {path.parent.name for path in work.rglob("log.txt")} == {report.run, "refit"}


@pytest.mark.parametrize(
    ("code", "keys", "match"),
    [
        (
            "def train(data):\n    print('at work')\n    raise ValueError('no such thing')",
            "",
            "no such thing",
        ),
        ("def train(data):\n    return None", "", "gave no model"),
        ("def train(data):\n    return 'nothing.onnx'", "", "not there"),
        ("import os\ndef train(data):\n    os.kill(os.getpid(), 9)", "", "SIGKILL"),
        ("def train(data):\n    return bytearray(3_000_000_000)", "memory_mb = 1000\n", "refused memory"),
        ("import time\ndef train(data):\n    time.sleep(60)", 'timeout = "2s"\n', "did not end in time"),
    ],
    ids=["raises", "nothing", "no file", "killed", "memory", "time"],
)
def test_a_failing_trainer_leaves_nothing_registered_and_its_output_on_file(
    shop: Shop, code: str, keys: str, match: str
) -> None:
    shop.days(0, 25)
    trainer(shop, code, keys=keys)
    began = time.monotonic()
    with pytest.raises(TrainerFailedError, match=match) as caught:
        shop.train()
    assert time.monotonic() - began < 40
    assert [one.version for one in shop.registry.versions()] == ["1"]
    assert [run.state for run in past_runs(shop.deployment)] == ["failed"]
    log = shop.deployment.training_folder / next(past_runs(shop.deployment)).id / "log.txt"
    assert log.exists()
    if match == "no such thing":
        assert "at work" in log.read_text()
        assert "exit code 1" in str(caught.value)


def test_a_trainer_sees_neither_the_test_nor_holdfasts_secrets_and_is_seeded(shop: Shop) -> None:
    shop.days(0, 25)
    shop.environ["HOLDFAST_MASTER_KEY"] = "ab" * 32
    trainer(
        shop,
        "import os, random, json\n"
        "def train(data):\n"
        "    known = [name for name in os.environ if name.startswith('HOLDFAST_')]\n"
        "    print(json.dumps([sorted(known), random.random(), hasattr(data, 'test')]))\n"
        "    raise SystemExit(3)\n",
        keys="seed = 5\n",
    )
    for _ in range(2):
        with pytest.raises(TrainerFailedError, match="exit code 3"):
            shop.train()
    said = [
        msgspec.json.decode(path.read_bytes())
        for path in sorted(shop.deployment.training_folder.glob("*/log.txt"))
    ]
    import random

    random.seed(5)
    assert said[0] == said[1]
    assert said[0][1] == random.random()
    assert "HOLDFAST_MASTER_KEY" not in said[0][0]
    assert said[0][2] is False


COMMAND = """
import json, os
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

rows = pd.read_parquet(os.environ["HOLDFAST_TRAIN"])
features = json.loads(os.environ["HOLDFAST_FEATURES"])
rows = rows[features + ["label"]].fillna({"country": ""})
print("@progress 0.5 fitting")
columns = ColumnTransformer([
    ("numbers", "passthrough", ["amount", "items"]),
    ("texts", OneHotEncoder(handle_unknown="ignore"), ["country"]),
])
model = Pipeline([("columns", columns), ("model", LogisticRegression(max_iter=2000))])
model.fit(rows[features], rows.label)
number, text = FloatTensorType([None, 1]), StringTensorType([None, 1])
kinds = {"amount": number, "items": number, "country": text}
given = [(name, kinds[name]) for name in features]
graph = to_onnx(model, initial_types=given, options={"zipmap": False})
with open(os.environ["HOLDFAST_MODEL"], "wb") as file:
    file.write(graph.SerializeToString())
"""


@pytest.mark.slow
def test_a_command_reads_parquet_and_writes_a_model(shop: Shop) -> None:
    shop.days(0, 25)
    (shop.deployment.folder / "fit.py").write_text(COMMAND)
    shop.reopen(TOML + f'command = ["{sys.executable}", "fit.py"]\n')
    report = shop.train()
    assert (report.version, report.comparison.verdict) == ("2", "not told apart")
    assert report.comparison.overall["roc_auc"].challenger > 0.85
    made = shop.registry.evidence("2", "training")[0].payload
    assert made["trainer"].endswith("fit.py")
    with load(shop.deployment.folder, "2") as model:
        answer = model.predict([{"amount": 80.0, "country": "NL", "items": 5}])
    assert answer.prediction.tolist() == [1]


def test_a_command_whose_model_takes_other_columns_is_refused_in_words(shop: Shop) -> None:
    shop.days(0, 25)
    (shop.deployment.folder / "fit.py").write_text(
        "import os, pandas as pd\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from skl2onnx import to_onnx\n"
        "rows = pd.read_parquet(os.environ['HOLDFAST_TRAIN'])\n"
        "values = rows[['amount', 'items']].to_numpy('float32')\n"
        "model = LogisticRegression(max_iter=1000).fit(values, rows.label)\n"
        "graph = to_onnx(model, values[:1], options={'zipmap': False})\n"
        "open(os.environ['HOLDFAST_MODEL'], 'wb').write(graph.SerializeToString())\n"
    )
    shop.reopen(TOML + f'command = ["{sys.executable}", "fit.py"]\n')
    with pytest.raises(Exception, match=r"column|input|reference") as caught:
        shop.train()
    assert "Traceback" not in str(caught.value)
    assert [one.version for one in shop.registry.versions()] == ["1"]


@pytest.mark.slow
def test_the_first_model_comes_from_a_described_file_and_is_judged_against_a_constant(tmp_path: Path) -> None:
    from test_building import history_file

    shop = open_shop(tmp_path / "shop", TOML + 'sources = ["sources/history.toml"]\n', champion=False)
    history_file(shop, days=40)
    report = shop.train()
    assert report.comparison.champion == BASELINE
    assert report.comparison.verdict == "better"
    assert shop.registry.route().champion == "1"
    shop.close()
