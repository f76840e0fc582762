"""Which predictions were erased, known by a hash of the id: a label that comes for one later is refused.

The hash is BLAKE2b with 128 bits, keyed with the random id of the table, so equal ids in two logs have two
hashes. An id that can be guessed can be looked up by whoever has the log; what it was an answer to cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from holdfast.clock import Clock
from holdfast.prediction_log.digests import digest_of
from holdfast.prediction_log.label_door import write_erased
from holdfast.prediction_log.places import Log, LogPlace
from holdfast.prediction_log.schema import ERASED
from holdfast.prediction_log.tables import LogTable

_SUBJECT: Final = "\0subject\0"
"""Before a subject, so that none is taken for a prediction id."""


class ErasedIds:
    """The erased ids of one log; about 150 bytes of memory each.

    Reads the table at construction and in `refresh`.
    """

    def __init__(self, log: Log, clock: Clock) -> None:
        self._clock = clock
        self._log_folder = LogPlace.of(log).folder
        self._place = LogPlace.of(log).erased
        self._key = b""
        self._version = -1
        self._digests: dict[bytes, int] = {}
        self._published = 0
        self.refresh()

    def refresh(self) -> bool:
        """Learn of newer erasures; cheap when there are none. Returns whether there were."""
        if not self._place.exists():
            return False
        delta = self._place.open()
        if delta.version() != self._version:
            self._version = delta.version()
            self._key = _key(delta)
            rows = self._place.dataset(delta).to_table(["digest", "erased_at"])
            times = rows["erased_at"].cast(pa.int64()).to_pylist()
            self._digests = dict(zip(rows["digest"].to_pylist(), times, strict=True))
            return True
        return False

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, prediction_id: str) -> bool:
        return bool(self._digests) and digest_of(self._key, prediction_id) in self._digests

    def mask(self, prediction_ids: Sequence[str]) -> NDArray[np.bool_]:
        """For each id whether it was erased."""
        return np.fromiter((name in self for name in prediction_ids), np.bool_, len(prediction_ids))

    def add(self, prediction_ids: Iterable[str], now_us: int) -> None:
        """Remember these ids; those that are known already are not entered again."""
        table = LogTable.open_or_create(self._place, ERASED, self._clock)
        self._key = self._key or table.id.encode()
        fresh = sorted({digest_of(self._key, name) for name in prediction_ids} - self._digests.keys())
        if fresh:
            table.append(
                pa.table({"digest": fresh, "erased_at": pa.array([now_us] * len(fresh))}).cast(ERASED), {}
            )
            table.sync()
            self._digests |= dict.fromkeys(fresh, now_us)

    def publish(self) -> None:
        """Leave the hashes where every process of this machine finds them, if there are any."""
        if self._digests and self._published != len(self._digests):
            write_erased(self._log_folder, self._key, self._digests)
            self._published = len(self._digests)

    def add_subjects(self, subjects: Iterable[str], now_us: int) -> None:
        """Remember that these were erased, for keepers of other machines that hold rows of them."""
        self.add([_SUBJECT + subject for subject in subjects], now_us)

    def covers(self, subject: str | None, logged_at_us: int) -> bool:
        """Whether a row about this subject had been logged when the subject was erased."""
        if subject is None or not self._digests:
            return False
        erased_at_us = self._digests.get(digest_of(self._key, _SUBJECT + subject))
        return erased_at_us is not None and logged_at_us <= erased_at_us


def _key(delta: DeltaTable) -> bytes:
    return str(delta.metadata().id).encode()
