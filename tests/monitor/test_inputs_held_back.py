"""What [privacy] keeps out of the log, or coarsens there, is no broken pipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from holdfast.artifact.signature import Column, Signature, Tensor
from holdfast.clock import SystemClock
from holdfast.infer import Block, DataPlane, LoadedModel
from holdfast.monitor.held_back import HeldBack
from holdfast.monitor.log_rows import read_reference
from holdfast.prediction_log import PredictionLog, SpoolWriter, settle
from holdfast.privacy import Redactor
from holdfast.spec import Privacy

NAMES = ("age", "place", "when", "note")
GIVEN: dict[str, list[Any]] = {
    "age": [47.5, 40.0, 8.25, 61.0],
    "place": ["SW1A 2AA", "N1", "SW1", "E81 1"],
    "when": ["2026-03-14", "2026-03-15", "2026-04-01", "2025-12-31"],
    "note": ["a@example.org", "well", "well", "ill"],
}
SIGNATURE = Signature(
    columns=(
        Column(name="age", dtype="float64", kind="numeric"),
        *(Column(name=name, dtype="string", kind="categorical") for name in NAMES[1:]),
    ),
    inputs=(
        Tensor(name="age", dtype="float64", shape=(-1, 1), columns=("age",)),
        *(Tensor(name=name, dtype="string", shape=(-1, 1), columns=(name,)) for name in NAMES[1:]),
    ),
    outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
    task="regression",
    prediction_output="y",
)


class Constant:
    """A model that always says 0."""

    def run(self, feeds: Any) -> dict[str, Any]:
        return {"y": np.zeros((4, 1), np.float32)}


def values(held: Any) -> list[Any]:
    return held.tolist() if isinstance(held, np.ndarray) else [held.words[code] for code in held.codes]


def rows_of_both(folder: Path, privacy: Privacy) -> tuple[dict[str, Any], dict[str, Any], HeldBack]:
    """The judged inputs of the reference and of the log, of the same four rows."""
    clock = SystemClock()
    writer = SpoolWriter(folder, deployment="ward", replica="w", clock=clock)
    plane = DataPlane(writer, Redactor(privacy, bytes(32)), clock)
    columns = {name: np.array(one) if name == "age" else one for name, one in GIVEN.items()}
    plane.answer(LoadedModel("1", SIGNATURE, Constant()), Block(4, columns, ids=list("abcd")))  # type: ignore[arg-type]  # all it needs
    writer.close()
    settle(folder, clock)
    parquet.write_table(pa.table(GIVEN | {"prediction": [0.0] * 4}), folder / "reference.parquet")
    held_back = HeldBack.of(privacy, SIGNATURE)
    translation, reference = read_reference(folder / "reference.parquet", SIGNATURE, held_back=held_back)
    log = PredictionLog(folder)
    wanted = [*translation.log_columns(log.schema().names), "prediction_id"]
    logged = translation.log(log.joined(None, None, wanted).read_all().sort_by("prediction_id"))
    return *(
        {name: values(one.columns[name]) for name in one.columns} for one in (reference, logged)
    ), held_back  # type: ignore[return-value]  # three


def test_what_the_log_makes_coarser_is_compared_with_a_reference_as_coarse(tmp_path: Path) -> None:
    privacy = Privacy(
        generalise={"age": "width 10", "place": "prefix 3", "when": "month"}, field_actions={"note": "redact"}
    )
    reference, logged, held_back = rows_of_both(tmp_path, privacy)
    assert reference == logged
    assert reference["age"] == [40.0, 40.0, 0.0, 60.0]
    assert reference["place"] == ["SW1", "N1", "SW1", "E81"]
    assert reference["note"][0] == "[e-mail]"
    assert held_back.note == ""


@pytest.mark.parametrize("action", ["drop", "mask", "hash"])
def test_what_the_log_hides_is_not_judged_and_a_note_says_so(tmp_path: Path, action: str) -> None:
    privacy = Privacy(field_actions={"place": action})  # type: ignore[dict-item]  # text for parametrize
    reference, logged, held_back = rows_of_both(tmp_path, privacy)
    assert reference == logged
    assert set(reference) == {"age", "when", "note", "prediction"}
    assert held_back.note.endswith(f"out of the log: place ({action}).")


def test_profiles_of_another_way_of_holding_inputs_are_told_apart() -> None:
    ways = [{}, {"age": "width 10"}, {"age": "width 5"}]
    assert len({HeldBack.of(Privacy(generalise=way), SIGNATURE).digest for way in ways}) == len(ways)
    assert HeldBack.of(Privacy(fields={"age": "quasi-identifier"}), SIGNATURE).digest == ""
