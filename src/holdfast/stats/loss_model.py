"""The loss of a regression that is to be expected without labels: a model of the model's own loss.

Direct loss estimation: on the reference, the loss of each row is learnt from its inputs and the prediction.
It cannot see concept drift. See docs/methods/estimated-quality.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.boosting import MAPPING_TREES, least_leaf
from holdfast.stats.domain import FOLDS, LEAST_ROWS, fitted, split
from holdfast.stats.errors import StatisticsError
from holdfast.stats.quality import Z95, Estimate

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LossModel:
    """The expected loss of a row, by several models that each have left out a part of the reference."""

    models: tuple[Any, ...] = field(repr=False)
    bias: float
    """Mean loss of the reference minus its cross-fitted expectation; added to every expectation."""
    spread: float
    """Variance of a row's loss around its expectation, relative to the square of the expectation."""

    @classmethod
    def fit(cls, inputs: Numbers, loss: Numbers, *, folds: int = FOLDS, seed: int = 0) -> LossModel:
        """From labelled rows of the reference. About a second for 20,000 rows of 20 columns.

        Args:
            inputs: `[N, D]`, the prediction among them; NaN for missing.
            loss: `[N]`, not negative, such as the absolute error.
            folds: of the cross-fitting.
            seed: of the folds.

        Raises:
            StatisticsError: fewer than `LEAST_ROWS` rows, or a loss is not finite.

        Example:
            Noise of standard deviation |x| has a mean absolute error of |x| sqrt(2 / pi): the mean of |x| is
            5 where x lies between 4 and 6, so 3.989.

            >>> import numpy as np
            >>> random = np.random.default_rng(0)
            >>> x = random.uniform(1, 8, size=(8000, 1))
            >>> model = LossModel.fit(x, np.abs(random.normal(scale=x[:, 0])))
            >>> found = model.estimate(random.uniform(4, 6, size=(1000, 1)))
            >>> bool(found.low < 5 * np.sqrt(2 / np.pi) < found.high)
            True
        """
        if len(inputs) < LEAST_ROWS or not np.isfinite(loss).all():
            raise StatisticsError(
                "the loss cannot be learnt",
                expected=f"at least {LEAST_ROWS} rows with finite losses",
                received=f"{len(inputs)} rows, {int((~np.isfinite(loss)).sum())} losses not finite",
            )
        from sklearn.ensemble import HistGradientBoostingRegressor

        models, expected = [], np.empty(len(loss))
        for fit, held in split(np.zeros(len(loss)), folds, seed):
            model = HistGradientBoostingRegressor(
                **MAPPING_TREES, min_samples_leaf=least_leaf(len(fit)), random_state=seed
            )
            models.append(fitted(model, inputs[fit], loss[fit]))
            expected[held] = models[-1].predict(inputs[held])
        floor = max(float(loss.mean()) * 1e-3, 1e-300)
        expected = np.maximum(expected, floor)
        spread = float(((loss - expected) ** 2).sum() / (expected**2).sum())
        return cls(tuple(models), float((loss - expected).mean()), spread)

    def estimate(self, inputs: Numbers) -> Estimate:
        """The mean loss to be expected of a window, with a 95 % interval.

        The interval holds the spread of the losses of so many rows and, by the jackknife over the folds'
        models, the error of what was learnt.

        Args:
            inputs: `[N, D]` in the columns of the fit.

        Raises:
            StatisticsError: there is no row.

        Example:
            >>> import numpy as np
            >>> model = LossModel.fit(np.arange(100.0)[:, None], np.full(100, 3.0))
            >>> round(model.estimate(np.array([[7.0]])).value, 6)
            3.0
        """
        if not len(inputs):
            raise StatisticsError("no row to estimate the loss of")
        from threadpoolctl import threadpool_limits

        # A window is small: threads that wait for busy cores cost ten times what they save.
        with threadpool_limits(1, "openmp"):
            said = np.array([model.predict(inputs) for model in self.models]) + self.bias
        means, rows = said.mean(axis=1), said.mean(axis=0)
        number = len(self.models)
        learnt = (number - 1) / number * float(((means - means.mean()) ** 2).sum())
        drawn = self.spread * float((rows**2).sum()) / len(rows) ** 2
        # Trees may say less than nothing where nothing is lost.
        value, error = max(0.0, float(means.mean())), Z95 * float(np.sqrt(learnt + drawn))
        return Estimate(value, max(0.0, value - error), value + error, len(rows))
