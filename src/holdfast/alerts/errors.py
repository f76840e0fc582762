"""What can go wrong while telling people."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class AlertError(HoldfastError):
    """A channel cannot be used as the checklist names it."""


class ChannelError(Exception):
    """A channel did not take a message. The text names no address: it is stored and shown."""
