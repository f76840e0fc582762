"""Cells of the score, fine where the rarer class is, and the tails that they make together."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.plain import plain

SCORE_CELLS: Final = 20
"""Cells of the score on which the expectation is fitted; isotonic, so that few rows do not make waves."""
LEAST_CELL_ROWS: Final = 30
"""A cell that the reference hardly filled has no expectation to compare with."""
LARGEST_TAIL: Final = 0.1
"""Share of the rows: what is acted upon lies at the end of the score where the rarer class is."""


def score_edges(score: NDArray[np.float64], truth: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Edges between cells of about as many rows, and finer ones where positives are.

    Args:
        score: of the reference's labelled rows.
        truth: 0 or 1 of each; None for a regression.
    """
    at_rows = np.quantile(score, np.arange(1, SCORE_CELLS) / SCORE_CELLS)
    if truth is None or truth.sum() < 2 * SCORE_CELLS:
        return np.unique(at_rows)
    # Rare positives sit at the top: without cells of their own one cell would span most of the score.
    shares = np.array(_tail_shares(len(score)))
    at_tails = np.quantile(score, 1 - shares if 2 * truth.sum() <= len(truth) else shares)
    at_events = np.quantile(score[truth > 0], np.arange(1, SCORE_CELLS) / SCORE_CELLS)
    ordered = np.sort(score)
    edges = _with_finer(np.unique(at_rows), np.unique(at_tails), ordered)
    return _with_finer(edges, np.unique(at_events), ordered)


def score_tails(
    edges: NDArray[np.float64], rows: NDArray[np.float64], *, upper: bool
) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """Tails of the score at one end, each half as large: names, and `[tests, tails]`, 1 for their cells.

    A tail tells what happened to all of its rows where each of its cells has too few.

    Args:
        edges: of the score's cells.
        rows: `[tests]`, of the reference: overall, then in the score's cells, then others.
        upper: which end.
    """
    of_score = rows[1 : 2 + len(edges)]
    held = np.cumsum(of_score[::-1])[::-1][1:] if upper else np.cumsum(of_score)[:-1]
    some = [
        int(np.argmin(np.abs(held - share * of_score.sum())))
        for share in _tail_shares(int(of_score.sum()))
        if len(held)
    ]
    some = [place for place in dict.fromkeys(some) if held[place] >= LEAST_CELL_ROWS]
    names = [("score", f"score {'from' if upper else 'below'} {_edge(edges[place])}") for place in some]
    members = np.zeros((len(rows), len(some)))
    for number, place in enumerate(some):
        beyond = slice(2 + place, 2 + len(edges)) if upper else slice(1, 2 + place)
        members[beyond, number] = 1.0
    return names, members


def _tail_shares(rows: int) -> list[float]:
    """Of a score's rows: a tenth, half of that and so on, as long as there are enough for a test."""
    halvings = int(np.log2(max(LARGEST_TAIL * rows / LEAST_CELL_ROWS, 1)))
    return [LARGEST_TAIL / 2**number for number in range(halvings + 1)]


def _with_finer(
    edges: NDArray[np.float64], finer: NDArray[np.float64], score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """With those finer edges, from the highest on, that leave enough rows for a test on either side."""
    below = {edge: int(np.searchsorted(score, edge)) for edge in (*edges.tolist(), *finer.tolist())}
    kept = edges.tolist()
    for edge in reversed(finer.tolist()):
        place = bisect_left(kept, edge)
        before = below[kept[place - 1]] if place else 0
        after = below[kept[place]] if place < len(kept) else len(score)
        if min(below[edge] - before, after - below[edge]) >= LEAST_CELL_ROWS:
            kept.insert(place, edge)
    return np.array(kept)


def interval(edges: NDArray[np.float64], cell: int) -> str:
    """A cell in words.

    Example:
        >>> interval(np.array([0.1234, 0.5]), 1), interval(np.array([1_069_432.0, 1_261_000.0]), 1)
        ('0.123 to 0.5', '1070000 to 1260000')
    """
    if cell == 0:
        return f"below {_edge(edges[0])}" if len(edges) else "any"
    if cell == len(edges):
        return f"from {_edge(edges[-1])}"
    return f"{_edge(edges[cell - 1])} to {_edge(edges[cell])}"


def _edge(value: float) -> str:
    """With three digits."""
    return plain(float(f"{value:.3g}"))
