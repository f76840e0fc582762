"""Each way of compressing on a small model: what must stay the same, and how far the rest may move."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import make_classification
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.neural_network import MLPClassifier

from holdfast.artifact import Column, Signature, Tensor
from holdfast.artifact.trees import histogram_gradient_boosting
from holdfast.compress.candidates import Candidate, NotTried, Original, Way, deviation, open_session
from holdfast.compress.dense import find_dense, low_rank, pruned, sparse
from holdfast.compress.ensembles import leaf_sums, read_ensemble
from holdfast.compress.forests import fewer_trees
from holdfast.compress.quantising import quantised
from holdfast.compress.simplifying import half_arithmetic, half_weights, slimmed
from holdfast.compress.students import distilled

X, Y = make_classification(1200, 8, n_informative=5, class_sep=1.5, random_state=0)
X = X.astype(np.float32)


def original(model: bytes, *, task: Any = "binary") -> Original:
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    feeds = {session.get_inputs()[0].name: X}
    outputs = dict(zip(names, session.run(names, feeds), strict=True))
    kinds: dict[str, Any] = {"f": "float32", "i": "int64"}
    columns = tuple(Column(name=f"f{i}", dtype="float32", kind="numeric") for i in range(8))
    tensors = tuple(
        Tensor(name=name, dtype=kinds[value.dtype.kind], shape=(-1, *value.shape[1:]))
        for name, value in outputs.items()
    )
    label = next((name for name, value in outputs.items() if value.dtype.kind == "i"), None)
    scores = next((name for name, value in outputs.items() if value.dtype.kind == "f"), None)
    signature = Signature(
        columns=columns,
        inputs=(
            Tensor(
                name=next(iter(feeds)), dtype="float32", shape=(-1, 8), columns=tuple(c.name for c in columns)
            ),
        ),
        outputs=tensors,
        task=task,
        classes=(0, 1) if task == "binary" else (),
        positive_class=1 if task == "binary" else None,
        prediction_output=label if task == "binary" else scores,
        probability_output=scores if task == "binary" else None,
    )
    return Original(model, signature, feeds, outputs)


@pytest.fixture(scope="module")
def network() -> Original:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier((96, 96), max_iter=15, random_state=0).fit(X, Y)
    return original(to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString())


@pytest.fixture(scope="module")
def boosted() -> Original:
    model = GradientBoostingClassifier(n_estimators=60, random_state=0).fit(X, Y)
    return original(to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString())


def made(way: Way, of: Original) -> dict[str, Candidate]:
    return {one.name: one for one in way(of) if isinstance(one, Candidate)}


def agreement(of: Original, model: bytes) -> float:
    """Share of rows with the same class."""
    label = of.signature.prediction_output
    return float(np.mean(of.run(model, [str(label)])[0] == of.outputs[str(label)]))


def test_a_slimmer_graph_answers_the_same(network: Original) -> None:
    (slim,) = made(slimmed, network).values()
    assert deviation(network, slim.model) < 1e-6


def test_half_weights_halve_the_file_and_move_answers_by_rounding_only(network: Original) -> None:
    (half,) = made(half_weights, network).values()
    assert len(half.model) < 0.55 * len(network.model)
    assert deviation(network, half.model) < 2e-3


def test_half_arithmetic_keeps_the_types_of_inputs_and_outputs(network: Original) -> None:
    (half,) = made(half_arithmetic, network).values()
    outputs = network.run(half.model)
    assert [value.dtype for value in outputs] == [value.dtype for value in network.outputs.values()]


def test_integers_quarter_the_file_and_keep_nearly_every_class(network: Original) -> None:
    found = made(quantised, network)
    assert {"dynamic int8", "static int8"} <= set(found)
    for candidate in found.values():
        assert len(candidate.model) < 0.45 * len(network.model)
        assert agreement(network, candidate.model) > 0.97


def test_an_operator_that_hurts_is_left_out() -> None:
    # Between the first two products one number is a thousand times the others, and counts for nothing: int8
    # steps that are wide enough for it leave nothing of the rest, whichever instructions multiply them.
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
        for name, shape in (("a", (8, 64)), ("b", (64, 64)), ("c", (64, 64)), ("d", (64, 2)))
    }
    weights["a"][:, 0] *= 1000
    weights["b"][0] = 0
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["ha"]),
        helper.make_node("MatMul", ["ha", "b"], ["hb"]),
        helper.make_node("Tanh", ["hb"], ["tb"]),
        helper.make_node("MatMul", ["tb", "c"], ["hc"]),
        helper.make_node("Tanh", ["hc"], ["tc"]),
        helper.make_node("MatMul", ["tc", "d"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    hurt = original(model.SerializeToString(), task="tensor")
    found = made(quantised, hurt)
    whole = deviation(hurt, found["static int8"].model)
    assert deviation(hurt, found["static int8, sensitive left out"].model) < whole


def test_pruned_units_are_gone_and_the_next_layer_makes_up_for_them(network: Original) -> None:
    found = made(pruned, network)
    half = found["pruned to 0.5 of the units"]
    layers = find_dense(onnx.load_model_from_string(half.model))
    assert [layer.weight.shape for layer in layers] == [(8, 48), (48, 48), (48, 1)]
    assert agreement(network, half.model) > 0.97
    sizes = [len(candidate.model) for candidate in found.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_factors_of_a_layer_of_low_rank_are_exact() -> None:
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=(64, 3)) @ rng.normal(size=(3, 64))).astype(np.float32)
    first = rng.normal(size=(8, 64)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "a"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "b"], ["y"], transB=1),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 64])],
        [numpy_helper.from_array(first, "a"), numpy_helper.from_array(weight.T.copy(), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    dense = original(model.SerializeToString(), task="tensor")
    factored = made(low_rank, dense)["low rank, 99% of the energy"]
    scale = float(np.abs(dense.outputs["y"]).mean())
    assert deviation(dense, factored.model) < 0.1 * scale
    ranks = [layer.weight.shape for layer in find_dense(onnx.load_model_from_string(factored.model))]
    assert ranks[1][1] <= 3


def test_sparse_weights_make_no_smaller_file(network: Original) -> None:
    for candidate in made(sparse, network).values():
        assert len(candidate.model) > 0.9 * len(network.model)


def test_trees_written_compactly_are_smaller_and_answer_the_same(boosted: Original) -> None:
    found = made(fewer_trees, boosted)
    compact = found["compact trees"]
    assert len(compact.model) < 0.6 * len(boosted.model)
    assert deviation(boosted, compact.model) < 1e-6
    assert agreement(boosted, compact.model) == 1.0


def test_fewer_trees_weighted_anew_come_near_the_whole(boosted: Original) -> None:
    found = made(fewer_trees, boosted)
    assert agreement(boosted, found["30 trees"].model) > 0.95
    coarse = found["30 trees and coarse leaves"]
    assert len(coarse.model) <= len(found["30 trees"].model)
    assert agreement(boosted, coarse.model) > 0.94
    assert len(found["15 trees"].model) < len(found["30 trees"].model) < len(found["compact trees"].model)


def test_a_leaf_that_exploded_in_training_does_not_spoil_the_weights_of_the_others(
    boosted: Original,
) -> None:
    ensemble = read_ensemble(boosted.proto())
    assert ensemble is not None
    places, counts = np.unique(leaf_sums(ensemble.trees[-1], X), return_counts=True)
    rare = np.float32(places[counts.argmin()])
    proto = boosted.proto()
    weights = next(one for one in proto.graph.node[0].attribute if one.name == "class_weights").floats
    for place, weight in enumerate(weights):
        if weight == rare:
            weights[place] = math.copysign(1e31, rare)
    exploded = original(proto.SerializeToString())
    assert agreement(exploded, made(fewer_trees, exploded)["30 trees"].model) > 0.9


def test_an_ensemble_written_here_before_can_be_made_smaller_once_more(boosted: Original) -> None:
    first = original(made(fewer_trees, boosted)["30 trees"].model)
    again = made(fewer_trees, first)
    assert agreement(first, again["15 trees"].model) > 0.95


@pytest.mark.parametrize("kind", ["regressor", "histogram"])
def test_the_sums_of_trees_read_from_a_graph_are_those_of_the_model(kind: str) -> None:
    model: Any
    if kind == "regressor":
        model = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(X, X[:, 0] * 3)
        graph = to_onnx(model, X[:1])
    else:
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(max_iter=20, random_state=0).fit(X, X[:, 0] * 3)
        graph = histogram_gradient_boosting(model)
    ensemble = read_ensemble(graph)
    assert ensemble is not None
    raw: NDArray[np.float64] = np.sum([leaf_sums(tree, X) for tree in ensemble.trees], axis=0)
    base = ensemble.base[0] if kind == "regressor" else float(np.ravel(model._baseline_prediction)[0])
    assert raw + base == pytest.approx(model.predict(X), abs=1e-4)


def test_a_forest_with_several_numbers_in_a_leaf_is_named_and_not_touched() -> None:
    model = RandomForestClassifier(5, max_depth=3, random_state=0).fit(X, Y)
    forest = original(to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString())
    (only,) = list(fewer_trees(forest))
    assert isinstance(only, NotTried)
    assert only.why


def test_students_have_the_original_s_inputs_and_outputs_and_agree_with_it(boosted: Original) -> None:
    found = made(distilled, boosted)
    assert {"student network 32", "student of 50 trees"} <= set(found)
    for candidate in found.values():
        session = open_session(candidate.model)
        before = open_session(boosted.model)
        assert [i.name for i in session.get_inputs()] == [i.name for i in before.get_inputs()]
        given = {o.name: o.type for o in session.get_outputs()}
        assert given == {o.name: o.type for o in before.get_outputs()}
        assert agreement(boosted, candidate.model) > 0.9
