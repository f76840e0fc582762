"""What somebody hands over to be registered, recognised without running any of its code unasked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holdfast.artifact.boosters import load_lightgbm, load_xgboost
from holdfast.artifact.callables import load_callable
from holdfast.artifact.errors import ArtifactError, UntrustedSourceError
from holdfast.artifact.estimators import Estimator

_PICKLES: Final = frozenset({".joblib", ".pkl", ".pickle"})
_XGBOOST: Final = frozenset({".json", ".ubj"})
_LIGHTGBM: Final = frozenset({".txt", ".lgb"})
_CALLABLE: Final = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")


@dataclass(frozen=True, slots=True)
class OnnxSource:
    """An ONNX file, taken as it is."""

    model: bytes = field(repr=False)
    where: str
    null_texts: Mapping[str, str] = field(default_factory=dict)
    """By text column: what the graph knows a missing value as. No graph says so itself; other columns: ""."""


@dataclass(frozen=True, slots=True)
class PythonSource:
    """A Python callable by name."""

    target: str


@dataclass(frozen=True, slots=True)
class EstimatorSource:
    """A fitted model that will be converted."""

    estimator: Estimator


Source = OnnxSource | PythonSource | EstimatorSource


def open_source(source: object, *, trust_pickle: bool = False, trust_python: bool = False) -> Source:
    """Recognise a model by its file name or its type.

    Args:
        source: a path (.onnx, .json and .ubj of XGBoost, .txt of LightGBM, .joblib or .pkl), the name of a
            Python callable `module:function`, or a live model of scikit-learn, XGBoost, LightGBM or ONNX.
        trust_pickle: a pickle may be loaded, which runs whatever code it holds.
        trust_python: a Python callable may be imported and run.

    Raises:
        UntrustedSourceError: a pickle or a callable that nobody has agreed to run.
        ArtifactError: unknown, unreadable or not a model.
    """
    if isinstance(source, OnnxSource):
        return source
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.exists() and isinstance(source, str) and _CALLABLE.match(source):
            return _python_source(source, trust_python=trust_python)
        return _open_file(path, trust_pickle=trust_pickle)
    if isinstance(source, bytes):
        return OnnxSource(source, "the given bytes")
    if type(source).__module__.startswith("onnx") and hasattr(source, "SerializeToString"):
        return OnnxSource(source.SerializeToString(), "the given ONNX model")
    if callable(source) and hasattr(source, "__qualname__") and not hasattr(source, "fit"):
        target = f"{source.__module__}:{source.__qualname__}"
        return _python_source(target, trust_python=trust_python)
    return EstimatorSource(Estimator(source))


def _open_file(path: Path, *, trust_pickle: bool) -> Source:
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ArtifactError(
            "there is no such model file",
            where=str(path),
            next_step=None if ":" not in str(path) else "A Python callable is written module:function",
        )
    if suffix == ".onnx":
        return OnnxSource(path.read_bytes(), str(path))
    if suffix in _XGBOOST:
        return EstimatorSource(Estimator(load_xgboost(path)))
    if suffix in _LIGHTGBM:
        return EstimatorSource(Estimator(load_lightgbm(path)))
    if suffix in _PICKLES:
        if not trust_pickle:
            raise UntrustedSourceError(
                "a pickle is a program, not data: loading it runs whatever code its author, "
                "or anyone who has changed the file since, put into it",
                where=str(path),
                next_step=(
                    "If you made this file yourself, or trust whoever did, say so with trust_pickle=True "
                    "(--trust-pickle): it is loaded once, here, converted to ONNX, and never loaded by the "
                    "service. Otherwise ask for an ONNX file"
                ),
            )
        return EstimatorSource(Estimator(_load_pickle(path)))
    raise ArtifactError(
        "the kind of model is not recognised by its name",
        where=str(path),
        expected=(
            ".onnx, .joblib or .pkl (scikit-learn), .json or .ubj (XGBoost), .txt (LightGBM), "
            "or module:function for a Python callable"
        ),
        received=suffix or "no suffix",
    )


def _load_pickle(path: Path) -> Any:
    import joblib

    try:
        return joblib.load(path)
    except ModuleNotFoundError as error:
        raise ArtifactError(
            f"the pickle needs the module {error.name!r}, which is not installed here",
            where=str(path),
            next_step="Install the libraries the model was trained with, in the same versions",
        ) from error
    except Exception as error:  # a pickle can raise anything
        raise ArtifactError(
            "the pickle cannot be loaded", where=str(path), received=f"{type(error).__name__}: {error}"
        ) from error


def _python_source(target: str, *, trust_python: bool) -> PythonSource:
    if not trust_python:
        raise UntrustedSourceError(
            "a Python callable is code that the service would import and run on every request",
            where=target,
            next_step=(
                "If that is what you want, say so with trust_python=True (--trust-python). "
                "An ONNX file is faster, needs no code on the server, and is checked"
            ),
        )
    load_callable(target)
    return PythonSource(target)
