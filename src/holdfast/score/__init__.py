"""Room `score`: tables in, tables out, and the library surface `load` and `predict`."""

from holdfast.score.arms import BATCH_ARM, Trial
from holdfast.score.errors import BadRowError, ScoreError, TableError
from holdfast.score.loading import Model, Prediction, load, predict
from holdfast.score.table import ScoreReport, score_table

__all__ = [
    "BATCH_ARM",
    "BadRowError",
    "Model",
    "Prediction",
    "ScoreError",
    "ScoreReport",
    "TableError",
    "Trial",
    "load",
    "predict",
    "score_table",
]
