"""What can go wrong when a table is scored."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class ScoreError(HoldfastError):
    """A table that was not scored."""


class TableError(ScoreError):
    """The table as a whole cannot be read, written or matched to the model."""


class BadRowError(ScoreError):
    """A row does not fit the signature; `where` names file, row (from 1, header not counted) and column."""
