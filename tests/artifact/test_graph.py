from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import dense, identity, model
from onnx import TensorProto, helper, numpy_helper

from holdfast.artifact import ArtifactError, read_graph


def test_inputs_outputs_and_the_last_operator_are_read() -> None:
    graph = read_graph(dense(4, 2, "Softmax").SerializeToString(), where="m.onnx")
    assert [(one.name, one.dtype, one.shape) for one in graph.inputs] == [("x", "float32", (-1, 4))]
    assert [(one.name, one.dtype, one.shape) for one in graph.outputs] == [("y", "float32", (-1, 2))]
    assert graph.activations == {"y": "Softmax"}
    assert graph.batch_sensitive


def test_a_graph_of_exact_operators_is_not_batch_sensitive() -> None:
    assert not read_graph(identity().SerializeToString(), where="m.onnx").batch_sensitive


@pytest.mark.parametrize("junk", [b"", b"not a model", b"\x80\x04K\x01."])
def test_what_is_no_onnx_is_refused(junk: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"m\.onnx: "):
        read_graph(junk, where="m.onnx")


def test_a_graph_with_a_broken_reference_is_refused() -> None:
    broken = model(
        [helper.make_node("Identity", ["nowhere"], ["y"])],
        {"x": (TensorProto.FLOAT, [None, 1])},
        {"y": (TensorProto.FLOAT, [None, 1])},
    )
    with pytest.raises(ArtifactError, match="is not valid"):
        read_graph(broken.SerializeToString(), where="m.onnx")


def test_a_file_larger_than_the_checklist_allows_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(ArtifactError, match=r"at most 1 MB .* received 2\.0 MB"):
        read_graph(b"x" * 2_000_000, where="m.onnx", largest_mb=1)


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "weights.bin"])
@pytest.mark.parametrize("place", ["initializer", "constant"])
def test_tensors_in_other_files_are_refused_wherever_they_hide(location: str, place: str) -> None:
    tensor = numpy_helper.from_array(np.ones((1, 3), dtype=np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    if place == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    proto = model(
        nodes,
        {"x": (TensorProto.FLOAT, [None, 3])},
        {"y": (TensorProto.FLOAT, [None, 3])},
        [tensor] if place == "initializer" else [],
    )
    with pytest.raises(ArtifactError, match="keeps tensors in other files"):
        read_graph(proto.SerializeToString(), where="m.onnx")


def test_external_data_inside_a_branch_is_refused() -> None:
    tensor = numpy_helper.from_array(np.ones(3, dtype=np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret"
    out = [helper.make_tensor_value_info("b", TensorProto.FLOAT, [3])]
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["b"])], "branch", [], out, [tensor])
    proto = model(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)],
        {"c": (TensorProto.BOOL, [1])},
        {"y": (TensorProto.FLOAT, [3])},
    )
    with pytest.raises(ArtifactError, match="keeps tensors in other files"):
        read_graph(proto.SerializeToString(), where="m.onnx")


def test_the_dictionaries_of_a_zipmap_become_one_array_with_the_same_numbers() -> None:
    import onnxruntime
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 3)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator = LogisticRegression().fit(features, np.where(features[:, 0] > 0, "yes", "no"))
        exported = to_onnx(
            estimator, features[:1], target_opset={"": 21, "ai.onnx.ml": 3}
        ).SerializeToString()
    graph = read_graph(exported, where="m.onnx")
    assert graph.classes == ("no", "yes")
    assert any("ZipMap" in note for note in graph.notes)
    session = onnxruntime.InferenceSession(graph.model, providers=["CPUExecutionProvider"])
    answer = session.run(None, {graph.inputs[0].name: features})[1]
    np.testing.assert_allclose(answer, estimator.predict_proba(features), atol=1e-6)


def test_classes_in_the_metadata_are_read() -> None:
    proto = dense(2, 3, "Softmax")
    onnx.helper.set_model_props(proto, {"classes": '["cat", "dog", "eel"]'})
    assert read_graph(proto.SerializeToString(), where="m.onnx").classes == ("cat", "dog", "eel")


def test_a_tensor_of_complex_numbers_is_refused() -> None:
    proto = model(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (TensorProto.COMPLEX64, [None])},
        {"y": (TensorProto.COMPLEX64, [None])},
    )
    with pytest.raises(ArtifactError, match="of a type that cannot be answered"):
        read_graph(proto.SerializeToString(), where="m.onnx")


def test_a_file_beside_the_model_is_never_read(tmp_path: Path) -> None:
    """Whatever the file says: it is parsed from bytes, so it has no folder to reach out of."""
    path = tmp_path / "m.onnx"
    onnx.save(dense(3, 1, None), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(ArtifactError, match="one file with everything in it"):
        read_graph(path.read_bytes(), where=str(path))
