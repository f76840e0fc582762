"""What can go wrong while a model is opened, run or compared."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class RuntimeFailure(HoldfastError):  # noqa: N818 - RuntimeError is taken, and this is its field word
    """The model itself failed: it could not be loaded, or a run of it raised."""


class ParityError(HoldfastError):
    """A converted model answers otherwise than its original."""
