"""What can go wrong with a load test itself, rather than with the service under it.

LoadTestError
    UnreachableError    nobody answers, or not in the protocol asked for
    BottleneckError     the generator could not keep up with its own schedule
"""

from __future__ import annotations

from holdfast.errors import HoldfastError


class LoadTestError(HoldfastError):
    """The load cannot be made, or its result cannot be reported."""


class UnreachableError(LoadTestError):
    """Nobody answers at the address, or the answer is none of the protocol's."""


class BottleneckError(LoadTestError):
    """The generator was the bottleneck, so that no number speaks of the service."""
