"""What a fitted estimator of scikit-learn, XGBoost or LightGBM takes, and what it answers itself.

The original's own answers over the reference are what a conversion is compared with.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.boosters import lightgbm_booster, lightgbm_categories, xgboost_categories
from holdfast.artifact.errors import ConversionError, ReferenceDataError
from holdfast.artifact.imputation import NULL_TEXT
from holdfast.artifact.reference import Reference, describe_column
from holdfast.artifact.signature import Column, Dtype, Tensor
from holdfast.artifact.trees import class_names
from holdfast.errors import HoldfastError

Family = Literal["sklearn", "xgboost", "lightgbm"]
PACKED_NAME = "features"
"""Name of the input tensor that packs all columns."""


@dataclass(frozen=True, slots=True)
class OriginalAnswers:
    """What the original says of rows; its repr shows no value."""

    prediction: NDArray[np.generic] = field(repr=False)
    probabilities: NDArray[np.floating[Any]] | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class EstimatorInputs:
    """The columns an estimator was fitted on, and how they may lie in a graph."""

    columns: tuple[Column, ...]
    encoded: frozenset[str] = frozenset()
    """Whole-number columns that an encoder takes as categories."""
    named: bool = False
    """The estimator picks columns by name, or they are not all numbers: one input for each."""
    categories: Mapping[str, Sequence[str | int]] = field(default_factory=dict)
    """Categories that the estimator itself turns into codes, in the order of the codes."""
    order: tuple[str, ...] = ()
    """Columns as the trees count them, where that is not the order of `columns`."""

    @property
    def names(self) -> tuple[str, ...]:
        """In the order the estimator was fitted with."""
        return tuple(column.name for column in self.columns)

    def tensors(self, float_type: Literal["float32", "float64"]) -> tuple[Tensor, ...]:
        """One input tensor that packs all columns, or one for each."""
        if not self.named:
            return self.packed_tensors(float_type)
        return tuple(
            Tensor(
                name=column.name, dtype=self._dtype(column, float_type), shape=(-1, 1), columns=(column.name,)
            )
            for column in self.columns
        )

    def packed_tensors(self, float_type: Literal["float32", "float64"]) -> tuple[Tensor, ...]:
        """One input tensor for all columns."""
        text = all(column.dtype == "string" for column in self.columns)
        dtype: Dtype = "string" if text else float_type
        return (Tensor(name=PACKED_NAME, dtype=dtype, shape=(-1, len(self.columns)), columns=self.names),)

    def _dtype(self, column: Column, float_type: Literal["float32", "float64"]) -> Dtype:
        if column.dtype == "string":
            return "string"
        if column.name in self.encoded and not column.nullable and not column.dtype.startswith("float"):
            return "int64"
        return float_type


class Estimator:
    """A fitted model that can be converted.

    Args:
        model: an estimator or pipeline of scikit-learn, an estimator of XGBoost or LightGBM, or a LightGBM
        booster.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.family = family_of(model)

    @property
    def description(self) -> str:
        """Library and class names, such as `sklearn Pipeline(StandardScaler, LogisticRegression)`."""
        name = type(self.model).__name__
        if hasattr(self.model, "steps"):
            name += "(" + ", ".join(type(step).__name__ for _, step in self.model.steps) + ")"
        return f"{self.family} {name}"

    @property
    def gives_probabilities(self) -> bool:
        """Whether the original says how likely each class is."""
        return hasattr(self.model, "predict_proba") or (
            self.family == "lightgbm" and self.classes is not None
        )

    @property
    def classes(self) -> tuple[str | int, ...] | None:
        """In the order of the probability columns; None for a model that answers with a number."""
        if self.family == "lightgbm" and self.model is lightgbm_booster(self.model):
            objective = str(self.model.dump_model(num_iteration=1).get("objective", ""))
            if objective.startswith(("binary", "cross_entropy")):
                return (0, 1)
            if objective.startswith("multiclass"):
                return tuple(range(self.model.num_model_per_iteration()))
            return None
        found = getattr(self.model, "classes_", None)
        if found is None:
            return None
        if isinstance(found, list):
            raise ConversionError(
                "a model with several label columns is not supported",
                where=self.description,
                expected="one answer for each row",
                next_step="Register a model for each label",
            )
        if len(found) < 2:
            raise ConversionError(
                "the model knows one class only, so it has nothing to tell apart",
                where=self.description,
                expected="a model trained on rows of two classes or more",
                received=repr(class_names(found)[0]),
            )
        return class_names(found)

    def inputs(self, reference: Reference | None) -> EstimatorInputs:
        """The columns it takes, described by the reference.

        Raises:
            ReferenceDataError: the reference lacks a column, or none tells the names apart.
        """
        names = self._names(reference)
        encoded = frozenset(_encoded_columns(self.model, names))
        categories, order = self._categories(names, reference)
        self._refuse_codes(categories, reference)
        if reference is None:
            columns = tuple(Column(name=name, dtype="float64", kind="numeric") for name in names)
            if categories or (encoded and hasattr(self.model, "feature_names_in_")):
                raise ReferenceDataError(
                    "the model takes categories, and nothing says which types its columns have",
                    next_step="Give the data it was trained on as the reference",
                )
        else:
            reference.require(names)
            nulls = _null_texts(self.model, names)
            columns = tuple(
                _with_null_text(
                    describe_column(reference, name, categorical=name in encoded or name in categories),
                    nulls.get(name, NULL_TEXT),
                )
                for name in names
            )
        text = [column.dtype == "string" for column in columns]
        named = _picks_by_name(self.model) or bool(categories) or (any(text) and not all(text))
        return EstimatorInputs(columns, encoded, named, categories, order)

    def answers(self, reference: Reference, names: Sequence[str]) -> OriginalAnswers:
        """The original's own answers over the reference.

        Raises:
            HoldfastError: it cannot answer the reference.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return self._answers(self._frame(reference, names))
            except HoldfastError:
                raise
            except Exception as error:
                raise ReferenceDataError(
                    "the original model cannot answer the reference rows",
                    where=self.description,
                    received=f"{type(error).__name__}: {_without_trace(error)}",
                    next_step=_in_the_types_of_training(reference, names),
                ) from error

    def _refuse_codes(
        self, categories: Mapping[str, Sequence[str | int]], reference: Reference | None
    ) -> None:
        """LightGBM would take a code for a category never met, and XGBoost would refuse it at length."""
        for name, values in categories.items():
            if reference is None or name not in reference.table.column_names or not values:
                continue
            texts = all(isinstance(value, str) for value in values)
            if texts and describe_column(reference, name).dtype.startswith(("int", "uint", "float")):
                raise ReferenceDataError(
                    "the column holds numbers, and the model was trained on categories that are texts",
                    where=name,
                    next_step="Give the categories themselves as they were in training, not their codes",
                )

    def _answers(self, frame: Any) -> OriginalAnswers:
        model = self.model
        if self.family == "lightgbm" and not hasattr(model, "fitted_"):
            return self._booster_answers(np.asarray(model.predict(frame)))
        prediction = np.asarray(model.predict(frame))
        probabilities = np.asarray(model.predict_proba(frame)) if hasattr(model, "predict_proba") else None
        if self.classes is not None and prediction.dtype.kind in "bf":
            prediction = prediction.astype(np.int64)
        return OriginalAnswers(prediction.reshape(len(prediction), -1)[:, 0], probabilities)

    def _booster_answers(self, raw: NDArray[Any]) -> OriginalAnswers:
        if self.classes is None:
            return OriginalAnswers(raw, None)
        probabilities = np.stack([1 - raw, raw], axis=1) if raw.ndim == 1 else raw
        return OriginalAnswers(np.asarray(self.classes)[probabilities.argmax(axis=1)], probabilities)

    def _frame(self, reference: Reference, names: Sequence[str]) -> Any:
        model = self.model
        wants_frame = hasattr(model, "feature_names_in_") or self.family == "lightgbm"
        wants_frame = wants_frame or _picks_by_name(model)
        columns = reference.columns(names)
        if not wants_frame:
            if any(values.dtype == object for values in columns.values()):
                return np.stack([values.astype(object) for values in columns.values()], axis=1)
            return np.stack([values.astype(np.float64) for values in columns.values()], axis=1)
        try:
            import pandas as pd
        except ImportError as error:
            if all(values.dtype != object for values in columns.values()) and not _picks_by_name(model):
                return np.stack([values.astype(np.float64) for values in columns.values()], axis=1)
            raise HoldfastError(
                "the model was trained on a pandas frame, and pandas is not installed here",
                where=self.description,
                next_step="Install it with: pip install pandas",
            ) from error
        frame = reference.table.select(list(names)).to_pandas()
        if self.family != "sklearn":
            # The library recodes categories itself, so the comparison does not rest on what was read of them.
            for name in self._categories(tuple(names), reference)[0]:
                frame[name] = pd.Categorical(frame[name])
        return frame

    def _names(self, reference: Reference | None) -> tuple[str, ...]:
        if self.family == "lightgbm":
            names = list(_with_spaces(lightgbm_booster(self.model).feature_name(), reference).values())
            if reference is None or set(names) <= set(reference.table.column_names):
                return tuple(names)
            if any(name != f"Column_{index}" for index, name in enumerate(names)):
                return tuple(names)
            return _positional(reference, len(names), self.description)
        if self.family == "xgboost":
            booster = self.model.get_booster()
            if booster.feature_names:
                return tuple(booster.feature_names)
            count = booster.num_features()
        elif hasattr(self.model, "feature_names_in_"):
            return tuple(str(name) for name in self.model.feature_names_in_)
        else:
            count = int(getattr(self.model, "n_features_in_", 0))
            if not count and reference is not None:
                count = len(reference.input_names)
            if not count:
                raise ConversionError(
                    "the model does not say how many columns it takes",
                    where=self.description,
                    next_step="Is it fitted? Give a reference, from which the columns are read",
                )
        if reference is None:
            return tuple(f"{PACKED_NAME}_{index}" for index in range(count))
        return _positional(reference, count, self.description)

    def _categories(
        self, names: Sequence[str], reference: Reference | None
    ) -> tuple[dict[str, tuple[str | int, ...]], tuple[str, ...]]:
        if self.family == "xgboost":
            return xgboost_categories(self.model, lambda name: _texts(reference, name)), ()
        if self.family == "lightgbm":
            own = _with_spaces(lightgbm_booster(self.model).feature_name(), reference)
            return {own[name]: values for name, values in lightgbm_categories(self.model).items()}, ()
        preprocessor = getattr(self.model, "_preprocessor", None)
        if type(self.model).__name__.startswith("HistGradientBoosting") and preprocessor is not None:
            (_, encoder, chosen), (_, _, others) = preprocessor.transformers_[:2]
            picked = [name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen]
            rest = [name for name, is_other in zip(names, others, strict=True) if is_other]
            found = {
                name: tuple(_plain(value) for value in values if not _is_nan(value))
                for name, values in zip(picked, encoder.categories_, strict=True)
            }
            return found, (*picked, *rest)
        return {}, ()


def _without_trace(error: Exception) -> str:
    """XGBoost's errors end with addresses in its library."""
    return str(error).partition("Stack trace:")[0].strip().rstrip(".")


def _in_the_types_of_training(reference: Reference, names: Sequence[str]) -> str:
    step = "Give the reference in the columns and types that the model was trained on"
    texts = [name for name in names if describe_column(reference, name).dtype == "string"]
    if not texts:
        return step
    return (
        f"{step}: {texts[0]!r} holds text. If the model was trained on codes for it, give the codes, or "
        "register a pipeline that makes them, so that callers can send the text"
    )


def _with_spaces(names: Sequence[str], reference: Reference | None) -> dict[str, str]:
    """The reference's column for each name of LightGBM's, which writes an underscore for a space."""
    held = () if reference is None else reference.table.column_names
    known = {name.replace(" ", "_"): name for name in held}
    return {name: name if name in held else known.get(name, name) for name in names}


def _texts(reference: Reference | None, name: str) -> Iterator[str]:
    if reference is not None and name in reference.table.column_names:
        column = describe_column(reference, name, categorical=True)
        yield from (str(value) for value in column.categories or ())


def _plain(value: Any) -> str | int:
    if isinstance(value, str):
        return value
    return int(value) if float(value).is_integer() else str(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def family_of(model: object) -> Family:
    """Which library made a fitted model.

    Raises:
        ConversionError: none that is known.
    """
    modules = [cls.__module__.partition(".")[0] for cls in type(model).__mro__]
    if modules[0] == "xgboost":
        if not hasattr(model, "get_booster"):
            raise ConversionError(
                "a bare xgboost.Booster does not say what it answers",
                next_step="Save it with save_model('model.json') and register that file",
            )
        return "xgboost"
    if modules[0] == "lightgbm":
        return "lightgbm"
    if "sklearn" in modules:
        return "sklearn"
    raise ConversionError(
        "the model is of a kind that cannot be converted",
        expected="an ONNX file, a model of scikit-learn, XGBoost or LightGBM, or 'module:function'",
        received=f"{type(model).__module__}.{type(model).__qualname__}",
    )


def _positional(reference: Reference, count: int, what: str) -> tuple[str, ...]:
    names = reference.input_names
    if len(names) != count:
        raise ReferenceDataError(
            "the model was fitted without column names, so the reference must hold exactly its inputs",
            where=what,
            expected=f"{count} columns, in the order of training",
            received=f"{len(names)}: {', '.join(names[:30])}",
            next_step=(
                "Drop the others, name the label and time columns with labels= and time= (--labels, --time), "
                "or fit the model on a frame with column names"
            ),
        )
    return names


def _picks_by_name(model: Any) -> bool:
    return any(isinstance(name, str) for _, _, names in _column_choices(model) for name in _listed(names))


def _column_choices(model: Any) -> Iterator[tuple[str, Any, Any]]:
    """The `transformers_` of each ColumnTransformer that sees the inputs themselves."""
    if hasattr(model, "steps"):
        yield from _column_choices(model.steps[0][1])
    elif hasattr(model, "transformer_list"):
        for _, step in model.transformer_list:
            yield from _column_choices(step)
    elif hasattr(model, "transformers_"):
        yield from model.transformers_


def _listed(names: Any) -> list[Any]:
    if isinstance(names, str | int):
        return [names]
    if isinstance(names, slice):
        return []
    return list(names)


def _first_encoder(step: Any) -> Any | None:
    """The encoder that takes the raw column, possibly after an imputer."""
    steps = [inner for _, inner in step.steps] if hasattr(step, "steps") else [step]
    for inner in steps:
        if type(inner).__name__ in {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}:
            return inner
        if type(inner).__name__ != "SimpleImputer":
            return None
    return None


def _encoders(model: Any, names: Sequence[str]) -> Iterator[tuple[Any, list[str]]]:
    first = model.steps[0][1] if hasattr(model, "steps") else model
    if (alone := _first_encoder(first)) is not None:
        yield alone, list(names)
    for _, step, chosen in _column_choices(model):
        encoder = None if isinstance(step, str) else _first_encoder(step)
        if encoder is not None:
            yield encoder, [_as_name(name, names) for name in _listed(chosen)]


def _as_name(name: Any, names: Sequence[str]) -> str:
    return name if isinstance(name, str) else names[int(name)]


def _encoded_columns(model: Any, names: Sequence[str]) -> Iterator[str]:
    for _, chosen in _encoders(model, names):
        yield from chosen


def _null_texts(model: Any, names: Sequence[str]) -> dict[str, str]:
    """For text columns whose encoder knows a missing value as a category: how the graph spells it."""
    found = {}
    for encoder, chosen in _encoders(model, names):
        for name, values in zip(chosen, getattr(encoder, "categories_", ()), strict=False):
            for value in values:
                if value is None or _is_nan(value):
                    found[name] = str(value)
    return found


def _with_null_text(column: Column, null_text: str) -> Column:
    import msgspec

    return msgspec.structs.replace(column, null_text=null_text) if column.dtype == "string" else column
