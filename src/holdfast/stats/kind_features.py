"""Features of a column of large values, by its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.embeddings import NORM, PROJECTIONS, embedding_features
from holdfast.stats.errors import StatisticsError
from holdfast.stats.images import IMAGE_FEATURES, image_features
from holdfast.stats.sounds import AUDIO_FEATURES, audio_features

Values = NDArray[Any] | Sequence[NDArray[Any] | None]
Columns = dict[str, NDArray[np.float64]]
RATE_HZ: Final = 16_000.0
"""Of sounds whose rate nobody knows: that of most models of speech. Another one scales two features only."""
SEED: Final = 0
"""Of the projections: one for all profiles, so that they stay comparable."""


def _images(values: Values, _rate_hz: float) -> Columns:
    return _each(values, IMAGE_FEATURES, image_features)


def _sounds(values: Values, rate_hz: float) -> Columns:
    return _each(values, AUDIO_FEATURES, lambda sound: audio_features(sound, rate_hz))


def _embeddings(values: Values, _rate_hz: float) -> Columns:
    found: Columns = {name: np.full(len(values), np.nan) for name in _EMBEDDING_FEATURES}
    if isinstance(values, np.ndarray):
        whole = values.reshape(len(values), -1) if values.size else values
        return embedding_features(whole, SEED) if values.size else found
    widths = [one.size for one in values if one is not None and one.dtype.kind in "uif"]
    width = max(set(widths), key=widths.count, default=0)
    rows = [place for place, one in enumerate(values) if one is not None and one.size == width > 0]
    if rows:
        some = np.stack([np.asarray(values[place], dtype=np.float64).reshape(-1) for place in rows])
        for name, numbers in embedding_features(some, SEED).items():
            found[name][rows] = numbers
    return found


def _each(
    values: Values, names: tuple[str, ...], measure: Callable[[NDArray[Any]], Mapping[str, float]]
) -> Columns:
    found = {name: np.full(len(values), np.nan) for name in names}
    for place, value in enumerate(values):
        if value is None:
            continue
        try:
            numbers = measure(value)
        except StatisticsError:
            continue  # a broken value is a missing one: that it is broken is a finding of its own
        for name in names:
            found[name][place] = numbers[name]
    return found


_EMBEDDING_FEATURES: Final = (NORM, *(f"projection_{n + 1}_seed_{SEED}" for n in range(PROJECTIONS)))
_BY_KIND: Final[Mapping[str, tuple[Callable[[Values, float], Columns], tuple[str, ...]]]] = {
    "image": (_images, IMAGE_FEATURES),
    "audio": (_sounds, AUDIO_FEATURES),
    "embedding": (_embeddings, _EMBEDDING_FEATURES),
}
MEASURED_KINDS: Final = tuple(_BY_KIND)


def feature_names(kind: str) -> tuple[str, ...]:
    """Names of the features of a kind; none for a kind that is judged as it is.

    Example:
        >>> feature_names("image")[:3], feature_names("numeric")
        (('brightness', 'contrast', 'sharpness'), ())
    """
    return _BY_KIND[kind][1] if kind in _BY_KIND else ()


def kind_features(kind: str, values: Values, rate_hz: float = RATE_HZ) -> Columns:
    """`[N]` numbers of each feature of a column of images, sounds or embeddings.

    Args:
        kind: one of `MEASURED_KINDS`.
        values: N values; one that is None, or none of its kind, has NaN in every feature.
        rate_hz: of sounds.

    Raises:
        StatisticsError: no such kind.

    Example:
        >>> found = kind_features("image", np.zeros((2, 4, 4), dtype=np.uint8))
        >>> found["brightness"].tolist()
        [0.0, 0.0]
    """
    if kind not in _BY_KIND:
        raise StatisticsError("no such kind", expected=", ".join(MEASURED_KINDS), received=kind)
    return _BY_KIND[kind][0](values, rate_hz)
