"""Run a trainer in a process of its own: limits, time-out, captured output, progress."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import IO, Final

import msgspec

from holdfast.clock import Clock
from holdfast.train.data_set import LOSS, PROGRESS
from holdfast.train.errors import TrainerFailedError
from holdfast.train.trainer_process import OUT_OF_MEMORY, RESULT_FILE, Order, Result

LOG_FILE: Final = "log.txt"
MOST_LOG_BYTES: Final = 10_000_000
"""What a trainer prints beyond is counted, not kept."""
_GRACE_S: Final = 5.0
_POLL_S: Final = 0.1
_SHOWN_LINES: Final = 8

Progress = Callable[[float, str], None]
"""Called with seconds since the start and what the trainer last said of its progress."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model file as the trainer left it."""

    model: Path
    seconds: float
    from_callable: bool
    """It was made by code that the checklist names, so that a pickle among it is that code's own."""
    loss: float | None = None
    """On dev, as the trainer said."""
    candidate: int = 0
    """Which of several it is."""


def run_trainer(
    order: Order,
    *,
    timeout_s: float,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Progress | None = None,
    show_output: bool = True,
) -> Trained:
    """Start the trainer and wait for its model.

    Its output goes to `log.txt` in the order's folder. When it does not end in time, or this process is
    interrupted, it is ended with all that it has started.

    Args:
        order: what is to be done.
        timeout_s: how long it may take.
        environ: of this process; of it only what does not begin with HOLDFAST_ reaches the trainer.
        clock: monotonic time.
        progress: called about ten times a second.
        show_output: whether an error may repeat the trainer's last lines.

    Raises:
        TrainerFailedError: it failed, took too long, or left no model.
    """
    folder = Path(order.folder)
    document = folder / "order.json"
    document.write_bytes(msgspec.json.encode(msgspec.structs.replace(order, parent=os.getpid())))
    given = {name: value for name, value in environ.items() if not name.startswith("HOLDFAST_")}
    threads = str(order.data_set.cores)
    given |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    given |= {
        "PYTHONHASHSEED": str(order.data_set.seed % 2**32),
        "PYTHONUNBUFFERED": "1",
        "HOLDFAST_TRAIN": order.data_set.train,
        "HOLDFAST_DEV": order.data_set.dev,
        "HOLDFAST_MODEL": str(folder / "model.onnx"),
        "HOLDFAST_SEED": str(order.data_set.seed),
        "HOLDFAST_CANDIDATE": str(order.data_set.candidate),
        "HOLDFAST_FEATURES": msgspec.json.encode(order.data_set.features).decode(),
    }
    began_s = clock.monotonic_s()
    with subprocess.Popen(
        [sys.executable, "-m", "holdfast.train.trainer_process", str(document)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=given,
        # A group of its own, to be ended whole, and not a session: Linux gives each session a whole share of
        # the processor (autogroup), in which the niceness of an unattended training helps no worker.
        process_group=0,
    ) as process:
        listener = _Listener(process.stdout, folder / LOG_FILE)
        try:
            _wait(process, listener, timeout_s, clock=clock, progress=progress)
        except BaseException:
            _end(process, clock)
            raise
        finally:
            listener.join()
    seconds = clock.monotonic_s() - began_s
    if process.returncode != 0:
        raise _failed(process.returncode, order, listener, show_output=show_output)
    return Trained(
        _model_of(order, folder), seconds, not order.command, listener.loss, order.data_set.candidate
    )


def _wait(
    process: subprocess.Popen[bytes],
    listener: _Listener,
    timeout_s: float,
    *,
    clock: Clock,
    progress: Progress | None,
) -> None:
    began_s = clock.monotonic_s()
    while process.poll() is None:
        spent_s = clock.monotonic_s() - began_s
        if spent_s > timeout_s:
            raise _too_slow(listener.path, timeout_s)
        if progress is not None:
            progress(spent_s, listener.said)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)


def _too_slow(log: Path, timeout_s: float) -> TrainerFailedError:
    return TrainerFailedError(
        "the trainer did not end in time; nothing was registered",
        where=str(log),
        expected=f"within {timeout_s:g} s",
        next_step="Raise [training] timeout, or give it less to do (--since)",
    )


def _model_of(order: Order, folder: Path) -> Path:
    if order.command:
        model = folder / "model.onnx"
        if not model.is_file():
            raise TrainerFailedError(
                "the command ended well and left no model",
                where=" ".join(order.command)[:200],
                expected="an ONNX file at the path that HOLDFAST_MODEL names",
            )
        return model
    try:
        result = (folder / RESULT_FILE).read_bytes()
    except FileNotFoundError:
        raise TrainerFailedError(
            "the trainer ended its process before it gave a model",
            where=order.trainer,
            expected="a function that returns",
            next_step="Leave out what ends Python: sys.exit(), os._exit()",
        ) from None
    return folder / msgspec.json.decode(result, type=Result).model  # an absolute path stays itself


def _failed(code: int, order: Order, listener: _Listener, *, show_output: bool) -> TrainerFailedError:
    if code == OUT_OF_MEMORY:
        return TrainerFailedError(
            "the trainer was refused memory; nothing was registered",
            where=str(listener.path),
            expected=f"at most {order.memory_mb} MB",
            next_step="Raise [training] memory_mb, or give it less to do (--since)",
        )
    how = f"exit code {code}" if code >= 0 else f"signal {-code}"
    with contextlib.suppress(ValueError):  # not every signal has a name
        how = f"signal {signal.Signals(-code).name}"
    last = " | ".join(listener.last) if show_output else "not shown: sensitivity is high"
    return TrainerFailedError(
        f"the trainer failed ({how}); nothing was registered",
        where=str(listener.path),
        received=last[-600:] or "no output",
        next_step="The whole output stands in that file",
    )


def _end(process: subprocess.Popen[bytes], clock: Clock) -> None:
    """The process and all that it has started."""
    for wanted in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, wanted)
        deadline_s = clock.monotonic_s() + _GRACE_S
        while process.poll() is None and clock.monotonic_s() < deadline_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
    process.wait()


class _Listener:
    """Copies a trainer's output to a file, up to a size, and remembers its last lines."""

    def __init__(self, stream: IO[bytes] | None, path: Path) -> None:
        self.path = path
        self.said = ""
        self.loss: float | None = None
        self.last: list[str] = []
        self._stream = stream
        self._thread = threading.Thread(target=self._listen, name="trainer output", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the output; a grandchild that keeps the pipe open is not waited for."""
        self._thread.join(_GRACE_S)

    def _listen(self) -> None:
        if self._stream is None:
            return
        left = MOST_LOG_BYTES
        with self.path.open("wb", buffering=0) as file:
            while line := self._stream.readline(65_536):
                text = line.decode("utf-8", "replace").strip()
                if text.startswith(PROGRESS):
                    self.said = text.removeprefix(PROGRESS).strip()
                    continue
                if text.startswith(LOSS):
                    with contextlib.suppress(ValueError):
                        self.loss = float(text.removeprefix(LOSS))
                    continue
                if text:
                    self.last = [*self.last[-_SHOWN_LINES + 1 :], text]
                if left > 0:
                    left = left - len(line) if _kept(file, line[:left]) else 0


def _kept(file: RawIOBase, line: bytes) -> bool:
    """Whether there was room; where there is none the output is read on, as a full pipe stops the trainer."""
    try:
        file.write(line)
    except OSError:
        return False
    return True
