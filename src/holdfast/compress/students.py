"""Distillation: a smaller model trained on what the original answers (Bucila, Caruana and others, 2006).

The rows are those to learn from, and as many again made of them: between two random rows, answered by the
original too. A student has the original's inputs and outputs, by name, type and shape.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact import Signature, Tensor, numpy_dtype
from holdfast.artifact.trees import ML_OPSET, OPSET, Tree, ensemble_node, histogram_tree
from holdfast.compress.candidates import Candidate, Feeds, NotTried, Original, open_session
from holdfast.compress.report import FELT_BYTES

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

_NETWORKS: Final = ((32,), (64, 64), (256, 128))
_TREES: Final = ((50, 8), (150, 16))
"""Trees and leaves of each."""
_MOST_ROWS: Final = 12_000
_MOST_FEATURES: Final = 2048
_MOST_OUTPUTS: Final = 64
_CLIP: Final = 1e-4
"""Nearest to 0 and 1 that a probability is taught."""
_NUMBERS: Final = ("float", "int", "uint", "bool")


@dataclass(frozen=True, slots=True)
class _Lesson:
    """What a student learns."""

    features: NDArray[np.float32] = field(repr=False)
    targets: NDArray[np.float64] = field(repr=False)
    """`[N, T]`: log-odds, logarithms of probabilities, or numbers."""


def distilled(original: Original) -> Iterator[Candidate | NotTried]:
    """Networks and boosted trees of several sizes."""
    why = _obstacle(original)
    if why is not None:
        yield NotTried("students", why)
        return
    lesson = _lesson(original)
    if not np.isnan(lesson.features).any():
        for sizes in _NETWORKS:
            shown = "-".join(map(str, sizes))
            yield Candidate(
                f"student network {shown}",
                f"a network with {shown} hidden units taught by the original",
                _network(original, lesson, sizes),
            )
    if len(original.signature.columns) == lesson.features.shape[1]:
        for trees, leaves in _TREES:
            yield Candidate(
                f"student of {trees} trees",
                f"{trees} boosted trees of {leaves} leaves taught by the original",
                _boosted(original, lesson, trees, leaves),
            )


def _obstacle(original: Original) -> str | None:
    signature = original.signature
    if len(original.model) < FELT_BYTES:
        return f"the original has only {len(original.model)} bytes, fewer than any student"
    if not all(tensor.dtype.startswith(_NUMBERS) for tensor in signature.inputs):
        return "an input is text"
    if any(size < 0 for tensor in signature.inputs for size in tensor.shape[1:]):
        return "an input varies in length"
    width = sum(values[0].size for values in original.feeds.values())
    if width > _MOST_FEATURES:
        return f"a row has {width} numbers, too many for a small student"
    known = {signature.prediction_output, signature.probability_output}
    if signature.task == "tensor":
        if len(signature.outputs) != 1 or not signature.outputs[0].dtype.startswith("float"):
            return "it has several outputs, or one that is no number"
        if original.outputs[signature.outputs[0].name][0].size > _MOST_OUTPUTS:
            return "an answer has too many numbers"
    elif {tensor.name for tensor in signature.outputs} - known:
        return "it has outputs beside the class and the probabilities"
    elif signature.task != "regression" and signature.probability_output is None:
        return "it gives no probabilities to learn from"
    if signature.prediction_output is not None and signature.task != "regression":
        label = next(tensor for tensor in signature.outputs if tensor.name == signature.prediction_output)
        if len(label.shape) != 1:
            return "its class is no plain column"
    return None


def _lesson(original: Original) -> _Lesson:
    rng = np.random.default_rng(original.seed)
    rows = original.rows
    extra = max(min(rows, _MOST_ROWS - rows), 0)
    made = _between(original.feeds, rows, extra, rng)
    session = open_session(original.model)
    names = [tensor.name for tensor in original.signature.outputs]
    answered = dict(zip(names, session.run(names, made), strict=True)) if extra else {}
    outputs = {
        name: np.concatenate([original.outputs[name], answered[name]]) if extra else original.outputs[name]
        for name in names
    }
    feeds = {name: np.concatenate([original.feeds[name], made[name]]) for name in original.feeds}
    return _Lesson(_flat(original.signature, feeds), _targets(original.signature, outputs))


def _between(feeds: Feeds, rows: int, count: int, rng: np.random.Generator) -> Feeds:
    one, other = rng.integers(0, rows, count), rng.integers(0, rows, count)
    share = rng.random(count)
    made = {}
    for name, values in feeds.items():
        first, second = values[one], values[other]
        if values.dtype.kind == "f":
            weight = share.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
            made[name] = first * weight + second * (1 - weight)
        else:
            made[name] = np.where(share.reshape(-1, *[1] * (values.ndim - 1)) < 0.5, first, second)
    return made


def _flat(signature: Signature, feeds: Feeds) -> NDArray[np.float32]:
    parts = [feeds[tensor.name].reshape(len(feeds[tensor.name]), -1) for tensor in signature.inputs]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _targets(signature: Signature, outputs: Feeds) -> NDArray[np.float64]:
    if signature.task in {"tensor", "regression"}:
        name = signature.prediction_output or signature.outputs[0].name
        values = outputs[name].astype(np.float64)
        return values.reshape(len(values), -1)
    given = np.asarray(outputs[str(signature.probability_output)], dtype=np.float64)
    given = given.reshape(len(given), -1)
    if signature.task == "binary":
        chance = np.clip(given[:, -1:], _CLIP, 1 - _CLIP)
        odds: NDArray[np.float64] = np.log(chance / (1 - chance))
        return odds
    logs = np.log(np.clip(given, _CLIP, 1))
    centred: NDArray[np.float64] = logs - logs.mean(axis=1, keepdims=True)
    return centred


def _network(original: Original, lesson: _Lesson, sizes: tuple[int, ...]) -> bytes:
    from onnx import helper, numpy_helper
    from sklearn.neural_network import MLPRegressor
    from threadpoolctl import threadpool_limits

    mean, spread = lesson.features.mean(axis=0), lesson.features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    centre, scale = lesson.targets.mean(axis=0), lesson.targets.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    student = MLPRegressor(
        hidden_layer_sizes=sizes,
        early_stopping=True,
        max_iter=50,
        n_iter_no_change=5,
        random_state=original.seed,
        learning_rate_init=2e-3,
        batch_size=256,
    )
    # Products of a few hundred rows gain nothing from threads, which on a busy machine wait for each other.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        wanted = (lesson.targets - centre) / scale
        student.fit((lesson.features - mean) / spread, wanted[:, 0] if wanted.shape[1] == 1 else wanted)
    # The scaling of inputs and outputs is part of the first and the last layer.
    weights = [np.asarray(weight, np.float64) for weight in student.coefs_]
    biases = [np.asarray(bias, np.float64) for bias in student.intercepts_]
    biases[0] = biases[0] - (mean / spread) @ weights[0]
    weights[0] = weights[0] / spread[:, None]
    weights[-1], biases[-1] = weights[-1] * scale, biases[-1] * scale + centre
    nodes, constants, name = [], [], "student_x"
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        constants.append(numpy_helper.from_array(weight.astype(np.float32), f"student_w{layer}"))
        constants.append(numpy_helper.from_array(bias.astype(np.float32), f"student_b{layer}"))
        last = layer == len(weights) - 1
        out = "student_y" if last else f"student_h{layer}"
        nodes.append(helper.make_node("Gemm", [name, f"student_w{layer}", f"student_b{layer}"], [out]))
        name = out
        if not last:
            name = f"student_a{layer}"
            nodes.append(helper.make_node("Relu", [out], [name]))
    return _graph(original.signature, nodes, constants)


def _boosted(original: Original, lesson: _Lesson, count: int, leaves: int) -> bytes:
    from onnx import helper, numpy_helper
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    trees: list[Tree] = []
    base = []
    for target in range(lesson.targets.shape[1]):
        student = HistGradientBoostingRegressor(
            max_iter=count, max_leaf_nodes=leaves, learning_rate=0.15, random_state=original.seed
        )
        with threadpool_limits(1):
            student.fit(lesson.features, lesson.targets[:, target])
        trees += [histogram_tree(stage[0], target) for stage in student._predictors]  # noqa: SLF001 - no public access
        base.append(float(np.asarray(student._baseline_prediction).reshape(-1)[0]))  # noqa: SLF001 - as above
    node = ensemble_node(trees, len(base), np.dtype(np.float32), "<=")
    node.input[0], node.output[0] = "student_x", "student_raw"
    constants = [numpy_helper.from_array(np.asarray([base], np.float32), "student_base")]
    return _graph(
        original.signature,
        [node, helper.make_node("Add", ["student_raw", "student_base"], ["student_y"])],
        constants,
    )


def _graph(signature: Signature, middle: list[NodeProto], constants: list[TensorProto]) -> bytes:
    """The student between the original's inputs (`student_x`, flat) and outputs (from `student_y`)."""
    from onnx import TensorProto, checker, helper

    nodes, parts = [], []
    for index, tensor in enumerate(signature.inputs):
        nodes.append(helper.make_node("Cast", [tensor.name], [f"student_cast{index}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Flatten", [f"student_cast{index}"], [f"student_flat{index}"], axis=1))
        parts.append(f"student_flat{index}")
    nodes.append(helper.make_node("Concat", parts, ["student_x"], axis=1))
    nodes += middle
    ending, more = _ending(signature)
    model = helper.make_model(
        helper.make_graph(
            [*nodes, *ending],
            "student",
            [_value(tensor) for tensor in signature.inputs],
            [_value(tensor) for tensor in signature.outputs],
            [*constants, *more],
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        producer_name="holdfast",
        ir_version=10,
    )
    checker.check_model(model)
    encoded: bytes = model.SerializeToString()
    return encoded


def _ending(signature: Signature) -> tuple[list[NodeProto], list[TensorProto]]:
    from onnx import helper, numpy_helper

    by_name = {tensor.name: tensor for tensor in signature.outputs}
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    if signature.task in {"tensor", "regression"}:
        tensor = by_name[signature.prediction_output or signature.outputs[0].name]
        return _shaped("student_y", tensor, constants), constants
    scores = by_name[str(signature.probability_output)]
    pair = "student_y"
    if signature.task == "binary":
        constants.append(numpy_helper.from_array(np.array(1.0, np.float32), "student_one"))
        nodes += [
            helper.make_node("Sigmoid", ["student_y"], ["student_positive"]),
            helper.make_node("Sub", ["student_one", "student_positive"], ["student_negative"]),
            helper.make_node("Concat", ["student_negative", "student_positive"], ["student_pair"], axis=1),
        ]
        pair = "student_pair"
    else:
        nodes.append(helper.make_node("Softmax", ["student_y"], ["student_pair"], axis=1))
        pair = "student_pair"
    single = len(scores.shape) == 1 or scores.shape[1] == 1
    nodes += _shaped("student_positive" if single else pair, scores, constants)
    if signature.prediction_output is not None:
        numbers = isinstance(signature.classes[0], int)
        names = np.asarray(signature.classes, dtype=np.int64 if numbers else object)
        constants.append(numpy_helper.from_array(names, "student_classes"))
        nodes.append(helper.make_node("ArgMax", [pair], ["student_best"], axis=1, keepdims=0))
        label = by_name[signature.prediction_output]
        if not numbers:
            nodes.append(
                helper.make_node("Gather", ["student_classes", "student_best"], [label.name], axis=0)
            )
        else:
            nodes.append(
                helper.make_node("Gather", ["student_classes", "student_best"], ["student_label"], axis=0)
            )
            nodes += _shaped("student_label", label, constants)
    return nodes, constants


def _shaped(name: str, tensor: Tensor, constants: list[TensorProto]) -> list[NodeProto]:
    """In the shape and the type of an output of the original."""
    from onnx import helper, numpy_helper

    shape = np.array([-1, *tensor.shape[1:]], dtype=np.int64)
    constants.append(numpy_helper.from_array(shape, f"student_shape_{tensor.name}"))
    element = helper.np_dtype_to_tensor_dtype(numpy_dtype(tensor.dtype))
    return [
        helper.make_node(
            "Reshape", [name, f"student_shape_{tensor.name}"], [f"student_shaped_{tensor.name}"]
        ),
        helper.make_node("Cast", [f"student_shaped_{tensor.name}"], [tensor.name], to=element),
    ]


def _value(tensor: Tensor) -> Any:
    from onnx import TensorProto, helper

    element = (
        TensorProto.STRING
        if tensor.dtype == "string"
        else helper.np_dtype_to_tensor_dtype(numpy_dtype(tensor.dtype))
    )
    return helper.make_tensor_value_info(
        tensor.name, element, [None, *(size if size >= 0 else None for size in tensor.shape[1:])]
    )
