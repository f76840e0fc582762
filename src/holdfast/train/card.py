"""What a model card says of training data and of the comparison, in Markdown without a value of a row."""

from __future__ import annotations

from typing import Any

from holdfast.train.comparing import Comparison, Difference
from holdfast.train.manifest import Manifest


def card_sections(manifest: Manifest, comparison: Comparison, made: dict[str, Any]) -> dict[str, str]:
    """Markdown by heading."""
    return {
        "Training data": _data(manifest),
        "Training": _training(made),
        "Evaluation": _evaluation(comparison),
    }


def _data(manifest: Manifest) -> str:
    lines = [
        f"Data set `{manifest.name[:12]}` (content SHA-256 `{manifest.sha256}`).",
        "",
        "| source | kind | licence | legal basis | rows read |",
        "|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.kind} | {_cell(one.licence)} | {_cell(one.basis)} | {one.rows} |"
            for one in manifest.sources
        ),
        "",
        _consent(manifest),
        "",
        "| split | rows | from | to | label mean | from the review queue |",
        "|---|---|---|---|---|---|",
    ]
    for name, split in manifest.splits.items():
        mean = "" if split.label_mean is None else f"{split.label_mean:.5g}"
        lines.append(
            f"| {name} | {split.rows} | {(split.since or '')[:10]} | {(split.until or '')[:10]} | {mean} | "
            f"{split.reviewed} |"
        )
    left_out = [one for one in manifest.removed if one.rows]
    if left_out:
        lines += ["", "Left out:", "", *(f"- {one.rows} rows: {one.filter}" for one in left_out)]
    lines += ["", *(f"- {note}" for note in manifest.notes)]
    return "\n".join(lines).rstrip()


def _consent(manifest: Manifest) -> str:
    said = manifest.consent
    return f"Consent: {said.rule}, as of {said.as_of[:10]}; {said.refused_rows} rows left out."


def _training(made: dict[str, Any]) -> str:
    seconds = "" if made["seconds"] is None else f", {made['seconds']:.3g} s"
    trainer = f"Trainer: {made['trainer']} (seed {made['seed']}{seconds})."
    return f"{trainer} Started: {made['trigger']}. What was done: {made['recipe']}."


def _evaluation(comparison: Comparison) -> str:
    against = f"champion {comparison.champion}" if comparison.champion.isdecimal() else "a constant answer"
    test = f"{comparison.test_rows} test rows of {comparison.test_since[:10]} to {comparison.test_until[:10]}"
    verdict = f"{comparison.verdict} (by {comparison.main_metric})"
    loss = comparison.loss
    lines = [
        f"On {test}, against {against}: {verdict}. Intervals are of 95 %, of paired rows.",
        *([] if loss is None else ["", f"Decides here and in a rollout: {loss.words}, since {loss.reason}."]),
        "",
        "| metric | champion | challenger | difference |",
        "|---|---|---|---|",
        *(_metric(name, one) for name, one in comparison.overall.items()),
    ]
    if comparison.slices:
        main = comparison.main_metric
        lines += [
            "",
            f"| slice | rows | {main}: champion | challenger | difference |",
            "|---|---|---|---|---|",
        ]
        for part in comparison.slices:
            one = part.metrics[main]
            lines.append(
                f"| {_cell(part.name)} | {part.rows} | {one.champion:.5g} | {one.challenger:.5g} | "
                f"{_change(one)} |"
            )
    lines += ["", *(f"- {note}" for note in comparison.notes)]
    return "\n".join(lines).rstrip()


def _metric(name: str, one: Difference) -> str:
    return f"| {name} | {one.champion:.5g} | {one.challenger:.5g} | {_change(one)} |"


def _change(one: Difference) -> str:
    if one.low is None or one.high is None:
        return f"{one.difference:+.4g}"
    return f"{one.difference:+.4g} ({one.low:+.4g} to {one.high:+.4g})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
