"""Windows that follow on each other: what their own values tell of their variance is less than it seems."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

_MOST: Final = 0.95
"""Correlation of neighbours beyond which a few windows tell nothing."""
_LEAST_FREEDOM: Final = 2.0
_SHOWN: Final = 2.0
"""Standard errors beyond which a correlation is no chance."""


def most_by_parts(values: NDArray[np.float64], each: int) -> NDArray[np.float64]:
    """`[K]`, the highest correlation of neighbouring windows that is shown by their parts `[W * each, K]`.

    Parts are more than windows, and what lasts from window to window lasts from part to part. Where
    neighbouring parts are correlated by `c` beyond chance, windows are so by at most
    `each * c / (1 + (each - 1) * c)`, as of noise around a level that stays (Spearman 1910, Brown 1910).

    Example:
        >>> import numpy as np
        >>> most_by_parts(np.tile([[1.0], [-1.0]], (40, 1)), 8).tolist()
        [0.0]
    """
    square = np.maximum((values**2).sum(axis=0), 1e-300)
    shown = (values[1:] * values[:-1]).sum(axis=0) / square
    least = np.clip(shown - _SHOWN / np.sqrt(len(values)), 0.0, 1.0)
    result: NDArray[np.float64] = each * least / (1 + (each - 1) * least)
    return result


@dataclass(frozen=True, slots=True)
class Persistence:
    """How far W windows follow on each other in each of K tests, as an AR(1) process.

    Neighbours correlated by `r` make the sum of m windows vary `m (1 + r) / (1 - r) - 2 r (1 - r ** m)
    / (1 - r) ** 2` times as much as one. The mean of all windows then takes more than a share `m / W` of what
    blocks of m vary by, and blocks tell their variance as fewer independent ones would (Bartlett 1935).
    """

    correlation: NDArray[np.float64] = field(repr=False)
    """`[K]`, of neighbours, from 0 on."""
    windows: int

    @classmethod
    def nothing(cls, windows: int, tests: int) -> Persistence:
        """Windows that are independent."""
        return cls(np.zeros(tests), windows)

    @classmethod
    def of(cls, values: NDArray[np.float64], most: NDArray[np.float64] | None = None) -> Persistence:
        """From the windows' values `[W, K]`, in order of time.

        The correlation that few windows show is too small by `(1 + 3 r) / W` (Kendall 1954); that is mended,
        and it is raised by a standard error. Of independent windows that alone would make short references
        blind, so it is held against what shows that there is any: parts of windows, or else two standard
        errors of the windows' own.

        Args:
            values: those values.
            most: `[K]`, what parts of the windows allow, from `most_by_parts`; None: there are no parts.

        Example:
            >>> import numpy as np
            >>> wave = np.sin(2 * np.pi * np.arange(36) / 6)[:, None]
            >>> Persistence.of(wave).correlation.tolist()  # a day of six windows
            [0.0]
            >>> Persistence.of(wave, np.ones(1)).correlation.round(2).tolist()  # a standard error
            [0.17]
        """
        windows = len(values)
        apart = values - values.mean(axis=0)
        square = np.maximum((apart**2).sum(axis=0), 1e-300)

        def mended(lag: int) -> NDArray[np.float64]:
            shown = (apart[lag:] * apart[:-lag]).sum(axis=0) / square
            result: NDArray[np.float64] = (windows * shown + 1) / max(windows - 3, 1)
            return result

        # What comes and goes, as a day does, is not persistent: two windows apart it is below `r ** 2`.
        correlation = np.minimum(mended(1), np.sqrt(np.maximum(mended(2), 0.0)))
        error = np.sqrt(np.maximum(1 - correlation**2, 0.0) / windows)
        if most is None:
            shown = correlation > _SHOWN * np.sqrt(windows) / max(windows - 3, 1)
            most = np.where(shown, _MOST, 0.0)
        return cls(np.clip(correlation + error, 0.0, np.minimum(most, _MOST)), windows)

    def variance(self, scale: int) -> NDArray[np.float64]:
        """`[K]`, of the sum of so many windows, that of one being 1.

        Example:
            >>> import numpy as np
            >>> Persistence(np.array([0.0, 0.5]), 20).variance(2).tolist()
            [2.0, 3.0]
        """
        r = self.correlation
        total: NDArray[np.float64] = scale * (1 + r) / (1 - r) - 2 * r * (1 - r**scale) / (1 - r) ** 2
        return total

    def left(self, scale: int) -> NDArray[np.float64]:
        """`[K]`, share of the variance of blocks of so many windows that is left around the mean of all.

        Example:
            >>> import numpy as np
            >>> Persistence(np.zeros(1), 20).left(4).round(9).tolist()
            [0.8]
        """
        return 1 - self.variance(self.windows) / self.variance(scale) * (scale / self.windows) ** 2

    def freedom(self, scale: int) -> NDArray[np.float64]:
        """`[K]`, degrees of freedom of the variance of such blocks.

        Example:
            >>> import numpy as np
            >>> Persistence(np.array([0.0, 0.5]), 20).freedom(1).tolist()
            [19.0, 11.0]
        """
        square = (self.variance(2 * scale) / (2 * self.variance(scale)) - 1) ** 2
        return np.maximum(self.windows / scale * (1 - square) / (1 + square) - 1, _LEAST_FREEDOM)

    def with_mean(self, scale: int) -> NDArray[np.float64]:
        """`[K]`, by how much the difference of such a block from that mean varies more.

        More than the block itself does, beside what independent windows would: the mean is a sum over all.

        Example:
            >>> import numpy as np
            >>> Persistence(np.zeros(1), 20).with_mean(1).tolist()
            [1.0]
        """
        share = scale / self.windows
        longer = self.variance(self.windows) / self.variance(scale) * share
        return (1 + longer * share) / (1 + share)
