"""Which large input a person means, and the file that it is written to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.files import writing_to

if TYPE_CHECKING:
    import numpy as np

    from holdfast.prediction_log import NamedLargeInput, PredictionLog


def chosen_large_input(log: PredictionLog, name: str, of_input: str | None) -> NamedLargeInput:
    """The one that a prediction's id or a content hash means; refused where it means none, or several."""
    found = log.find_large_inputs(name)
    if not found:
        raise click.BadParameter(
            f"{name!r} is neither the id of a prediction with a stored large input nor a content hash "
            "of one. Sampling, retention and erasure leave rows without.",
            param_hint="ID_OR_HASH",
        )
    chosen = [one for one in found if of_input in (None, one.input)]
    inputs = sorted({one.input for one in found})
    if not chosen:
        raise click.BadParameter(f"{of_input!r} is none of {', '.join(inputs)}", param_hint="--input")
    if len({one.digest for one in chosen}) > 1:
        if len(inputs) > 1 and of_input is None:
            raise click.UsageError(f"It has several: say which with --input, one of {', '.join(inputs)}.")
        listed = ", ".join(one.digest for one in chosen)
        raise click.UsageError(f"Several rows have this id: give one of their content hashes, {listed}.")
    return chosen[0]


def write_array(target: Path, value: np.ndarray[Any, Any]) -> None:
    """One `.npy` file, which appears under its name only when it is complete."""
    import numpy as np

    partial = target.with_name(f".{target.name}.partial")
    try:
        with writing_to(target), partial.open("wb") as file:
            np.save(file, value, allow_pickle=False)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
