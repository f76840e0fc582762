"""Which categories are new: rows in memory tell it, where profiles only count them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from holdfast.monitor.diagnosis import Diagnosis, FeatureFinding
from holdfast.monitor.faults import NEVER_MET
from holdfast.monitor.rows import ColumnValues
from holdfast.stats import Coded

_NAMED: Final = 3
_LONGEST: Final = 40


def with_new_words(
    diagnosis: Diagnosis, old: Mapping[str, ColumnValues], new: Mapping[str, ColumnValues]
) -> Diagnosis:
    """The verdict with the most frequent of the categories that the reference never had, by name.

    Args:
        diagnosis: as judged.
        old: columns of the reference.
        new: of the current rows.
    """

    def told(found: FeatureFinding) -> FeatureFinding:
        before, after = old.get(found.name), new.get(found.name)
        if (
            NEVER_MET not in found.description
            or not isinstance(before, Coded)
            or not isinstance(after, Coded)
        ):
            return found
        known = set(before.words)
        counts = np.bincount(after.codes[after.codes >= 0], minlength=len(after.words))
        strange = [
            (int(count), word) for count, word in zip(counts, after.words, strict=True) if word not in known
        ]
        words = [repr(word[:_LONGEST]) for _, word in sorted(strange, key=lambda one: -one[0])[:_NAMED]]
        if not words:
            return found
        said = found.description.replace(NEVER_MET, f"{NEVER_MET} ({', '.join(words)})")
        return msgspec.structs.replace(found, description=said)

    return msgspec.structs.replace(diagnosis, features=tuple(told(found) for found in diagnosis.features))
