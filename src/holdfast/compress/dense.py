"""Dense layers with fewer numbers in them: pruned hidden units, pruned weights, factors of low rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.compress.candidates import Candidate, NotTried, Original

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_SHARES: Final = (0.5, 0.25, 0.125, 0.0625)
"""Of the hidden units that stay."""
_ENERGIES: Final = (0.99, 0.9)
"""Of the squared weights that the factors keep."""
_SPARSITY: Final = 0.8
_FEWEST_UNITS: Final = 16
_ELEMENTWISE: Final = frozenset({"Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Gelu", "Selu", "Softplus"})
_RIDGE: Final = 1e-3


@dataclass(slots=True)
class Dense:
    """One dense layer: `output = input @ weight + bias`."""

    nodes: list[NodeProto]
    input: str
    output: str
    weight: NDArray[np.float32] = field(repr=False)
    """`[in, out]`."""
    bias: NDArray[np.float32] = field(repr=False)


def find_dense(proto: ModelProto) -> list[Dense]:
    """The dense layers of a graph, in its order: `Gemm`, or `MatMul` with or without `Add`."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    users: dict[str, list[NodeProto]] = {}
    for node in proto.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    outputs = {value.name for value in proto.graph.output}
    found = []
    for node in proto.graph.node:
        if node.op_type not in {"Gemm", "MatMul"} or node.input[1] not in constants:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        if weight.ndim != 2 or weight.dtype != np.float32:
            continue
        nodes, output = [node], node.output[0]
        bias = np.zeros(weight.shape[1], dtype=np.float32)
        if node.op_type == "Gemm":
            given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            if given.get("transA") or given.get("alpha", 1.0) != 1.0 or given.get("beta", 1.0) != 1.0:
                continue
            if given.get("transB"):
                weight = weight.T
            bias = np.zeros(weight.shape[1], dtype=np.float32)
            if len(node.input) > 2:
                if node.input[2] not in constants:
                    continue
                bias = numpy_helper.to_array(constants[node.input[2]]).reshape(-1)
        else:
            after = users.get(output, [])
            if len(after) == 1 and after[0].op_type == "Add" and output not in outputs:
                other = next(name for name in after[0].input if name != output)
                if other in constants and constants[other].data_type == constants[node.input[1]].data_type:
                    value = numpy_helper.to_array(constants[other])
                    if value.size == weight.shape[1]:
                        nodes.append(after[0])
                        output, bias = after[0].output[0], value.reshape(-1)
        found.append(
            Dense(nodes, node.input[0], output, np.ascontiguousarray(weight), bias.astype(np.float32))
        )
    return found


def replace_dense(proto: ModelProto, changes: list[tuple[Dense, list[NDArray[Any]], NDArray[Any]]]) -> bytes:
    """The graph with layers replaced by a product of factors and a bias, without constants nobody uses."""
    from onnx import helper, numpy_helper

    for layer, factors, bias in changes:
        at = list(proto.graph.node).index(layer.nodes[0])
        for node in layer.nodes:
            proto.graph.node.remove(node)
        _drop_unused(proto)
        made, name = [], layer.input
        for index, factor in enumerate(factors):
            weight, product = f"{layer.output}_weight_{index}", f"{layer.output}_product_{index}"
            values = np.ascontiguousarray(factor, np.float32)
            proto.graph.initializer.append(numpy_helper.from_array(values, weight))
            made.append(helper.make_node("MatMul", [name, weight], [product]))
            name = product
        added = f"{layer.output}_bias"
        proto.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), added))
        made.append(helper.make_node("Add", [name, added], [layer.output]))
        nodes = [*list(proto.graph.node)[:at], *made, *list(proto.graph.node)[at:]]
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)
    del proto.graph.value_info[:]
    encoded: bytes = proto.SerializeToString()
    return encoded


def _drop_unused(proto: ModelProto) -> None:
    used = {name for node in proto.graph.node for name in node.input}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in used]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def pruned(original: Original) -> Iterator[Candidate | NotTried]:
    """Hidden units left out, the layer after them fitted again by least squares on the original's sums.

    What matters of a unit is how much it moves the next layer: its spread over the rows times the size of its
    outgoing weights (He, Zhang and Sun, ICCV 2017, do the same for channels).
    """
    pairs = _pairs(original.proto())
    if not pairs:
        yield NotTried("pruned units", "there are no two dense layers with an activation between")
        return
    for share in _SHARES:
        model, units = _prune(original, share)
        if model is None:
            continue
        yield Candidate(
            f"pruned to {share:.3g} of the units",
            f"{units} hidden units left, the layers after them fitted again",
            model,
        )


def _pairs(proto: ModelProto) -> list[tuple[int, int, str]]:
    """Indices of consecutive dense layers and the tensor between them, after the activation."""
    layers = find_dense(proto)
    users: dict[str, list[NodeProto]] = {}
    for node in proto.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    by_input = {layer.input: index for index, layer in enumerate(layers)}
    found = []
    for index, layer in enumerate(layers):
        name = layer.output
        while len(users.get(name, [])) == 1 and users[name][0].op_type in _ELEMENTWISE:
            name = users[name][0].output[0]
        if name != layer.output and name in by_input and len(users.get(name, [])) == 1:
            found.append((index, by_input[name], name))
    return found


def _prune(original: Original, share: float) -> tuple[bytes | None, int]:
    model, total, changed = original.model, 0, False
    import onnx

    for first, second, between in _pairs(original.proto()):
        proto = onnx.load_model_from_string(model)
        layers = find_dense(proto)
        one, two = layers[first], layers[second]
        units = one.weight.shape[1]
        keep = max(int(units * share), _FEWEST_UNITS)
        if keep >= units:
            total += units
            continue
        hidden = inside(original, proto, between)
        wanted = hidden @ two.weight + two.bias
        importance = hidden.std(axis=0) * np.linalg.norm(two.weight, axis=1)
        chosen = np.sort(np.argsort(importance)[-keep:])
        weight, bias = _fit(hidden[:, chosen], wanted)
        model = replace_dense(
            proto,
            [(one, [one.weight[:, chosen]], one.bias[chosen]), (two, [weight], bias)],
        )
        total += keep
        changed = True
    return (model if changed else None), total


def inside(
    original: Original, proto: ModelProto, name: str, dtype: np.dtype[Any] | None = None
) -> NDArray[np.float64]:
    """A tensor inside the graph, over the rows to learn from, as `[rows, values]`."""
    import onnx
    from onnx import helper

    if name in original.feeds:
        return original.feeds[name].astype(np.float64)
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    if name not in {value.name for value in copy.graph.output}:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32) if dtype is None else dtype)
        copy.graph.output.append(helper.make_tensor_value_info(name, element, None))
    values: NDArray[np.float64] = original.run(copy.SerializeToString(), [name])[0].astype(np.float64)
    return values.reshape(-1, values.shape[-1])


def _fit(inputs: NDArray[np.float64], wanted: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights and bias by ridge regression, which also few rows determine."""
    mean, target = inputs.mean(axis=0), wanted.mean(axis=0)
    centred = inputs - mean
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
    weight = np.linalg.solve(gram, centred.T @ (wanted - target))
    return weight, target - mean @ weight


def low_rank(original: Original) -> Iterator[Candidate | NotTried]:
    """Large layers as a product of two thin ones, by singular values (Denton et al., 2014)."""
    found = False
    for energy in _ENERGIES:
        proto = original.proto()
        changes: list[tuple[Dense, list[NDArray[Any]], NDArray[Any]]] = []
        for layer in find_dense(proto):
            rows, columns = layer.weight.shape
            if min(rows, columns) < 2 * _FEWEST_UNITS:
                continue
            left, values, right = np.linalg.svd(layer.weight, full_matrices=False)
            rank = int(np.searchsorted(np.cumsum(values**2) / np.sum(values**2), energy)) + 1
            if rank * (rows + columns) < 0.8 * rows * columns:
                changes.append((layer, [left[:, :rank] * values[:rank], right[:rank]], layer.bias))
        if changes:
            found = True
            yield Candidate(
                f"low rank, {energy:.0%} of the energy",
                f"{len(changes)} layer(s) as products of two",
                replace_dense(proto, changes),
            )
    if not found:
        yield NotTried("low rank", "no dense layer becomes smaller by it")


def sparse(original: Original) -> Iterator[Candidate | NotTried]:
    """The smallest weights set to zero: fewer different numbers, the same file and the same sums."""
    proto = original.proto()
    changes: list[tuple[Dense, list[NDArray[Any]], NDArray[Any]]] = []
    for layer in find_dense(proto):
        if layer.weight.size >= 4096:
            limit = np.quantile(np.abs(layer.weight), _SPARSITY)
            changes.append((layer, [np.where(np.abs(layer.weight) >= limit, layer.weight, 0)], layer.bias))
    if not changes:
        yield NotTried("sparse", "there is no large dense layer")
        return
    yield Candidate("sparse", f"{_SPARSITY:.0%} of the weights are zero", replace_dense(proto, changes))
