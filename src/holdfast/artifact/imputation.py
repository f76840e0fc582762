"""How skl2onnx is told to convert SimpleImputer: in float64 too, and for text.

Its own converter writes the operator `Imputer`, which onnxruntime does not run in float64, and refuses text
whose missing value is NaN or None. The same is said here with `IsNaN`, `Equal` and `Where`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

NULL_TEXT: Final = "\N{SYMBOL FOR NULL}"
"""What a missing text is given to a converted graph as: a text no caller sends by accident."""


def converters() -> tuple[dict[type, Any], dict[type, Any]]:
    """Shape calculators and conversion functions by estimator class, for one call of skl2onnx."""
    from sklearn.impute import SimpleImputer

    return {SimpleImputer: _shape}, {SimpleImputer: _convert}


def _shape(operator: Any) -> None:
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    imputer = operator.raw_operator
    first = operator.inputs[0].type
    text = isinstance(first, StringTensorType)
    made = first.__class__
    if isinstance(first, Int64TensorType) and not text:
        made = type(first)
    kept = (
        len(imputer.get_feature_names_out())
        if hasattr(imputer, "feature_names_in_")
        else len(imputer.statistics_)
    )
    operator.outputs[0].type = made([first.shape[0], kept])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    from onnx import TensorProto
    from skl2onnx.common.data_types import (
        DoubleTensorType,
        FloatTensorType,
        Int64TensorType,
        StringTensorType,
    )

    imputer = operator.raw_operator
    kind = operator.inputs[0].type
    if getattr(imputer, "add_indicator", False):
        raise RuntimeError("SimpleImputer(add_indicator=True) is not converted")
    statistics = np.asarray(imputer.statistics_)
    dropped = np.array([isinstance(value, float) and bool(np.isnan(value)) for value in statistics.tolist()])
    if dropped.any() and not getattr(imputer, "keep_empty_features", False):
        raise RuntimeError("SimpleImputer drops a column that had no value in training")
    name = operator.inputs[0].full_name
    if len(operator.inputs) > 1:
        joined = scope.get_unique_variable_name("imputer_inputs")
        container.add_node("Concat", [item.full_name for item in operator.inputs], joined, axis=1)
        name = joined
    missing = imputer.missing_values
    mask = scope.get_unique_variable_name("is_missing")
    fill = scope.get_unique_variable_name("fill")
    if isinstance(kind, StringTensorType):
        null = scope.get_unique_variable_name("null")
        token = missing if isinstance(missing, str) else NULL_TEXT
        container.add_initializer(null, TensorProto.STRING, [1, 1], [token.encode()])
        container.add_node("Equal", [name, null], mask, name=scope.get_unique_operator_name("Equal"))
        texts = [str(value).encode() for value in statistics.tolist()]
        container.add_initializer(fill, TensorProto.STRING, [1, len(texts)], texts)
    elif isinstance(kind, DoubleTensorType | FloatTensorType):
        element = TensorProto.DOUBLE if isinstance(kind, DoubleTensorType) else TensorProto.FLOAT
        if isinstance(missing, float) and np.isnan(missing):
            container.add_node("IsNaN", [name], mask, name=scope.get_unique_operator_name("IsNaN"))
        else:
            token_name = scope.get_unique_variable_name("missing")
            container.add_initializer(token_name, element, [1, 1], [float(missing)])
            container.add_node(
                "Equal", [name, token_name], mask, name=scope.get_unique_operator_name("Equal")
            )
        numbers = [float(value) for value in statistics.tolist()]
        container.add_initializer(fill, element, [1, len(numbers)], numbers)
    elif isinstance(kind, Int64TensorType):  # integers are never missing
        container.add_node("Identity", [name], operator.outputs[0].full_name)
        return
    else:
        raise TypeError(f"SimpleImputer over {type(kind).__name__} is not converted")
    container.add_node(
        "Where",
        [mask, fill, name],
        operator.outputs[0].full_name,
        name=scope.get_unique_operator_name("Where"),
    )
