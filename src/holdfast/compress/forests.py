"""Tree ensembles with fewer trees and coarser leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.artifact.trees import Tree
from holdfast.compress.candidates import Candidate, NotTried, Original, deviation
from holdfast.compress.dense import inside
from holdfast.compress.ensembles import Ensemble, UnreadableError, leaf_sums, read_ensemble, write_ensemble

_SHARES: Final = (0.5, 0.25, 0.125, 0.0625)
"""Of the trees that stay."""
_ROUNDING: Final = 0.02
"""Spread that rounding the leaves adds to the sums, in units of their own spread."""
_RIDGE: Final = 1e-2
_SAME: Final = 1e-4
_SATURATED: Final = 20.0
"""A sum beyond this is certainty in single precision: what lies further out is worth no error of the rest."""
_MOST_FITTED: Final = 4000
"""Rows that the weights of trees are fitted on; each tree is one unknown."""


def fewer_trees(original: Original) -> Iterator[Candidate | NotTried]:
    """The same trees written compactly; then fewer of them, weighted anew; then with merged leaves."""
    try:
        ensemble = read_ensemble(original.proto())
        if ensemble is None:
            yield NotTried("fewer trees", "there is no tree ensemble")
            return
        compact = write_ensemble(original.proto(), ensemble, ensemble.trees, ensemble.base)
        gap = deviation(original, compact)
        if not gap < _SAME:
            yield NotTried(
                "fewer trees", f"written anew the ensemble answers otherwise, by {gap:.2g} on average"
            )
            return
        yield Candidate("compact trees", f"all {len(ensemble.trees)} trees in the compact operator", compact)
        yield from _reduced(original, ensemble)
    except UnreadableError as error:
        yield NotTried("fewer trees", str(error))


def _reduced(original: Original, ensemble: Ensemble) -> Iterator[Candidate | NotTried]:
    features = inside(original, original.proto(), ensemble.input, ensemble.dtype)[:_MOST_FITTED]
    whole = ensemble.trees
    if ensemble.post in {"sigmoid", "softmax"}:
        whole = [_bounded(tree) for tree in whole]
    sums = np.stack([leaf_sums(tree, features) for tree in whole], axis=1)
    targets = np.array([tree.target for tree in whole])
    for share in _SHARES:
        keep = max(int(len(whole) * share), len(ensemble.base))
        trees, base = _chosen(whole, ensemble.base, sums, targets, keep)
        # Rounding to a step moves each tree by step / sqrt(12), and their sum by sqrt(trees) times that.
        step = _ROUNDING * float(sums.sum(axis=1).std()) * math.sqrt(12 / len(trees))
        merged = [_merge(tree, max(step, 1e-12)) for tree in trees]
        for name, some, said in (
            ("", trees, ""),
            (" and coarse leaves", merged, ", leaves rounded and merged"),
        ):
            if some is merged and share == _SHARES[-1]:
                continue
            yield Candidate(
                f"{keep} trees{name}",
                f"{keep} of {len(ensemble.trees)} trees, weighted anew{said}",
                write_ensemble(original.proto(), ensemble, some, base),
            )


def _bounded(tree: Tree) -> Tree:
    """No leaf says more than certainty.

    A boosted classifier that is sure of its training rows divides by next to nothing, and a few of its leaves
    may hold 1e30; weights that are fitted on sums with such numbers in them fit nothing else.
    """
    return _with_values(tree, [min(max(value, -_SATURATED), _SATURATED) for value in tree.value])


def _chosen(
    whole: list[Tree],
    start: list[float],
    sums: NDArray[np.float64],
    targets: NDArray[np.int64],
    keep: int,
) -> tuple[list[Tree], list[float]]:
    """The first trees of each output, boosted in that order, with weights that give all trees' sums best."""
    trees: list[Tree] = []
    base = list(start)
    for target in range(len(base)):
        of_target = np.flatnonzero(targets == target)
        first = of_target[: max(keep // len(base), 1)]
        if not len(first):
            continue
        inputs, wanted = sums[:, first], sums[:, of_target].sum(axis=1)
        mean, goal = inputs.mean(axis=0), wanted.mean()
        centred = inputs - mean
        gram = centred.T @ centred
        # Shrinks towards equal weights, which is what the ensemble was boosted with.
        scale = float(
            (centred.sum(axis=1) @ (wanted - goal)) / max(float((centred.sum(axis=1) ** 2).sum()), 1e-12)
        )
        penalty = _RIDGE * float(np.trace(gram)) / len(gram) + 1e-12
        rest = (wanted - goal) - scale * centred.sum(axis=1)
        gram[np.diag_indices_from(gram)] += penalty
        weights = scale + np.linalg.solve(gram, centred.T @ rest)
        base[target] += float(goal - mean @ weights)
        for index, weight in zip(first, weights, strict=True):
            trees.append(_with_values(whole[index], [value * float(weight) for value in whole[index].value]))
    return trees, base


def _with_values(tree: Tree, values: list[float]) -> Tree:
    return Tree(
        tree.target,
        tree.feature,
        tree.threshold,
        tree.members,
        tree.true,
        tree.false,
        tree.missing_true,
        values,
    )


def _merge(tree: Tree, step: float) -> Tree:
    """Leaves rounded to multiples of a step; a split whose sides became equal is a leaf."""
    merged = Tree(tree.target)

    def copy(index: int) -> int:
        place = len(merged.feature)
        leaf = tree.feature[index] < 0
        merged.feature.append(-1 if leaf else tree.feature[index])
        merged.threshold.append(tree.threshold[index])
        merged.members.append(tree.members[index])
        merged.true.append(-1)
        merged.false.append(-1)
        merged.missing_true.append(tree.missing_true[index])
        merged.value.append(math.floor(tree.value[index] / step + 0.5) * step if leaf else 0.0)
        if leaf:
            return place
        true, false = copy(tree.true[index]), copy(tree.false[index])
        both = merged.feature[true] < 0 and merged.feature[false] < 0
        if both and merged.value[true] == merged.value[false]:
            value = merged.value[true]
            del merged.feature[place + 1 :], merged.threshold[place + 1 :], merged.members[place + 1 :]
            del merged.true[place + 1 :], merged.false[place + 1 :]
            del merged.missing_true[place + 1 :], merged.value[place + 1 :]
            merged.feature[place], merged.value[place] = -1, value
        else:
            merged.true[place], merged.false[place] = true, false
        return place

    copy(0)
    return merged
