"""Adapters that run an artifact: ONNX graphs and Python callables."""

from holdfast.runtime.errors import ParityError, RuntimeFailure
from holdfast.runtime.opening import load_library, open_runtime
from holdfast.runtime.parity import Parity, check_parity
from holdfast.runtime.protocol import RowRuntime, Runtime

__all__ = [
    "Parity",
    "ParityError",
    "RowRuntime",
    "Runtime",
    "RuntimeFailure",
    "check_parity",
    "load_library",
    "open_runtime",
]
