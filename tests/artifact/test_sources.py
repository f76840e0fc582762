from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from graphs import identity
from sklearn.linear_model import LinearRegression

from holdfast.artifact import (
    ArtifactError,
    ConversionError,
    EstimatorSource,
    OnnxSource,
    PythonSource,
    UntrustedSourceError,
    open_source,
)


class Bomb:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def fitted() -> LinearRegression:
    return LinearRegression().fit(np.eye(3), np.arange(3.0))


def double(columns: dict[str, np.ndarray]) -> np.ndarray:
    return columns["a"] * 2


@pytest.mark.parametrize("name", ["m.pkl", "m.pickle", "m.joblib"])
def test_a_pickle_is_not_loaded_unless_trusted_and_the_error_says_why(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(UntrustedSourceError) as caught:
        open_source(path)
    assert not (tmp_path / "boom").exists()
    assert "runs whatever code" in str(caught.value)
    assert "--trust-pickle" in str(caught.value)


@pytest.mark.parametrize("dump", [joblib.dump, lambda model, path: path.write_bytes(pickle.dumps(model))])
def test_a_trusted_pickle_is_an_estimator(tmp_path: Path, dump: object) -> None:
    path = tmp_path / "m.pkl"
    dump(fitted(), path)  # type: ignore[operator] # either of two
    source = open_source(path, trust_pickle=True)
    assert isinstance(source, EstimatorSource)
    assert source.estimator.description == "sklearn LinearRegression"


def test_a_broken_pickle_is_an_artifact_error(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x04garbage")
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        open_source(path, trust_pickle=True)


def test_a_callable_is_not_imported_unless_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "side_effect.py").write_text(
        f"open({str(tmp_path / 'boom')!r}, 'w').close()\ndef f(c): return c['a']\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UntrustedSourceError, match="--trust-python"):
        open_source("side_effect:f")
    assert not (tmp_path / "boom").exists()
    assert open_source("side_effect:f", trust_python=True) == PythonSource("side_effect:f")
    assert (tmp_path / "boom").exists()


def test_a_live_function_is_known_by_its_importable_name() -> None:
    assert open_source(double, trust_python=True) == PythonSource(f"{__name__}:double")
    with pytest.raises(ArtifactError, match="no callable"):
        open_source(lambda columns: columns, trust_python=True)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ArtifactError, match="'no_such_module' cannot be imported"):
        open_source("no_such_module:predict", trust_python=True)


@pytest.mark.parametrize("code", ["1 / 0", "def model(", "raise KeyError('no setting')"])
def test_a_module_that_fails_when_it_is_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    name = f"failing_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArtifactError, match=f"{name}.*cannot be imported.*(ZeroDivision|Syntax|Key)Error"):
        open_source(f"{name}:model", trust_python=True)


def test_onnx_comes_as_file_bytes_or_live(tmp_path: Path) -> None:
    proto = identity()
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    for given in (path, str(path), proto, proto.SerializeToString()):
        source = open_source(given)
        assert isinstance(source, OnnxSource)
        assert source.model == proto.SerializeToString()


def test_boosters_are_loaded_from_their_own_files_without_a_pickle(tmp_path: Path) -> None:
    import lightgbm
    import xgboost

    features, target = np.random.default_rng(0).normal(size=(80, 2)), np.arange(80) % 3
    xgboost.XGBClassifier(n_estimators=2).fit(features, target).save_model(tmp_path / "m.ubj")
    xgboost.XGBRegressor(n_estimators=2).fit(features, target).save_model(tmp_path / "m.json")
    trained = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(features, target)
    trained.booster_.save_model(tmp_path / "m.txt")
    found = {}
    for name in ("m.ubj", "m.json", "m.txt"):
        source = open_source(tmp_path / name)
        assert isinstance(source, EstimatorSource)
        found[name] = (source.estimator.description, source.estimator.classes)
    assert found == {
        "m.ubj": ("xgboost XGBClassifier", (0, 1, 2)),
        "m.json": ("xgboost XGBRegressor", None),
        "m.txt": ("lightgbm Booster", (0, 1, 2)),
    }


def test_what_is_no_model_is_refused_with_what_would_be(tmp_path: Path) -> None:
    other = tmp_path / "m.docx"
    other.touch()
    junk = tmp_path / "m.json"
    junk.write_text('{"a": 1}')
    with pytest.raises(ArtifactError, match=r"expected \.onnx, "):
        open_source(other)
    with pytest.raises(ConversionError, match="not an XGBoost model"):
        open_source(junk)
    with pytest.raises(ArtifactError, match="no such model file"):
        open_source(tmp_path / "absent.onnx")
    with pytest.raises(ConversionError, match="cannot be converted"):
        open_source(object())
