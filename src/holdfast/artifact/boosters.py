"""XGBoost and LightGBM: loaded from their own files without a pickle, and turned into ONNX.

Both write their trees down in full. XGBoost compares in float32, LightGBM in float64 (a time in seconds since
1970 has a resolution of 128 in float32), and each graph compares as its library does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.artifact.errors import ConversionError
from holdfast.artifact.trees import Link, Tree, class_names, ensemble_model
from holdfast.errors import MissingExtraError

if TYPE_CHECKING:
    from onnx import ModelProto


def load_xgboost(path: Path) -> Any:
    """An `XGBClassifier` or `XGBRegressor` from a .json or .ubj file, told apart by the objective inside."""
    try:
        import xgboost
    except ImportError as error:
        raise MissingExtraError("xgboost", "xgboost") from error
    import msgspec

    try:
        booster = xgboost.Booster(model_file=str(path))
        config = msgspec.json.decode(booster.save_config())
    except (xgboost.core.XGBoostError, msgspec.DecodeError) as error:
        raise ConversionError("the file is not an XGBoost model", where=str(path)) from error
    objective = str(config["learner"]["objective"]["name"])
    classifies = objective.startswith(("binary:", "multi:"))
    model = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    model.load_model(str(path))
    return model


def load_lightgbm(path: Path) -> Any:
    """A `Booster` from a text file."""
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError("lightgbm", "lightgbm") from error
    try:
        return lightgbm.Booster(model_file=str(path))
    except lightgbm.basic.LightGBMError as error:
        raise ConversionError("the file is not a LightGBM model", where=str(path)) from error


_XGBOOST_LINKS: Final[Mapping[str, Link]] = {
    "binary:logistic": "sigmoid",
    "binary:logitraw": "identity",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    "reg:squarederror": "identity",
    "reg:absoluteerror": "identity",
    "reg:pseudohubererror": "identity",
    "reg:squaredlogerror": "identity",
    "reg:quantileerror": "identity",
    "reg:logistic": "sigmoid",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "count:poisson": "exp",
}


def xgboost_to_onnx(model: Any) -> ModelProto:
    """From one packed float32 `[N, F]` input to the class and its probabilities, or to the number.

    Raises:
        ConversionError: a linear booster, vector leaves, or an objective whose answer is not known here.
    """
    import msgspec

    booster = model.get_booster()
    learner = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]
    objective = learner["objective"]["name"]
    if objective not in _XGBOOST_LINKS:
        raise ConversionError("the objective is not converted", where="XGBoost", received=objective)
    gradient_booster = learner["gradient_booster"]
    weights = gradient_booster.get("weight_drop")  # of dart
    gradient_booster = gradient_booster.get("gbtree", gradient_booster)
    if "model" not in gradient_booster or "trees" not in gradient_booster["model"]:
        raise ConversionError(
            "only boosted trees are converted", where="XGBoost", received=gradient_booster["name"]
        )
    grown = gradient_booster["model"]
    last = _best_iteration(model)
    count = len(grown["trees"]) if last is None else grown["iteration_indptr"][last + 1]
    n_targets = max(int(learner["learner_model_param"]["num_class"]), 1)
    trees = []
    for index, (tree, target) in enumerate(
        zip(grown["trees"][:count], grown["tree_info"][:count], strict=True)
    ):
        if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1 or target >= n_targets:
            raise ConversionError("trees with several answers are not converted", where="XGBoost")
        trees.append(_xgboost_tree(tree, target, 1.0 if weights is None else weights[index]))
    link = _XGBOOST_LINKS[objective]
    classes = getattr(model, "classes_", None) if link in {"sigmoid", "softmax"} else None
    proto = ensemble_model(
        trees,
        n_features=int(learner["learner_model_param"]["num_feature"]),
        baseline=_xgboost_baseline(str(learner["learner_model_param"]["base_score"]), link, n_targets),
        link=link,
        classes=None if classes is None else class_names(classes),
        float_type="float32",
        rule="<",
    )
    if not math.isnan(model.missing):
        _take_as_missing(proto, model.missing)
    return proto


def _take_as_missing(proto: ModelProto, number: float) -> None:
    """An estimator made with `missing=number` reads that number as missing, and NaN too."""
    from onnx import helper, numpy_helper

    graph = proto.graph
    for name, value in (("missing", number), ("nan", math.nan)):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
    graph.node[0].input[0] = "known"
    graph.node.insert(0, helper.make_node("Where", ["is_missing", "nan", "X"], ["known"]))
    graph.node.insert(0, helper.make_node("Equal", ["X", "missing"], ["is_missing"]))


def _best_iteration(model: Any) -> int | None:
    try:
        return int(model.best_iteration)
    except AttributeError:  # trained without early stopping
        return None


def _xgboost_baseline(text: str, link: Link, n_targets: int) -> list[float]:
    """The stored base score is an answer, and the sum starts from what the link makes that answer of."""
    scores = [float(part) for part in text.strip("[]").split(",")]
    if link in {"sigmoid", "exp"} and not all(
        0 < score < (1 if link == "sigmoid" else math.inf) for score in scores
    ):
        raise ConversionError(
            "the base score has no logarithm that the sum could start from",
            where="XGBoost",
            expected="labels of both classes, or counts that are not all nought, at training",
            received=f"base_score {text}",
        )
    if link == "sigmoid":
        scores = [math.log(score / (1 - score)) for score in scores]
    elif link == "exp":
        scores = [math.log(score) for score in scores]
    return scores * n_targets if len(scores) == 1 else scores


def _xgboost_tree(stored: Mapping[str, Any], target: int, weight: float) -> Tree:
    """Categories in a node's set go right, all others left; what the set does not name is left too."""
    members: list[tuple[int, ...] | None] = [None] * len(stored["left_children"])
    places = zip(
        stored["categories_nodes"], stored["categories_segments"], stored["categories_sizes"], strict=True
    )
    for node, first, size in places:
        members[node] = tuple(int(code) for code in stored["categories"][first : first + size])
    leaf = [child < 0 for child in stored["left_children"]]
    swapped = [chosen is not None for chosen in members]
    left, right = stored["left_children"], stored["right_children"]
    return Tree(
        target,
        feature=[
            -1 if is_leaf else int(one) for is_leaf, one in zip(leaf, stored["split_indices"], strict=True)
        ],
        threshold=[float(one) for one in stored["split_conditions"]],
        members=members,
        true=[right[i] if swap else left[i] for i, swap in enumerate(swapped)],
        false=[left[i] if swap else right[i] for i, swap in enumerate(swapped)],
        missing_true=[
            bool(default_left) != swap
            for default_left, swap in zip(stored["default_left"], swapped, strict=True)
        ],
        value=[weight * float(one) for one in stored["split_conditions"]],
    )


def xgboost_categories(
    model: Any, seen: Callable[[str], Iterable[str]] = lambda _: ()
) -> dict[str, tuple[str | int, ...]]:
    """Categories by column, in the order of their codes; empty before XGBoost 3.1, which kept none.

    XGBoost 3.2 stores as many bytes of a name as the name has characters, so one that is not ASCII loses its
    end. Its whole name is found among the values that were `seen` in a column.
    """
    import msgspec

    booster = model.get_booster()
    learner = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]
    grown = learner["gradient_booster"].get("gbtree", learner["gradient_booster"]).get("model", {})
    encoded = grown.get("cats", {}).get("enc", [])
    names = booster.feature_names or [f"{index}" for index in range(len(encoded))]
    found: dict[str, tuple[str | int, ...]] = {}
    for name, stored in zip(names, encoded, strict=False):
        if "offsets" not in stored:
            if stored.get("values"):
                found[name] = tuple(int(value) for value in stored["values"])
            continue
        data = bytes(value % 256 for value in stored["values"])
        pairs = list(zip(stored["offsets"], stored["offsets"][1:], strict=False))
        if pairs:
            whole = {text.encode()[: len(text)]: text for text in seen(name)}
            found[name] = tuple(
                whole.get(data[start:end], data[start:end].decode(errors="replace")) for start, end in pairs
            )
    return found


def lightgbm_booster(model: Any) -> Any:
    """The booster of an estimator, or the booster itself."""
    return getattr(model, "booster_", model)


def lightgbm_categories(model: Any) -> dict[str, tuple[str | int, ...]]:
    """Categories by column, as pandas gave them at training; empty if the codes were given as they are."""
    booster = lightgbm_booster(model)
    lists = booster.pandas_categorical or []
    found = re.search(r"\[categorical_feature: ([\d,]+)\]", booster.model_to_string(num_iteration=1))
    positions = [int(text) for text in found[1].split(",")] if found else []
    names = booster.feature_name()
    if len(lists) != len(positions):
        return {}
    return {names[position]: tuple(values) for position, values in zip(sorted(positions), lists, strict=True)}


def lightgbm_to_onnx(model: Any) -> ModelProto:
    """From one packed float64 `[N, F]` input to the class and its probabilities, or to the number.

    Raises:
        ConversionError: linear leaves, or an objective whose answer is not known here.
    """
    booster = lightgbm_booster(model)
    limit = booster.best_iteration if booster.best_iteration and booster.best_iteration > 0 else None
    dump = booster.dump_model(num_iteration=limit)
    n_targets = int(dump["num_tree_per_iteration"])
    trees = [_tree(info, index % n_targets) for index, info in enumerate(dump["tree_info"])]
    if dump.get("average_output") and trees:
        share = len(trees) // n_targets
        for tree in trees:
            tree.value = [value / share for value in tree.value]
    link, scale, classes = _objective(str(dump.get("objective", "regression")), n_targets)
    if scale != 1:
        for tree in trees:
            tree.value = [value * scale for value in tree.value]
    if classes is not None and model is not booster:  # a regressor answers with the rate itself
        named = getattr(model, "classes_", None)
        classes = None if named is None else class_names(named)
    return ensemble_model(
        trees,
        n_features=int(dump["max_feature_idx"]) + 1,
        baseline=[0.0] * n_targets,
        link=link,
        classes=classes,
    )


def _objective(objective: str, n_targets: int) -> tuple[Link, float, tuple[str | int, ...] | None]:
    name, *options = objective.split()
    given = dict(option.split(":", 1) for option in options if ":" in option)
    if name == "binary":
        return "sigmoid", float(given.get("sigmoid", 1)), (0, 1)
    if name in {"cross_entropy", "xentropy"}:
        return "sigmoid", 1.0, (0, 1)
    if name == "multiclass":
        return "softmax", 1.0, tuple(range(n_targets))
    if name in {"poisson", "gamma", "tweedie"}:
        return "exp", 1.0, None
    plain = {"regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"}
    if name in plain and "sqrt" not in options:
        return "identity", 1.0, None
    raise ConversionError("the objective is not converted", where="LightGBM", received=objective)


def _tree(info: dict[str, Any], target: int) -> Tree:
    tree = Tree(target)
    pending = [(info["tree_structure"], -1, True)]
    while pending:
        node, parent, is_true = pending.pop()
        index = len(tree.feature)
        if parent >= 0:
            (tree.true if is_true else tree.false)[parent] = index
        leaf = "leaf_value" in node
        if leaf and node.get("leaf_coeff"):
            raise ConversionError("linear trees are not converted", where="LightGBM")
        tree.feature.append(-1 if leaf else int(node["split_feature"]))
        tree.true.append(0)
        tree.false.append(0)
        tree.value.append(float(node["leaf_value"]) if leaf else 0.0)
        categorical = not leaf and node["decision_type"] == "=="
        tree.members.append(
            tuple(int(code) for code in node["threshold"].split("||")) if categorical else None
        )
        tree.threshold.append(0.0 if leaf or categorical else float(node["threshold"]))
        tree.missing_true.append(not leaf and not categorical and _missing_goes_left(node))
        if not leaf:
            pending.append((node["right_child"], index, False))
            pending.append((node["left_child"], index, True))
    return tree


def _missing_goes_left(node: dict[str, Any]) -> bool:
    """Without a learned side, LightGBM reads NaN as 0; with zero_as_missing it reads 0 as missing."""
    zero_left = float(node["threshold"]) >= 0
    if node["missing_type"] == "NaN":
        return bool(node["default_left"])
    if node["missing_type"] == "Zero" and bool(node["default_left"]) != zero_left:
        raise ConversionError("zero_as_missing=True is not converted", where="LightGBM")
    return zero_left
