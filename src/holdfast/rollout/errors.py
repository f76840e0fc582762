"""What can go wrong with a rollout."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class RolloutError(HoldfastError):
    """The rollout cannot do what was asked."""


class ContractError(RolloutError):
    """The challenger would not answer the callers of today, or not as the checklist allows."""


class UncheckedError(RolloutError):
    """The version has no passed check, and nobody has waived it."""
