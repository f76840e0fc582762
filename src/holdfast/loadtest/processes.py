"""The generating processes of one round: started, told their plan, heard; nothing of it lies on a disk."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.loadtest.errors import LoadTestError
from holdfast.loadtest.plan import READY, UNSENT, Outcome, Plan

_HEAD_START_S: Final = 0.15
"""From the last plan sent to the first request: time to read it and to connect."""
_SLACK_S: Final = 60.0


def generate(
    plan: Plan, arrivals: NDArray[np.float64], choices: NDArray[np.int32], cpus: tuple[int | None, ...]
) -> tuple[list[Outcome], NDArray[np.float64], NDArray[np.int16]]:
    """Carry a schedule out, its requests dealt out in turn to one process for each entry of `cpus`.

    Args:
        plan: of all processes, without a schedule and a start.
        arrivals: `[N]`, intended times in seconds, ascending.
        choices: `[N]`, the payload of each.
        cpus: the core of each process; None: any.

    Returns:
        What each process says, `[N]` latencies in seconds (NaN: no answer), and `[N]` outcomes of `plan`.

    Raises:
        LoadTestError: a process failed, or ended before it had told everything.
    """
    latency = np.full(len(arrivals), np.nan)
    outcome = np.full(len(arrivals), UNSENT, dtype=np.int16)
    running = [_start() for _ in cpus]
    try:
        for process in running:
            _hear_ready(process)
        start_s = time.monotonic() + _HEAD_START_S
        for number, (process, cpu) in enumerate(zip(running, cpus, strict=True)):
            part = msgspec.structs.replace(
                plan,
                arrivals=arrivals[number :: len(cpus)].astype("<f8").tobytes(),
                choices=choices[number :: len(cpus)].astype("<i4").tobytes(),
                start_s=start_s,
                cpu=cpu,
            )
            _tell(process, msgspec.msgpack.encode(part))
        longest_s = (float(arrivals[-1]) if len(arrivals) else 0.0) + plan.timeout_s + _SLACK_S
        outcomes = []
        for number, process in enumerate(running):
            one = _hear(process, longest_s)
            outcomes.append(one)
            latency[number :: len(cpus)] = np.frombuffer(one.latency, "<f8")
            outcome[number :: len(cpus)] = np.frombuffer(one.outcome, "<i2")
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.communicate()
    return outcomes, latency, outcome


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "holdfast.loadtest.generator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _hear_ready(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is None or process.stdout.read(len(READY)) != READY:
        raise _failed(process)


def _tell(process: subprocess.Popen[bytes], plan: bytes) -> None:
    if process.stdin is None:
        raise _failed(process)
    try:
        with process.stdin as pipe:
            pipe.write(plan)
    except BrokenPipeError:
        raise _failed(process) from None
    finally:
        process.stdin = None


def _hear(process: subprocess.Popen[bytes], longest_s: float) -> Outcome:
    try:
        told, _ = process.communicate(timeout=longest_s)
    except subprocess.TimeoutExpired:
        raise _failed(process, f"it had not ended after {longest_s:.0f} s") from None
    if process.returncode:
        raise _failed(process)
    try:
        return msgspec.msgpack.decode(told, type=Outcome)
    except msgspec.DecodeError as error:
        raise _failed(process, f"{len(told)} bytes of report: {error}") from error


def _failed(process: subprocess.Popen[bytes], why: str = "") -> LoadTestError:
    """Its last word is the best reason there is."""
    process.kill()
    errors = b""
    with contextlib.suppress(ValueError):
        _, errors = process.communicate()
    said = errors.decode(errors="replace").strip().splitlines()
    code = process.returncode
    ended = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return LoadTestError(
        "a generating process failed, so nothing was measured",
        where="holdfast.loadtest.generator",
        received=why or (said[-1] if said else ended),
        next_step="Is the machine short of memory or of processes? Load again, with fewer --processes.",
    )
