"""Which predictions are stored: decided by the id alone, so that every replica and every rerun agree."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HASH_END: Final = 1 << 64


def is_sampled(prediction_id: str, fraction: float) -> bool:
    """Whether a prediction with this id is stored at this sampling fraction.

    The id's BLAKE2b hash (64 bits) is compared with the fraction, so the rows stored at a smaller fraction
    are a subset of those stored at a larger one. Costs about 1 microsecond.
    """
    digest = hashlib.blake2b(prediction_id.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < fraction * _HASH_END


def sampled_rows(prediction_ids: Sequence[str], fraction: float) -> NDArray[np.intp] | None:
    """Row numbers of the stored predictions; None: all of them."""
    if fraction >= 1:
        return None
    keep = [row for row, name in enumerate(prediction_ids) if is_sampled(name, fraction)]
    return None if len(keep) == len(prediction_ids) else np.asarray(keep, dtype=np.intp)
