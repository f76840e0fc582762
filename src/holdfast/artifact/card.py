"""The model card: README.md as Hugging Face reads it, written from what registration knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.artifact.reference import Reference
from holdfast.artifact.signature import Column, Signature

_PIPELINES: Final = {
    "binary": "tabular-classification",
    "multiclass": "tabular-classification",
    "regression": "tabular-regression",
}
_METRIC_TYPES: Final = {
    "accuracy": "accuracy",
    "roc_auc": "roc_auc",
    "average_precision": "average_precision",
    "log_loss": "log_loss",
    "mean_absolute_error": "mae",
    "root_mean_squared_error": "rmse",
    "r_squared": "r_squared",
}


def write_card(
    name: str,
    signature: Signature,
    *,
    origin: str,
    reference: Reference | None,
    quality: Mapping[str, float],
    notes: Sequence[str],
    show_values: bool = True,
    data_sets: Sequence[str] = (),
    sections: Mapping[str, str] | None = None,
) -> str:
    """Markdown with a YAML head; sections are Markdown by heading.

    It shows ranges and categories of the reference, never rows.
    """
    parts = ["---", *_front_matter(name, signature, quality, data_sets), "---", "", f"# {name}", ""]
    parts += [f"Registered with holdfast from {origin}. Task: {signature.task}.", ""]
    if signature.classes:
        classes = ", ".join(f"`{value}`" for value in signature.classes)
        parts.append(f"Classes: {classes}." + _positive(signature))
        parts.append("")
    parts += ["## Inputs", "", "| name | type | kind | missing | values |", "|---|---|---|---|---|"]
    parts += [_row(column, show_values=show_values) for column in signature.columns]
    parts += ["", "## Outputs", ""]
    parts += [f"- `{output.name}`: {output.dtype} {list(output.shape)}" for output in signature.outputs]
    parts += ["", "## Reference", ""]
    if reference is None:
        parts.append("None was given, so drift from it cannot be measured.")
    else:
        parts.append(f"{len(reference)} rows, judged good by whoever registered the model.")
    if quality:
        parts += ["", "| metric on the reference | value |", "|---|---|"]
        parts += [f"| {metric} | {value:.6g} |" for metric, value in quality.items()]
    if notes:
        parts += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    for heading, text in (sections or {}).items():
        parts += ["", f"## {heading}", "", text]
    unknown = "Intended use, limits" if sections else "Intended use, limits, training data"
    parts += [
        "",
        f"## {unknown}",
        "",
        "Not known to holdfast. Write them here: this file may be edited without changing the artifact.",
        "",
    ]
    return "\n".join(parts)


def _positive(signature: Signature) -> str:
    return (
        ""
        if signature.positive_class is None
        else f" The score is the probability of `{signature.positive_class}`."
    )


def _front_matter(
    name: str, signature: Signature, quality: Mapping[str, float], data_sets: Sequence[str]
) -> list[str]:
    """YAML; strings are quoted as JSON, which YAML reads as well."""
    task = _PIPELINES.get(signature.task)
    lines = ["library_name: onnx"]
    if data_sets:
        lines += ["datasets:", *(f"- {json.dumps(one)}" for one in data_sets)]
    lines += ["tags:", "- holdfast"]
    if task is None:
        return lines
    lines += [f"- {task}", f"pipeline_tag: {task}"]
    metrics = {metric: value for metric, value in quality.items() if metric in _METRIC_TYPES}
    if metrics:
        lines += ["metrics:", *(f"- {_METRIC_TYPES[metric]}" for metric in metrics)]
        lines += [
            "model-index:",
            f"- name: {json.dumps(name)}",
            "  results:",
            "  - task:",
            f"      type: {task}",
            "    dataset:",
            "      type: reference",
            f"      name: {json.dumps('reference of ' + name)}",
            "    metrics:",
        ]
        for metric, value in metrics.items():
            lines += [
                f"    - type: {_METRIC_TYPES[metric]}",
                f"      value: {value:.6g}",
                f"      name: {json.dumps(metric)}",
            ]
    return lines


def _row(column: Column, *, show_values: bool) -> str:
    values = ""
    if not show_values:
        values = "not shown: sensitivity is high"
    elif column.categories is not None:
        shown = ", ".join(str(value).replace("|", "\\|") for value in column.categories[:12])
        more = len(column.categories) - 12
        values = shown + (f", and {more} more" if more > 0 else "")
    elif column.minimum is not None and column.maximum is not None:
        values = f"{column.minimum:g} to {column.maximum:g}"
    missing = "yes" if column.nullable else "no"
    return f"| {column.name} | {column.dtype} | {column.kind} | {missing} | {values} |"
