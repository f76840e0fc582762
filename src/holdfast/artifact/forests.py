"""scikit-learn's decision trees and forests: the side that missing values take.

skl2onnx 1.20 leaves that side out, so every row with a NaN would go right at each split of its column. The
operator has a place for it, which is filled in here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.artifact.errors import ConversionError

if TYPE_CHECKING:
    from onnx import ModelProto


def add_missing_sides(proto: ModelProto, model: Any) -> None:
    """Tell the ensemble operators of a converted tree or forest where NaN goes.

    Raises:
        ConversionError: the graph's nodes are not those of the model's trees.
    """
    from onnx import helper

    trees = [estimator.tree_ for estimator in getattr(model, "estimators_", [model])]
    if not all(hasattr(tree, "missing_go_to_left") for tree in trees):
        return
    for node in proto.graph.node:
        if not node.op_type.startswith("TreeEnsemble"):
            continue
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        places = zip(given["nodes_treeids"], given["nodes_nodeids"], given["nodes_modes"], strict=True)
        if max(given["nodes_treeids"]) >= len(trees):
            raise ConversionError(
                "the converted forest has other trees than the model", where=type(model).__name__
            )
        sides = [
            int(mode != b"LEAF" and bool(trees[tree].missing_go_to_left[index]))
            for tree, index, mode in places
        ]
        kept = [one for one in node.attribute if one.name != "nodes_missing_value_tracks_true"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("nodes_missing_value_tracks_true", sides)])
