"""`holdfast train watch`: trainings that nobody has to start."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from holdfast.cli.options import folder_option, json_option, open_deployment, open_registry
from holdfast.clock import Clock, SystemClock
from holdfast.spec import Deployment

if TYPE_CHECKING:
    from holdfast.train import Plan

LOWEST_PRIORITY: Final = 19
GRACE_S: Final = 10.0
"""For a training that is told to end: it ends its trainer, which has 5 s, and writes that down."""
WHOLE_TIMES: Final = 3
"""A training with its data set and its judgement may take this many times the trainer's time-out."""
_POLL_S: Final = 0.5


@click.command("watch")
@folder_option
@click.option("--quiet", is_flag=True, help="Print only trainings.")
@json_option
def watch_command(folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Train whenever a trigger of [training] holds, until stopped. `serve` runs it where unattended is true.

    At lowest priority, each training in a process of its own. Challengers are registered; who answers does
    not change.
    """
    from holdfast.cli.service import stop_on_signal
    from holdfast.train import Watch

    stand_back()
    deployment = open_deployment(folder)
    clock = SystemClock()
    stop = stop_on_signal()
    with open_registry(deployment) as registry:
        watch = Watch(deployment, registry, clock, _starter(deployment, clock))
        if not quiet:
            words = (
                ", ".join(deployment.checklist.training.triggers) or "none is named in [training] triggers"
            )
            click.echo(f"Watching the triggers: {words}.")
        for one in watch.follow(stop):
            if as_json:
                click.echo(msgspec.json.encode(one))
            else:
                click.echo(f"{deployment.name}: trained, since {one.plan.reason}: {one.outcome}")


def stand_back() -> None:
    """Run only when nobody else wants the processor; children inherit it."""
    os.nice(LOWEST_PRIORITY)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # not everywhere allowed; the niceness stays
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _starter(deployment: Deployment, clock: Clock) -> Callable[[Plan, threading.Event], str]:
    longest_s = WHOLE_TIMES * deployment.checklist.training.timeout.seconds
    command = [sys.executable, "-P", "-m", "holdfast", "train", "--trigger", "due", "--json"]
    command += ["-C", str(deployment.folder)]

    def start(_plan: Plan, stop: threading.Event) -> str:
        return run_training(command, stop, clock, longest_s)

    return start


def run_training(command: list[str], stop: threading.Event, clock: Clock, longest_s: float) -> str:
    """Run one training and say what came of it.

    Args:
        command: that trains.
        stop: ends it early.
        clock: monotonic time.
        longest_s: after which it is ended.
    """
    began_s = clock.monotonic_s()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        said = ""
        try:
            while process.poll() is None:
                if stop.is_set():
                    said = "ended, since the service stops"
                    break
                if clock.monotonic_s() - began_s > longest_s:
                    said = f"ended, since it took longer than {longest_s:g} s"
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
        finally:
            end(process)
        if said:
            return said
        for file in (output, errors):
            file.seek(0)
        return outcome(process.returncode, output.read(1 << 20), errors.read(1 << 20))


def end(process: subprocess.Popen[bytes]) -> None:
    """In order, or by force."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    if process.poll() is None:
        process.kill()
    process.wait()


def outcome(code: int, output: bytes, errors: bytes) -> str:
    """What `holdfast train --json` said, in words."""
    document: dict[str, Any] = {}
    for text in (output, errors):
        with contextlib.suppress(msgspec.DecodeError):
            document |= msgspec.json.decode(text, type=dict[str, Any])
    if "version" in document:
        verdict = document["comparison"]["verdict"]
        than = "from" if verdict == "not told apart" else "than"
        version, champion = document["version"], document["champion"] or "a constant answer"
        return (
            f"version {version} is registered, {verdict} {than} {champion}; "
            f"next: holdfast rollout start {version}"
        )
    if document.get("trained") is False:
        return f"not trained: {document['reason']}"
    return str(document.get("error") or f"exit code {code}: {errors[-300:].decode('utf-8', 'replace')}")
