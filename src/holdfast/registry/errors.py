"""What can go wrong with versions and routes."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class RegistryError(HoldfastError):
    """The registry cannot do what was asked."""


class UnknownVersionError(RegistryError):
    """No model version of that name is registered."""


class UnknownKeyError(RegistryError):
    """There is no API key of that id."""
