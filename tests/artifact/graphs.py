"""Small ONNX graphs, written node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper


def model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, tuple[int, list[int | None]]],
    outputs: dict[str, tuple[int, list[int | None]]],
    initializers: Sequence[Any] = (),
) -> ModelProto:
    def infos(named: dict[str, tuple[int, list[int | None]]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in named.items()]

    graph = helper.make_graph(list(nodes), "test", infos(inputs), infos(outputs), list(initializers))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def dense(columns: int, answers: int, activation: str | None, *, seed: int = 0) -> ModelProto:
    """One matrix product, then the activation: `x` `[N, columns]` to `y` `[N, answers]`."""
    rng = np.random.default_rng(seed)
    weights = numpy_helper.from_array(rng.normal(size=(columns, answers)).astype(np.float32), "w")
    bias = numpy_helper.from_array(rng.normal(size=answers).astype(np.float32), "b")
    last = "y" if activation is None else "logits"
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], [last])]
    if activation is not None:
        nodes.append(helper.make_node(activation, [last], ["y"]))
    return model(
        nodes,
        {"x": (TensorProto.FLOAT, [None, columns])},
        {"y": (TensorProto.FLOAT, [None, answers])},
        [weights, bias],
    )


def identity(name: str = "x", shape: Sequence[int | None] = (None, 3)) -> ModelProto:
    return model(
        [helper.make_node("Identity", [name], ["y"])],
        {name: (TensorProto.FLOAT, list(shape))},
        {"y": (TensorProto.FLOAT, list(shape))},
    )
