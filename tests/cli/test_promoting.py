"""Who becomes the champion from the command line, and what the audit says of a check that was not made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pyarrow as pa
import pytest
from pyarrow import parquet

from holdfast.cli import main
from holdfast.clock import SystemClock
from holdfast.registry import Decision, Registry
from holdfast.spec import Deployment

GRAPH = """
    <ir_version: 9, opset_import: ["": 18]>
    linear (float[N,2] x) => (float[N,1] y)
    <float[2,1] w = {{ {0}, 3.0 }}>
    {{ y = MatMul(x, w) }}
"""


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    return int(ended.value.code or 0)


def decisions(folder: Path) -> list[Decision]:
    with Registry.open(Deployment.open(folder, {}).registry_url, SystemClock()) as registry:
        return registry.decisions()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With version 1 as champion, version 2 behind it, and the file of a third."""
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "sums"\n')
    rng = np.random.default_rng(0)
    table = pa.table({name: rng.normal(size=60).astype(np.float32) for name in "ab"})
    parquet.write_table(table, str(tmp_path / "reference.parquet"))
    for number in (1, 2, 3):
        onnx.save(onnx.parser.parse_model(GRAPH.format(float(number))), str(tmp_path / f"{number}.onnx"))
    for number in (1, 2):
        assert run(*register(tmp_path, number)) == 0
    return tmp_path


def register(folder: Path, number: int) -> tuple[str, ...]:
    reference = str(folder / "reference.parquet")
    return ("register", str(folder / f"{number}.onnx"), "--reference", reference, "-C", str(folder))


def test_promotion_without_a_check_is_refused_and_with_a_written_reason_stands_in_the_audit(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote = ("rollout", "promote", "2", "-C", str(folder), "--reason", "better")
    assert run(*promote) == 1
    assert "holdfast check --version 2" in capsys.readouterr().err
    assert [one.version for one in decisions(folder)] == ["1"]
    assert run(*promote, "--waive", "the machine to check on is away") == 0
    assert decisions(folder)[-1].reason == (
        "better (it was never checked; waived: the machine to check on is away)"
    )


def test_a_version_promoted_at_registration_is_said_to_be_unchecked(folder: Path) -> None:
    assert run(*register(folder, 3), "--promote") == 0
    last = decisions(folder)[-1]
    assert last.version == "3"
    assert "it was never checked; waived: registered with --promote" in last.reason
