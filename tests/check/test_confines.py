"""Holding a service to its compute: which means is used, and what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast.check.confines import Confines, Usage
from holdfast.check.memory import Peak, Resident, memory_line, peak_of


def cgroup(folder: Path, *, controllers: str, passed_on: str, processes: str = "") -> None:
    folder.mkdir(parents=True)
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text(passed_on)
    (folder / "cgroup.procs").write_text(processes)


def test_a_cgroup_is_used_where_the_memory_controller_is_passed_on(tmp_path: Path) -> None:
    cgroup(tmp_path / "system.slice", controllers="cpu memory", passed_on="cpu memory\n")
    confines = Confines(1, 512_000_000, cgroups=tmp_path, own="0::/system.slice\n")
    assert confines.group is not None
    assert "cgroup" in confines.how
    confines.limit([])
    assert (confines.group / "memory.max").read_text() == "512000000"


def test_processes_that_the_kernel_ended_at_the_limit_are_counted(tmp_path: Path) -> None:
    cgroup(tmp_path / "a", controllers="memory", passed_on="memory")
    confines = Confines(1, 512_000_000, cgroups=tmp_path, own="0::/a\n")
    assert confines.killed() == 0
    assert confines.group is not None
    (confines.group / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 2\n")
    assert confines.killed() == 2


def test_a_process_alone_in_a_delegated_group_makes_room_for_one_of_the_service(tmp_path: Path) -> None:
    cgroup(tmp_path / "run.scope", controllers="memory", passed_on="", processes=f"{os.getpid()}\n")
    confines = Confines(1, 512_000_000, cgroups=tmp_path, own="0::/run.scope\n")
    assert confines.group is not None
    assert (tmp_path / "run.scope" / "cgroup.subtree_control").read_text() == "+memory"
    inside = tmp_path / "run.scope" / f"holdfast-self-{os.getpid()}"
    assert (inside / "cgroup.procs").read_text() == str(os.getpid())
    confines.close()
    assert (tmp_path / "run.scope" / "cgroup.subtree_control").read_text() == "-memory"
    assert (tmp_path / "run.scope" / "cgroup.procs").read_text() == str(os.getpid())


@pytest.mark.parametrize(
    ("controllers", "passed_on", "processes", "own"),
    [
        ("cpu", "cpu", "", "0::/system.slice\n"),
        ("memory", "memory", "", "4:memory:/x\n"),
        ("memory", "", f"1\n{os.getpid()}\n", "0::/system.slice\n"),
        ("memory", "memory", "", "0::/elsewhere\n"),
    ],
    ids=["no controller", "version 1", "not alone", "no such group"],
)
def test_without_that_rlimit_is_used_and_the_report_says_so(
    tmp_path: Path, controllers: str, passed_on: str, processes: str, own: str
) -> None:
    cgroup(tmp_path / "system.slice", controllers=controllers, passed_on=passed_on, processes=processes)
    confines = Confines(1, 512_000_000, cgroups=tmp_path, own=own)
    assert confines.group is None
    assert "rlimit" in confines.how
    assert [one.name for one in (tmp_path / "system.slice").iterdir() if one.is_dir()] == []


@pytest.fixture
def real_group() -> Iterator[tuple[Path, str]]:
    """A fresh group of the kernel below our own, and a controller that it has."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    own = next(
        (line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"), None
    )
    if root is None or own is None:
        pytest.skip("no cgroup of version 2 is mounted here")
    parent = root / own.lstrip("/")
    passed_on = (parent / "cgroup.subtree_control").read_text().split()
    if not passed_on:
        pytest.skip("no controller is passed on to groups below our own")
    group = parent / f"holdfast-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no group may be made here: {error}")
    yield group, "memory" if "memory" in passed_on else passed_on[0]
    for _ in range(100):
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
    group.rmdir()


INSIDE = """
import os, subprocess, sys
from pathlib import Path
from holdfast.check.cgroup import make_place

group, controller, alone = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "alone"
(group / "cgroup.procs").write_text(str(os.getpid()))
other = None if alone else subprocess.Popen(["sleep", "30"])
place = make_place(group.parent, f"0::/{group.name}\\n", controller)
if place is None:
    print("none", sorted(one.name for one in group.iterdir() if one.is_dir()))
else:
    service = subprocess.Popen(["sleep", "30"])
    (place.group / "cgroup.procs").write_text(str(service.pid))
    print("held", Path(f"/proc/{service.pid}/cgroup").read_text().split("/")[-1].split("-")[:2])
    service.kill()
    service.wait()
    place.remove()
    print("back", (group / "cgroup.procs").read_text().split() == [str(os.getpid())])
    print("left", sorted(one.name for one in group.iterdir() if one.is_dir()))
if other is not None:
    other.kill()
    other.wait()
"""


@pytest.mark.parametrize("alone", [True, False])
def test_in_a_real_group_of_the_kernel_room_is_made_and_everything_put_back(
    real_group: tuple[Path, str], *, alone: bool
) -> None:
    group, controller = real_group
    command = [sys.executable, "-c", INSIDE, str(group), controller, "alone" if alone else "with another"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    if alone:
        assert said == ["held ['holdfast', 'check']", "back True", "left []"]
    else:
        assert said == ["none []"]


def test_usage_sums_the_processes_of_one_session_only(tmp_path: Path) -> None:
    for pid, session, pss_kb in ((10, 10, 100), (11, 10, 50), (12, 99, 7000)):
        entry = tmp_path / str(pid)
        entry.mkdir()
        (entry / "stat").write_text(f"{pid} (a b) S 1 1 {session} 0 0 0 0 0 0 0 200 100 0 0\n")
        (entry / "smaps_rollup").write_text(f"Rss: {pss_kb + 20} kB\nPss: {pss_kb} kB\n")
        (entry / "status").write_text(f"Name:\tholdfast\nVmHWM:\t     {pss_kb + 70} kB\nVmRSS:\t1 kB\n")
    usage = Usage(10, tmp_path)
    assert usage.pids() == [10, 11]
    assert usage.memory() == Resident(150 * 1024, 190 * 1024, 290 * 1024)
    assert Usage(13, tmp_path).memory() is None


def test_a_peak_between_two_samples_lies_inside_the_interval() -> None:
    # Two processes share 20 MB; one of them took 30 MB more between two looks.
    samples = [
        Resident(100_000_000, 120_000_000, 120_000_000),
        Resident(100_000_000, 120_000_000, 150_000_000),
    ]
    assert peak_of(samples) == Peak(100_000_000, 130_000_000)
    assert peak_of([]) is None


def test_a_process_that_frees_what_it_took_is_bounded_by_the_kernel_s_own_mark() -> None:
    code = "import time; a = bytearray(80_000_000); del a; print('x', flush=True); time.sleep(30)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"x\n"
        used = Usage(process.pid).memory()
    finally:
        process.kill()
        process.communicate()
    if used is None:
        pytest.skip("this system does not tell what a process takes")
    peak = peak_of([used])
    assert peak is not None
    assert peak.seen < 60_000_000
    assert peak.bound > 80_000_000


def test_what_a_service_grew_by_after_the_first_load_lies_inside_the_interval() -> None:
    once, twice = Peak(400_000_000, 410_000_000), Peak(460_000_000, 470_000_000)
    short, long = memory_line(512, once), memory_line(512, twice, first=once)
    assert short.interval is not None
    assert long.interval is not None
    assert long.measured == 460.0
    assert long.interval[0] == short.interval[0] < 400
    assert long.interval[1] > 470


def test_a_memory_limit_inside_the_interval_is_unknown_and_names_what_is_surely_enough() -> None:
    peak = Peak(300_000_000, 330_000_000)
    assert memory_line(512, peak).verdict == "pass"
    assert memory_line(250, peak).verdict == "fail"
    unsure = memory_line(320, peak)
    assert unsure.verdict == "unknown"
    assert unsure.interval is not None
    low, high = unsure.interval
    assert low < 300
    assert high > 330
    assert "surely enough" in str(unsure.advice)
    assert memory_line(512, None).verdict == "unknown"


def test_the_time_of_others_is_counted_on_the_cores_of_the_service_alone(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    core = Confines(1, 512_000_000, own="").cores[0]
    # user nice system idle iowait irq softirq steal guest guest_nice, in ticks.
    stat.write_text(
        f"cpu 9 9 9 9 9 9 9 9 0 0\ncpu{core} 100 20 30 999 50 40 60 50 0 0\ncpu{core + 7} 5 5 5 5 5 5 5 5\n"
    )
    assert Confines(1, 512_000_000, own="").busy_s(stat) == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))
    assert Confines(1, 512_000_000, own="").busy_s(tmp_path / "none") is None


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core leaves none to stand aside on")
def test_who_measures_stands_aside_of_the_service_and_comes_back() -> None:
    before = os.sched_getaffinity(0)
    confines = Confines(1, 512_000_000, own="")
    with confines.aside():
        assert os.sched_getaffinity(0) == set(confines.others)
        of_a_child = subprocess.run(
            [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"],
            preexec_fn=confines.enter(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert of_a_child.stdout.split() == [str(core) for core in confines.cores]
    assert os.sched_getaffinity(0) == before


def test_a_machine_without_a_core_to_spare_is_measured_from_where_one_stands() -> None:
    before = os.sched_getaffinity(0)
    with Confines(len(before), 512_000_000, own="").aside():
        assert os.sched_getaffinity(0) == before
