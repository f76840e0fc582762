"""Inputs of a converted graph under the names of their columns, whatever characters these hold.

skl2onnx puts an underscore for each character that no identifier may hold (`floor area` becomes
`floor_area`) and a number behind a name that it uses itself. Callers and feeds know the column's own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.artifact.errors import ConversionError
from holdfast.artifact.graph import subgraphs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto


def name_inputs(model: ModelProto, names: Sequence[str]) -> None:
    """Rename the inputs of a graph in place, and what else in it has one of these names.

    Args:
        model: that takes its inputs in the order of `names`.
        names: all different.

    Raises:
        ConversionError: it takes another number of inputs.
    """
    given = [value.name for value in model.graph.input]
    if len(given) != len(names):
        raise ConversionError(
            "the converted graph takes other inputs than the model",
            expected=", ".join(names),
            received=", ".join(given),
        )
    renamed = dict(zip(given, names, strict=True))
    used = _names(model.graph)
    for name in names:
        if name in used and name not in renamed:
            free = (f"{name}_{number}" for number in range(len(used) + len(names)))
            renamed[name] = next(one for one in free if one not in used and one not in names)
            used.add(renamed[name])
    _rename(model.graph, renamed)


def _names(graph: GraphProto) -> set[str]:
    found = {value.name for value in (*graph.initializer, *graph.input)}
    for node in graph.node:
        found.update(node.input, node.output)
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                found |= _names(inner)
    return found


def _rename(graph: GraphProto, renamed: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                _rename(inner, renamed)
