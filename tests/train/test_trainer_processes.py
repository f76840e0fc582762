"""A trainer ends in its own way, prints what it likes, and the training knows what became of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from holdfast.clock import SystemClock
from holdfast.train import TrainerFailedError
from holdfast.train.data_set import DataSetPaths
from holdfast.train.running import Trained, run_trainer
from holdfast.train.trainer_process import Order


def run(folder: Path, code: str, *, timeout_s: float = 60) -> Trained:
    """A command with `code` as Python, or a callable `train` where it defines one."""
    called = code.startswith("def train")
    if called:
        (folder / "mine.py").write_text(code)
    order = Order(
        data_set=DataSetPaths(
            train="", dev="", features=(), task="binary", classes=(0, 1), positive_class=1, seed=0, cores=1
        ),
        trainer="mine:train" if called else "",
        command=() if called else (sys.executable, "-c", code),
        folder=str(folder),
        import_from=str(folder),
        memory_mb=4000,
    )
    return run_trainer(order, timeout_s=timeout_s, environ=dict(os.environ), clock=SystemClock())


def test_a_trainer_whose_output_cannot_be_kept_goes_on(tmp_path: Path) -> None:
    """As on a full disk; a pipe that nobody empties would stop it after 64 KiB."""
    (tmp_path / "log.txt").symlink_to("/dev/full")
    code = "import os; print(*['x' * 80] * 4000, sep='\\n'); open(os.environ['HOLDFAST_MODEL'], 'w').close()"
    assert run(tmp_path, code, timeout_s=10).model == tmp_path / "model.onnx"


def test_a_trainer_that_ends_its_process_before_it_gave_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainerFailedError, match="ended its process"):
        run(tmp_path, "def train(data):\n    raise SystemExit(0)\n")


@pytest.mark.parametrize(("number", "named"), [(9, "signal SIGKILL"), (40, "signal 40")])
def test_a_signal_that_ended_a_trainer_is_told_with_or_without_a_name(
    tmp_path: Path, number: int, named: str
) -> None:
    with pytest.raises(TrainerFailedError, match=rf"the trainer failed \({named}\)"):
        run(tmp_path, f"import os; os.kill(os.getpid(), {number})")


def test_a_trainer_stays_in_the_session_of_what_started_it_in_a_group_of_its_own(tmp_path: Path) -> None:
    """Linux may give each session a whole share of the processor: the lowest priority would mean nothing."""
    code = (
        "import os; file = open(os.environ['HOLDFAST_MODEL'], 'w'); "
        "file.write(f'{os.getsid(0)} {os.getpgid(0)} {os.getpid()}')"
    )
    session, group, process = map(int, run(tmp_path, code).model.read_text().split())
    assert session == os.getsid(0)
    assert group == process
