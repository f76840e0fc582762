"""What can be wrong with data given to a statistic."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class StatisticsError(HoldfastError):
    """The data do not allow the statistic."""
