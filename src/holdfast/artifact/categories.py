"""Category codes in front of an ensemble: named columns in, one float64 table of codes and numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.artifact.signature import Tensor

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
    from onnx import TensorProto, helper

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
            attributes: dict[str, Any] = {
                "values_floats": [float(code) for code in range(len(known))],
                "default_float": float("nan"),
            }
            source = name
            if tensor.dtype == "string":
                attributes["keys_strings"] = [str(value) for value in known]
            else:
                source = f"{name}::key"
                nodes.append(helper.make_node("Cast", [name], [source], to=TensorProto.FLOAT))
                attributes["keys_floats"] = np.asarray(known, dtype=np.float32).tolist()
            nodes.append(
                helper.make_node(
                    "LabelEncoder",
                    [source],
                    [f"{name}::code"],
                    domain="ai.onnx.ml",
                    **attributes,
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
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=10,
    )
