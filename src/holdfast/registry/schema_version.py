"""The number of the registry's schema."""

from __future__ import annotations

from typing import Final

SCHEMA_VERSION: Final = 4
"""Raised when a table changes; migrations go from number to number.

2: API keys and the audit. 3: rollouts. 4: alarms and the messages about them.
"""
