"""Every kind of model, every property that serving and scoring rely on."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from model_zoo import Zoo, kinds, registered

from holdfast.artifact import Answer, Packer, Reference, Signature, open_artifact, pack_inputs, read_outputs
from holdfast.runtime import Runtime, open_runtime

every_kind = pytest.mark.parametrize("name", kinds())


def answer(zoo: Zoo, frame: pd.DataFrame) -> Answer:
    artifact = zoo.artifact()
    return read_outputs(artifact.signature, open_runtime(artifact).run(feeds(artifact.signature, frame)))


def feeds(signature: Signature, frame: pd.DataFrame) -> Any:
    columns = Reference.read(frame).columns(column.name for column in signature.columns)
    return pack_inputs(signature, columns, len(frame))


def assert_as_original(zoo: Zoo, frame: pd.DataFrame) -> None:
    prediction, chance = zoo.original(frame)
    given = answer(zoo, frame)
    if zoo.artifact().signature.task == "regression":
        number = np.asarray(given.prediction, dtype=np.float64)
        np.testing.assert_allclose(number, prediction, rtol=0, atol=1e-5 * np.abs(prediction).max())
        return
    if chance is None:
        assert given.probabilities is None
        assert [str(one) for one in given.prediction] == [str(one) for one in prediction]
        return
    assert given.probabilities is not None
    np.testing.assert_allclose(given.probabilities, chance, rtol=0, atol=zoo.kind.tolerance)
    sure = np.sort(chance, axis=1)[:, -1] - np.sort(chance, axis=1)[:, -2] > 2e-5
    assert [str(one) for one in np.asarray(given.prediction)[sure]] == [str(one) for one in prediction[sure]]


@every_kind
def test_the_converted_model_answers_fresh_rows_as_the_original(name: str) -> None:
    zoo = registered(name)
    assert_as_original(zoo, zoo.fresh())


@every_kind
def test_missing_values_are_answered_as_by_the_original(name: str) -> None:
    zoo = registered(name)
    frame = zoo.fresh(60)
    for column in ("gap", "shop"):
        if column in frame:
            frame.loc[:40, column] = None
    assert_as_original(zoo, frame)


@pytest.mark.parametrize("name", [name for name, kind in kinds().items() if "city" in kind.columns])
def test_an_unseen_category_is_answered_and_as_by_the_original_where_that_answers(name: str) -> None:
    zoo = registered(name)
    frame = zoo.fresh(60)
    frame["city"] = frame["city"].astype(object)
    frame.loc[:30, "city"] = "Dubrovnik"
    if zoo.kind.takes_unseen:
        assert_as_original(zoo, zoo.kind.prepare(frame))
    given = answer(zoo, frame)
    assert given.probabilities is not None
    assert np.isfinite(given.probabilities).all()


@every_kind
def test_a_row_has_the_same_bits_alone_in_any_batch_and_in_the_whole_table(name: str) -> None:
    zoo = registered(name)
    artifact = zoo.artifact()
    runtime = open_runtime(artifact)
    frame = zoo.fresh(333)
    tensors = feeds(artifact.signature, frame)
    whole = bits(runtime, tensors, [len(frame)])
    assert bits(runtime, tensors, [1] * len(frame)) == whole
    rng = np.random.default_rng(5)
    for _ in range(3):
        sizes: list[int] = []
        while sum(sizes) < len(frame):
            sizes.append(min(int(rng.integers(1, 70)), len(frame) - sum(sizes)))
        assert bits(runtime, tensors, sizes) == whole


def bits(runtime: Runtime, tensors: Any, sizes: list[int]) -> list[bytes]:
    rows: list[bytes] = []
    start = 0
    for size in sizes:
        outputs = runtime.run({name: array[start : start + size] for name, array in tensors.items()})
        rows += [b"|".join(_row_bits(array[row]) for array in outputs.values()) for row in range(size)]
        start += size
    return rows


def _row_bits(value: Any) -> bytes:
    return str(value).encode() if isinstance(value, str) else np.asarray(value).tobytes()


@every_kind
def test_the_signature_names_the_inputs_as_the_model_was_fitted_and_survives_storage(name: str) -> None:
    zoo = registered(name)
    signature = zoo.artifact().signature
    assert [column.name for column in signature.columns] == zoo.kind.columns
    assert msgspec.json.decode(msgspec.json.encode(signature), type=Signature) == signature
    by_name = {column.name: column for column in signature.columns}
    assert by_name["gap"].nullable
    assert by_name["when"].minimum == float(zoo.reference["when"].min())
    assert by_name["age"].dtype == "int64"
    if "city" in by_name:
        assert by_name["city"].kind == "categorical"
        assert by_name["city"].categories == ("Aarhus", "Brno", "Cádiz")
    held = [column for tensor in signature.inputs for column in tensor.columns]
    assert sorted(held) == sorted(zoo.kind.columns)


@every_kind
def test_a_reopened_artifact_answers_with_the_same_bits(name: str) -> None:
    zoo = registered(name)
    first, again = zoo.artifact(), open_artifact(zoo.folder)
    assert first.sha256 == again.sha256
    tensors = Packer(first.signature).pack(
        Reference.read(zoo.fresh(50)).columns(column.name for column in first.signature.columns), 50
    )
    assert bits(open_runtime(first), tensors, [50]) == bits(open_runtime(again), tensors, [50])
