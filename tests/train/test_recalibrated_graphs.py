"""The line behind a champion's chances, whatever its graph says of them."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from holdfast.artifact import Answer, Column, Signature, Tensor
from holdfast.train.recalibrating import recalibrated

X = np.random.default_rng(0).normal(size=(400, 1)).astype(np.float32)
LABELS = (np.random.default_rng(1).random(400) < 1 / (1 + np.exp(-2 * X[:, 0] - 1))).astype(np.int64)


def chances(width: int | None) -> bytes:
    """The logistic function of x as the chance of 1, and the rest as that of 0."""
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["one"]),
        helper.make_node("Neg", ["x"], ["minus"]),
        helper.make_node("Sigmoid", ["minus"], ["nought"]),
        helper.make_node("Concat", ["nought", "one"], ["chances"], axis=1),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])
    made = helper.make_tensor_value_info("chances", TensorProto.FLOAT, [None, width])
    graph = helper.make_graph(nodes, "chances", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    data: bytes = model.SerializeToString()
    return data


def signature(output: str = "chances", positive: int = 1) -> Signature:
    return Signature(
        columns=(Column(name="x", dtype="float32", kind="numeric"),),
        inputs=(Tensor(name="x", dtype="float32", shape=(-1, 1), columns=("x",)),),
        outputs=(Tensor(name=output, dtype="float32", shape=(-1, 2)),),
        task="binary",
        classes=(0, 1),
        positive_class=positive,
        probability_output=output,
    )


def said(model: bytes) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(model).run(None, {"x": X})[0])


def line(model: bytes, of: Signature) -> bytes:
    return recalibrated(model, of, Answer(LABELS, said(model), {}), LABELS, np.ones(len(X)))[0]


@pytest.mark.parametrize("width", [2, None])
def test_each_row_has_its_two_chances_also_where_the_graph_names_no_width(width: int | None) -> None:
    answer = said(line(chances(width), signature()))
    assert answer.shape == (400, 2)
    assert answer[:, 1].mean() == pytest.approx(LABELS.mean(), abs=1e-4)  # the likelihood's own equation


def test_a_champion_that_was_recalibrated_is_recalibrated_again() -> None:
    once = line(chances(2), signature())
    np.testing.assert_allclose(
        said(line(once, signature("recalibrated_probabilities"))), said(once), atol=1e-5
    )


def test_the_class_called_0_may_be_the_positive_one() -> None:
    np.testing.assert_allclose(
        said(line(chances(2), signature(positive=0))), said(line(chances(2), signature())), atol=1e-5
    )
