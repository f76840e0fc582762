"""Which arm answers a request while a challenger has a share of the traffic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from holdfast.infer import CHALLENGER_ARM, CHAMPION_ARM, Block, RecordCodec, is_below, place_of
from holdfast.privacy.pseudonym import canonical_text
from holdfast.serve.control import Challenger
from holdfast.serve.service import Endpoint
from holdfast.telemetry import ServiceCounts

MOST_UNITS: Final = 200_000
"""Different units that one worker counts; later ones are assigned all the same."""


class Canary:
    """Assigns requests, and counts each unit once over all workers.

    Args:
        endpoint: of the challenger, loaded and warm.
        route: its share and key.
        field: of a record; "": the prediction id, or by chance where there is none.
        place: this worker's number and how many there are: one worker alone counts a unit.
        counts: of this worker.
        chance: a number in [0, 1).
    """

    def __init__(
        self,
        endpoint: Endpoint,
        route: Challenger,
        field: str,
        *,
        place: tuple[int, int],
        counts: ServiceCounts,
        chance: Callable[[], float],
    ) -> None:
        self.endpoint = endpoint
        self.route = route
        self._field = field
        self._index, self._workers = place
        self._counts = counts
        self._chance = chance
        self._seen: set[int] = set()

    def takes(self, codec: RecordCodec, records: list[Any] | None, block: Block | None) -> bool:
        """Whether the challenger answers this request; its first row decides for all.

        Args:
            codec: that decoded the records.
            records: of the request; None where `block` is given.
            block: columns.
        """
        name = self._field or codec.schema.id_field
        if records is not None:
            position = codec.position(name)
            value = None if position is None else getattr(records[0], f"f{position}")
        else:
            value = _first(block, name, codec.schema.id_field)
        route = self.route
        if value is None or (isinstance(value, str) and not value):
            chosen = self._chance() < route.share
            self._counts.unit(route.rollout, route.share, CHALLENGER_ARM if chosen else CHAMPION_ARM)
            return chosen
        place = place_of(route.key, canonical_text(value) if np.ndim(value) == 0 else str(value))
        chosen = is_below(place, route.share)
        mine = place % self._workers == self._index
        if mine and place not in self._seen and len(self._seen) < MOST_UNITS:
            self._seen.add(place)
            self._counts.unit(route.rollout, route.share, CHALLENGER_ARM if chosen else CHAMPION_ARM)
        return chosen


def _first(block: Block | None, name: str, id_field: str) -> Any:
    if block is None:
        return None
    if name == id_field and block.ids is not None:
        return block.ids[0]
    for values in (block.context.get(name), block.columns.get(name)):
        if values is not None:
            return values[0]
    return None
