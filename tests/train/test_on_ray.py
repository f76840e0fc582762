"""Candidates on a Ray cluster of two nodes, one of which dies.

Ray is large, so it is not among the tools of development: `pip install 'holdfast[ray]'` to run these.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from shop import TOML, Shop, open_shop

from holdfast.train import Asked, TrainerFailedError

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

CODE = """
import time
from holdfast.train import tabular

def train(data):
    time.sleep(SECONDS)
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


@pytest.fixture
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
    shop.registry.close()


def ask(shop: Shop, address: str, seconds: float) -> None:
    (shop.deployment.folder / "mine.py").write_text(CODE.replace("SECONDS", str(seconds)))
    shop.reopen(TOML + KEYS.replace("ADDRESS", address))


def candidates(shop: Shop, version: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shop.registry.evidence(version, "training")[0].payload["candidates"]
    return found


def test_candidates_are_spread_over_the_nodes_and_the_best_comes_back(cluster: Any, shop: Shop) -> None:
    ask(shop, cluster.address, 2.0)
    report = shop.train(Asked(keep_worse=True))
    made = candidates(shop, report.version)
    assert [one["number"] for one in made] == [0, 1, 2, 3]
    assert all(one["error"] is None for one in made)
    assert len({one["node"] for one in made}) == 2
    assert report.comparison.overall["roc_auc"].challenger > 0.75


def test_candidates_of_a_node_that_dies_are_trained_again_on_another(cluster: Any, shop: Shop) -> None:
    ask(shop, cluster.address, 6.0)

    def kill() -> None:
        time.sleep(8.0)
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = Thread(target=kill)
    killer.start()
    report = shop.train(Asked(keep_worse=True))
    killer.join()
    made = candidates(shop, report.version)
    assert all(one["error"] is None for one in made)
    assert len([one for one in ray_nodes(cluster) if one["Alive"]]) == 1


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


def ray_nodes(cluster: Any) -> list[dict[str, Any]]:
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        found: list[dict[str, Any]] = ray.nodes()
        return found
    finally:
        ray.shutdown()
