"""What goes wrong between the log and a challenger.

TrainError
├── DataSetError        a data set cannot be built as asked for
│   └── LeakageError    a column knows what it could not have known
├── TrainerFailedError  the trainer raised, ran out of time or memory, or gave no model
└── WorseError          the challenger is surely worse than the champion
"""

from __future__ import annotations

from holdfast.errors import HoldfastError


class TrainError(HoldfastError):
    """Root of this room's errors."""


class DataSetError(TrainError):
    """A data set cannot be built as asked for."""


class LeakageError(DataSetError):
    """A column knows what it could not have known when the prediction was made."""


class TrainerFailedError(TrainError):
    """The trainer raised, ran out of time or memory, or gave no model. Nothing was registered."""


class WorseError(TrainError):
    """The challenger is surely worse than the champion. It was not registered."""
