from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.artifact import (
    Column,
    OutputReader,
    PackingError,
    Signature,
    Task,
    Tensor,
    numpy_dtype,
    pack_inputs,
    read_outputs,
)
from holdfast.artifact.packing import Values

A, B = Column(name="a", dtype="float64", kind="numeric"), Column(name="b", dtype="int64", kind="numeric")
WORD = Column(name="w", dtype="string", kind="categorical", null_text="<none>")


def packed(*columns: Column, dtype: str = "float32") -> Signature:
    tensor = Tensor(
        name="x",
        dtype=dtype,  # type: ignore[arg-type] # a test's literal
        shape=(-1, len(columns)),
        columns=tuple(column.name for column in columns),
    )
    return Signature(columns=columns, inputs=(tensor,), outputs=(), task="tensor")


@given(st.lists(st.tuples(st.floats(width=32), st.integers(-1000, 1000)), min_size=1, max_size=20))
def test_a_packed_tensor_holds_each_column_in_its_place(rows: list[tuple[float, int]]) -> None:
    signature = packed(A, B)
    as_lists: Mapping[str, Values] = {"a": [row[0] for row in rows], "b": [row[1] for row in rows]}
    as_arrays: Mapping[str, Values] = {name: np.array(values) for name, values in as_lists.items()}
    for columns in (as_lists, as_arrays):
        feed = pack_inputs(signature, columns, len(rows))["x"]
        assert feed.dtype == np.float32
        assert feed.flags.c_contiguous
        np.testing.assert_array_equal(feed, np.array(rows, dtype=np.float32))


def test_a_missing_number_becomes_nan_and_a_missing_text_the_null_text() -> None:
    signature = Signature(
        columns=(A, WORD),
        inputs=(
            Tensor(name="a", dtype="float64", shape=(-1, 1), columns=("a",)),
            Tensor(name="w", dtype="string", shape=(-1, 1), columns=("w",)),
        ),
        outputs=(),
        task="tensor",
    )
    feeds = pack_inputs(signature, {"a": [None, 2.0], "w": ["u", None]}, 2)
    np.testing.assert_array_equal(feeds["a"], [[np.nan], [2.0]])
    assert feeds["w"].tolist() == [["u"], ["<none>"]]


def test_no_rows_make_empty_tensors() -> None:
    assert pack_inputs(packed(A, B), {"a": [], "b": []}, 0)["x"].shape == (0, 2)


def test_a_number_too_large_for_float32_becomes_infinite_without_a_warning() -> None:
    assert np.isinf(pack_inputs(packed(A), {"a": [1e300]}, 1)["x"]).all()


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"a": [1.0]}, "b: the column is missing"),
        ({"a": [1.0], "b": [1, 2]}, "b: the column has another number of rows"),
        ({"a": [1.0], "b": ["x"]}, "b: the column holds a value that the model's input cannot"),
    ],
)
def test_what_cannot_be_packed_is_named_by_column(columns: dict[str, list[object]], what: str) -> None:
    with pytest.raises(PackingError) as caught:
        pack_inputs(packed(A, B), columns, 1)  # type: ignore[arg-type] # the fault under test
    assert str(caught.value).startswith(what)


def test_a_missing_integer_is_refused_where_the_graph_takes_integers() -> None:
    with pytest.raises(PackingError):
        pack_inputs(packed(B, dtype="int64"), {"b": [None]}, 1)


def test_an_image_of_another_shape_is_refused() -> None:
    image = Column(name="i", dtype="float32", kind="image", shape=(3, 4, -1))
    tensor = Tensor(name="i", dtype="float32", shape=(-1, 3, 4, -1), columns=("i",))
    signature = Signature(columns=(image,), inputs=(tensor,), outputs=(), task="tensor")
    assert pack_inputs(signature, {"i": np.zeros((2, 3, 4, 7))}, 2)["i"].shape == (2, 3, 4, 7)
    with pytest.raises(PackingError, match="another shape"):
        pack_inputs(signature, {"i": np.zeros((2, 3, 5, 7))}, 2)


def answers(task: Task, **fields: object) -> Signature:
    return Signature(columns=(), inputs=(), outputs=(), task=task, **fields)  # type: ignore[arg-type] # by name


def test_one_probability_becomes_two_and_the_threshold_decides() -> None:
    signature = answers(
        "binary", classes=("fine", "fraud"), positive_class="fraud", probability_output="p", threshold=0.3
    )
    given = read_outputs(signature, {"p": np.array([[0.2], [0.3], [0.9]])})
    assert given.probabilities is not None
    np.testing.assert_allclose(given.probabilities, [[0.8, 0.2], [0.7, 0.3], [0.1, 0.9]])
    assert np.asarray(given.prediction).tolist() == ["fine", "fraud", "fraud"]


def test_the_positive_class_need_not_be_the_last() -> None:
    signature = answers("binary", classes=(0, 1), positive_class=0, probability_output="p")
    given = read_outputs(signature, {"p": np.array([0.9, 0.1])})
    assert np.asarray(given.prediction).tolist() == [0, 1]
    assert given.probabilities is not None
    np.testing.assert_allclose(given.probabilities[:, 0], [0.9, 0.1])


def test_the_likeliest_of_several_classes_is_the_prediction() -> None:
    signature = answers("multiclass", classes=("a", "b", "c"), probability_output="p")
    given = read_outputs(signature, {"p": np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])})
    assert np.asarray(given.prediction).tolist() == ["c", "a"]


def test_a_models_own_decision_is_kept_whatever_its_probabilities() -> None:
    signature = answers(
        "binary", classes=(0, 1), positive_class=1, probability_output="p", prediction_output="label"
    )
    outputs = {"label": np.array([1]), "p": np.array([[0.8, 0.2]])}
    assert np.asarray(OutputReader(signature).read(outputs).prediction).tolist() == [1]


def test_a_number_per_row_is_flat_and_a_tensor_task_passes_outputs_on() -> None:
    outputs = {"y": np.array([[1.5], [2.5]])}
    assert np.asarray(
        read_outputs(answers("regression", prediction_output="y"), outputs).prediction
    ).tolist() == [
        1.5,
        2.5,
    ]
    passed = read_outputs(answers("tensor"), outputs)
    assert passed.outputs is outputs
    assert len(passed.prediction) == 0


def test_no_value_shows_in_the_repr_of_an_answer() -> None:
    given = read_outputs(answers("regression", prediction_output="y"), {"y": np.array([123456.0])})
    assert "123456" not in repr(given)


def test_every_dtype_of_a_signature_has_an_array_type() -> None:
    assert numpy_dtype("string") == np.dtype(object)
    assert numpy_dtype("float16") == np.float16
