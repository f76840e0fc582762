"""Two ONNX models made into one: the first prepares the features, the second answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.artifact.errors import ConversionError

if TYPE_CHECKING:
    from onnx import ModelProto


def feed_through(first: ModelProto, second: ModelProto) -> ModelProto:
    """Cast the only output of `first` to the type of the only input of `second` and run them in a row."""
    from onnx import checker, compose, helper

    if len(first.graph.output) != 1 or len(second.graph.input) != 1:
        raise ConversionError("the steps before the last do not give exactly one table of features")
    first = compose.add_prefix(first, "before_", rename_inputs=False)
    second = compose.add_prefix(second, "after_", rename_outputs=False)
    made, wanted = first.graph.output[0].name, second.graph.input[0].name
    element = second.graph.input[0].type.tensor_type.elem_type
    cast = helper.make_node("Cast", [made], [wanted], to=element)
    graph = helper.make_graph(
        [*first.graph.node, cast, *second.graph.node],
        "holdfast",
        list(first.graph.input),
        list(second.graph.output),
        [*first.graph.initializer, *second.graph.initializer],
    )
    opsets: dict[str, int] = {}
    for model in (first, second):
        for opset in model.opset_import:
            opsets[opset.domain] = max(opsets.get(opset.domain, 1), opset.version)
    # skl2onnx's graphs say ai.onnx.ml 1 to 3; every operator they use means the same in 5.
    joined = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in sorted(opsets.items())],
        ir_version=max(first.ir_version, second.ir_version),
        producer_name="holdfast",
    )
    joined.metadata_props.extend(second.metadata_props)
    checker.check_model(joined)
    return joined
