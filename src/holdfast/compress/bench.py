"""Measures candidates, each in a process of its own, in turns with the original."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from holdfast.artifact import Artifact, Packer, Reference
from holdfast.compress.errors import CompressError
from holdfast.compress.probe import BATCH_ROWS, Probed, ProbePlan
from holdfast.registry import Candidate as Prepared
from holdfast.spec import Compute

_PROBE_S: Final = 120.0


@dataclass(slots=True)
class Bench:
    """Measures candidates against the original, in files of one folder."""

    folder: Path
    original: Artifact
    compute: Compute
    cores: tuple[int, ...]
    round_s: float

    def store_feeds(self, judges: Reference) -> None:
        """Keep the rows that every candidate runs."""
        columns = judges.head(BATCH_ROWS)
        names = (column.name for column in self.original.signature.columns)
        feeds = Packer(self.original.signature).pack(columns.columns(names), len(columns))
        plain = {name: v.astype(str) if v.dtype == object else v for name, v in feeds.items()}
        np.savez(str(self.folder / "feeds.npz"), **plain)  # type: ignore[arg-type] # every keyword is an array's name

    def probe(self, model: bytes, prepared: Prepared, *, saves: bool = True, limited: bool = True) -> Probed:
        """Memory, latency and throughput beside the original's.

        Args:
            model: the graph.
            prepared: how it is run.
            saves: it is smaller than the original, so that it counts however slow it is. What is neither is
                given up after a few turns.
            limited: held to `memory_mb` of `[compute]`.

        Raises:
            CompressError: it cannot be loaded or run within that memory, or takes minutes.
        """
        path = self.folder / "candidate.onnx"
        path.write_bytes(model)
        plan = ProbePlan(
            candidate=str(path),
            original=str(self.original.model_file),
            candidate_execution=prepared.execution,
            original_execution=self.original.execution,
            feeds=str(self.folder / "feeds.npz"),
            compute=self.compute,
            cores=self.cores,
            round_s=self.round_s,
            saves=saves,
            memory_mb=self.compute.memory_mb if limited else None,
        )
        (self.folder / "plan.json").write_bytes(msgspec.json.encode(plan))
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "holdfast.compress.probe", str(self.folder / "plan.json")],
                capture_output=True,
                check=False,
                timeout=_PROBE_S,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise CompressError(
                "the measurement of a candidate did not end in time", expected=f"within {_PROBE_S:g} s"
            ) from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise CompressError(
                "the candidate cannot be measured",
                expected=f"a run within memory_mb = {self.compute.memory_mb}" if limited else None,
                received=lines[-1][:300],
            )
        return msgspec.json.decode(done.stdout, type=Probed)
