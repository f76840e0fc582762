"""A trainer's own process: limits first, then the user's code.

Started by `running.py`, with one JSON document.

Nothing of holdfast's secrets is in its environment, and it is given neither the registry nor the test split.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.train.data_set import DataSet, DataSetPaths
from holdfast.train.errors import TrainerFailedError

READY_MADE: Final = "holdfast.train.tabular:train"
RESULT_FILE: Final = "result.json"
_PR_SET_PDEATHSIG: Final = 1
OUT_OF_MEMORY: Final = 71
"""Exit code of a trainer that was refused memory."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done."""

    data_set: DataSetPaths
    trainer: str
    """`module:function`; empty where a command is run."""
    command: tuple[str, ...]
    folder: str
    """Where the model goes."""
    import_from: str
    """The deployment folder: modules are found there."""
    memory_mb: int
    parent: int = 0
    """Process to die with; 0: none."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a callable gave."""

    model: str
    """File name inside the folder, or the path that the trainer named."""


def main() -> None:
    """Carry out the order whose file is the first argument."""
    order = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)
    if order.parent:
        _die_with(order.parent)
    _limit(order.memory_mb)
    sys.path.insert(0, order.import_from)
    try:
        if order.command:
            os.chdir(order.import_from)
            os.execvp(order.command[0], list(order.command))  # noqa: S606 - the checklist names it
        model = _trained(order)
        name = _save(model, Path(order.folder))
    except MemoryError:
        sys.stdout.flush()
        sys.stderr.write(f"out of memory: [training] memory_mb = {order.memory_mb}\n")
        sys.stderr.flush()
        os._exit(OUT_OF_MEMORY)
    Path(order.folder, RESULT_FILE).write_bytes(msgspec.json.encode(Result(model=name)))


def _die_with(parent: int) -> None:
    """Whoever kills the training, kill -9 included, kills its trainer. Linux only; an exec keeps it."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the training has ended")


def _limit(memory_mb: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Private memory only: mapped files and the libraries themselves do not count.
    size = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _trained(order: Order) -> Any:
    import numpy as np

    from holdfast.artifact.callables import load_callable

    random.seed(order.data_set.seed)
    np.random.seed(order.data_set.seed)  # noqa: NPY002 - the user's code may rest on it
    return load_callable(order.trainer)(DataSet.open(order.data_set))


def _save(model: Any, folder: Path) -> str:
    if model is None:
        raise TrainerFailedError(
            "the trainer gave no model", expected="a fitted model, or the path of its file"
        )
    if isinstance(model, str | Path):
        path = Path(model)
        if not path.is_file():
            raise TrainerFailedError("the trainer named a file that is not there", where=str(path))
        return str(path.resolve())
    if isinstance(model, bytes) or hasattr(model, "SerializeToString"):
        data = model if isinstance(model, bytes) else model.SerializeToString()
        (folder / "model.onnx").write_bytes(data)
        return "model.onnx"
    import joblib

    joblib.dump(model, folder / "model.joblib")
    return "model.joblib"


if __name__ == "__main__":
    main()
