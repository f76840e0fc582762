from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from holdfast.artifact import Execution
from holdfast.runtime import RuntimeFailure, check_parity
from holdfast.runtime.invariance import first_invariant, rows_that_differ
from holdfast.runtime.onnx import OnnxRuntime
from holdfast.spec.checklist import Compute


def linear(columns: int, dtype: type, activation: str | None = None, *, seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    element = TensorProto.FLOAT if dtype is np.float32 else TensorProto.DOUBLE
    weights = numpy_helper.from_array(rng.normal(size=(columns, 3)).astype(dtype), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z" if activation else "y"])]
    if activation:
        nodes.append(helper.make_node(activation, ["z"], ["y"]))
    x = helper.make_tensor_value_info("x", element, [None, columns])
    y = helper.make_tensor_value_info("y", element, [None, 3])
    graph = helper.make_graph(nodes, "g", [x], [y], [weights])
    opsets = [helper.make_opsetid("", 21)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def opened(model: bytes, **execution: int) -> OnnxRuntime:
    return OnnxRuntime(model, where="m.onnx", execution=Execution(**execution))  # type: ignore[arg-type] # by name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", [None, "Sigmoid", "Softmax", "Tanh", "Exp"])
def test_on_an_even_number_of_rows_every_batch_gives_a_row_the_same_bits(
    dtype: type, activation: str | None
) -> None:
    feeds: dict[str, Any] = {"x": np.random.default_rng(2).normal(size=(300, 20)).astype(dtype)}
    assert rows_that_differ(opened(linear(20, dtype, activation), row_multiple=2), feeds) == 0


def test_the_rows_added_to_fill_a_batch_are_not_seen() -> None:
    rows = np.random.default_rng(2).normal(size=(7, 20)).astype(np.float32)
    model = linear(20, np.float32)
    given = opened(model, row_multiple=4).run({"x": rows})["y"]
    assert given.shape == (7, 3)
    np.testing.assert_allclose(given, opened(model).run({"x": rows})["y"], atol=1e-5)
    assert opened(model, row_multiple=4).run({"x": rows[:0]})["y"].shape == (0, 3)


def test_one_row_at_a_time_is_the_way_of_last_resort() -> None:
    class Depends:
        """Answers with the row's place in its run."""

        def __init__(self, execution: Execution) -> None:
            self.execution = execution

        def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            rows = len(feeds["x"])
            return {"y": np.zeros(rows) if self.execution.one_by_one else np.arange(rows, dtype=float)}

        def close(self) -> None:
            pass

    ways = (Execution(row_multiple=2), Execution(one_by_one=True))
    feeds = {"x": np.zeros((10, 1))}
    assert first_invariant(Depends, ways, feeds) == ways[1]  # type: ignore[arg-type] # a runtime by shape
    assert first_invariant(Depends, ways[:1], feeds) is None  # type: ignore[arg-type] # a runtime by shape


def test_the_graphs_own_message_comes_with_the_failure() -> None:
    with pytest.raises(RuntimeFailure, match=r"m\.onnx: the model failed on these rows; received .*x.*"):
        opened(linear(20, np.float32)).run({"x": np.zeros((2, 19), dtype=np.float32)})
    with pytest.raises(RuntimeFailure, match="cannot load the model"):
        opened(b"junk")


def parity(first: list[float], second: list[float], tolerance: float = 1e-5) -> float:
    return check_parity(
        original_prediction=np.array(first),
        original_probabilities=None,
        prediction=np.array(second),
        probabilities=None,
        tolerance=tolerance,
    ).largest_difference


def test_numbers_are_compared_relative_to_the_largest_answer() -> None:
    assert parity([1.0, -200.0], [1.0, -200.2]) == pytest.approx(0.001)
    assert parity([0.0, 0.0], [0.0, 0.0]) == 0
    assert parity([np.nan, 1.0], [np.nan, 1.0]) == 0
    assert parity([np.nan, 1.0], [2.0, 1.0]) == np.inf


def test_probabilities_are_compared_absolutely_and_the_worst_row_is_named() -> None:
    original = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    found = check_parity(
        original_prediction=np.array(["a", "b", "a"]),
        original_probabilities=original,
        prediction=np.array(["a", "b", "b"], dtype=object),
        probabilities=original + np.array([[0, 0], [0.002, -0.002], [1e-7, -1e-7]]),
        tolerance=0.001,
    )
    assert found.largest_difference == pytest.approx(0.002)
    assert (found.worst_row, found.rows) == (1, 3)
    assert found.equal_predictions == pytest.approx(2 / 3)
    assert not found.within


def test_another_class_of_a_row_that_is_no_tie_counts_fully() -> None:
    original = np.array([[0.9, 0.1]])
    found = check_parity(
        original_prediction=np.array([0]),
        original_probabilities=original,
        prediction=np.array([1]),
        probabilities=original,
        tolerance=0.001,
    )
    assert found.largest_difference == 1


def test_without_probabilities_classes_are_compared() -> None:
    found = check_parity(
        original_prediction=np.array(["a", "b"]),
        original_probabilities=None,
        prediction=np.array(["a", "c"], dtype=object),
        probabilities=None,
        tolerance=0.001,
    )
    assert (found.largest_difference, found.worst_row, found.equal_predictions) == (1.0, 1, 0.5)


def test_what_a_worker_imports_brings_no_heavy_library() -> None:
    code = (
        "import sys, holdfast.artifact, holdfast.runtime, holdfast.runtime.onnx, holdfast.runtime.python;"
        "heavy = {'onnx', 'skl2onnx', 'sklearn', 'scipy', 'pyarrow', 'pandas', 'sqlalchemy', 'xgboost'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("accelerator", ["cuda", "openvino", "tensorrt"])
def test_an_accelerator_that_is_not_there_is_an_error_that_says_what_is(accelerator: Any) -> None:
    with pytest.raises(RuntimeFailure) as raised:
        OnnxRuntime(
            linear(2, np.float32),
            where="m.onnx",
            execution=Execution(),
            compute=Compute(accelerator=accelerator),
        )
    error = raised.value
    assert (error.where, error.received) == ("[compute] accelerator", repr(accelerator))
    assert error.expected == "'none'"
    assert "pip install onnxruntime-" in str(error.next_step)


def test_threads_and_arena_change_no_answer() -> None:
    rows: dict[str, Any] = {"x": np.random.default_rng(5).normal(size=(64, 20)).astype(np.float32)}
    model = linear(20, np.float32)
    plain = opened(model).run(rows)["y"]
    other = OnnxRuntime(
        model, where="m.onnx", execution=Execution(), compute=Compute(threads=2, arena=False)
    ).run(rows)["y"]
    np.testing.assert_allclose(plain, other, rtol=1e-6)
