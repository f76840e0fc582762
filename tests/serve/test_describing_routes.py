"""`/`, `/openapi.json`, `/metrics`."""

from __future__ import annotations

import errno
import json
from urllib.parse import urljoin

import jsonschema
import pytest
from live_service import Server, Start, linear_model, mixed_model, starting
from prometheus_client.parser import text_string_to_metric_families
from speakers import LINEAR, SPEAKERS

from holdfast.serve import metrics as metrics_route
from holdfast.serve.openapi import openapi
from holdfast.spec import parse_checklist

start = starting


def metrics(server: Server) -> dict[str, float]:
    text = server.ask("GET", "/metrics")[1].decode()
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_home_page_names_the_service_and_its_routes(start: Start) -> None:
    server = start(linear_model())
    status, body, _ = server.ask("GET", "/")
    assert (status, body["name"], body["model_version"], body["ready"]) == (200, "demo", "1", True)
    assert server.ask("GET", body["links"]["describe"])[0] == 200


def test_metrics_count_requests_rows_batches_refusals_and_the_log(start: Start) -> None:
    server = start(linear_model())
    server.ask("POST", "/predict", [{"a": 1, "b": 1}] * 3)
    server.ask("POST", "/predict", {"a": 1})
    server.ask("POST", "/v2/models/demo/infer", {"inputs": []})
    server.ask("POST", "/labels", {"prediction_id": "x", "label": 1})
    found = metrics(server)
    predict = "model=demo route=/predict"
    assert found[f"holdfast_requests_total {predict} status=200 version=1"] == 1
    assert found[f"holdfast_requests_total {predict} status=422 version=1"] == 1
    infer = "route=/v2/models/{model}/infer"
    assert found[f"holdfast_requests_total model=demo {infer} status=422 version=1"] == 1
    assert found["holdfast_rows_total model=demo version=1"] == 3
    assert found["holdfast_batch_rows_bucket le=4 model=demo version=1"] == 1
    assert found["holdfast_batch_rows_bucket le=2 model=demo version=1"] == 0
    assert found["holdfast_run_duration_seconds_count model=demo version=1"] == 1
    assert found[f"holdfast_request_duration_seconds_count {predict} version=1"] == 2
    assert found["holdfast_log_rows_total model=demo outcome=stored"] == 3
    assert found["holdfast_labels_total model=demo"] == 1
    assert found["holdfast_ready model=demo"] == 1
    assert found["holdfast_champion model=demo version=1"] == 1


def test_a_full_disk_hides_no_metrics(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(linear_model())
    server.ask("POST", "/predict", {"a": 1, "b": 1})
    assert server.ask("GET", "/metrics")[0] == 200

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metrics_route, "write_snapshot", full)
    server.ask("POST", "/predict", {"a": 1, "b": 1})
    status, text, _ = server.ask("GET", "/metrics")
    assert status == 200
    assert b'holdfast_log_rows_total{model="demo",outcome="served"} 2.0' in text
    assert b'holdfast_ready{model="demo"} 1.0' in text


def test_no_value_of_a_record_and_no_id_appears_in_the_metrics(start: Start) -> None:
    server = start(mixed_model())
    server.ask(
        "POST", "/predict", {"age": 31, "city": "secretville", "income": 7, "prediction_id": "mine-77"}
    )
    text = server.ask("GET", "/metrics")[1].decode()
    assert "secretville" not in text
    assert "mine-77" not in text


def test_the_openapi_document_describes_what_the_service_takes_and_gives(start: Start) -> None:
    server = start(mixed_model())
    status, document, _ = server.ask("GET", "/openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.1")
    record = document["components"]["schemas"]["Record"]
    jsonschema.Draft202012Validator.check_schema(record)
    good = {"age": 3, "city": "anywhere", "income": None, "prediction_id": "x"}
    jsonschema.validate(good, record)
    _, answer, _ = server.ask("POST", "/predict", good)
    jsonschema.validate(answer, document["components"]["schemas"]["Answer"])
    _, error, _ = server.ask("POST", "/predict", {})
    jsonschema.validate(error, document["components"]["schemas"]["Error"])
    for wrong in ({"age": 1.5}, {"city": 3}, {"other": 1}):
        body = good | wrong
        assert server.ask("POST", "/predict", body)[0] == 422
        assert not jsonschema.Draft202012Validator(record).is_valid(body)


def test_every_described_path_is_served(start: Start) -> None:
    server = start(linear_model())
    for path, methods in server.ask("GET", "/openapi.json")[1]["paths"].items():
        for method in methods:
            known = path.replace("{version}", "1")
            assert server.ask(method.upper(), known)[0] not in {404, 405}, (method, path)


def test_requests_and_answers_of_every_protocol_are_as_described(start: Start) -> None:
    server = start(linear_model())
    schemas = server.ask("GET", "/openapi.json")[1]["components"]["schemas"]
    of_route = {
        "/v2/models/demo/infer": ("InferRequest", None),
        "/invocations": ("Invocation", "Predictions"),
    }
    of_route["/v1/models/demo:predict"] = ("V1Request", "Predictions")
    for write in SPEAKERS.values():
        spoken = write(LINEAR, [{"a": 1.0, "b": 2.0}])
        if spoken.path not in of_route or spoken.headers["content-type"] != "application/json":
            continue
        asked, answered = of_route[spoken.path]
        root = {"components": {"schemas": schemas}}
        jsonschema.validate(json.loads(spoken.body), root | {"$ref": f"#/components/schemas/{asked}"})
        status, body, _ = server.ask("POST", spoken.path, spoken.body)
        assert status == 200
        if answered is not None:
            jsonschema.validate(body, root | {"$ref": f"#/components/schemas/{answered}"})


def test_private_services_show_no_values_of_the_reference() -> None:
    checklist = parse_checklist(
        '[model]\nname = "demo"\n[security]\nauth = "keys"\n[privacy]\nsensitivity = "high"\n', source="test"
    )
    text = str(openapi(checklist, mixed_model().signature, "1", []))
    assert "north" not in text


@pytest.mark.parametrize(
    ("asked", "location"),
    [
        ("/predict/", "../predict"),
        ("/predict/?a=1", "../predict?a=1"),
        ("/v2/models/demo/infer/", "../infer"),
        ("/v1/models/demo:predict/", "../demo:predict"),
        ("/ui", "./ui/"),
    ],
)
def test_a_slash_too_many_or_too_few_is_sent_to_the_right_path_and_counted(
    start: Start, asked: str, location: str
) -> None:
    server = start(linear_model())
    status, _, headers = server.ask("POST", asked, {"a": 1, "b": 2}, {"x-request-id": "mine"})
    assert (status, headers["location"], headers["x-request-id"]) == (307, location, "mine")
    assert urljoin(f"http://x/deployments/demo{asked}", location).startswith("http://x/deployments/demo/")
    assert server.service.counts.route("/{path}").statuses == {307: 1}
    for nowhere in ("/", "/predicts/", "//", "/predict//", "/v2/models/demo/infer/x/"):
        assert server.ask("POST", nowhere, b"")[0] in {404, 405}
