"""What an ONNX file says of itself, read without running it.

The file comes from outside. It is checked before anything is made of it: the format by `onnx.checker`, its
size against the checklist, and tensors stored in other files are refused, since their paths could point
anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from holdfast.artifact.errors import ArtifactError
from holdfast.artifact.signature import Dtype

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

_ML_DOMAIN: Final = "ai.onnx.ml"
_EXACT_OPERATORS: Final = frozenset(
    {
        "Abs", "Add", "And", "ArgMax", "ArgMin", "ArrayFeatureExtractor", "Binarizer", "Cast",
        "CategoryMapper", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Div", "Equal",
        "Expand", "FeatureVectorizer", "Flatten", "Floor", "Gather", "GatherElements", "GatherND",
        "Greater", "GreaterOrEqual", "Identity", "Imputer", "IsInf", "IsNaN", "LabelEncoder", "Less",
        "LessOrEqual", "Max", "Min", "Mul", "Neg", "Not", "OneHot", "OneHotEncoder", "Or", "Relu",
        "Reshape", "Round", "Scaler", "Shape", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
        "Transpose", "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "Unsqueeze",
        "Where", "Xor",
    }
)  # fmt: skip
"""Operators that round each value in one way only, or not at all, so that it cannot matter which rows share a
run. Every other one (matrix products, exponentials, sums along an axis) counts as sensitive."""
_PASSING: Final = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One input or output; -1 stands for each dimension that varies."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A checked ONNX model."""

    model: bytes = field(repr=False)
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    classes: tuple[str | int, ...] | None
    """Class names that a classifier operator of the graph carries."""
    activations: dict[str, str]
    """For each output, the operator that makes it, looking through casts and reshapes."""
    batch_sensitive: bool
    """Some operator's rounding may depend on how many rows share a run."""
    notes: tuple[str, ...] = ()
    """What was changed in the file, in words."""


def read_graph(model: bytes, *, where: str, largest_mb: float = 1024.0) -> Graph:
    """Check an ONNX file and describe it.

    Raises:
        ArtifactError: too large, not ONNX, tensors kept in other files, or types that cannot be answered.
    """
    import onnx

    if len(model) > largest_mb * 1e6:
        raise ArtifactError(
            "the model file is larger than the checklist allows",
            where=where,
            expected=f"at most {largest_mb:g} MB ([compute] model_size_mb)",
            received=f"{len(model) / 1e6:.1f} MB",
        )
    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:
        raise ArtifactError("the file is not an ONNX model", where=where, received=str(error)) from error
    _refuse_external_data(proto, where)
    try:
        onnx.checker.check_model(proto)
    except Exception as error:
        raise ArtifactError("the ONNX model is not valid", where=where, received=str(error)) from error
    notes: list[str] = []
    dropped_classes = _drop_zipmap(proto, notes)
    initializers = {tensor.name for tensor in proto.graph.initializer}
    inputs = tuple(_tensor(value, where) for value in proto.graph.input if value.name not in initializers)
    outputs = tuple(_tensor(value, where) for value in proto.graph.output)
    if not inputs or not outputs:
        raise ArtifactError("the graph has no input or no output", where=where)
    nodes = list(_nodes(proto.graph))
    for function in proto.functions:
        nodes.extend(function.node)
    return Graph(
        model=proto.SerializeToString() if notes else model,
        inputs=inputs,
        outputs=outputs,
        classes=dropped_classes or _classes(proto, nodes),
        activations={value.name: _maker(proto.graph, value.name) for value in proto.graph.output},
        batch_sensitive=any(node.op_type not in _EXACT_OPERATORS for node in nodes),
        notes=tuple(notes),
    )


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                yield from _nodes(inner)


def subgraphs(attribute: AttributeProto) -> Iterable[GraphProto]:
    """Of an operator such as If or Loop."""
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _refuse_external_data(proto: ModelProto, where: str) -> None:
    """Tensors in other files: their `location` is a path chosen by whoever wrote the model."""
    from onnx import TensorProto

    for tensor in _tensors(proto):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise ArtifactError(
                "the model keeps tensors in other files",
                where=f"{where}, tensor {tensor.name!r}",
                expected="one file with everything in it",
                next_step=(
                    "Save it again with onnx.save(model, path, save_as_external_data=False), "
                    "or torch.onnx.export(..., external_data=False)"
                ),
            )


def _tensors(proto: ModelProto) -> Iterator[TensorProto]:
    yield from proto.graph.initializer
    for sparse in proto.graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    every = list(_nodes(proto.graph))
    for function in proto.functions:
        every.extend(function.node)
    for node in every:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in subgraphs(attribute):
                yield from inner.initializer
                for sparse in inner.sparse_initializer:
                    yield sparse.values
                    yield sparse.indices


def _drop_zipmap(proto: ModelProto, notes: list[str]) -> tuple[str | int, ...] | None:
    """Answer with the array that a ZipMap turns into one dictionary per row; its keys are the classes."""
    from onnx import helper

    classes: tuple[str | int, ...] | None = None
    for node in [node for node in proto.graph.node if node.op_type == "ZipMap"]:
        keys = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        classes = _class_names(keys.get("classlabels_strings"), keys.get("classlabels_int64s"))
        proto.graph.node.remove(node)
        for index, value in enumerate(proto.graph.output):
            if value.name == node.output[0]:
                shape = [None, len(classes or ())]
                element = _element_type(proto, node.input[0])
                replacement = helper.make_tensor_value_info(node.input[0], element, shape)
                proto.graph.output.remove(value)
                proto.graph.output.insert(index, replacement)
        notes.append("removed the ZipMap at the end: probabilities are an array, not one dictionary per row")
    return classes


def _element_type(proto: ModelProto, name: str) -> int:
    from onnx import TensorProto

    for value in proto.graph.value_info:
        if value.name == name:
            return int(value.type.tensor_type.elem_type)
    return TensorProto.FLOAT  # ZipMap takes nothing else (ai.onnx.ml 1)


def _class_names(texts: Any, numbers: Any) -> tuple[str | int, ...] | None:
    if texts:
        return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in texts)
    if numbers:
        return tuple(int(number) for number in numbers)
    return None


def _classes(proto: ModelProto, nodes: Iterable[NodeProto]) -> tuple[str | int, ...] | None:
    """From a classifier operator, or from `classes` in the model's metadata (a JSON list)."""
    import msgspec
    from onnx import helper

    for node in nodes:
        if node.domain == _ML_DOMAIN and node.op_type.endswith("Classifier"):
            found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            texts = found.get("classlabels_strings") or found.get("classlabels_strings_strings")
            names = _class_names(texts, found.get("classlabels_int64s") or found.get("classlabels_ints"))
            if names:
                return names
    for entry in proto.metadata_props:
        if entry.key == "classes":
            try:
                return tuple(msgspec.json.decode(entry.value, type=list[str | int]))
            except msgspec.DecodeError:
                return None
    return None


def _maker(graph: GraphProto, name: str) -> str:
    makers = {output: node for node in graph.node for output in node.output}
    while name in makers and makers[name].op_type in _PASSING and makers[name].input:
        name = makers[name].input[0]
    return makers[name].op_type if name in makers else ""


def _tensor(value: ValueInfoProto, where: str) -> GraphTensor:
    from onnx import TensorProto

    names: dict[int, Dtype] = {
        TensorProto.BOOL: "bool",
        TensorProto.UINT8: "uint8",
        TensorProto.UINT16: "uint16",
        TensorProto.UINT32: "uint32",
        TensorProto.UINT64: "uint64",
        TensorProto.INT8: "int8",
        TensorProto.INT16: "int16",
        TensorProto.INT32: "int32",
        TensorProto.INT64: "int64",
        TensorProto.FLOAT16: "float16",
        TensorProto.FLOAT: "float32",
        TensorProto.DOUBLE: "float64",
        TensorProto.STRING: "string",
    }
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type" or value.type.tensor_type.elem_type not in names:
        raise ArtifactError(
            "an input or output of the graph is of a type that cannot be answered",
            where=f"{where}, {value.name!r}",
            expected="a tensor of " + ", ".join(names.values()),
            received=kind or "no type",
        )
    tensor = value.type.tensor_type
    shape: tuple[int, ...] = (-1,)
    if tensor.HasField("shape"):
        shape = tuple(
            dimension.dim_value if dimension.HasField("dim_value") and dimension.dim_value > 0 else -1
            for dimension in tensor.shape.dim
        )
    return GraphTensor(value.name, names[tensor.elem_type], shape)
