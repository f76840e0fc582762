"""The model file: where it comes from, its signature, its hash, its safe load, its card.

What the serving process needs is imported at once and takes NumPy alone; the rest (conversion, reference
tables) loads on first use, since it brings large libraries with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.artifact.errors import (
    ArtifactError,
    ConversionError,
    PackingError,
    ReferenceDataError,
    StoredArtifactError,
    UntrustedSourceError,
)
from holdfast.artifact.packing import Answer, OutputReader, Packer, numpy_dtype, pack_inputs, read_outputs
from holdfast.artifact.signature import Column, Dtype, Kind, Signature, Task, Tensor
from holdfast.artifact.store import Artifact, Execution, open_artifact, store_artifact

if TYPE_CHECKING:
    from holdfast.artifact.conversion import Conversion, conversions
    from holdfast.artifact.describing import Inputs, Wanted, graph_inputs, infer_signature
    from holdfast.artifact.estimators import Estimator
    from holdfast.artifact.graph import Graph, read_graph
    from holdfast.artifact.moments import Written
    from holdfast.artifact.reference import Reference
    from holdfast.artifact.sources import EstimatorSource, OnnxSource, PythonSource, open_source

_LAZY = {
    "Conversion": "conversion",
    "conversions": "conversion",
    "Inputs": "describing",
    "Wanted": "describing",
    "graph_inputs": "describing",
    "infer_signature": "describing",
    "Estimator": "estimators",
    "Graph": "graph",
    "read_graph": "graph",
    "Written": "moments",
    "Reference": "reference",
    "EstimatorSource": "sources",
    "OnnxSource": "sources",
    "PythonSource": "sources",
    "open_source": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


__all__ = [
    "Answer",
    "Artifact",
    "ArtifactError",
    "Column",
    "Conversion",
    "ConversionError",
    "Dtype",
    "Estimator",
    "EstimatorSource",
    "Execution",
    "Graph",
    "Inputs",
    "Kind",
    "OnnxSource",
    "OutputReader",
    "Packer",
    "PackingError",
    "PythonSource",
    "Reference",
    "ReferenceDataError",
    "Signature",
    "StoredArtifactError",
    "Task",
    "Tensor",
    "UntrustedSourceError",
    "Wanted",
    "Written",
    "conversions",
    "graph_inputs",
    "infer_signature",
    "numpy_dtype",
    "open_artifact",
    "open_source",
    "pack_inputs",
    "read_graph",
    "read_outputs",
    "store_artifact",
]
