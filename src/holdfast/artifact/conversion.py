"""From a fitted estimator to candidate ONNX graphs, best first; the parity check at registration chooses.

Which float type a graph should take is not known beforehand. Smooth models (linear ones, neural networks)
lose nothing in float32 and run twice as fast. Models that cut the axis (trees, bins, neighbours) send a row
to another leaf when a feature and a threshold round differently, so their features are prepared in float64
and each ensemble is then fed what its library feeds itself: float32 for scikit-learn's and XGBoost's trees,
float64 for the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from holdfast.artifact.errors import ConversionError
from holdfast.artifact.input_names import name_inputs
from holdfast.artifact.signature import Dtype, Tensor
from holdfast.errors import MissingExtraError

if TYPE_CHECKING:
    from onnx import ModelProto

    from holdfast.artifact.estimators import EstimatorInputs

FloatType = Literal["float32", "float64"]
_TARGET_OPSET: Final = {"": 21, "ai.onnx.ml": 3}
_SMOOTH: Final = frozenset(
    {
        "ColumnTransformer", "OneHotEncoder", "OrdinalEncoder", "SimpleImputer", "StandardScaler",
        "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "PolynomialFeatures", "Normalizer", "PCA",
        "TruncatedSVD", "LogisticRegression", "LogisticRegressionCV", "LinearRegression", "Ridge",
        "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "SGDClassifier", "SGDRegressor",
        "MLPClassifier", "MLPRegressor", "HuberRegressor", "PoissonRegressor", "GammaRegressor",
        "TweedieRegressor",
    }
)  # fmt: skip
_FORESTS: Final = frozenset(
    {
        "DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor",
        "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier",
        "ExtraTreesRegressor",
    }
)  # fmt: skip
_FLOAT32_TREES: Final = _FORESTS | frozenset(
    {
        "GradientBoostingClassifier", "GradientBoostingRegressor", "XGBClassifier", "XGBRegressor",
        "XGBRFClassifier", "XGBRFRegressor",
    }
)  # fmt: skip
_FLOAT64_TREES: Final = frozenset(
    {
        "HistGradientBoostingClassifier", "HistGradientBoostingRegressor", "LGBMClassifier",
        "LGBMRegressor", "Booster",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Conversion:
    """One candidate graph and how the columns lie in its inputs."""

    model: bytes = field(repr=False)
    inputs: tuple[Tensor, ...]
    how: str
    """In words, for errors and the card."""


def conversions(model: Any, inputs: EstimatorInputs) -> Iterator[Conversion]:
    """Candidate graphs of a fitted estimator, best first.

    A candidate that the converter cannot make is skipped; if none can be made, the first reason is raised.

    Raises:
        ConversionError: no candidate.
        MissingExtraError: a converter is not installed.
    """
    first_error: ConversionError | None = None
    made = 0
    for float_type, pieces in _attempts(model):
        how = f"{float_type} inputs" + (", trees apart from the steps before them" if pieces else "")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if pieces:
                    proto, tensors = _convert_in_pieces(model, inputs, float_type)
                else:
                    proto, tensors = _convert_whole(model, inputs, float_type)
        except (MissingExtraError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the converters raise many unrelated classes
            first_error = first_error or _explain(model, error)
            continue
        made += 1
        yield Conversion(proto.SerializeToString(), tensors, how)
    if not made:
        raise first_error or ConversionError("cannot be converted to ONNX", where=type(model).__name__)


def _attempts(model: Any) -> list[tuple[FloatType, bool]]:
    last = type(final_step(model)).__name__
    if last in _FLOAT32_TREES | _FLOAT64_TREES and not hasattr(model, "steps"):
        return [("float32" if last in _FLOAT32_TREES else "float64", True)]
    if last in _FLOAT32_TREES | _FLOAT64_TREES:
        return [("float64", True), ("float32", True), ("float32", False)]
    if all(name in _SMOOTH for name in _step_names(model)):
        return [("float32", False), ("float64", False)]
    return [("float64", False), ("float32", False)]


def final_step(model: Any) -> Any:
    """The estimator that answers: the last step of a pipeline, or the model itself."""
    return model.steps[-1][1] if hasattr(model, "steps") else model


def _step_names(model: Any) -> Iterator[str]:
    for step in _leaf_steps(model):
        yield type(step).__name__


def _leaf_steps(model: Any) -> Iterator[Any]:
    if hasattr(model, "steps"):
        for _, step in model.steps:
            yield from _leaf_steps(step)
    elif hasattr(model, "transformers_"):
        for _, step, _ in model.transformers_:
            if not isinstance(step, str):
                yield from _leaf_steps(step)
    elif hasattr(model, "transformer_list"):
        for _, step in model.transformer_list:
            yield from _leaf_steps(step)
    elif model is not None and not isinstance(model, str):
        yield model


def _explain(model: Any, error: Exception) -> ConversionError:
    if isinstance(error, ConversionError):
        return error
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ConversionError(
        "cannot be converted to ONNX",
        where=type(model).__name__,
        received=f"{type(error).__name__}: {reason[:300]}",
        next_step=(
            "Export it to ONNX with the library's own exporter and register that file, "
            "or register a Python callable with trust_python=True (--trust-python)"
        ),
    )


def _convert_whole(
    model: Any, inputs: EstimatorInputs, float_type: FloatType
) -> tuple[ModelProto, tuple[Tensor, ...]]:
    tensors = inputs.tensors(float_type)
    return _sklearn_to_onnx(model, tensors), tensors


def _convert_in_pieces(
    model: Any, inputs: EstimatorInputs, float_type: FloatType
) -> tuple[ModelProto, tuple[Tensor, ...]]:
    from holdfast.artifact.categories import category_codes
    from holdfast.artifact.joining import feed_through

    final = final_step(model)
    before = model[:-1] if hasattr(model, "steps") and len(model.steps) > 1 else None
    if before is not None:
        tensors = inputs.tensors(float_type)
        prepared = _sklearn_to_onnx(before, tensors)
        return feed_through(prepared, ensemble_to_onnx(final)), tensors
    if inputs.categories:
        tensors = inputs.tensors("float64")
        codes = category_codes(tensors, inputs.categories, inputs.order or inputs.names)
        return feed_through(codes, ensemble_to_onnx(final)), tensors
    alone = ensemble_to_onnx(final)
    tensors = inputs.packed_tensors(_own_float_type(final))
    name_inputs(alone, [tensors[0].name])
    return alone, tensors


def _own_float_type(final: Any) -> FloatType:
    return "float64" if type(final).__name__ in _FLOAT64_TREES else "float32"


def ensemble_to_onnx(final: Any) -> ModelProto:
    """A tree ensemble alone, from one packed `[N, F]` input of the type it compares in."""
    from holdfast.artifact import boosters, forests, trees

    name = type(final).__name__
    if name.startswith("HistGradientBoosting"):
        return trees.histogram_gradient_boosting(final)
    if name.startswith("XGB"):
        return boosters.xgboost_to_onnx(final)
    if name.startswith("LGBM") or name == "Booster":
        return boosters.lightgbm_to_onnx(final)
    proto = _sklearn_to_onnx(final, (Tensor(name="X", dtype="float32", shape=(-1, final.n_features_in_)),))
    if name in _FORESTS:
        forests.add_missing_sides(proto, final)
    return proto


def _sklearn_to_onnx(model: Any, tensors: Sequence[Tensor]) -> ModelProto:
    from skl2onnx import convert_sklearn
    from skl2onnx.common import data_types

    from holdfast.artifact.imputation import converters

    makers: dict[Dtype, Any] = {
        "float32": data_types.FloatTensorType,
        "float64": data_types.DoubleTensorType,
        "int64": data_types.Int64TensorType,
        "bool": data_types.BooleanTensorType,
        "string": data_types.StringTensorType,
    }
    final = final_step(model)
    arguments: dict[str, Any] = {
        "initial_types": [(one.name, makers[one.dtype]([None, one.shape[1]])) for one in tensors],
        "target_opset": _TARGET_OPSET,
    }
    arguments["custom_shape_calculators"], arguments["custom_conversion_functions"] = converters()
    if hasattr(final, "classes_"):
        # Scores as one array. A classifier without probabilities lacks that option and needs another set.
        with_scores = {"zipmap": False} if hasattr(final, "predict_proba") else {"raw_scores": True}
        arguments["options"] = {id(final): with_scores}
    proto: ModelProto = convert_sklearn(model, "holdfast", **arguments)
    name_inputs(proto, [one.name for one in tensors])
    return proto
