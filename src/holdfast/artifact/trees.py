"""Gradient-boosted trees written straight into ONNX, where the public converters lose or lack something.

skl2onnx 1.20 does not read scikit-learn 1.9's histogram gradient boosting; onnxmltools 1.16 does not read
XGBoost 3.2's categorical splits and writes LightGBM's float64 thresholds in float32. The operator
`TreeEnsemble` of `ai.onnx.ml` 5 keeps float64 thresholds and leaves, a side for missing values, and splits on
sets of categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from holdfast.artifact.errors import ConversionError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OPSET: Final = 21
"""Default domain. Understood by onnxruntime 1.18 and later."""
ML_OPSET: Final = 5
_MODES: Final = {"<=": 0, "<": 1, "member": 6}

Rule = Literal["<=", "<"]
"""Which values of a numeric split go to `true`."""

Link = Literal["identity", "exp", "sigmoid", "softmax"]
"""How a sum of leaves becomes an answer."""


@dataclass(slots=True)
class Tree:
    """One tree as parallel lists; node 0 is the root. A leaf has `feature` -1."""

    target: int
    """Which output its leaves add to."""
    feature: list[int] = field(default_factory=list)
    threshold: list[float] = field(default_factory=list)
    members: list[tuple[int, ...] | None] = field(default_factory=list)
    """Categories that go to `true`; None for a numeric split."""
    true: list[int] = field(default_factory=list)
    false: list[int] = field(default_factory=list)
    missing_true: list[bool] = field(default_factory=list)
    """Whether NaN goes to `true`."""
    value: list[float] = field(default_factory=list)
    """Of a leaf."""


def histogram_gradient_boosting(model: Any) -> ModelProto:
    """The trees of a fitted scikit-learn HistGradientBoosting estimator, from its `[N, F]` encoded inputs.

    Raises:
        ConversionError: a loss whose link function is unknown.
    """
    trees = [
        histogram_tree(predictor, target)
        for stage in model._predictors  # noqa: SLF001 - no public access to the trees
        for target, predictor in enumerate(stage)
    ]
    baseline = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001 - no public access
    loss = model._loss  # noqa: SLF001 - no public access
    links: dict[str, Link] = {
        "IdentityLink": "identity",
        "LogLink": "exp",
        "LogitLink": "sigmoid",
        "MultinomialLogit": "softmax",
    }
    link_name = type(loss.link).__name__
    if link_name not in links:
        raise ConversionError("the loss has a link function that is not known here", received=link_name)
    classes = getattr(model, "classes_", None)
    return ensemble_model(
        trees,
        n_features=model._n_features if hasattr(model, "_n_features") else model.n_features_in_,  # noqa: SLF001 - no public access
        baseline=baseline.tolist(),
        link=links[link_name],
        classes=None if classes is None else class_names(classes),
    )


def class_names(classes: Any) -> tuple[str | int, ...]:
    """The names of a classifier's classes: integers (also for booleans and whole floats) or text."""
    array = np.asarray(classes)
    if array.dtype.kind in "biu" or (array.dtype.kind == "f" and bool((array == np.round(array)).all())):
        return tuple(int(name) for name in array)
    return tuple(str(name) for name in array)


def histogram_tree(predictor: Any, target: int) -> Tree:
    """One fitted tree of scikit-learn's histogram gradient boosting."""
    nodes = predictor.nodes
    tree = Tree(target)
    for node in nodes:
        leaf = bool(node["is_leaf"])
        members: tuple[int, ...] | None = None
        if not leaf and node["is_categorical"]:
            # Codes come from the model's own encoder, which makes NaN of a category it does not know.
            members = _bits(predictor.raw_left_cat_bitsets[int(node["bitset_idx"])])
        tree.feature.append(-1 if leaf else int(node["feature_idx"]))
        tree.threshold.append(0.0 if leaf else float(node["num_threshold"]))
        tree.members.append(members)
        tree.true.append(int(node["left"]))
        tree.false.append(int(node["right"]))
        tree.missing_true.append(bool(node["missing_go_to_left"]))
        tree.value.append(float(node["value"]))
    return tree


def _bits(words: Any) -> tuple[int, ...]:
    return tuple(
        32 * index + bit for index, word in enumerate(words) for bit in range(32) if int(word) >> bit & 1
    )


def ensemble_model(
    trees: Sequence[Tree],
    *,
    n_features: int,
    baseline: Sequence[float],
    link: Link,
    classes: tuple[str | int, ...] | None,
    float_type: Literal["float32", "float64"] = "float64",
    rule: Rule = "<=",
) -> ModelProto:
    """A model from `X` `[N, n_features]` to `variable` `[N, 1]`, or to `label` and `probabilities`.

    Args:
        trees: all of them.
        n_features: columns of `X`.
        baseline: what each output's sum starts from.
        link: from the sums to the answer.
        classes: names, in the order of the probabilities; None for a number.
        float_type: of the input, of every comparison and of the answer.
        rule: of numeric splits.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    n_targets = len(baseline)
    element = TensorProto.FLOAT if float_type == "float32" else TensorProto.DOUBLE
    dtype = np.dtype(float_type)
    nodes: list[NodeProto] = [
        ensemble_node(trees, n_targets, dtype, rule),
        helper.make_node("Add", ["raw", "base"], ["sum"]),
    ]
    initializers = [numpy_helper.from_array(np.asarray(baseline, dtype=dtype).reshape(1, -1), "base")]
    outputs = []
    if classes is None:
        squash = {"identity": "Identity", "exp": "Exp", "sigmoid": "Sigmoid"}
        nodes.append(helper.make_node(squash[link], ["sum"], ["variable"]))
        outputs.append(helper.make_tensor_value_info("variable", element, [None, n_targets]))
    else:
        nodes.extend(_probability_nodes(link, dtype, initializers))
        initializers.append(_class_tensor(classes))
        nodes.append(helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0))
        nodes.append(helper.make_node("Gather", ["class_names", "best"], ["label"], axis=0))
        label = TensorProto.INT64 if isinstance(classes[0], int) else TensorProto.STRING
        outputs.append(helper.make_tensor_value_info("label", label, [None]))
        outputs.append(helper.make_tensor_value_info("probabilities", element, [None, len(classes)]))
    graph = helper.make_graph(
        nodes,
        "trees",
        [helper.make_tensor_value_info("X", element, [None, n_features])],
        outputs,
        initializers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        producer_name="holdfast",
        ir_version=10,
    )
    checker.check_model(model)
    return model


def _probability_nodes(link: Link, dtype: np.dtype[Any], initializers: list[Any]) -> list[NodeProto]:
    from onnx import helper, numpy_helper

    if link == "softmax":
        return [helper.make_node("Softmax", ["sum"], ["probabilities"], axis=1)]
    initializers.append(numpy_helper.from_array(np.array(1.0, dtype=dtype), "one"))
    return [
        helper.make_node("Sigmoid", ["sum"], ["positive"]),
        helper.make_node("Sub", ["one", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
    ]


def _class_tensor(classes: tuple[str | int, ...]) -> Any:
    from onnx import numpy_helper

    if isinstance(classes[0], int):
        return numpy_helper.from_array(np.asarray(classes, dtype=np.int64), "class_names")
    return numpy_helper.from_array(np.asarray([str(name) for name in classes], dtype=object), "class_names")


def ensemble_node(trees: Sequence[Tree], n_targets: int, dtype: np.dtype[Any], rule: Rule) -> NodeProto:
    """The operator wants inner nodes and leaves in separate tables, each numbered over all trees."""
    from onnx import helper, numpy_helper

    features: list[int] = []
    modes: list[int] = []
    splits: list[float] = []
    true_ids: list[int] = []
    true_leafs: list[int] = []
    false_ids: list[int] = []
    false_leafs: list[int] = []
    missing: list[int] = []
    members: list[float] = []
    leaf_targets: list[int] = []
    leaf_values: list[float] = []
    roots: list[int] = []
    for tree in trees:
        if tree.feature[0] < 0:
            # A tree that is one leaf still needs a root: a split whose sides are both that leaf.
            roots.append(len(features))
            features.append(0)
            modes.append(_MODES[rule])
            splits.append(0.0)
            missing.append(0)
            for ids, leafs in ((true_ids, true_leafs), (false_ids, false_leafs)):
                ids.append(len(leaf_values))
                leafs.append(1)
            leaf_targets.append(tree.target)
            leaf_values.append(tree.value[0])
            continue
        first = len(features)
        roots.append(first)
        inner = [index for index, feature in enumerate(tree.feature) if feature >= 0]
        leaves = [index for index, feature in enumerate(tree.feature) if feature < 0]
        number = {index: first + order for order, index in enumerate(inner)}
        number |= {index: len(leaf_values) + order for order, index in enumerate(leaves)}
        for index in inner:
            chosen = tree.members[index]
            # The operator refuses an empty set; nothing is at most minus infinity either.
            threshold = tree.threshold[index] if chosen is None else float("-inf")
            chosen = chosen or None
            features.append(tree.feature[index])
            modes.append(_MODES[rule if chosen is None else "member"])
            splits.append(threshold if chosen is None else 0.0)
            missing.append(int(tree.missing_true[index]))
            if chosen is not None:
                members.extend([*(float(code) for code in chosen), float("nan")])
            for child, ids, leafs in (
                (tree.true[index], true_ids, true_leafs),
                (tree.false[index], false_ids, false_leafs),
            ):
                ids.append(number[child])
                leafs.append(int(tree.feature[child] < 0))
        leaf_targets.extend([tree.target] * len(leaves))
        leaf_values.extend(tree.value[index] for index in leaves)
    attributes: dict[str, Any] = {
        "n_targets": n_targets,
        "aggregate_function": 1,
        "post_transform": 0,
        "tree_roots": roots,
        "nodes_featureids": features,
        "nodes_modes": numpy_helper.from_array(np.asarray(modes, dtype=np.uint8)),
        "nodes_splits": numpy_helper.from_array(np.asarray(splits, dtype=dtype)),
        "nodes_truenodeids": true_ids,
        "nodes_trueleafs": true_leafs,
        "nodes_falsenodeids": false_ids,
        "nodes_falseleafs": false_leafs,
        "nodes_missing_value_tracks_true": missing,
        "leaf_targetids": leaf_targets,
        "leaf_weights": numpy_helper.from_array(np.asarray(leaf_values, dtype=dtype)),
    }
    if members:
        attributes["membership_values"] = numpy_helper.from_array(np.asarray(members, dtype=dtype))
    return helper.make_node("TreeEnsemble", ["X"], ["raw"], domain="ai.onnx.ml", **attributes)
