"""Category codes in front of an ensemble: named columns in, one float64 table of codes and numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from holdfast.artifact.signature import Tensor
from holdfast.artifact.trees import ML_OPSET, OPSET

if TYPE_CHECKING:
    from onnx import ModelProto


def category_codes(
    tensors: Sequence[Tensor], categories: Mapping[str, Sequence[object]], order: Sequence[str]
) -> ModelProto:
    """A model that replaces each category by its position, and an unknown or missing one by NaN.

    Args:
        tensors: one input `[N, 1]` for each column, text or float.
        categories: by column, in the order of the codes. Columns not named pass as they are.
        order: of the columns in the packed output.
    """
    from onnx import TensorProto, helper, numpy_helper

    elements = {
        "float32": TensorProto.FLOAT,
        "float64": TensorProto.DOUBLE,
        "int64": TensorProto.INT64,
        "string": TensorProto.STRING,
    }
    nodes = []
    for tensor in tensors:
        name, made = tensor.name, f"{tensor.name}::column"
        if tensor.columns[0] in categories:
            known = categories[tensor.columns[0]]
            source, keys = name, np.asarray([str(value) for value in known], dtype=object)
            if tensor.dtype != "string":
                # In float64: float32 takes whole numbers beyond 2^24 for one another.
                source, keys = f"{name}::key", np.asarray(known, dtype=np.float64)
                nodes.append(helper.make_node("Cast", [name], [source], to=TensorProto.DOUBLE))
            nodes.append(
                helper.make_node(
                    "LabelEncoder",
                    [source],
                    [f"{name}::code"],
                    domain="ai.onnx.ml",
                    keys_tensor=numpy_helper.from_array(keys),
                    values_tensor=numpy_helper.from_array(np.arange(len(known), dtype=np.float64)),
                    default_tensor=numpy_helper.from_array(np.array([np.nan])),
                )
            )
            name = f"{name}::code"
        nodes.append(helper.make_node("Cast", [name], [made], to=TensorProto.DOUBLE))
    by_column = {tensor.columns[0]: f"{tensor.name}::column" for tensor in tensors}
    nodes.append(helper.make_node("Concat", [by_column[name] for name in order], ["features"], axis=1))
    graph = helper.make_graph(
        nodes,
        "categories",
        [helper.make_tensor_value_info(tensor.name, elements[tensor.dtype], [None, 1]) for tensor in tensors],
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, len(order)])],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        ir_version=10,
    )
