"""A row alone goes through bound tensors and gets the bits that it gets among others."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from test_runtimes import linear, opened

from holdfast.runtime import RuntimeFailure
from holdfast.runtime.onnx import OnnxRuntime


def graph(nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> bytes:
    made = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 21)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString())


def tensor(name: str, element: int, *sizes: int | str | None) -> Any:
    return helper.make_tensor_value_info(name, element, list(sizes))


def is_bound(runtime: OnnxRuntime) -> bool:
    return runtime._bound is not None


def rows_of(runtime: OnnxRuntime, rows: Any, name: str = "x") -> list[dict[str, Any]]:
    return [runtime.run({name: rows[i : i + 1]}) for i in range(len(rows))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("execution", [{"row_multiple": 1}, {"row_multiple": 2}, {"one_by_one": True}])
def test_every_row_alone_has_the_bits_of_an_ordinary_run(dtype: type, execution: dict[str, int]) -> None:
    model = linear(20, dtype, "Sigmoid")
    bound, ordinary = opened(model, **execution), opened(model, **execution)
    ordinary._may_bind = False
    rows: Any = np.random.default_rng(3).normal(size=(50, 20)).astype(dtype)
    found, wanted = rows_of(bound, rows), rows_of(ordinary, rows)
    assert is_bound(bound)
    assert not is_bound(ordinary)
    assert [one["y"].tobytes() for one in found] == [one["y"].tobytes() for one in wanted]
    assert found[0]["y"].shape == wanted[0]["y"].shape == (1, 3)


def test_an_answer_is_not_changed_by_the_row_after_it() -> None:
    runtime = opened(linear(20, np.float32))
    rows = np.random.default_rng(3).normal(size=(3, 20)).astype(np.float32)
    found = rows_of(runtime, rows)
    assert len({one["y"].tobytes() for one in found}) == 3


def test_a_row_of_another_shape_is_run_all_the_same() -> None:
    x, y = tensor("x", TensorProto.FLOAT, 1, "k"), tensor("y", TensorProto.FLOAT, 1, 1)
    runtime = opened(graph([helper.make_node("ReduceMax", ["x"], ["y"], keepdims=1)], [x], [y]))
    for size in (3, 3, 5, 3):
        row = np.arange(size, dtype=np.float32).reshape(1, size)
        assert runtime.run({"x": row})["y"].tolist() == [[size - 1]]
    assert is_bound(runtime)


def test_an_output_whose_shape_follows_the_values_is_found_out_and_never_bound_again() -> None:
    # The columns of the row that are not 0: one for the first row, two for the second.
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.BOOL),
        helper.make_node("Flatten", ["c"], ["f"], axis=0),
        helper.make_node("Squeeze", ["f"], ["s"]),
        helper.make_node("Compress", ["x", "s"], ["y"], axis=1),
    ]
    model = graph(nodes, [tensor("x", TensorProto.FLOAT, 1, 3)], [tensor("y", TensorProto.FLOAT, 1, None)])
    runtime = opened(model)
    assert runtime.run({"x": np.array([[1, 0, 0]], dtype=np.float32)})["y"].tolist() == [[1.0]]
    assert is_bound(runtime)
    assert runtime.run({"x": np.array([[1, 2, 0]], dtype=np.float32)})["y"].tolist() == [[1.0, 2.0]]
    assert not is_bound(runtime)
    assert runtime.run({"x": np.array([[0, 0, 5]], dtype=np.float32)})["y"].tolist() == [[5.0]]
    assert not is_bound(runtime)


def test_text_is_not_bound() -> None:
    x, y = tensor("x", TensorProto.STRING, None, 1), tensor("y", TensorProto.STRING, None, 1)
    runtime = opened(graph([helper.make_node("Identity", ["x"], ["y"])], [x], [y]))
    row = np.array([["a"]], dtype=object)
    assert [runtime.run({"x": row})["y"].tolist() for _ in range(3)] == [[["a"]]] * 3
    assert not is_bound(runtime)


def test_a_graph_that_fails_on_a_row_says_so_and_answers_the_next() -> None:
    nodes = [helper.make_node("Gather", ["t", "x"], ["y"], axis=0)]
    table = helper.make_tensor("t", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    made = helper.make_graph(
        nodes, "g", [tensor("x", TensorProto.INT64, None)], [tensor("y", TensorProto.FLOAT, None)], [table]
    )
    opsets = [helper.make_opsetid("", 21)]
    model = bytes(helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString())
    runtime = opened(model)
    for place in (1, 9, 2, -7, 0):
        row = np.array([place])
        if 0 <= place < 3:
            assert runtime.run({"x": row})["y"].tolist() == [place + 1.0]
        else:
            with pytest.raises(RuntimeFailure):
                runtime.run({"x": row})
    assert is_bound(runtime)


def test_threads_that_meet_get_their_own_answers() -> None:
    runtime = opened(linear(20, np.float32, "Tanh"), row_multiple=2)
    rows = np.random.default_rng(3).normal(size=(64, 20)).astype(np.float32)
    wanted = [one["y"].tobytes() for one in rows_of(runtime, rows)]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            wrong.extend(i for i, one in enumerate(rows_of(runtime, rows)) if one["y"].tobytes() != wanted[i])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("row_multiple", [1, 2])
def test_a_row_of_numbers_has_the_bits_of_the_row_as_an_array(row_multiple: int) -> None:
    runtime = opened(linear(20, np.float32, "Sigmoid"), row_multiple=row_multiple)
    rows = np.random.default_rng(3).normal(size=(50, 20))
    rows[7, 3], rows[8, 4], rows[9, 5] = np.nan, np.inf, -1e39
    assert runtime.run_row(tuple(rows[0].tolist())) is None  # nothing is bound yet
    with np.errstate(over="ignore"):
        wanted = [runtime.run({"x": row.reshape(1, 20).astype(np.float32)}) for row in rows]
    found = [runtime.run_row(tuple(row.tolist())) for row in rows]
    assert [one["y"].tobytes() for one in found if one] == [one["y"].tobytes() for one in wanted]
    assert runtime.run_row((1.0,) * 19) is None
    runtime.close()
    assert runtime.run_row((1.0,) * 20) is None


def test_a_row_of_numbers_is_not_for_a_graph_of_another_type() -> None:
    runtime = opened(linear(20, np.float64))
    runtime.run({"x": np.zeros((1, 20))})
    assert is_bound(runtime)
    assert runtime.run_row((1.0,) * 20) is None
