"""What can be wrong with what is to be judged."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class MonitorError(HoldfastError):
    """The reference and the current data cannot be compared."""
