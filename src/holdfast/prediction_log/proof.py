"""Sets of sequence numbers as ranges, and what is missing or twice among them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Range = tuple[int, int]
"""The first number, and the number after the last."""


def ranges(numbers: NDArray[np.int64]) -> list[Range]:
    """The numbers as ranges, sorted; a number given k times is in k ranges."""
    found: list[Range] = []
    while len(numbers):
        ordered, counts = np.unique(numbers, return_counts=True)
        breaks = np.flatnonzero(np.diff(ordered) > 1)
        firsts = ordered[np.concatenate([[0], breaks + 1])]
        lasts = ordered[np.concatenate([breaks, [len(ordered) - 1]])]
        found += zip(firsts.tolist(), (lasts + 1).tolist(), strict=True)
        again = counts > 1
        numbers = np.repeat(ordered[again], counts[again] - 1)
    return found


def ranges_by_replica(rows: Iterable[Any]) -> dict[str, list[Range]]:
    """Sequence numbers of each replica in Arrow batches with columns `replica` and `sequence`.

    Memory grows with the number of ranges, not of rows: a replica's rows lie together in the order written.
    """
    found: dict[str, list[Range]] = defaultdict(list)
    for batch in rows:
        encoded = batch.column("replica").dictionary_encode()
        places = encoded.indices.to_numpy(zero_copy_only=False)
        numbers = batch.column("sequence").to_numpy(zero_copy_only=False)
        for place, replica in enumerate(encoded.dictionary.to_pylist()):
            found[replica] += ranges(numbers[places == place])
    return {replica: joined(parts) for replica, parts in found.items()}


def joined(parts: Iterable[Range]) -> list[Range]:
    """The same numbers with as few ranges as there can be if none overlaps; overlaps stay."""
    result: list[Range] = []
    for first, after in sorted(parts):
        if result and result[-1][1] == first:
            result[-1] = (result[-1][0], after)
        else:
            result.append((first, after))
    return result


def total(parts: Iterable[Range]) -> int:
    """How many numbers, each as often as it is given."""
    return sum(after - first for first, after in parts)


def below(parts: Iterable[Range], end: int) -> list[Range]:
    """The numbers less than `end`."""
    return [(first, min(after, end)) for first, after in parts if first < end]


def missing(parts: Sequence[Range], end: int) -> list[Range]:
    """The numbers of [0, end) that are in no range."""
    gaps: list[Range] = []
    reached = 0
    for first, after in sorted(parts):
        if first > reached:
            gaps.append((reached, min(first, end)))
        reached = max(reached, after)
        if reached >= end:
            break
    if reached < end:
        gaps.append((reached, end))
    return [(first, after) for first, after in gaps if first < after]


def repeated(parts: Iterable[Range]) -> list[Range]:
    """The numbers that are in more than one range."""
    twice: list[Range] = []
    reached = 0
    for first, after in sorted(parts):
        if first < reached:
            twice.append((first, min(after, reached)))
        reached = max(reached, after)
    return joined(set(twice))


def without(parts: Sequence[Range], removed: Sequence[Range]) -> list[Range]:
    """The numbers of `parts` (none twice) that are in no range of `removed`."""
    left: list[Range] = []
    gaps = union(removed)
    place = 0
    for first, after in sorted(parts):
        at = first
        while place < len(gaps) and gaps[place][1] <= first:
            place += 1
        reached = place
        while reached < len(gaps) and gaps[reached][0] < after:
            gap_first, gap_after = gaps[reached]
            if gap_first > at:
                left.append((at, gap_first))
            at = max(at, gap_after)
            reached += 1
        if at < after:
            left.append((at, after))
    return left


def union(parts: Iterable[Range]) -> list[Range]:
    """The same numbers, each once."""
    result: list[Range] = []
    for first, after in sorted(parts):
        if result and first <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], after))
        else:
            result.append((first, after))
    return result
