"""The update contract: what a challenger would change, found before it sees any traffic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from holdfast.artifact import Signature
from holdfast.registry import DecidingLoss
from holdfast.rollout.losses import Losses, numbers
from holdfast.stats import share_bounds, total_variation

if TYPE_CHECKING:
    import pyarrow as pa

    from holdfast.infer import LoadedModel
    from holdfast.registry import Registry
    from holdfast.spec import Deployment

_CELLS: Final = 10
MOST_ROWS: Final = 20_000
"""Of the reference on which both versions are run."""


class Flips(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that would change in one slice."""

    slice: str
    """`all`, or `field = value`."""
    rows: int
    share: float
    """Regression: mean distance in units of loss_scale, at most 1."""
    lower: float
    """Bounds of the share at 95 %."""
    upper: float


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. Broken promises stand in words; none means that it may start."""

    incompatible: tuple[str, ...]
    """Requests of today that it would refuse, or answers that callers could not read; never waived."""
    beyond: tuple[str, ...]
    """Changes larger than the checklist allows."""
    loss: DecidingLoss | None = None
    """What will decide between them."""
    rows: int = 0
    """On which both were run; 0: neither version has a reference."""
    score_change: float | None = None
    """Total variation distance of the scores on tenths of the champion's, 0 to 1."""
    volume: float | None = None
    """Share of positives of the challenger minus that of the champion, at today's thresholds; regression:
    mean difference of the answers in units of the loss."""
    volume_of: str = "share of positives"
    """What `volume` is of, in words."""
    flips: tuple[Flips, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether nothing stands against it."""
        return not self.incompatible and not self.beyond


def incompatibilities(ours: Signature, theirs: Signature) -> tuple[str, ...]:
    """Why a caller of the champion could not use the challenger, or could not go back to the champion.

    Args:
        ours: of the challenger.
        theirs: of the champion.

    Both must take the same records: then a change in either direction needs no caller to change.
    """
    mine = {column.name: column for column in ours.columns}
    today = {column.name: column for column in theirs.columns}
    found = [
        *(f"{name}: callers do not send it" for name in sorted(mine.keys() - today.keys())),
        *(f"{name}: needed to go back to the champion" for name in sorted(today.keys() - mine.keys())),
    ]
    for name in sorted(mine.keys() & today.keys()):
        a, b = mine[name], today[name]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            found.append(f"{name}: {b.dtype}{list(b.shape)} becomes {a.dtype}{list(a.shape)}")
        if b.nullable and not a.nullable:
            found.append(f"{name}: null is answered today and would be refused")
    if ours.task != theirs.task:
        found.append(f"the task: {theirs.task} becomes {ours.task}")
    elif tuple(ours.classes) != tuple(theirs.classes):
        found.append(f"the classes: {list(theirs.classes)} become {list(ours.classes)}")
    return tuple(found)


def write_contract(
    deployment: Deployment, registry: Registry, challenger: str, champion: str, decides: DecidingLoss
) -> Contract:
    """Run both versions on the challenger's reference (the champion's where it has none) and compare.

    Args:
        deployment: of both.
        registry: that knows both.
        challenger: its version.
        champion: its version.
        decides: the loss that will decide between them.

    Raises:
        ArtifactError: an artifact is not what was registered.
        RuntimeFailure: a version cannot be loaded.
        ModelFailedError: a version cannot answer the reference.
    """
    from holdfast.infer import load_model

    compute = deployment.checklist.compute
    models = [
        load_model(deployment.artifacts_folder / registry.version(version).artifact_folder, version, compute)
        for version in (challenger, champion)
    ]
    try:
        ours, theirs = models
        incompatible = incompatibilities(ours.signature, theirs.signature)
        table = _reference(deployment, challenger, champion)
        if incompatible or table is None or ours.signature.task == "tensor":
            return Contract(incompatible=incompatible, beyond=(), loss=decides)
        return _measured(deployment, decides, ours, theirs, table)
    finally:
        for model in models:
            model.close()


def _measured(
    deployment: Deployment, decides: DecidingLoss, ours: LoadedModel, theirs: LoadedModel, table: pa.Table
) -> Contract:
    settings = deployment.checklist.rollout
    losses = Losses.of(theirs.signature, decides)
    said = [_answers(model, table) for model in (ours, theirs)]
    (our_answers, our_scores), (their_answers, their_scores) = said
    flips = losses.flips(our_answers, their_answers)
    volume = float(losses.volume(our_answers, their_answers).mean())
    change = _score_change(our_scores, their_scores)
    found = [_flips("all", flips)]
    for field in settings.slices:
        if field not in table.column_names:
            continue
        values = np.array([str(one) for one in table[field].to_pylist()], dtype=object)
        names, counts = np.unique(values, return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")][: settings.most_slices]
        found += [_flips(f"{field} = {name}", flips[values == name]) for name in frequent]
    beyond = [
        f"{one.slice}: {one.share:.1%} of {one.rows} answers change, {settings.max_flips:.0%} is allowed"
        for one in found
        if one.lower > settings.max_flips
    ]
    if abs(volume) > settings.max_volume_change:
        beyond.append(
            f"the {losses.volume_of} changes by {volume:+.3f}, {settings.max_volume_change:g} is allowed"
        )
    return Contract(
        incompatible=(),
        beyond=tuple(beyond),
        loss=decides,
        volume_of=losses.volume_of,
        rows=len(flips),
        score_change=change,
        volume=volume,
        flips=tuple(found),
    )


def _flips(name: str, values: Any) -> Flips:
    rows = len(values)
    bounds = share_bounds(round(float(values.sum())), rows)
    share = float(values.mean()) if rows else 0.0
    return Flips(slice=name, rows=rows, share=share, lower=bounds.lower, upper=bounds.upper)


def _score_change(ours: Any, theirs: Any) -> float | None:
    if ours is None or theirs is None:
        return None
    edges = np.unique(np.quantile(theirs, np.arange(1, _CELLS) / _CELLS))
    cells = len(edges) + 1
    counted = [np.bincount(np.searchsorted(edges, one), minlength=cells) for one in (theirs, ours)]
    return float(total_variation(counted[0], counted[1]))


def _answers(model: LoadedModel, table: pa.Table) -> tuple[list[Any], Any]:
    from holdfast.infer import check_columns

    columns: Mapping[str, Any] = {
        column.name: table[column.name].to_pylist() for column in model.signature.columns
    }
    answer = model.predict(check_columns(model.signature.columns, columns, table.num_rows), table.num_rows)
    said = answer.prediction.tolist() if hasattr(answer.prediction, "tolist") else list(answer.prediction)
    score = model.score(answer)
    if score is None and model.signature.task == "regression":
        return said, numbers(said)
    return said, score


def _reference(deployment: Deployment, challenger: str, champion: str) -> pa.Table | None:
    from pyarrow import parquet

    for version in (challenger, champion):
        path: Path = deployment.references_folder / version / "reference.parquet"
        if path.exists():
            return parquet.read_table(path).slice(0, MOST_ROWS)
    return None
