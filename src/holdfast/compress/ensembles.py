"""Tree ensembles of a graph, read into trees and written back in the compact operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.trees import ML_OPSET, Rule, Tree, ensemble_node

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Post = Literal["raw", "sigmoid", "softmax", "number"]
"""From the sums to the outputs: the sums as they are, two probabilities, several, or a number."""

_RULES: Final[dict[bytes, Rule]] = {b"BRANCH_LEQ": "<=", b"BRANCH_LT": "<"}


class UnreadableError(Exception):
    """An ensemble of a kind that is not read; the text says which."""


@dataclass(slots=True)
class Ensemble:
    """The trees of one operator of a graph."""

    node: NodeProto = field(repr=False)
    trees: list[Tree] = field(repr=False)
    base: list[float]
    """What each sum starts from."""
    post: Post
    classes: tuple[str | int, ...]
    rule: Rule
    dtype: np.dtype[Any]

    @property
    def input(self) -> str:
        """Name of the tensor of features."""
        return str(self.node.input[0])


def read_ensemble(proto: ModelProto) -> Ensemble | None:
    """The only tree ensemble of a graph; None if there is none.

    Raises:
        UnreadableError: there are several, or it is of a kind that is not read.
    """
    nodes = [node for node in proto.graph.node if node.op_type.startswith("TreeEnsemble")]
    if not nodes:
        return None
    if len(nodes) > 1:
        raise UnreadableError("there are several ensembles in the graph")
    node = nodes[0]
    return _read_compact(node) if node.op_type == "TreeEnsemble" else _read_wide(node)


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper, numpy_helper

    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        found[attribute.name] = numpy_helper.to_array(value) if attribute.HasField("t") else value
    return found


def _read_compact(node: NodeProto) -> Ensemble:
    given = _attributes(node)
    if given.get("post_transform", 0) != 0 or given.get("aggregate_function", 1) != 1:
        raise UnreadableError("its trees are not summed as they are")
    splits = np.asarray(given["nodes_splits"])
    modes = np.asarray(given["nodes_modes"])
    numeric = {int(mode) for mode in modes} - {6}
    if not numeric <= {0} and not numeric <= {1}:
        raise UnreadableError("its splits are of several kinds")
    members = iter(_members(given.get("membership_values")))
    sets = [next(members) if int(mode) == 6 else None for mode in modes]
    missing = given.get("nodes_missing_value_tracks_true") or [0] * len(splits)
    trees = []
    for root in given["tree_roots"]:
        tree = Tree(-1)
        _grow(tree, given, int(root), leaf=False, parts=(splits, sets, missing))
        trees.append(tree)
    n_targets = int(given.get("n_targets", 1))
    return Ensemble(node, trees, [0.0] * n_targets, "raw", (), "<" if numeric == {1} else "<=", splits.dtype)


def _members(values: Any) -> list[tuple[int, ...]]:
    sets: list[tuple[int, ...]] = []
    now: list[int] = []
    for value in [] if values is None else np.asarray(values).tolist():
        if np.isnan(value):
            sets.append(tuple(now))
            now = []
        else:
            now.append(int(value))
    return sets


def _grow(tree: Tree, given: dict[str, Any], index: int, *, leaf: bool, parts: tuple[Any, Any, Any]) -> int:
    """Append a node and all below it; returns its place."""
    splits, sets, missing = parts
    place = len(tree.feature)
    if leaf:
        tree.target = int(given["leaf_targetids"][index])
        _append(tree, -1, 0.0, None, missing_true=False, value=float(given["leaf_weights"][index]))
        return place
    _append(
        tree,
        int(given["nodes_featureids"][index]),
        float(splits[index]),
        sets[index],
        missing_true=bool(missing[index]),
        value=0.0,
    )
    tree.true[place] = _grow(
        tree,
        given,
        int(given["nodes_truenodeids"][index]),
        leaf=bool(given["nodes_trueleafs"][index]),
        parts=parts,
    )
    tree.false[place] = _grow(
        tree,
        given,
        int(given["nodes_falsenodeids"][index]),
        leaf=bool(given["nodes_falseleafs"][index]),
        parts=parts,
    )
    return place


def _append(
    tree: Tree,
    feature: int,
    threshold: float,
    members: tuple[int, ...] | None,
    *,
    missing_true: bool,
    value: float,
) -> None:
    tree.feature.append(feature)
    tree.threshold.append(threshold)
    tree.members.append(members)
    tree.true.append(-1)
    tree.false.append(-1)
    tree.missing_true.append(missing_true)
    tree.value.append(value)


def _read_wide(node: NodeProto) -> Ensemble:
    """The operators of `ai.onnx.ml` before 5, with one row of attributes per node."""
    given = _attributes(node)
    classifier = node.op_type == "TreeEnsembleClassifier"
    kind = "class" if classifier else "target"
    values = _either(given, "nodes_values")
    weights = _either(given, f"{kind}_weights")
    modes = given["nodes_modes"]
    rules = {_RULES.get(mode) for mode in modes if mode != b"LEAF"}
    if len(rules - {None}) > 1 or None in rules:
        raise UnreadableError("its splits are of several kinds")
    if given.get("aggregate_function", b"SUM") != b"SUM":
        raise UnreadableError("its trees are not summed")
    leaf_of: dict[tuple[int, int], tuple[int, float]] = {}
    places = zip(
        given[f"{kind}_treeids"], given[f"{kind}_nodeids"], given[f"{kind}_ids"], weights, strict=True
    )
    for tree_id, node_id, target, weight in places:
        if (tree_id, node_id) in leaf_of:
            raise UnreadableError("its leaves hold several numbers each")
        leaf_of[tree_id, node_id] = (int(target), float(weight))
    missing = given.get("nodes_missing_value_tracks_true") or [0] * len(modes)
    trees: dict[int, Tree] = {}
    numbers: dict[int, dict[int, int]] = {}
    children: dict[int, list[tuple[int, int]]] = {}
    for index, tree_id in enumerate(given["nodes_treeids"]):
        tree = trees.setdefault(tree_id, Tree(0))
        leaf = modes[index] == b"LEAF"
        target, weight = leaf_of.get((tree_id, given["nodes_nodeids"][index]), (0, 0.0)) if leaf else (0, 0.0)
        numbers.setdefault(tree_id, {})[given["nodes_nodeids"][index]] = len(tree.feature)
        children.setdefault(tree_id, []).append(
            (given["nodes_truenodeids"][index], given["nodes_falsenodeids"][index])
        )
        _append(
            tree,
            -1 if leaf else int(given["nodes_featureids"][index]),
            0.0 if leaf else float(values[index]),
            None,
            missing_true=bool(missing[index]),
            value=weight,
        )
        if leaf:
            tree.target = target
    for tree_id, tree in trees.items():
        for place, (true, false) in enumerate(children[tree_id]):
            if tree.feature[place] >= 0:
                tree.true[place] = numbers[tree_id][true]
                tree.false[place] = numbers[tree_id][false]
        if tree.feature and numbers[tree_id].get(0) != 0:
            raise UnreadableError("its trees do not begin with their root")
    post, base, classes = _ending(given, [trees[key] for key in sorted(trees)], classifier=classifier)
    rule: Rule = "<" if "<" in rules else "<="
    return Ensemble(
        node, [trees[key] for key in sorted(trees)], base, post, classes, rule, np.dtype(np.float32)
    )


def _either(given: dict[str, Any], name: str) -> NDArray[Any]:
    found = given.get(f"{name}_as_tensor")
    return np.asarray(given[name] if found is None else found)


def _ending(
    given: dict[str, Any], trees: list[Tree], *, classifier: bool
) -> tuple[Post, list[float], tuple[str | int, ...]]:
    base = [float(value) for value in given.get("base_values") or given.get("base_values_as_tensor", [])]
    transform = given.get("post_transform", b"NONE")
    if not classifier:
        n_targets = int(given.get("n_targets", 1))
        if transform != b"NONE":
            raise UnreadableError(f"its sums are transformed by {transform.decode()}")
        return "number", base or [0.0] * n_targets, ()
    texts = given.get("classlabels_strings")
    classes = (
        tuple(t.decode() for t in texts) if texts else tuple(int(n) for n in given["classlabels_int64s"])
    )
    targets = {tree.target for tree in trees}
    if len(classes) == 2 and len(targets) == 1 and transform == b"LOGISTIC":
        for tree in trees:
            tree.target = 0
        return "sigmoid", [base[-1] if base else 0.0], classes
    if transform == b"SOFTMAX" and len(classes) > 2:
        return "softmax", base or [0.0] * len(classes), classes
    raise UnreadableError(f"its sums become answers by {transform.decode()}, for {len(classes)} classes")


def _unused(proto: ModelProto) -> str:
    """What names begin with that are new in the graph: it may have been written here before."""
    graph = proto.graph
    known = {name for node in graph.node for name in (*node.input, *node.output)}
    known |= {tensor.name for tensor in graph.initializer}
    own = "holdfast"
    while any(name.startswith(f"{own}_") for name in known):
        own += "x"
    return own


def write_ensemble(proto: ModelProto, ensemble: Ensemble, trees: list[Tree], base: list[float]) -> bytes:
    """The graph with these trees in the place of its own, in the operator of `ai.onnx.ml` 5."""
    from onnx import helper, numpy_helper

    graph = proto.graph
    old = next(node for node in graph.node if node.op_type.startswith("TreeEnsemble"))
    at = list(graph.node).index(old)
    own = _unused(proto)
    made = ensemble_node(trees, len(base), ensemble.dtype, ensemble.rule)
    made.input[0] = old.input[0]
    made.output[0] = f"{own}_raw"
    graph.initializer.append(numpy_helper.from_array(np.asarray([base], dtype=ensemble.dtype), f"{own}_base"))
    nodes = [made]
    if ensemble.post in {"raw", "number"}:
        nodes.append(helper.make_node("Add", [f"{own}_raw", f"{own}_base"], [old.output[0]]))
    else:
        label, scores = old.output[0], old.output[1]
        nodes.append(helper.make_node("Add", [f"{own}_raw", f"{own}_base"], [f"{own}_sum"]))
        if ensemble.post == "softmax":
            nodes.append(helper.make_node("Softmax", [f"{own}_sum"], [scores], axis=1))
        else:
            graph.initializer.append(numpy_helper.from_array(np.array(1.0, ensemble.dtype), f"{own}_one"))
            nodes += [
                helper.make_node("Sigmoid", [f"{own}_sum"], [f"{own}_positive"]),
                helper.make_node("Sub", [f"{own}_one", f"{own}_positive"], [f"{own}_negative"]),
                helper.make_node("Concat", [f"{own}_negative", f"{own}_positive"], [scores], axis=1),
            ]
        numbers = isinstance(ensemble.classes[0], int)
        names = np.asarray(ensemble.classes, dtype=np.int64 if numbers else object)
        graph.initializer.append(numpy_helper.from_array(names, f"{own}_classes"))
        nodes += [
            helper.make_node("ArgMax", [scores], [f"{own}_best"], axis=1, keepdims=0),
            helper.make_node("Gather", [f"{own}_classes", f"{own}_best"], [label], axis=0),
        ]
    before = list(graph.node)[:at]
    after = list(graph.node)[at + 1 :]
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])
    del graph.value_info[:]
    versions = {opset.domain: opset for opset in proto.opset_import}
    if "ai.onnx.ml" in versions:
        versions["ai.onnx.ml"].version = ML_OPSET
    versions[""].version = max(versions[""].version, 13)
    proto.ir_version = max(proto.ir_version, 10)
    encoded: bytes = proto.SerializeToString()
    return encoded


def leaf_sums(tree: Tree, features: NDArray[Any]) -> NDArray[np.float64]:
    """What one tree adds for each row of features, `[N]`."""
    rows = len(features)
    place = np.zeros(rows, dtype=np.int64)
    feature, threshold = np.array(tree.feature), np.array(tree.threshold)
    true, false = np.array(tree.true), np.array(tree.false)
    missing, value = np.array(tree.missing_true), np.array(tree.value)
    if any(members is not None for members in tree.members):
        raise UnreadableError("it splits on sets of categories")
    while True:
        here = feature[place]
        moving = here >= 0
        if not moving.any():
            return value[place].astype(np.float64)
        given = features[np.arange(rows), np.where(moving, here, 0)]
        yes = np.where(np.isnan(given), missing[place], given <= threshold[place])
        place = np.where(moving, np.where(yes, true[place], false[place]), place)
