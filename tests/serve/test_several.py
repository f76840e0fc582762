"""Several deployments in one service: every path leads to the right one, and none knows of the others."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serve_process import ServeProcess
from three_deployments import COMMON, FACTORS, KINDS, LINEAR, WARD, WIDE, make, make_three

from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog, settle
from holdfast.serve import AgreementError
from holdfast.serve.agreement import check_agreement
from holdfast.spec import Deployment

ONE_CORE = COMMON.replace("cores = 2", "cores = 1")
A_ROW = {"a": 3.0, "b": 0.0}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    deployments = make_three(tmp_path_factory.mktemp("three"), ONE_CORE)
    folders = [one.folder for one in deployments]
    with ServeProcess(folders[0], others=folders[1:]) as running:
        yield running


def below(name: str, path: str) -> str:
    return f"/deployments/{name}{path}"


def test_every_protocol_leads_to_the_deployment_that_it_names(service: ServeProcess) -> None:
    chance = random.Random(1)
    for kind in KINDS:
        row = kind.row(chance, 7)
        factor = FACTORS[kind.name][0]
        status, answer = service.ask("POST", below(kind.name, "/predict"), row)
        assert (status, kind.right(row, factor, answer[kind.key])) == (200, True)
        for path in (f"/v2/models/{kind.name}/infer", f"/v2/models/{kind.name}/versions/1/infer"):
            for root in ("", below(kind.name, "")):
                status, answer = service.ask("POST", root + path, {"inputs": kind.inputs([row])})
                assert (status, answer["model_name"]) == (200, kind.name)
                assert kind.right(row, factor, answer["outputs"][0]["data"][0])
        status, answer = service.ask("POST", f"/v1/models/{kind.name}:predict", {"instances": [row]})
        assert status == 200
        body = {"dataframe_records": [row]}
        status, answer = service.ask("POST", below(kind.name, "/invocations"), body)
        assert (status, len(answer["predictions"])) == (200, 1)
        assert service.ask("GET", f"/v2/models/{kind.name}")[1]["name"] == kind.name
        assert service.ask("GET", f"/v2/models/{kind.name}/ready")[1]["ready"] is True
        assert service.ask("GET", f"/v1/models/{kind.name}")[1]["name"] == kind.name
        described = service.ask("GET", below(kind.name, "/openapi.json"))[1]
        assert described["info"]["title"] == kind.name
        assert described["servers"] == [{"url": below(kind.name, "")}]
        links = service.ask("GET", below(kind.name, "/"))[1]["links"]
        assert links["predict"] == below(kind.name, "/predict")
        assert service.ask("GET", links["describe"])[1] == described
        assert service.ask("GET", below(kind.name, "/readyz")) == (200, {"ready": True})
        assert service.ask("GET", below(kind.name, "/"))[1]["name"] == kind.name
        assert service.ask("GET", below(kind.name, ""))[1]["name"] == kind.name


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/labels", "/consent"])
def test_a_path_that_names_nobody_is_told_whom_it_could_mean(service: ServeProcess, path: str) -> None:
    status, error = service.ask("POST", path, A_ROW)
    assert status == 404
    assert error["expected"] == ", ".join(below(kind.name, path) for kind in KINDS)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other/infer",
        "/v2/models/other",
        "/v1/models/other:predict",
        "/deployments/other/predict",
        "/v2/repository/models/other/load",
    ],
)
def test_a_name_that_nobody_has_is_told_which_there_are(service: ServeProcess, path: str) -> None:
    status, error = service.ask("POST", path, {})
    assert (status, error["what"]) == (404, "no such model")
    assert error["expected"] == "'linear', 'ward', 'wide.six-columns'"


def test_one_deployment_s_path_does_not_reach_another_s_model(service: ServeProcess) -> None:
    path = below("ward", "/v2/models/linear/infer")
    status, error = service.ask("POST", path, {"inputs": LINEAR.inputs([A_ROW])})
    assert (status, error["expected"]) == (404, "'ward'")


def test_the_service_as_a_whole_tells_of_all(service: ServeProcess) -> None:
    names = [kind.name for kind in KINDS]
    assert service.ask("GET", "/v1/models")[1] == {"models": names}
    home = service.ask("GET", "/")[1]
    assert [one["name"] for one in home["deployments"]] == names
    assert service.ask("GET", "/deployments")[1] == home
    assert service.ask("GET", "/readyz") == (200, {"ready": True})
    assert service.ask("GET", "/v2/health/ready")[0] == 200
    assert "model_repository" in service.ask("GET", "/v2")[1]["extensions"]
    index = service.ask("POST", "/v2/repository/index", {})[1]
    assert [(one["name"], one["version"], one["state"]) for one in index] == [
        (name, version, state) for name in names for version, state in (("1", "READY"), ("2", "UNAVAILABLE"))
    ]
    alone = service.ask("POST", below("ward", "/v2/repository/index"), {"ready": True})[1]
    assert [(one["name"], one["version"]) for one in alone] == [("ward", "1")]


def test_metrics_carry_the_deployment_and_each_has_its_own(service: ServeProcess) -> None:
    for kind in KINDS:
        service.ask("POST", below(kind.name, "/predict"), kind.row(random.Random(1), 7))
    families = {one.name: one for one in text_string_to_metric_families(service.ask("GET", "/metrics")[1])}
    names = {kind.name for kind in KINDS}
    for family in (
        "holdfast_requests",
        "holdfast_rows",
        "holdfast_champion",
        "holdfast_version_memory_bytes",
    ):
        assert {sample.labels["model"] for sample in families[family].samples} == names
    assert {sample.value for sample in families["holdfast_ready"].samples} == {1.0}
    text = service.ask("GET", below("ward", "/metrics"))[1]
    assert 'model="ward"' in text
    assert 'model="linear"' not in text


def test_hot_requests_to_different_deployments_keep_their_order_on_one_connection(
    service: ServeProcess,
) -> None:
    import random
    import socket

    chance = random.Random(2)
    asked: list[tuple[Any, dict[str, Any]]] = []
    data = b""
    for i in range(24):
        kind = KINDS[i % 3]
        row = kind.row(chance, i)
        asked.append((kind, row))
        body = json.dumps(row).encode()
        head = (
            f"POST {below(kind.name, '/predict')} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        data += head.encode() + body
    with socket.create_connection(("127.0.0.1", service.port), timeout=15) as connection:
        for _ in range(2):  # the second time the heads are known
            connection.sendall(data)
            file = connection.makefile("rb")
            for kind, row in asked:
                length = 0
                assert file.readline().startswith(b"HTTP/1.1 200")
                while (line := file.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                answer = json.loads(file.read(length))
                assert kind.right(row, FACTORS[kind.name][0], answer[kind.key])


@pytest.mark.parametrize("root", ["", "/deployments/ward"])
def test_streams_are_opened_by_the_name_of_the_model(service: ServeProcess, root: str) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    address = f"ws://127.0.0.1:{service.port}"
    with (
        connect(f"{address}/v2/models/linear/stream", proxy=None) as linear,
        connect(f"{address}{root}/v2/models/ward/stream", proxy=None) as ward,
    ):
        for i in range(3):
            row = {"age": i, "city": "north"}
            linear.send(json.dumps({"frame": {"a": i, "b": 0}}))
            ward.send(json.dumps({"frame": row}))
            assert json.loads(linear.recv(10))["prediction"] == 2.0 * i
            assert WARD.right(row, FACTORS["ward"][0], json.loads(ward.recv(10))["score"])
    with pytest.raises(InvalidStatus) as caught:
        connect(f"{address}/v2/models/other/stream", proxy=None)
    assert caught.value.response.status_code == 404
    assert b"'linear'" in (caught.value.response.body or b"")


def test_limits_are_each_deployment_s_own_and_labels_reach_its_own_log(tmp_path: Path) -> None:
    small = ONE_CORE + "[predictions]\nmax_body_bytes = 1024\nmax_rows_per_request = 2\n"
    linear, wide = make(tmp_path / "a", LINEAR, small), make(tmp_path / "b", WIDE, ONE_CORE)
    with ServeProcess(linear.folder, others=[wide.folder]) as service:
        many = [A_ROW] * 3
        assert service.ask("POST", below("linear", "/predict"), many)[0] == 413
        assert service.ask("POST", "/v2/models/linear/infer", {"x": "y" * 2000})[0] == 413
        wide_row = dict.fromkeys((f"c{i}" for i in range(6)), 1.0)
        status, answers = service.ask("POST", below(WIDE.name, "/predict"), [wide_row] * 50)
        assert (status, len(answers)) == (200, 50)
        _, answer = service.ask("POST", below("linear", "/predict"), A_ROW)
        for name, path in (("linear", "/labels"), (WIDE.name, "/labels")):
            label = {"prediction_id": answer["prediction_id"], "label": 6.0}
            assert service.ask("POST", below(name, path), label) == (200, {"accepted": 1})
    for deployment, rows in ((linear, 1), (wide, 50)):
        settle(deployment.log_folder, SystemClock())
        log = PredictionLog(deployment.log_folder)
        assert log.ledger().served == rows
        assert {row["deployment"] for row in log.predictions().read_all().to_pylist()} == {deployment.name}
        assert log.labels().read_all().num_rows == 1


def test_keys_of_one_deployment_do_not_open_another(tmp_path: Path) -> None:
    def keyed(secret: str) -> str:
        digest = hashlib.sha256(secret.encode()).hexdigest()
        return ONE_CORE + f'[security]\nauth = "keys"\napi_key_hashes = ["{digest}"]\n'

    deployments = [
        make(tmp_path / "a", LINEAR, keyed("first")),
        make(tmp_path / "b", WARD, keyed("second")),
    ]
    row = {"age": 3, "city": "north"}
    with ServeProcess(deployments[0].folder, others=[deployments[1].folder]) as service:
        ask = service.ask
        for path, body, key, other in (
            (below("linear", "/predict"), A_ROW, "first", "second"),
            ("/v2/models/linear/infer", {"inputs": LINEAR.inputs([A_ROW])}, "first", "second"),
            (below("ward", "/predict"), row, "second", "first"),
            ("/v2/models/ward/infer", {"inputs": WARD.inputs([row])}, "second", "first"),
        ):
            for _ in range(2):  # the second time the head is known
                assert ask("POST", path, body, key)[0] == 200
                assert ask("POST", path, body, other)[0] == 401
                assert ask("POST", path, body)[0] == 401
        # What names no deployment shows those that the key opens, and nothing to strangers.
        for path in ("/v1/models", "/", "/metrics", "/deployments"):
            assert ask("GET", path)[0] == 401
            assert ask("GET", path, key="neither")[0] == 401
        assert ask("GET", "/v1/models", key="second")[1] == {"models": ["ward"]}
        assert 'model="linear"' not in ask("GET", "/metrics", key="second")[1]
        assert ask("POST", "/predict", A_ROW)[0] == 401
        assert ask("POST", "/predict", A_ROW, "second")[1]["expected"] == "/deployments/ward/predict"
        assert ask("POST", "/v2/models/other/infer", {})[0] == 401
        assert ask("POST", "/v2/models/other/infer", {}, "first")[1]["expected"] == "'linear'"
        index = ask("POST", "/v2/repository/index", {}, "first")[1]
        assert {one["name"] for one in index} == {"linear"}
        # A key of the checklist is no administrator's.
        assert ask("POST", "/v2/repository/models/linear/unload", {}, "first")[0] == 403
        assert ask("POST", "/v2/repository/models/linear/unload", {}, "second")[0] == 401
        assert ask("GET", "/readyz")[0] == 200

        def refused() -> str:
            text: str = ask("GET", "/metrics", key="second")[1]
            return next(line for line in text.splitlines() if 'reason="unauthorised"' in line)

        before = refused()
        for _ in range(5):
            assert ask("GET", "/v1/models", key="first")[1] == {"models": ["linear"]}
        assert refused() == before


def opened(folder: Path, name: str, toml: str) -> Deployment:
    folder.mkdir()
    (folder / "holdfast.toml").write_text(f'[model]\nname = "{name}"\n{toml}')
    return Deployment.open(folder, {})


@pytest.mark.parametrize(
    ("toml", "key", "text"),
    [
        ("[target]\nport = 9000\n", "[target] port", "9000"),
        ('[target]\nhost = "127.0.0.2"\n', "[target] host", "127.0.0.2"),
        ("[target]\ngrpc_port = 9001\n", "[target] grpc_port", "9001"),
        ("[compute]\ncores = 4\n", "[compute] cores", "4"),
        ('[security]\ntls_certificate = "c.pem"\ntls_key = "k.pem"\n', "[security] tls_certificate", "c.pem"),
    ],
)
def test_what_the_service_has_only_one_of_must_agree(tmp_path: Path, toml: str, key: str, text: str) -> None:
    first, second = opened(tmp_path / "a", "one", ""), opened(tmp_path / "b", "two", toml)
    with pytest.raises(AgreementError) as caught:
        check_agreement([first, second])
    error = caught.value
    assert error.where == f"{key} in {second.folder}"
    assert text in (error.received or "")
    assert str(first.folder) in (error.expected or "")


def test_two_deployments_of_one_name_are_refused_and_copies_of_one_certificate_agree(tmp_path: Path) -> None:
    tls = '[security]\ntls_certificate = "c.pem"\ntls_key = "k.pem"\n'
    first, second = opened(tmp_path / "a", "one", tls), opened(tmp_path / "b", "two", tls)
    for one in (first, second):
        (one.folder / "c.pem").write_text("certificate")
        (one.folder / "k.pem").write_text("key")
    check_agreement([first, second])
    (second.folder / "k.pem").write_text("another key")
    with pytest.raises(AgreementError, match=r"tls_key"):
        check_agreement([first, second])
    same = opened(tmp_path / "c", "one", tls)
    with pytest.raises(AgreementError, match="two deployments of the name 'one'"):
        check_agreement([first, same])


def test_a_lone_deployment_answers_below_its_name_too(tmp_path: Path) -> None:
    deployment = make(tmp_path / "a", LINEAR, ONE_CORE)
    with ServeProcess(deployment.folder) as service:
        assert service.ask("POST", "/predict", A_ROW)[1]["prediction"] == 6.0
        assert service.ask("POST", below("linear", "/predict"), A_ROW)[1]["prediction"] == 6.0
        assert service.ask("POST", below("other", "/predict"), A_ROW)[0] == 404
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=15)
        connection.request("GET", below("linear", "/readyz?verbose=1"))
        assert connection.getresponse().status == 200
        connection.close()
