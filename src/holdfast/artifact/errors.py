"""What can be wrong with a model, its reference data or a stored artifact."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class ArtifactError(HoldfastError):
    """The root of this room's errors: a model cannot be taken, stored or opened as it is."""


class UntrustedSourceError(ArtifactError):
    """Loading the model would run somebody's code, and nobody has agreed to that."""


class ConversionError(ArtifactError):
    """The model cannot be expressed as an ONNX graph."""


class ReferenceDataError(ArtifactError):
    """The reference table cannot be read, or does not fit the model."""


class PackingError(ArtifactError):
    """Columns of values cannot become the tensors that the graph takes."""


class StoredArtifactError(ArtifactError):
    """A stored artifact is incomplete, altered or of an unknown format."""
