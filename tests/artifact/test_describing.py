"""Signatures of bare graphs, end to end: the graph and a reference in, what serving needs out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import dense, identity, model
from onnx import ModelProto, TensorProto, helper, numpy_helper

from holdfast.artifact import (
    ArtifactError,
    Execution,
    Reference,
    ReferenceDataError,
    Signature,
    Tensor,
    Wanted,
    graph_inputs,
    infer_signature,
    pack_inputs,
    read_graph,
)
from holdfast.runtime.onnx import OnnxRuntime

ROWS = 40


def columns(*names: str, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {**{name: rng.normal(size=ROWS) for name in names}, **more}


def describe(proto: ModelProto, reference: Any = None, label: str | None = None, **wanted: Any) -> Signature:
    graph = read_graph(proto.SerializeToString(), where="m.onnx")
    table = None if reference is None else Reference.read(reference, label=label)
    inputs = graph_inputs(graph, table)
    sample = None
    if table is not None:
        draft = Signature(columns=inputs.columns, inputs=inputs.tensors, outputs=(), task="tensor")
        feeds = pack_inputs(draft, table.columns(column.name for column in inputs.columns), len(table))
        sample = OnnxRuntime(graph.model, where="m.onnx", execution=Execution()).run(feeds)
    return infer_signature(
        inputs,
        tuple(Tensor(name=one.name, dtype=one.dtype, shape=(-1, *one.shape[1:])) for one in graph.outputs),
        wanted=Wanted(**wanted),
        known_classes=graph.classes,
        activations=graph.activations,
        sample=sample,
        labels=None if table is None else table.labels(),
    )


def test_a_softmax_is_a_classifier_whose_classes_are_the_labels() -> None:
    labels = ["ok", "scratch", "dent", "ok"] * 10
    signature = describe(dense(2, 3, "Softmax"), columns("a", "b", y=labels), "y")
    assert (signature.task, signature.classes) == ("multiclass", ("dent", "ok", "scratch"))
    assert (signature.probability_output, signature.prediction_output) == ("y", None)
    assert signature.inputs == (Tensor(name="x", dtype="float32", shape=(-1, 2), columns=("a", "b")),)


def test_without_labels_classes_are_numbered() -> None:
    assert describe(dense(2, 3, "Softmax"), columns("a", "b")).classes == (0, 1, 2)
    assert describe(dense(2, 3, "Softmax")).classes == (0, 1, 2)


def test_one_sigmoid_is_binary_and_its_score_is_of_the_positive_class() -> None:
    signature = describe(dense(2, 1, "Sigmoid"), columns("a", "b", y=[0, 1] * 20), "y")
    assert (signature.task, signature.classes, signature.positive_class) == ("binary", (0, 1), 1)
    named = describe(
        dense(2, 1, "Sigmoid"),
        columns("a", "b", y=["good", "bad"] * 20),
        "y",
        positive_class="bad",
        threshold=0.2,
    )
    assert (named.classes, named.positive_class, named.threshold) == (("bad", "good"), "bad", 0.2)


def test_an_unknown_positive_class_names_the_classes() -> None:
    with pytest.raises(ArtifactError, match=r"expected bad or good; received god.*Did you mean 'good'"):
        describe(dense(2, 1, "Sigmoid"), columns("a", "b", y=["good", "bad"] * 20), "y", positive_class="god")


def test_one_number_per_row_is_regression() -> None:
    signature = describe(dense(2, 1, None), columns("a", "b", y=np.arange(40) / 7), "y")
    assert (signature.task, signature.prediction_output) == ("regression", "y")


def test_several_numbers_that_are_no_probabilities_are_passed_on() -> None:
    assert describe(dense(2, 3, None), columns("a", "b")).task == "tensor"


def test_the_checklist_may_say_that_a_plain_number_is_a_probability_but_not_that_any_is() -> None:
    clipped = dense(2, 1, None)
    clipped.graph.node[0].output[0] = "raw"
    bounds = [
        numpy_helper.from_array(np.array(value, dtype=np.float32), name)
        for name, value in (("lo", 0), ("hi", 1))
    ]
    clipped.graph.initializer.extend(bounds)
    clipped.graph.node.append(helper.make_node("Clip", ["raw", "lo", "hi"], ["y"]))
    assert describe(clipped, columns("a", "b")).task == "regression"
    assert describe(clipped, columns("a", "b"), task="binary").task == "binary"
    with pytest.raises(ArtifactError, match="task = 'binary', and no output of the model fits it"):
        describe(dense(2, 1, None), columns(a=[-90.0, 90.0] * 20, b=[0.0] * 40), task="binary")
    with pytest.raises(ArtifactError, match="task = 'regression'"):
        describe(dense(2, 3, "Softmax"), columns("a", "b"), task="regression")
    with pytest.raises(ArtifactError, match="tells 3 classes apart"):
        describe(dense(2, 3, "Softmax"), columns("a", "b"), task="binary")


def test_columns_that_a_packed_input_does_not_fit_are_an_error_that_counts_them() -> None:
    with pytest.raises(ReferenceDataError, match=r"takes 2 columns in order, and the reference has 3"):
        describe(dense(2, 1, None), columns("a", "b", "c"))


def test_numbered_columns_find_their_place_among_others() -> None:
    signature = describe(dense(2, 1, None), columns("x_1", "note", "x_0"))
    assert signature.inputs[0].columns == ("x_0", "x_1")


def test_named_inputs_take_their_columns_in_any_order_and_others_are_ignored() -> None:
    proto = model(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        {"a": (TensorProto.FLOAT, [None, 1]), "b": (TensorProto.FLOAT, [None, 1])},
        {"y": (TensorProto.FLOAT, [None, 1])},
    )
    graph = read_graph(proto.SerializeToString(), where="m.onnx")
    inputs = graph_inputs(graph, Reference.read(columns("other", "b", "a")))
    assert [column.name for column in inputs.columns] == ["a", "b"]
    assert inputs.ignored == ("other",)
    with pytest.raises(ReferenceDataError, match=r"no column 'b'.*Did you mean 'bb'"):
        graph_inputs(graph, Reference.read(columns("a", "bb")))


def test_a_text_column_for_a_number_input_is_an_error() -> None:
    proto = identity("a", (None, 1))
    with pytest.raises(
        ReferenceDataError, match=r"a: the column is of another type.*expected float32; received string"
    ):
        describe(proto, {"a": ["x"] * ROWS})


def test_missing_values_for_an_integer_input_are_an_error() -> None:
    proto = model(
        [helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)],
        {"a": (TensorProto.INT64, [None, 1])},
        {"y": (TensorProto.FLOAT, [None, 1])},
    )
    with pytest.raises(ReferenceDataError, match="missing values, and the graph's input cannot hold one"):
        describe(proto, {"a": [1, None] * 20})


def test_images_and_sequences_are_columns_with_a_shape() -> None:
    signature = describe(identity("photo", (None, 3, 32, 32)))
    assert (signature.columns[0].kind, signature.columns[0].shape) == ("image", (3, 32, 32))
    assert describe(identity("wave", (None, None))).columns[0].kind == "audio"


def test_a_passed_on_column_beside_the_score_is_no_class() -> None:
    proto = dense(2, 1, "Sigmoid")
    proto.graph.input.append(helper.make_tensor_value_info("line", TensorProto.INT64, [None]))
    proto.graph.output.append(helper.make_tensor_value_info("line_out", TensorProto.INT64, [None]))
    proto.graph.node.append(helper.make_node("Identity", ["line"], ["line_out"]))
    signature = describe(proto, columns("a", "b", line=np.arange(ROWS), y=[0, 1] * (ROWS // 2)), "y")
    assert (signature.task, signature.prediction_output) == ("binary", None)
    assert signature.probability_output == proto.graph.output[0].name
