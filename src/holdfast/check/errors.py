"""What keeps a check from being made at all; what it finds is never an error."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class CheckError(HoldfastError):
    """There is nothing to check, or the service under check cannot be run here."""
