"""Lines of a deployment that scores tables: the real command over the reference, inside `[compute]`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Final

from holdfast.check.confines import Confines, Usage
from holdfast.check.errors import CheckError
from holdfast.check.lines import Line
from holdfast.check.memory import Resident, memory_line, peak_of
from holdfast.check.scratch import Scratch
from holdfast.loadtest import LoadTestError
from holdfast.loadtest.sources import reference_rows

_LONGEST_S: Final = 300.0
_SAMPLE_S: Final = 0.05
_ROWS: Final = 20_000


def batch_lines(scratch: Scratch, confines: Confines, environ: Mapping[str, str]) -> Iterator[Line]:
    """Score rows of the reference with `holdfast score`, and measure memory and rows per second.

    Raises:
        CheckError: the command failed; carries what it said.
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    from holdfast.artifact import open_artifact

    deployment = scratch.deployment
    compute = deployment.checklist.compute
    signature = open_artifact(deployment.artifacts_folder / scratch.version.artifact_folder).signature
    try:
        rows = reference_rows(deployment, scratch.version, signature, _ROWS, np.random.default_rng(0))
    except LoadTestError as error:
        yield Line(
            line="predictions.mode", asked="batch", measured=None, verdict="unknown", advice=str(error)
        )
        return
    source = deployment.folder / "rows.parquet"
    table = pa.table(
        {name: values if values.ndim == 1 else pa.array(values.tolist()) for name, values in rows.items()}
    )
    parquet.write_table(table, str(source))
    command = [
        sys.executable,
        "-P",
        "-m",
        "holdfast",
        "score",
        str(source),
        str(deployment.folder / "out.parquet"),
    ]
    started_s = time.monotonic()
    process = subprocess.Popen(
        [*command, "-C", str(deployment.folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environ),
        start_new_session=True,
        preexec_fn=confines.enter(),  # noqa: PLW1509 - it calls two system functions and takes no lock
    )
    usage = Usage(process.pid)
    samples: list[Resident] = []
    while process.poll() is None:
        if time.monotonic() - started_s > _LONGEST_S:
            process.kill()
        used = usage.memory()
        samples += [] if used is None else [used]
        time.sleep(_SAMPLE_S)
    wall_s = time.monotonic() - started_s
    said = process.stdout.read().decode(errors="replace") if process.stdout is not None else ""
    if process.returncode:
        raise CheckError("the table is not scored", where="holdfast score", received=said.strip()[-500:])
    yield Line(
        line="predictions.mode",
        asked="batch",
        measured=f"{_ROWS} reference rows in {wall_s:.2f} s, start and end included",
        verdict="pass",
    )
    yield memory_line(compute.memory_mb, peak_of(samples))
