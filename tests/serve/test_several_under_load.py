"""Three models under mixed load while one of them is swapped, unloaded, broken or loses a worker."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import signal
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serve_process import ServeProcess, promote
from three_deployments import COMMON, FACTORS, KINDS, LINEAR, WARD, WIDE, Kind, make, make_three, raw_tensor

from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog, settle
from holdfast.registry import Registry
from holdfast.spec import Deployment


class Mixed:
    """Callers of all deployments at once, over HTTP and gRPC; checks every answer against its own model."""

    def __init__(self, service: ServeProcess, kinds: tuple[Kind, ...] = KINDS, seed: int = 1) -> None:
        self.answered: dict[str, list[str]] = defaultdict(list)
        """Prediction ids by deployment."""
        self.versions: dict[str, set[str]] = defaultdict(set)
        self.wrong: list[Any] = []
        self.refused: dict[str, list[Any]] = defaultdict(list)
        self.lost = 0
        self._service = service
        self._kinds = kinds
        self._next = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        address = json.loads((service.folder / "run" / "serve.json").read_bytes())["grpc"]
        self._threads = [threading.Thread(target=self._http, args=(seed + i,)) for i in range(4)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._grpc(address, seed + 99))))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def seen(self, more: int, kinds: tuple[Kind, ...] | None = None) -> Any:
        """Whether each of them has answered so many times again."""
        before = {kind.name: len(self.answered[kind.name]) for kind in kinds or self._kinds}
        return lambda: all(len(self.answered[name]) >= count + more for name, count in before.items())

    def _rows(self, chance: random.Random, kind: Kind) -> list[dict[str, Any]]:
        with self._lock:
            self._next += 8
            first = self._next
        return [kind.row(chance, first + i) for i in range(chance.randrange(1, 6))]

    def _check(self, kind: Kind, rows: list[Any], version: str, answers: list[float], ids: list[str]) -> None:
        factor = FACTORS[kind.name][int(version) - 1]
        if len(answers) != len(rows) or not all(map(kind.right, rows, [factor] * len(rows), answers)):
            self.wrong.append((kind.name, version, rows, answers))
        self.versions[kind.name].add(version)
        self.answered[kind.name] += ids

    def _http(self, seed: int) -> None:
        chance = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=30)
        while not self._stop.is_set():
            kind = chance.choice(self._kinds)
            rows = self._rows(chance, kind)
            v2 = chance.random() < 0.5
            path = f"/v2/models/{kind.name}/infer" if v2 else f"/deployments/{kind.name}/predict"
            try:
                connection.request("POST", path, json.dumps({"inputs": kind.inputs(rows)} if v2 else rows))
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException):
                self.lost += 1
                connection.close()
                continue
            if response.status != 200:
                self.refused[kind.name].append((response.status, answer))
            elif v2:
                ids = answer["parameters"]["prediction_ids"].split(",")
                self._check(kind, rows, answer["model_version"], answer["outputs"][0]["data"], ids)
            else:
                ids = [one["prediction_id"] for one in answer]
                self._check(kind, rows, answer[0]["model_version"], [one[kind.key] for one in answer], ids)
        connection.close()

    async def _grpc(self, address: str, seed: int) -> None:
        import grpc

        from holdfast.serve.grpc_messages import SERVICE, message_class

        chance = random.Random(seed)
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary(
                f"/{SERVICE}/ModelInfer",
                request_serializer=message_class("ModelInferRequest").SerializeToString,
                response_deserializer=message_class("ModelInferResponse").FromString,
            )
            while not self._stop.is_set():
                kind = chance.choice(self._kinds)
                rows = self._rows(chance, kind)
                asked = message_class("ModelInferRequest")(model_name=kind.name)
                for one in kind.inputs(rows):
                    asked.inputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
                    asked.raw_input_contents.append(raw_tensor(one["datatype"], one["data"]))
                try:
                    # A channel whose worker has died fails at once for a second, however often it is asked.
                    answer = await call(asked, timeout=30, wait_for_ready=True)
                except grpc.aio.AioRpcError as error:
                    if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
                        self.lost += 1
                    else:
                        self.refused[kind.name].append((error.code(), error.details()))
                    continue
                dtype = "<f8" if kind is WIDE else "<f4"
                values = np.frombuffer(answer.raw_output_contents[0], dtype).tolist()
                ids = answer.parameters["prediction_ids"].string_param.split(",")
                self._check(kind, rows, answer.model_version, values, ids)


def prove(deployment: Deployment, ids: list[str], *, exactly: bool) -> set[str]:
    """The deployment's log holds what it answered, once, and nothing of anybody else."""
    settle(deployment.log_folder, SystemClock())
    log = PredictionLog(deployment.log_folder)
    rows = log.predictions().read_all().to_pylist()
    logged = [row["prediction_id"] for row in rows]
    assert len(set(ids)) == len(ids)
    assert len(set(logged)) == len(logged)
    assert {row["deployment"] for row in rows} == {deployment.name}
    assert set(ids) <= set(logged)
    ledger = log.ledger()
    assert ledger.unaccounted == 0
    if exactly:
        assert ledger.served == len(ids)
    return set(logged)


@pytest.mark.slow
def test_three_models_under_mixed_load_answer_each_with_its_own_while_one_is_swapped_and_a_worker_dies(
    tmp_path: Path,
) -> None:
    deployments = make_three(tmp_path)
    with ServeProcess(deployments[0].folder, others=[one.folder for one in deployments[1:]]) as service:
        with Mixed(service) as mixed:
            service.wait_for(mixed.seen(100))
            promote(deployments[1], "2")
            service.wait_for(lambda: service.log.read_text().count("ward: worker") == 2)
            service.wait_for(mixed.seen(50))
            mixed.versions.clear()
            service.wait_for(mixed.seen(50))
            # The other two went on with what they had.
            assert mixed.versions == {LINEAR.name: {"1"}, WARD.name: {"2"}, WIDE.name: {"1"}}
            assert mixed.lost == 0
            victim = service.workers()[0]
            os.kill(victim, signal.SIGKILL)
            service.wait_for(lambda: victim not in service.workers() and len(service.workers()) == 2)
            service.wait_for(mixed.seen(100))
        assert not mixed.wrong
        assert not mixed.refused
        assert mixed.lost <= 5  # those whose connection died with the worker
    logged = [prove(one, mixed.answered[one.name], exactly=False) for one in deployments]
    assert not logged[0] & logged[1]
    assert not logged[1] & logged[2]


@pytest.mark.slow
def test_a_model_is_unloaded_and_brought_back_while_the_others_answer_everything(tmp_path: Path) -> None:
    deployments = make_three(tmp_path)
    others = (LINEAR, WIDE)
    with ServeProcess(deployments[0].folder, others=[one.folder for one in deployments[1:]]) as service:
        ask = service.ask
        row = {"age": 3, "city": "north"}
        with Mixed(service, others) as mixed:
            service.wait_for(mixed.seen(50))
            assert ask("POST", "/v2/repository/models/ward/load", {"parameters": {"version": "2"}})[0] == 200
            assert ask("POST", "/v2/repository/models/ward/unload") == (200, {})
            for path in ("/v2/models/ward/infer", "/v2/models/ward/versions/2/infer"):
                status, error = ask("POST", path, {"inputs": WARD.inputs([row])})
                assert (status, "unloaded" in error["error"]) == (404, True)
            for _ in range(6):  # either worker
                assert ask("POST", "/deployments/ward/predict", row)[0] == 404
            assert ask("GET", "/v2/models/ward/ready")[0] == 404
            # What is unloaded on purpose keeps no load balancer away.
            assert ask("GET", "/readyz") == (200, {"ready": True})
            index = ask("POST", "/v2/repository/index", {})[1]
            assert {
                (one["version"], one["state"], one["reason"]) for one in index if one["name"] == "ward"
            } == {
                ("1", "UNAVAILABLE", "unloaded"),
                ("2", "UNAVAILABLE", "unloaded"),
            }
            body = {"parameters": {"version": "2"}}
            status, error = ask("POST", "/v2/repository/models/ward/load", body)
            assert (status, "without a version" in error["error"]) == (409, True)
            os.kill(service.workers()[0], signal.SIGKILL)
            service.wait_for(mixed.seen(50))
            for _ in range(6):  # a worker that comes later does not know it either
                assert ask("POST", "/deployments/ward/predict", row)[0] == 404
            promote(deployments[1], "2")
            assert ask("POST", "/v2/repository/models/ward/load") == (200, {})
            for _ in range(6):
                assert ask("POST", "/deployments/ward/predict", row)[1]["model_version"] == "2"
            index = ask("POST", "/v2/repository/index", {"ready": True})[1]
            ready = {(one["name"], one["version"]): one for one in index}
            assert set(ready) == {(LINEAR.name, "1"), (WARD.name, "2"), (WIDE.name, "1")}
            assert ready[WARD.name, "2"]["champion"] is True
        assert not mixed.wrong
        assert not mixed.refused
    for deployment, kind in ((deployments[0], LINEAR), (deployments[2], WIDE)):
        prove(deployment, mixed.answered[kind.name], exactly=False)


def test_a_model_that_cannot_be_loaded_keeps_to_itself(tmp_path: Path) -> None:
    toml = COMMON.replace("cores = 2", "cores = 1")
    linear, ward = make(tmp_path / "a", LINEAR, toml), make(tmp_path / "b", WARD, toml)
    kept = {}
    for path in ward.artifacts_folder.rglob("*.onnx"):
        path.chmod(0o644)
        kept[path] = path.read_bytes()
        path.write_bytes(path.read_bytes() + b"x")
    row = {"age": 3, "city": "north"}
    with ServeProcess(linear.folder, others=[ward.folder]) as service:
        ask = service.ask
        assert "ward: worker 0: version 1 cannot be loaded" in service.log.read_text()
        with Mixed(service, (LINEAR,)) as mixed:
            service.wait_for(mixed.seen(50))
            assert ask("POST", "/deployments/ward/predict", row)[0] == 503
            assert ask("GET", "/readyz") == (503, {"ready": False})
            assert ask("GET", "/deployments/linear/readyz") == (200, {"ready": True})
            states = {
                (one["name"], one["version"]): one for one in ask("POST", "/v2/repository/index", {})[1]
            }
            assert states["linear", "1"]["state"] == "READY"
            assert states["ward", "1"]["state"] == "UNAVAILABLE"
            assert states["ward", "1"]["reason"]
            # An operator who unloads it gets the rest ready.
            assert ask("POST", "/v2/repository/models/ward/unload")[0] == 200
            assert ask("GET", "/readyz")[0] == 200
            status, error = ask("POST", "/v2/repository/models/ward/load")
            assert (status, bool(error["error"])) == (409, True)
            assert ask("GET", "/readyz")[0] == 200
            for path, content in kept.items():
                path.write_bytes(content)
            assert ask("POST", "/v2/repository/models/ward/load") == (200, {})
            assert ask("POST", "/deployments/ward/predict", row)[0] == 200
        assert not mixed.wrong
        assert not mixed.refused
        assert mixed.lost == 0
    prove(linear, mixed.answered[LINEAR.name], exactly=True)


def copies(service: ServeProcess) -> dict[str, float]:
    """Rows that challengers answered as copies, by deployment."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(service.ask("GET", "/metrics")[1]):
        for sample in family.samples:
            if sample.name == "holdfast_shadow_rows_total" and sample.labels["outcome"] == "answered":
                found[sample.labels["model"]] = sample.value
    return found


@pytest.mark.slow
def test_a_rollout_of_one_model_gives_its_challenger_nothing_of_the_others(tmp_path: Path) -> None:
    deployments = make_three(tmp_path, COMMON.replace("cores = 2", "cores = 1"))
    ward = deployments[1]
    with ServeProcess(deployments[0].folder, others=[one.folder for one in deployments[1:]]) as service:
        with Mixed(service) as mixed, Registry.open(ward.registry_url, SystemClock()) as registry:
            number = registry.rollouts.start(
                "2", kind="update", baseline={}, assignment_key=b"k" * 16, deadline_us=2**60,
                earliest_decision_us=0, reason="test", actor="test", checklist_hash="", report={},
            ).number  # fmt: skip
            service.wait_for(lambda: copies(service).get("ward", 0) > 20)
            registry.rollouts.advance(number, 0.5, reason="test", actor="test")
            service.wait_for(lambda: mixed.versions["ward"] == {"1", "2"})
            service.wait_for(mixed.seen(30))
        assert not mixed.wrong
        assert not mixed.refused
        assert mixed.lost == 0
        assert set(copies(service)) == {"ward"}
        assert mixed.versions[LINEAR.name] == mixed.versions[WIDE.name] == {"1"}
    arms = {}
    for deployment in deployments:
        settle(deployment.log_folder, SystemClock())
        rows = PredictionLog(deployment.log_folder).predictions().read_all().to_pylist()
        arms[deployment.name] = {(row["arm"], row["model_version"]) for row in rows}
    assert arms[LINEAR.name] == arms[WIDE.name] == {("champion", "1")}
    assert arms["ward"] >= {("champion", "1"), ("challenger", "2"), ("shadow", "2")}


def test_a_reload_takes_all_checklists_over_or_none_of_them(tmp_path: Path) -> None:
    toml = COMMON.replace("cores = 2", "cores = 1")
    linear, ward = make(tmp_path / "a", LINEAR, toml), make(tmp_path / "b", WARD, toml)
    path = ward.folder / "holdfast.toml"
    row = {"age": 3, "city": "north"}
    with ServeProcess(linear.folder, others=[ward.folder]) as service:

        def reload(text: str) -> None:
            path.write_text(text)
            service.process.send_signal(signal.SIGHUP)

        before = service.workers()
        old = path.read_text()
        reload(old + "[predictions]\nmax_rows_per_request = 2\n")
        service.wait_for(lambda: service.workers() and not set(service.workers()) & set(before))
        assert service.ask("POST", "/deployments/ward/predict", [row] * 3)[0] == 413
        assert service.ask("POST", "/deployments/linear/predict", [{"a": 1, "b": 0}] * 3)[0] == 200
        now = service.workers()
        for text, said in (
            (old.replace("cores = 1", "cores = 2"), "must agree"),
            (old.replace('"ward"', '"another"'), "cannot change its name"),
        ):
            reload(text)
            service.wait_for(lambda said=said: said in service.log.read_text())
        assert service.workers() == now
        assert service.ask("POST", "/deployments/ward/predict", row)[0] == 200


def test_a_registry_that_is_destroyed_takes_nothing_from_the_other_deployment(tmp_path: Path) -> None:
    toml = COMMON.replace("cores = 2", "cores = 1")
    linear, ward = make(tmp_path / "a", LINEAR, toml), make(tmp_path / "b", WARD, toml)
    row = {"age": 3, "city": "north"}
    with ServeProcess(linear.folder, others=[ward.folder]) as service:
        ask = service.ask
        (ward.folder / "registry.db").write_bytes(b"garbage" * 4000)
        service.wait_for(lambda: "ward: the route table cannot be read" in service.log.read_text())
        index = {(one["name"], one["version"]): one for one in ask("POST", "/v2/repository/index", {})[1]}
        assert index["linear", "1"]["state"] == "READY"
        assert "registry cannot be read" in index["ward", ""]["reason"]
        assert ask("POST", "/deployments/ward/v2/repository/index", {})[0] == 409
        body = {"parameters": {"version": "2"}}
        assert ask("POST", "/v2/repository/models/ward/load", body)[0] == 409
        assert ask("POST", "/v2/repository/models/linear/load", body) == (200, {})
        # What is known goes on, and can be unloaded and brought back.
        assert ask("POST", "/deployments/ward/predict", row)[0] == 200
        assert ask("POST", "/v2/repository/models/ward/unload") == (200, {})
        assert ask("POST", "/deployments/ward/predict", row)[0] == 404
        assert ask("POST", "/v2/repository/models/ward/load") == (200, {})
        assert ask("POST", "/deployments/ward/predict", row)[0] == 200
        promote(linear, "2")
        service.wait_for(
            lambda: ask("POST", "/deployments/linear/predict", {"a": 1, "b": 0})[1]["prediction"] == 5
        )


def test_a_version_beyond_its_own_deployment_s_memory_is_refused_whatever_the_others_have_left(
    tmp_path: Path,
) -> None:
    toml = COMMON.replace("cores = 2", "cores = 1")
    small = make(tmp_path / "a", LINEAR, f"{toml}memory_mb = 64\n")
    ward = make(tmp_path / "b", WARD, toml)
    (folder,) = [one for one in small.artifacts_folder.iterdir() if one.name == version_folder(small, "2")]
    (folder / "padding").write_bytes(b"\0" * 80 * 2**20)
    body = {"parameters": {"version": "2"}}
    with ServeProcess(small.folder, others=[ward.folder]) as service:
        status, error = service.ask("POST", "/v2/repository/models/linear/load", body)
        assert (status, "memory_mb = 64" in error["error"]) == (409, True)
        assert service.ask("POST", "/v2/repository/models/ward/load", body) == (200, {})
        assert service.ask("POST", "/deployments/linear/predict", {"a": 1, "b": 0})[1]["prediction"] == 2.0


def version_folder(deployment: Deployment, version: str) -> str:
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        return registry.version(version).artifact_folder
