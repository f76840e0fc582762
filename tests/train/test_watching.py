"""Trainings that nobody starts by hand, and what is left of those that are ended from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from shop import DAY_US, START_US, TOML, Shop, ShopClock, open_shop

from holdfast.cli.training_watch import outcome, run_training
from holdfast.clock import SystemClock, iso_utc
from holdfast.train import Asked, Plan, TrainError, Watch, due, past_runs
from holdfast.train.runs import only_training, start_run

WATCHED = """triggers = ["alarm"]
cool_down = "7d"
budget = 2
"""
HANGING = """
import os, pathlib, time
def train(data):
    pathlib.Path("started").write_text(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = open_shop(tmp_path / "shop", TOML.replace('time_field = "time"\n', "") + WATCHED)
    yield shop
    shop.close()


def until(true: Callable[[], bool], longest_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + longest_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_the_monitors_alarm_starts_one_training_and_then_the_cool_down_and_the_budget_hold(
    shop: Shop,
) -> None:
    started: list[int] = []

    def at(day: int) -> bool:
        shop.clock = ShopClock(day * DAY_US + 1_700_000_000_000_000)

        def start(plan: Plan, _stop: threading.Event) -> str:
            start_run(shop.deployment, plan.reason, None, shop.clock)
            started.append(day)
            return "done"

        watch = Watch(shop.deployment, shop.registry, shop.clock, start)
        return watch.run_once(threading.Event()) is not None

    assert not at(0)
    shop.registry.attach_evidence("1", "diagnosis", {"alarm": True, "verdict": "concept drift"})
    days = [day for day in range(1, 50) if at(day)]
    assert days == started == [1, 8, 31, 38]
    shop.registry.attach_evidence("1", "diagnosis", {"alarm": False, "verdict": "healthy"})
    assert not at(70)


@pytest.mark.parametrize(
    ("kinds", "trains"),
    [(["concept drift"], True), (["data fault"], False), (["data fault", "concept drift"], False)],
)
def test_an_alarm_for_a_data_fault_trains_nothing_whatever_else_it_tells(
    shop: Shop, kinds: list[str], trains: bool
) -> None:
    alarm = {"alarm": True, "verdict": " and ".join(kinds), "kinds": kinds}
    shop.registry.attach_evidence("1", "diagnosis", alarm)
    plan = due(shop.deployment, shop.registry, shop.clock)
    assert plan.train == trains
    assert ("mend the pipe" in plan.reason) != trains


def test_the_model_that_an_alarm_brought_is_followed_up_as_labels_come(shop: Shop) -> None:
    shop.reopen(f'{TOML}triggers = ["alarm"]\ncool_down = "2d"\nrefit = true\n')
    shop.days(0, 26)
    onset_us = START_US + 23 * DAY_US
    since = {"earliest": iso_utc(onset_us), "estimate": iso_utc(onset_us), "latest": iso_utc(onset_us)}
    alarm = {"alarm": True, "verdict": "concept drift", "since": since}
    shop.registry.attach_evidence("1", "diagnosis", alarm)
    first = due(shop.deployment, shop.registry, shop.clock)
    assert (first.train, first.change_us) == (True, onset_us)
    shop.train(Asked(trigger="alarm", change_us=first.change_us, keep_worse=True))
    (run,) = past_runs(shop.deployment)
    # Younger than the label delay are the newest two of the three days since then.
    assert (run.change_us, run.change_rows) == (onset_us, 200)

    shop.registry.attach_evidence("1", "diagnosis", {"alarm": False, "verdict": "healthy"})
    assert not due(shop.deployment, shop.registry, shop.clock).train
    shop.days(26, 3)
    plan = due(shop.deployment, shop.registry, shop.clock)
    assert (plan.train, plan.trigger, plan.change_us) == (True, "alarm", onset_us)
    assert "labelled rows since the change; the newest training had" in plan.reason


def test_the_watch_looks_until_it_is_stopped_and_tells_each_training(shop: Shop) -> None:
    shop.registry.attach_evidence("1", "diagnosis", {"alarm": True, "verdict": "concept drift"})
    stop = threading.Event()

    def start(plan: Plan, stop: threading.Event) -> str:
        stop.set()
        return f"because {plan.reason}"

    told = list(Watch(shop.deployment, shop.registry, shop.clock, start).follow(stop))
    assert [one.outcome for one in told] == ["because an alarm stands"]


def test_a_scheduled_training_waits_for_its_time_after_the_champion_was_made(shop: Shop) -> None:
    shop.reopen(TOML.replace('time_field = "time"\n', "") + 'triggers = ["schedule"]\nschedule = "30d"\n')
    made_us = shop.registry.version("1").created_at_us
    due = []
    for days in (1, 29, 30):
        clock = ShopClock(made_us + days * DAY_US)
        watch = Watch(shop.deployment, shop.registry, clock, lambda _plan, _stop: "done")
        due.append(watch.run_once(threading.Event()) is not None)
    assert due == [False, False, True]


def test_two_trainings_of_one_deployment_are_never_under_way_at_once(shop: Shop) -> None:
    with only_training(shop.deployment), pytest.raises(TrainError, match="under way"):
        shop.train()
    assert not list(past_runs(shop.deployment))


def hanging(tmp_path: Path) -> tuple[Shop, subprocess.Popen[bytes], int]:
    """A shop, a training of it by command, and the process of its trainer, which does not end by itself."""
    shop = open_shop(tmp_path / "shop")
    shop.days(0, 40)
    folder = shop.deployment.folder
    (folder / "mine.py").write_text(HANGING)
    shop.reopen(TOML + 'trainer = "mine:train"\n')
    command = [sys.executable, "-m", "holdfast", "train", "-C", str(folder)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = folder / "started"
    until(lambda: started.exists() and bool(started.read_text()))
    return shop, process, int(started.read_text())


def test_a_training_that_is_killed_takes_its_trainer_along_and_the_next_one_clears_up(tmp_path: Path) -> None:
    shop, process, trainer = hanging(tmp_path)
    process.kill()
    process.wait()
    until(lambda: not _lives(trainer))
    left = shop.deployment.datasets_folder / ".building-half"
    left.mkdir()
    assert [run.state for run in past_runs(shop.deployment)] == ["running"]
    with only_training(shop.deployment):
        assert [run.state for run in past_runs(shop.deployment)] == ["failed"]
    assert not left.exists()
    assert [one.version for one in shop.registry.versions()] == ["1"]
    shop.close()


def test_a_training_that_is_told_to_end_ends_its_trainer_and_writes_it_down(tmp_path: Path) -> None:
    shop, process, trainer = hanging(tmp_path)
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert not _lives(trainer)
    assert [run.state for run in past_runs(shop.deployment)] == ["failed"]
    shop.close()


def test_a_watched_training_is_bounded_in_time_and_ends_with_the_service() -> None:
    sleeps = [sys.executable, "-c", "import time; time.sleep(600)"]
    assert "longer than 0.2 s" in run_training(sleeps, threading.Event(), SystemClock(), 0.2)
    stopped = threading.Event()
    stopped.set()
    assert "the service stops" in run_training(sleeps, stopped, SystemClock(), 600)
    fails = [sys.executable, "-c", "import sys; print('no rows', file=sys.stderr); sys.exit(1)"]
    assert run_training(fails, threading.Event(), SystemClock(), 600) == "exit code 1: no rows\n"


def test_what_a_training_said_is_told_in_words() -> None:
    done = b'{"version": "2", "champion": "1", "comparison": {"verdict": "better"}}'
    assert outcome(0, done, b"") == "version 2 is registered, better than 1; next: holdfast rollout start 2"
    assert outcome(0, b'{"trained": false, "reason": "no trigger holds: alarm"}', b"").startswith(
        "not trained"
    )
    assert outcome(1, b"", b'{"error": "too few labelled rows"}') == "too few labelled rows"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
