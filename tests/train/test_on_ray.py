"""Candidates on a Ray cluster of two nodes, one of which dies in the last of these tests.

Ray is large, so it is not among the tools of development; CI has it: `uv sync --extra ray` to run these.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from shop import TOML, Shop, open_shop

from holdfast.registry import Registry
from holdfast.train import Asked, TrainerFailedError

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

CODE = """
import time
from holdfast.train import tabular

def train(data):
    time.sleep(SECONDS)
    return tabular.train(data)
"""
WAITING = """
import os
import time
from pathlib import Path
from holdfast.train import tabular

def above(process):
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])

def train(data):
    seen, process = Path("SEEN"), os.getppid()
    while "raylet" not in Path(f"/proc/{process}/comm").read_text():
        process = above(process)
    (seen / f"{data.candidate}-{process}-{os.getpid()}").touch()
    while not (seen / "go").exists():
        time.sleep(0.05)
    return tabular.train(data)
"""
KEYS = 'trainer = "mine:train"\ncandidates = 4\nengine = "ray"\nmemory_mb = 512\nray_address = "ADDRESS"\n'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
    ),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        room = {"num_cpus": 1, "memory": 2 * 2**30, "object_store_memory": 100 * 2**20}
        found = Cluster(initialize_head=True, head_node_args=room)
        found.second = found.add_node(**room)
        yield found
        found.shutdown()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = open_shop(tmp_path / "shop")
    shop.days(0, 20)
    yield shop
    shop.close()


def ask(shop: Shop, address: str, seconds: float) -> None:
    (shop.deployment.folder / "mine.py").write_text(CODE.replace("SECONDS", str(seconds)))
    shop.reopen(TOML + KEYS.replace("ADDRESS", address))


def candidates(shop: Shop, version: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.registry.evidence(version, "training")[0].payload["candidates"]
    return found


def test_candidates_are_spread_over_the_nodes_and_the_best_comes_back(cluster: Any, shop: Shop) -> None:
    ask(shop, cluster.address, 1.0)
    report = shop.train(Asked(keep_worse=True))
    made = candidates(shop, report.version)
    assert [one["number"] for one in made] == [0, 1, 2, 3]
    assert all(one["error"] is None for one in made)
    assert len({one["node"] for one in made}) == 2
    assert report.comparison.overall["roc_auc"].challenger > 0.75


def test_a_cluster_that_does_not_answer_is_an_error_and_not_waited_for(shop: Shop) -> None:
    ask(shop, "127.0.0.1:1", 0.0)
    began_s = time.monotonic()
    with pytest.raises(TrainerFailedError, match="can be reached"):
        shop.train()
    assert time.monotonic() - began_s < 60


def test_a_cluster_without_room_is_an_error(cluster: Any, shop: Shop) -> None:
    ask(shop, cluster.address, 0.0)
    shop.reopen(TOML + KEYS.replace("ADDRESS", cluster.address) + "cores = 64\n")
    with pytest.raises(TrainerFailedError, match="has room"):
        shop.train()
    assert [one.version for one in shop.registry.versions()] == ["1"]


def test_a_candidate_of_a_node_that_dies_is_run_again_on_another_and_meanwhile_nothing_is_registered(
    cluster: Any, shop: Shop, tmp_path: Path
) -> None:
    """Each attempt leaves a file that names the raylet above it, and goes on once it may."""
    seen = tmp_path / "seen"
    seen.mkdir()
    (shop.deployment.folder / "mine.py").write_text(WAITING.replace("SEEN", str(seen)))
    shop.reopen(TOML + KEYS.replace("ADDRESS", cluster.address).replace("candidates = 4", "candidates = 2"))
    raylets = {
        name: raylet_of(node) for name, node in (("head", cluster.head_node), ("second", cluster.second))
    }
    reports: list[Any] = []
    training = Thread(target=lambda: reports.append(shop.train(Asked(keep_worse=True))))
    training.start()
    try:
        first = until(lambda: attempts(seen), lambda found: len(found) == 2)
        assert {one.raylet for one in first} == set(raylets.values())
        (lost,) = [one for one in first if one.raylet == raylets["second"]]
        cluster.remove_node(cluster.second, allow_graceful=False)
        until(lambda: alive(lost.process), lambda lives: not lives)
        assert registered(shop) == ["1"]
        (seen / "go").touch()
        training.join(120)
    finally:
        (seen / "go").touch()
        training.join(120)
    again = [one for one in attempts(seen) if one.candidate == lost.candidate]
    assert sorted(one.raylet == raylets["head"] for one in again) == [False, True]
    (report,) = reports
    made = candidates(shop, report.version)
    assert [(one["number"], one["error"]) for one in made] == [(0, None), (1, None)]
    assert len({one["node"] for one in made}) == 1
    assert registered(shop) == ["1", "2"]
    assert {one.kind for one in shop.registry.evidence("2")} >= {"comparison", "training"}


@dataclass(frozen=True)
class Attempt:
    candidate: int
    raylet: int
    process: int


def attempts(seen: Path) -> list[Attempt]:
    return [Attempt(*map(int, path.name.split("-"))) for path in seen.glob("*-*-*")]


def until(look: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """Look until it is enough; a minute is for a machine that has much else to do."""
    deadline_s = time.monotonic() + 60
    while not enough(found := look()):
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)
    return found


def alive(process: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def raylet_of(node: Any) -> int:
    found: int = node.all_processes["raylet"][0].process.pid
    return found


def registered(shop: Shop) -> list[str]:
    with Registry.open(shop.deployment.registry_url, shop.clock) as registry:
        return [one.version for one in registry.versions()]
