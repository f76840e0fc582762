"""The same numbers, or nearly: a slimmer graph, and weights of half the size."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from holdfast.compress.candidates import Candidate, NotTried, Original, open_session

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_SMALLEST = 256
"""Values of a tensor that is worth a conversion of its own."""


def slimmed(original: Original) -> Iterator[Candidate | NotTried]:
    """Constants folded, dead and doubled nodes removed, by onnxslim."""
    if find_spec("onnxslim") is None:
        yield NotTried("slim", "onnxslim is not installed: pip install 'holdfast[compress]'")
        return
    import onnxslim

    slim = onnxslim.slim(original.proto(), skip_fusion_patterns=None)
    yield Candidate("slim", "graph simplified by onnxslim", slim.SerializeToString())


def half_weights(original: Original) -> Iterator[Candidate | NotTried]:
    """Weights stored as float16 and widened when the model is loaded: half the file, the same speed.

    A processor without float16 arithmetic would be slower with everything in it, so the sums stay float32.
    """
    from onnx import TensorProto, helper, numpy_helper

    proto = original.proto()
    casts, changed = [], 0
    for tensor in list(proto.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _SMALLEST or not bool((np.abs(values) < np.finfo(np.float16).max).all()):
            continue
        half = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_half")
        proto.graph.initializer.remove(tensor)
        proto.graph.initializer.append(half)
        casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=TensorProto.FLOAT))
        changed += 1
    if not changed:
        yield NotTried("float16 weights", "there is no large float32 tensor")
        return
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    yield Candidate(
        "float16 weights", "weights stored as float16, sums in float32", proto.SerializeToString()
    )


def half_arithmetic(original: Original) -> Iterator[Candidate | NotTried]:
    """Everything in float16, inputs and outputs as before; measured, since few processors gain."""
    if find_spec("onnxconverter_common") is None:
        yield NotTried("float16", "onnxconverter-common is not installed: pip install 'holdfast[compress]'")
        return
    if not any(node.op_type in {"MatMul", "Gemm", "Conv"} for node in original.proto().graph.node):
        yield NotTried("float16", "there is no matrix product or convolution")
        return
    import warnings

    from onnxconverter_common import float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half = float16.convert_float_to_float16(
            _raw(_without_idle_casts(original.proto())), keep_io_types=True
        )
    yield Candidate("float16", "sums in float16", half.SerializeToString())
    yield _brain_float(original)


def _raw(proto: ModelProto) -> ModelProto:
    """The constants as bytes: the converter takes lists of numbers one by one, minutes for some millions."""
    from onnx import numpy_helper

    for tensor in proto.graph.initializer:
        if len(tensor.float_data):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    return proto


def _brain_float(original: Original) -> Candidate | NotTried:
    """Matrix products in bfloat16, everything else as before, where this onnxruntime has such a product."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    proto = original.proto()
    brain = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    nodes: list[NodeProto] = []
    for index, node in enumerate(proto.graph.node):
        if node.op_type not in {"MatMul", "Gemm"}:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            half = f"{name}_bf16_{index}"
            if name in constants:
                values = numpy_helper.to_array(constants[name]).astype(brain)
                proto.graph.initializer.append(numpy_helper.from_array(values, half))
            else:
                nodes.append(helper.make_node("Cast", [name], [half], to=TensorProto.BFLOAT16))
            node.input[place] = half
        wanted, node.output[0] = node.output[0], f"{node.output[0]}_bf16"
        nodes += [node, helper.make_node("Cast", [node.output[0]], [wanted], to=TensorProto.FLOAT)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    used = {name for node in proto.graph.node for name in node.input}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    if not any("_bf16" in name for name in used):
        return NotTried("bfloat16", "there is no matrix product")
    model: bytes = proto.SerializeToString()
    try:
        open_session(model)
    except Exception as error:  # noqa: BLE001 - onnxruntime raises what its provider does
        said = str(error).strip().splitlines()[0][:160]
        return NotTried("bfloat16", f"onnxruntime {onnxruntime.__version__} does not run it here: {said}")
    return Candidate("bfloat16", "matrix products in bfloat16", model)


def _without_idle_casts(proto: ModelProto) -> ModelProto:
    """Casts of a float32 input to float32 confuse the converter, which then forgets the input's own cast."""
    from onnx import TensorProto, helper

    floats = {v.name for v in proto.graph.input if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    outputs = {value.name for value in proto.graph.output}
    idle = {
        node.output[0]: node
        for node in proto.graph.node
        if node.op_type == "Cast"
        and node.input[0] in floats
        and node.output[0] not in outputs
        and helper.get_node_attr_value(node, "to") == TensorProto.FLOAT
    }
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            if name in idle:
                node.input[index] = idle[name].input[0]
    for node in idle.values():
        proto.graph.node.remove(node)
    return proto
