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
    from onnx import GraphProto, ModelProto, TensorProto

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
            positive = positive_place(signature)
            truth = np.array([str(one) == str(signature.classes[positive]) for one in labels.tolist()])
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


def positive_place(signature: Signature) -> int:
    """Of the positive class among the two; the last one where none is named. It may be called 0 or ""."""
    named = signature.positive_class
    return len(signature.classes) - 1 if named is None else signature.classes.index(named)


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
    mark = _free_mark(graph)

    def constant(name: str, values: Any) -> str:
        initializers.append(numpy_helper.from_array(np.asarray(values), f"{mark}_{name}"))
        return f"{mark}_{name}"

    def node(operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{mark}_step_{len(nodes)}"
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    wide = node("Cast", [given], to=TensorProto.DOUBLE)
    slope, level = constant("slope", [line.slope]), constant("level", [line.level])
    if signature.task == "regression":
        last = node("Add", [node("Mul", [wide, slope]), level])
        name, width = f"{mark}_number", 1
    else:
        position = positive_place(signature)
        # One column or two, whatever the graph says of its width: the first or the last one is the chance.
        chance = node("Flatten", [wide], axis=1)
        chance = node("Gather", [chance, constant("position", [-position])], axis=1)
        chance = node("Clip", [chance, constant("low", _SMALLEST), constant("high", 1 - _SMALLEST)])
        one = constant("one", [1.0])
        odds = node("Sub", [node("Log", [chance]), node("Log", [node("Sub", [one, chance])])])
        scaled = node("Sigmoid", [node("Add", [node("Mul", [odds, slope]), level])])
        rest = node("Sub", [one, scaled])
        pair = [rest, scaled] if position == 1 else [scaled, rest]
        last = node("Concat", pair, axis=1)
        name, width = f"{mark}_probabilities", 2
    nodes.append(helper.make_node("Cast", [last], [name], to=kind))
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, kind, [None, width]))
    checker.check_model(proto)
    data: bytes = proto.SerializeToString()
    return data


def _free_mark(graph: GraphProto) -> str:
    """What no name in the graph begins with: a champion may have been recalibrated before."""
    names = [one.name for one in (*graph.input, *graph.initializer)]
    names += [name for node in graph.node for name in node.output]
    marks = ("recalibrated" if count == 1 else f"recalibrated_{count}" for count in range(1, len(names) + 2))
    return next(mark for mark in marks if not any(name.startswith(f"{mark}_") for name in names))
