"""holdfast takes a trained model into production and keeps it good there.

The library surface is as small as the commands. Nothing heavy is imported until it is used.

    import holdfast

    model = holdfast.load("fraud")                    # the champion of a deployment folder
    model.predict([{"amount": 12.5, "country": "NL"}])
    holdfast.predict("fraud", records)                # the same in one call
    holdfast.log("fraud").read_all()                  # predictions with their labels, as Arrow
    print(holdfast.diagnose("april.parquet", "may.parquet", target="fraud", score="p"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.errors import HoldfastError
    from holdfast.monitor import Diagnosis, diagnose
    from holdfast.registry import log
    from holdfast.score import Model, Prediction, load, predict

__version__ = "0.1.0"

_HOMES = {
    "Diagnosis": "holdfast.monitor",
    "HoldfastError": "holdfast.errors",
    "Model": "holdfast.score",
    "Prediction": "holdfast.score",
    "diagnose": "holdfast.monitor",
    "load": "holdfast.score",
    "log": "holdfast.registry",
    "predict": "holdfast.score",
}

__all__ = [
    "Diagnosis",
    "HoldfastError",
    "Model",
    "Prediction",
    "__version__",
    "diagnose",
    "load",
    "log",
    "predict",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
