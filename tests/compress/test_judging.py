"""A candidate's loss is that of the rows on which both models and the truth say something."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from holdfast.artifact import Answer, Column, Reference, Signature, Tensor
from holdfast.compress import CompressError
from holdfast.compress.judging import Judge

ROWS = 400
X = np.linspace(0, 1, ROWS)


def answer(values: Any, task: str) -> Answer:
    numbers = np.asarray(values)
    return Answer(
        numbers if task != "tensor" else np.empty(0), None, {"y": numbers} if task == "tensor" else {}
    )


def judge(task: Any, labels: Any, said: Any) -> Judge:
    signature = Signature(
        columns=(Column(name="x", dtype="float64", kind="numeric"),),
        inputs=(Tensor(name="x", dtype="float64", shape=(-1, 1), columns=("x",)),),
        outputs=(Tensor(name="y", dtype="float64", shape=(-1, 1)),),
        task=task,
        classes=(0, 1) if task == "binary" else (),
        positive_class=1 if task == "binary" else None,
        prediction_output="y" if task != "tensor" else None,
    )
    columns = {"x": X} if labels is None else {"x": X, "truth": labels}
    reference = Reference(pa.table(columns), label=None if labels is None else "truth")
    return Judge(signature, reference, answer(said, task), tries=1)


@pytest.mark.parametrize("task", ["regression", "tensor"])
@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_a_candidate_that_answers_no_number_is_refused(task: str, strange: float) -> None:
    said = X[:, None] if task == "tensor" else X
    broken = np.where(np.arange(ROWS) < 3, strange, X).reshape(said.shape)
    with pytest.raises(CompressError, match="no number where the original does; received 3 of 400 rows"):
        judge(task, None, said).judge(answer(broken, task))


def test_rows_without_a_label_do_not_make_a_candidate_look_closer() -> None:
    known = np.arange(ROWS) % 4 == 0
    for task, labels, said, worse in (
        ("regression", X, X, X + 0.1),
        ("binary", np.ones(ROWS), np.ones(ROWS), np.arange(ROWS) % 8 // 4),
    ):
        some = judge(task, np.where(known, labels, np.nan), said).judge(answer(worse, task))
        assert some.rows == known.sum()
        if task == "binary":
            assert some.loss == 0.5
        else:
            assert some.loss == pytest.approx(0.1 / np.mean(np.abs(X[known] - np.median(X[known]))))
