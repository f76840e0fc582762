"""What stands beside a comparison so that nobody reads more out of it than it says."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from holdfast.train.comparing import Answers, Difference, Truth
from holdfast.train.manifest import Manifest


def mixed(overall: Mapping[str, Difference], main: str) -> tuple[str, ...]:
    """What speaks against the verdict of the deciding metric."""
    verdict = overall[main].verdict
    if verdict == "not told apart":
        return ()
    opposite = "worse" if verdict == "better" else "better"
    others = [name for name, one in overall.items() if one.verdict == opposite]
    return (f"surely {opposite} in {', '.join(others)}",) if others else ()


def one_answer(truth: Truth, *both: Answers) -> tuple[str, ...]:
    """Where every row gets one and the same answer, wrong answers tell nothing about a model."""
    if truth.task != "binary" or len(np.unique(np.concatenate([one.answer for one in both]))) > 1:
        return ()
    words = "both give every row of the test the same answer, so only their scores differ: state what errors "
    return (words + 'cost in [monitoring] with a [model] threshold, or [rollout] loss = "brier_score"',)


def notes_of(manifest: Manifest, learnt: str, since: str) -> tuple[str, ...]:
    """What to know of a data set when one reads a comparison on its test.

    Args:
        manifest: of the data set.
        learnt: up to when the champion's rows reach, ISO 8601; "": not known.
        since: when the test begins.
    """
    found = []
    if learnt and since and learnt >= since:
        found.append(
            f"the champion had learnt from rows up to {learnt[:10]}, within this test: it looks better than "
            f"it is"
        )
    if manifest.request.settings.get("split") == "random":
        found.append("the test is a random share: it says nothing about the future")
    found += [
        f"{one.same_subject} of {one.rows} test rows are about subjects of the train split"
        for one in manifest.overlaps
        if one.split == "test" and one.earlier == "train" and one.same_subject
    ]
    found += [
        f"{one.near_duplicates} of {one.rows} test rows are near doubles of rows of the {one.earlier} split: "
        f"on them a model is asked what it was told"
        for one in manifest.overlaps
        if one.split == "test" and one.near_duplicates
    ]
    return tuple(found)
