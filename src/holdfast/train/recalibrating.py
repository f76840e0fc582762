"""A challenger that is the champion with its scores made right again: nothing else of it changes.

The champion's graph keeps its bytes; a line on the log odds (or on the number) is put behind its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.artifact import Answer, Signature
from holdfast.stats import Scaling, StatisticsError, log_odds, scale_log_odds, scale_number
from holdfast.train.errors import TrainError

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

_SMALLEST: Final = 1e-15


def recalibrated(
    model: bytes, signature: Signature, answer: Answer, labels: np.ndarray, weights: np.ndarray
) -> tuple[bytes, Scaling]:
    """The champion's graph with its scores scaled to labelled rows, as ONNX.

    Args:
        model: the champion's graph.
        signature: its own.
        answer: of the champion, over the rows.
        labels: `[N]` in the type of its answers.
        weights: `[N]`.

    Raises:
        TrainError: the champion gives no chance and no number, or the scores say nothing about the labels.
    """
    try:
        if signature.task == "regression":
            found = scale_number(np.asarray(answer.prediction, dtype=np.float64), labels, weights)
        elif signature.task == "binary" and answer.probabilities is not None:
            positive = signature.classes.index(signature.positive_class or signature.classes[-1])
            truth = np.array([str(one) == str(signature.positive_class) for one in labels.tolist()])
            found = scale_log_odds(log_odds(answer.probabilities[:, positive]), truth, weights)
        else:
            raise TrainError(
                "only a model that gives one chance or one number can be recalibrated",
                received=f"task {signature.task}",
                next_step="Retrain it",
            )
    except StatisticsError as error:
        raise TrainError(f"the champion cannot be recalibrated: {error}", next_step="Retrain it") from error
    if found.slope <= 0:
        raise TrainError(
            "higher scores go with fewer positives now, so no recalibration helps", next_step="Retrain it"
        )
    return _with_line(model, signature, found), found


def _with_line(model: bytes, signature: Signature, line: Scaling) -> bytes:
    import onnx
    from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

    proto: ModelProto = onnx.load_model_from_string(model)
    graph = proto.graph
    given = signature.prediction_output if signature.task == "regression" else signature.probability_output
    kinds = {one.name: one.type.tensor_type.elem_type for one in graph.output}
    if given is None or given not in kinds:
        raise TrainError(
            "the champion's graph does not give the number that is to be scaled", next_step="Retrain it"
        )
    kind = kinds[given]
    nodes: list[NodeProto] = []
    initializers: list[TensorProto] = []

    def constant(name: str, values: list[float]) -> str:
        array = np.array(values, dtype=helper.tensor_dtype_to_np_dtype(TensorProto.DOUBLE))
        initializers.append(numpy_helper.from_array(array, f"recalibrated_{name}"))
        return f"recalibrated_{name}"

    def node(operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"recalibrated_step_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    wide = node("Cast", [given], to=TensorProto.DOUBLE)
    slope, level = constant("slope", [line.slope]), constant("level", [line.level])
    if signature.task == "regression":
        last = node("Add", [node("Mul", [wide, slope]), level])
        name, width = "recalibrated_number", 1
    else:
        position = signature.classes.index(signature.positive_class or signature.classes[-1])
        axis, number = "recalibrated_axis", "recalibrated_position"
        width_given = _width(graph, given)
        if width_given == 2:
            initializers.append(numpy_helper.from_array(np.array([position], dtype=np.int64), number))
            chance = node("Gather", [wide, number], axis=1)
        else:
            initializers.append(numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), axis))
            chance = node("Reshape", [wide, axis])
        chance = node("Clip", [chance, constant_scalar(initializers, "low", _SMALLEST),
                               constant_scalar(initializers, "high", 1 - 1e-15)])  # fmt: skip
        one = constant("one", [1.0])
        odds = node("Sub", [node("Log", [chance]), node("Log", [node("Sub", [one, chance])])])
        scaled = node("Sigmoid", [node("Add", [node("Mul", [odds, slope]), level])])
        rest = node("Sub", [one, scaled])
        pair = [rest, scaled] if position == 1 else [scaled, rest]
        last = node("Concat", pair, axis=1)
        name, width = "recalibrated_probabilities", 2
    nodes.append(helper.make_node("Cast", [last], [name], to=kind))
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, kind, [None, width]))
    checker.check_model(proto)
    data: bytes = proto.SerializeToString()
    return data


def constant_scalar(initializers: list[TensorProto], name: str, value: float) -> str:
    """A number without a dimension, as Clip wants its bounds."""
    from onnx import numpy_helper

    initializers.append(numpy_helper.from_array(np.array(value, dtype=np.float64), f"recalibrated_{name}"))
    return f"recalibrated_{name}"


def _width(graph: object, output: str) -> int:
    for one in graph.output:  # type: ignore[attr-defined] # a GraphProto
        if one.name == output:
            dims = one.type.tensor_type.shape.dim
            return int(dims[1].dim_value) if len(dims) > 1 else 1
    return 1
