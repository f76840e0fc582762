"""Inputs that the log stores beside its tables, and what stays of them in the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.signature import Kind
from holdfast.infer.thumbnails import thumbnail
from holdfast.privacy.record import Values

if TYPE_CHECKING:
    from holdfast.spec.checklist import Logging

LARGE_KINDS: Final[frozenset[Kind]] = frozenset({"image", "audio", "embedding"})
THUMBNAIL: Final = "thumbnail"
"""Name of the feature that is a small picture."""

SetApart = tuple[Mapping[str, Values], Mapping[str, NDArray[np.generic]], Mapping[str, Mapping[str, Values]]]
"""Inputs that stay in the row, inputs that are stored beside the tables, and the short features of these."""


@dataclass(frozen=True, slots=True)
class LargeRule:
    """What is large, and what the short features need to know."""

    from_bytes: int
    """Size of one value from which an input is stored beside the tables."""
    audio_rate_hz: float

    @classmethod
    def of(cls, logging: Logging) -> Self:
        """As the checklist says."""
        return cls(round(logging.large_input_kb * 1000), logging.audio_rate_hz)


def set_apart(columns: Mapping[str, Values], kinds: Mapping[str, Kind], rule: LargeRule) -> SetApart:
    """Take the large inputs out of a batch's columns. Copies no array.

    Args:
        columns: of N rows.
        kinds: of the inputs that may be large.
        rule: which of them are.
    """
    large: dict[str, NDArray[np.generic]] = {}
    features: dict[str, Mapping[str, Values]] = {}
    for name, kind in kinds.items():
        values = columns[name]
        if isinstance(values, np.ndarray) and len(values) and values.nbytes // len(values) >= rule.from_bytes:
            large[name] = values
            features[name] = short_features(kind, values, rule.audio_rate_hz)
    if not large:
        return columns, {}, {}
    return {name: values for name, values in columns.items() if name not in large}, large, features


def short_features(kind: Kind, values: NDArray[np.generic], audio_rate_hz: float) -> dict[str, Values]:
    """What a row keeps of each of N large inputs, by the feature's name; none of what is not of its kind.

    Costs about 2 ms for an image of 224 x 224, 1 ms for a second of sound, 0.03 ms for an embedding.
    """
    from holdfast.stats import audio_features, embedding_features, image_features

    if kind == "embedding":
        return dict(_or_nothing(embedding_features, values.reshape(len(values), -1)))
    found: dict[str, Values] = {}
    of_one = image_features if kind == "image" else partial(audio_features, rate_hz=audio_rate_hz)
    one_by_one = [_or_nothing(of_one, value) for value in values]
    for feature in dict.fromkeys(name for one in one_by_one for name in one):
        found[feature] = [one.get(feature) for one in one_by_one]
    if kind == "image":
        found[THUMBNAIL] = [thumbnail(value) for value in values]
    return found


def _or_nothing(
    features: Callable[[NDArray[np.generic]], Mapping[str, Any]], values: NDArray[np.generic]
) -> Mapping[str, Any]:
    """The features; none where the value is not of its kind, since no answer may fail for them."""
    from holdfast.stats import StatisticsError

    try:
        with np.errstate(all="ignore"):
            return features(values)
    except StatisticsError:
        return {}
