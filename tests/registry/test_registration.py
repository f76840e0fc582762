from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import helper, numpy_helper
from registering import Place, frame
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from holdfast.artifact import ArtifactError, ReferenceDataError, open_artifact, pack_inputs, read_outputs
from holdfast.clock import ManualClock
from holdfast.privacy import PSEUDONYM_KEY_VARIABLE, subject_pseudonym
from holdfast.registry import prepare_variant, register_variant, stored_reference
from holdfast.runtime import ParityError, RuntimeFailure, open_runtime
from holdfast.subject import erase_subject


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.registry.close()


def fitted(table: pd.DataFrame) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(table[["amount", "hour"]], table.fraud)


def test_the_reference_is_kept_with_what_the_version_answered(place: Place) -> None:
    table = frame()
    model = fitted(table)
    version = place.register(model, reference=table, labels="fraud", time="at")
    kept = place.reference(version)
    assert kept.column_names == ["amount", "hour", "prediction", "probability", "label", "time"]
    np.testing.assert_allclose(
        kept["probability"].to_numpy(), model.predict_proba(table[["amount", "hour"]])[:, 1], atol=1e-6
    )
    assert kept["prediction"].to_pylist() == model.predict(table[["amount", "hour"]]).tolist()
    assert kept["label"].to_pylist() == table.fraud.tolist()
    assert str(kept.schema.field("time").type) == "timestamp[us, tz=UTC]"
    assert kept["time"].to_pylist() == table["at"].dt.to_pydatetime().tolist()


def test_stored_answers_equal_what_the_stored_model_says_bit_for_bit(place: Place) -> None:
    table = frame()
    version = place.register(fitted(table), reference=table, labels="fraud", time="at")
    artifact = open_artifact(place.folder(version))
    columns = {name: table[name].to_numpy() for name in ("amount", "hour")}
    given = read_outputs(
        artifact.signature, open_runtime(artifact).run(pack_inputs(artifact.signature, columns, len(table)))
    )
    assert given.probabilities is not None
    stored = place.reference(version)["probability"].to_numpy()
    assert stored.tobytes() == given.probabilities[:, 1].astype(np.float64).tobytes()


def test_the_first_version_is_champion_and_later_ones_wait_unless_promoted(place: Place) -> None:
    table = frame()
    options = {"labels": "fraud", "time": "at"}
    assert place.register(fitted(table), reference=table, **options).status == "champion"
    second = place.register(fitted(table[:200]), reference=table, **options)
    assert (second.version, second.status) == ("2", "registered")
    third = place.register(fitted(table[:150]), reference=table, promote=True, **options)
    assert third.status == "champion"
    decision = place.registry.decisions()[0]
    assert decision.checklist_hash == place.deployment.checklist_hash
    assert decision.actor == "ann"


def test_the_same_registration_again_is_the_same_version(place: Place) -> None:
    table = frame()
    model = fitted(table)
    first = place.register(model, reference=table, labels="fraud", time="at")
    again = place.register(model, reference=table, labels="fraud", time="at")
    assert again.version == first.version
    assert len(place.registry.versions()) == 1
    other = place.register(model, reference=table[:299], labels="fraud", time="at")
    assert other.version == "2"
    assert sorted(path.name for path in place.deployment.references_folder.iterdir()) == ["1", "2"]


def test_parity_and_quality_are_evidence_and_the_card_shows_them(place: Place) -> None:
    from sklearn.metrics import roc_auc_score

    table = frame()
    model = fitted(table)
    version = place.register(model, reference=table, labels="fraud", time="at")
    quality = place.registry.evidence(version.version, "reference quality")[0].payload
    inputs = table[["amount", "hour"]]
    assert quality["roc_auc"] == pytest.approx(
        roc_auc_score(table.fraud, model.predict_proba(inputs)[:, 1]), abs=1e-6
    )
    assert quality["accuracy"] == pytest.approx(model.score(inputs, table.fraud), abs=1e-9)
    assert place.registry.evidence(version.version, "parity")[0].payload["rows"] == len(table)
    card = (place.folder(version) / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: onnx\n")
    assert "pipeline_tag: tabular-classification" in card
    assert "| amount | float64 | numeric |" in card


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_a_stated_threshold_decides_in_place_of_the_models_own_decision(
    tmp_path: Path, threshold: float
) -> None:
    place = Place(tmp_path, f"threshold = {threshold}\n")
    table = frame()
    model = fitted(table)
    version = place.register(model, reference=table, labels="fraud")
    chance = model.predict_proba(table[["amount", "hour"]])[:, 1]
    expected = np.where(chance >= threshold, "yes", "no")
    assert (expected != model.predict(table[["amount", "hour"]])).any() == (threshold == 0.2)
    assert place.reference(version).column("prediction").to_pylist() == expected.tolist()
    quality = place.registry.evidence(version.version, "reference quality")[0].payload
    assert quality["accuracy"] == pytest.approx((expected == table.fraud).mean(), abs=1e-9)
    said = any("from a probability of 0.2 on" in note for note in version.metadata["notes"])
    assert said == (threshold == 0.2)
    place.registry.close()


def test_columns_the_model_does_not_take_are_ignored_and_said(place: Place) -> None:
    table = frame().assign(note="x")
    version = place.register(fitted(table), reference=table, labels="fraud", time="at")
    assert any("does not take these columns of the reference: note" in note for note in version.notes)
    assert "note" not in place.reference(version).column_names


def test_a_missing_column_names_the_nearest(place: Place) -> None:
    table = frame()
    with pytest.raises(
        ReferenceDataError, match=r"lacks 'amount', which the model takes.*Did you mean 'amounts'"
    ):
        place.register(
            fitted(table), reference=table.rename(columns={"amount": "amounts"}), labels="fraud", time="at"
        )


def test_a_model_that_answers_otherwise_than_its_original_is_refused_without_a_value(tmp_path: Path) -> None:
    place = Place(
        tmp_path, 'parity_tolerance = 1e-17\n[security]\nauth = "keys"\n[privacy]\nsensitivity = "high"\n'
    )
    table = frame()
    with pytest.raises(ParityError) as caught:
        place.register(fitted(table), reference=table, labels="fraud", time="at")
    text = str(caught.value)
    assert "at row " in text
    assert "1e-17" in text
    assert place.registry.versions() == []
    place.registry.close()


def test_high_sensitivity_keeps_rows_out_of_the_artifact(tmp_path: Path) -> None:
    place = Place(tmp_path, '[security]\nauth = "keys"\n[privacy]\nsensitivity = "high"\n')
    table = frame()
    version = place.register(fitted(table), reference=table, labels="fraud", time="at")
    assert not (place.folder(version) / "warmup.json").exists()
    assert f"{table.amount.max():g}" not in (place.folder(version) / "README.md").read_text()
    place.registry.close()


PEOPLE = '[privacy]\nsubject_field = "patient"\n'


def test_rows_about_people_are_found_by_an_erasure_also_in_the_reference_of_a_variant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PSEUDONYM_KEY_VARIABLE, "a key")
    place = Place(tmp_path, PEOPLE)
    table = frame().assign(patient=[f"patient-{row % 10}" for row in range(300)])
    version = place.register(fitted(table), reference=table, labels="fraud", time="at")
    known = [subject_pseudonym(b"a key", name) for name in table.patient]
    assert place.reference(version)["subject"].to_pylist() == known
    assert not (place.folder(version) / "warmup.json").exists()
    reference = stored_reference(place.deployment, version)
    assert reference.input_names == ("amount", "hour")
    model = open_artifact(place.folder(version))
    variant = prepare_variant(
        (place.folder(version) / "model.onnx").read_bytes(), model.signature, reference, where="a variant"
    )
    made = register_variant(
        place.deployment, place.registry, replace(variant, notes=("a variant",)), reference,
        actor="ann", clock=ManualClock(start_us=11),
    )  # fmt: skip
    variant.runtime.close()
    assert place.reference(made)["subject"].to_pylist() == known
    done = erase_subject(
        place.deployment, place.registry, "patient-3", pseudonym_key=b"a key", signing_key=bytes(32),
        actor="carol", clock=ManualClock(start_us=11),
    ).certificate  # fmt: skip
    assert set(done.data_files.values()) == {30}
    assert done.judged_on == tuple(dict.fromkeys((version.version, made.version)))
    for one in (version, made):
        left = place.reference(one)
        assert left.num_rows == 270
        assert known[3] not in left["subject"].to_pylist()
        assert left["amount"].to_pylist() == table.amount[table.patient != "patient-3"].tolist()
    place.registry.close()


def test_without_the_key_registration_says_that_an_erasure_will_not_find_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PSEUDONYM_KEY_VARIABLE, raising=False)
    place = Place(tmp_path, PEOPLE)
    table = frame().assign(patient="patient-1")
    version = place.register(fitted(table), reference=table, labels="fraud", time="at")
    assert any("erasure cannot find" in note for note in version.metadata["notes"])
    assert "subject" not in place.reference(version).column_names
    place.registry.close()


@pytest.mark.parametrize("name", ["label", "score"])
def test_a_reserved_name_of_an_input_is_refused(place: Place, name: str) -> None:
    table = frame().rename(columns={"hour": name})
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[["amount", name]], table.fraud)
    with pytest.raises(ReferenceDataError, match=f"{name}: an input has a name that the stored reference"):
        place.register(model, reference=table, labels="fraud", time="at")


def test_an_input_may_be_called_score_where_the_model_has_none(place: Place) -> None:
    table = frame().rename(columns={"hour": "score"})
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(table[["score"]], table.amount)
    kept = place.reference(place.register(model, reference=table, labels="amount", time="at"))
    assert kept["score"].to_pylist() == table["score"].tolist()


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-01"] * 300,
        pd.date_range("2026-01-01", periods=300).date,
        ["2026-01-01T00:00:00+02:00"] * 300,
        ["01.01.2026"] * 300,
        ["1/1/2026 0:00", "1/13/2026 0:00"] * 150,
        [1_767_225_600] * 300,
        [1_767_225_600_000] * 300,
    ],
)
def test_times_come_as_text_dates_or_with_an_offset(place: Place, times: Any) -> None:
    table = frame().assign(at=times)
    kept = place.reference(place.register(fitted(table), reference=table, labels="fraud", time="at"))
    expected = "2025-12-31 22:00" if "+02" in str(times[0]) else "2026-01-01 00:00"
    assert str(kept["time"][0].as_py())[:16] == expected


def test_days_and_months_that_cannot_be_told_are_refused(place: Place) -> None:
    table = frame().assign(at="1/2/2026")
    with pytest.raises(ReferenceDataError, match="can be read in two ways"):
        place.register(fitted(table), reference=table, labels="fraud", time="at")


def test_numbers_are_no_times(place: Place) -> None:
    table = frame().assign(at=range(300))
    with pytest.raises(ReferenceDataError, match="the time column holds no times"):
        place.register(fitted(table), reference=table, labels="fraud", time="at")


def test_a_graph_without_a_reference_is_registered_with_numbered_columns(place: Place) -> None:
    version = place.register(softmax_graph(3))
    signature = open_artifact(place.folder(version)).signature
    assert [column.name for column in signature.columns] == ["x_0", "x_1", "x_2"]
    assert signature.task == "binary"
    assert not (place.deployment.references_folder / version.version / "reference.parquet").exists()


def test_a_graph_made_for_one_row_at_a_time_answers_any_number(place: Place) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(20, 3)), columns=["a", "b", "c"])
    fixed = place.register(softmax_graph(3, rows=1), reference=table)
    free = place.register(softmax_graph(3), reference=table)
    answers = [place.reference(version)["probability"].to_numpy() for version in (fixed, free)]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-7)


def test_a_graph_that_mixes_rows_is_refused(place: Place) -> None:
    mean = helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0, axes=None)
    info = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 2])]
    out = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [])]
    proto = helper.make_model(
        helper.make_graph([mean], "g", info, out), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )

    with pytest.raises(ArtifactError, match="does not answer row by row"):
        place.register(proto, reference=pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}))


def softmax_graph(columns: int, rows: int | None = None) -> onnx.ModelProto:
    weights = numpy_helper.from_array(
        np.random.default_rng(1).normal(size=(columns, 2)).astype(np.float32), "w"
    )
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"])]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [rows, columns])
    p = helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, [rows, 2])
    graph = helper.make_graph(nodes, "g", [x], [p], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def score(columns: dict[str, Any]) -> dict[str, Any]:
    chance = 1 / (1 + np.exp(1.5 - columns["amount"]))
    return {"probabilities": np.stack([1 - chance, chance], axis=1)}


def failing(columns: dict[str, Any]) -> Any:
    raise KeyError("amout")


def short(columns: dict[str, Any]) -> Any:
    return columns["amount"][:-1]


def test_a_python_callable_is_registered_by_name_and_its_code_is_not_stored(place: Place) -> None:
    table = frame()
    version = place.register(score, reference=table, labels="fraud", time="at", trust_python=True)
    artifact = open_artifact(place.folder(version))
    assert artifact.runtime == "python"
    assert b"numpy" not in artifact.model_file.read_bytes()
    assert artifact.signature.classes == ("no", "yes")
    expected = 1 / (1 + np.exp(1.5 - table.amount))
    np.testing.assert_allclose(place.reference(version)["probability"].to_numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("function", "message"),
    [(failing, "KeyError: 'amout'"), (short, "another number of rows than it was given")],
)
def test_a_python_callable_that_fails_is_refused_with_its_own_reason(
    place: Place, function: Any, message: str
) -> None:
    with pytest.raises(RuntimeFailure, match=message):
        place.register(function, reference=frame(), labels="fraud", time="at", trust_python=True)
    assert place.registry.versions() == []


def test_a_crash_before_the_commit_leaves_no_version_and_the_next_one_is_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.registry import registration

    table = frame()
    real = registration._publish

    def dies_after(building: Path, folder: Path) -> None:
        real(building, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(registration, "_publish", dies_after)
    with pytest.raises(KeyboardInterrupt):
        place.register(fitted(table), reference=table, labels="fraud", time="at")
    assert place.registry.versions() == []
    monkeypatch.setattr(registration, "_publish", real)
    version = place.register(fitted(table), reference=table, labels="fraud", time="at")
    assert version.version == "1"
    assert place.reference(version).num_rows == 300


def test_a_registration_for_which_there_is_no_room_names_the_file_and_leaves_no_artifact(
    place: Place,
) -> None:
    table = frame(20_000)
    source = fitted(table)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        with pytest.raises(OSError, match="too large") as refused:
            place.register(source, reference=table, labels="fraud", time="at")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert refused.value.filename == str(place.deployment.references_folder / "reference.parquet")
    assert list(place.deployment.artifacts_folder.iterdir()) == []


def test_a_registration_that_fails_leaves_the_artifact_that_a_version_has(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.registry import registration

    table = frame()
    version = place.register(fitted(table), reference=table, labels="fraud", time="at")

    def no_room(folder: Path, table: object) -> str:
        raise OSError(errno.ENOSPC, "full", str(folder))

    monkeypatch.setattr(registration, "_write_reference", no_room)
    with pytest.raises(OSError, match="full"):
        place.register(fitted(table), reference=table, labels="fraud", time="at")
    assert open_artifact(place.folder(version)).sha256 == version.sha256


def numbered() -> pd.DataFrame:
    table = frame()
    return table.assign(fraud=(table.fraud == "yes").astype(int))


@pytest.mark.parametrize("shift", [0.5, 0.25])
def test_labels_with_a_fraction_are_no_classes(place: Place, shift: float) -> None:
    table = numbered()
    with pytest.raises(ReferenceDataError, match=r"no class of the model.*received numbers with a fraction"):
        place.register(
            fitted(table), reference=table.assign(fraud=table["fraud"] + shift), labels="fraud", time="at"
        )


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (lambda fraud: fraud * 0, "all labels of the reference are alike"),
        (lambda fraud: fraud * 2, "1 classes among the labels are none that the model answers: 2"),
        (lambda fraud: fraud.where(fraud == 1), "reference rows have no label"),
        (lambda fraud: fraud * float("nan"), "no row of the reference has a label"),
    ],
)
def test_labels_that_will_surprise_later_are_said_at_registration(
    place: Place, labels: Any, said: str
) -> None:
    table = numbered()
    strange = table.assign(fraud=labels(table["fraud"]))
    version = place.register(fitted(table), reference=strange, labels="fraud", time="at")
    assert any(said in note for note in version.notes)


def test_columns_whose_names_no_identifier_could_have_are_the_inputs_under_these_names(place: Place) -> None:
    rows = frame(60).rename(columns={"amount": "Betrag (€)", "hour": "variable"})
    rows["time of day"] = np.where(rows["variable"] < 12, "früh", "spät")
    rows["time_of_day"] = np.arange(60.0)
    numbers = ["Betrag (€)", "variable", "time_of_day"]
    steps = ColumnTransformer([("n", StandardScaler(), numbers), ("t", OneHotEncoder(), ["time of day"])])
    asked = rows[[*numbers, "time of day"]]
    for final in (Ridge(), GradientBoostingRegressor(n_estimators=3)):
        model = make_pipeline(steps, final).fit(asked, rows["variable"] * 2.0)

        version = place.register(model, reference=asked)

        artifact = open_artifact(place.folder(version))
        assert [tensor.name for tensor in artifact.signature.inputs] == list(asked.columns)
        graph = onnx.load(artifact.model_file)
        assert {value.name for value in graph.graph.input} == set(asked.columns)
