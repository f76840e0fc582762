"""Errors of the prediction log."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class PredictionLogError(HoldfastError):
    """The log cannot do what was asked."""


class LogFullError(PredictionLogError):
    """The log cannot be written (disk full, input/output error), and the caller must know."""


class ErasedPredictionError(PredictionLogError):
    """A label came for a prediction that was erased on request."""


class SpoiledRunError(PredictionLogError):
    """A table was being scored when somebody whose rows are in it was erased."""


class LogFormatError(PredictionLogError):
    """A spool was written by a version of holdfast that this one does not know."""


class TableBusyError(PredictionLogError):
    """Another machine commits to the same table on an object store; trying again helps."""


class KeeperBehindError(PredictionLogError):
    """Another keeper holds the lease and has not committed what was spooled within the time allowed."""
