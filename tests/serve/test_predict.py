from __future__ import annotations

import msgspec
import pytest
from live_service import Start, linear_model, mixed_model, starting

from holdfast.infer import LoadedModel

start = starting


def test_one_record_is_answered_with_an_object(start: Start) -> None:
    server = start(linear_model())
    status, body, headers = server.ask("POST", "/predict", {"a": 1.5, "b": 2})
    assert status == 200
    assert body["prediction"] == 9.0
    assert body["model_version"] == "1"
    assert len(body["prediction_id"]) == 36
    assert headers["content-type"] == "application/json"


def test_a_list_is_answered_with_a_list_in_order(start: Start) -> None:
    server = start(linear_model())
    rows = [{"a": i, "b": -i} for i in range(100)]
    status, body, _ = server.ask("POST", "/predict", rows)
    assert status == 200
    assert [one["prediction"] for one in body] == [-float(i) for i in range(100)]
    assert len({one["prediction_id"] for one in body}) == 100


def test_an_empty_list_is_answered_with_an_empty_list(start: Start) -> None:
    assert start(linear_model()).ask("POST", "/predict", [])[:2] == (200, [])


def test_a_binary_answer_has_class_probabilities_and_score(start: Start) -> None:
    server = start(mixed_model())
    status, body, _ = server.ask("POST", "/predict", {"age": 40, "city": "atlantis", "income": None})
    assert status == 200
    # sigmoid(0.4) = 0.598687...
    assert body["score"] == pytest.approx(0.59868766, abs=1e-6)
    assert body["prediction"] == "yes"
    assert list(body["probabilities"]) == ["no", "yes"]
    assert sum(body["probabilities"].values()) == pytest.approx(1.0)


def test_the_callers_own_id_comes_back(start: Start) -> None:
    server = start(linear_model())
    rows = [{"a": 1, "b": 1, "prediction_id": "mine"}, {"a": 1, "b": 1}]
    _, body, _ = server.ask("POST", "/predict", rows)
    assert body[0]["prediction_id"] == "mine"
    assert len(body[1]["prediction_id"]) == 36


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b'{"a": NaN, "b": 1}', 400, None),
        (b"3", 400, "$"),
        (b"[" * 100_000, 400, None),
        (b'"\xff"', 400, None),
        (b"null", 400, "$"),
        (b'{"a": 1}', 422, "$.b"),
        (b'[{"a": 1, "b": 1}, {"b": 1}]', 422, "$[1].a"),
        (b'[{"a": 1, "b": 1}, 7]', 422, "$[1]"),
        (b'{"a": "1", "b": 1}', 422, "$.a"),
        (b'{"a": true, "b": 1}', 422, "$.a"),
        (b'{"a": null, "b": 1}', 422, "$.a"),
        (b'{"a": [1], "b": 1}', 422, "$.a"),
        (b'{"a": 1e39, "b": 1}', 422, "$.a"),
        (b'{"a": 1, "b": 1, "prediction_id": {}}', 422, "$.prediction_id"),
        (b'{"a": 1, "b": 1, "c d": 1}', 422, "$['c d']"),
    ],
)
def test_a_wrong_body_gets_its_status_and_path(
    start: Start, body: bytes, status: int, where: str | None
) -> None:
    server = start(linear_model())
    found, answer, _ = server.ask("POST", "/predict", body)
    assert (found, answer.get("where")) == (status, where)
    assert answer["error"]
    assert server.ask("POST", "/predict", {"a": 1, "b": 1})[0] == 200


def test_an_unknown_field_is_refused_with_the_nearest_name(start: Start) -> None:
    _, body, _ = start(mixed_model()).ask("POST", "/predict", {"age": 1, "cty": "north", "income": 1})
    assert body["where"] == "$.cty"
    assert body["next_step"] == "Did you mean 'city'?"


def test_a_field_too_many_is_refused_with_all_the_fields_there_are(start: Start) -> None:
    record = {"age": 1, "city": "north", "income": 1, "agee": 1}
    _, body, _ = start(mixed_model()).ask("POST", "/predict", record)
    assert body["where"] == "$.agee"
    assert body["next_step"].startswith("Fields of this model: age, city, income")


def test_whole_numbers_beyond_2_to_the_53_stay_exact_and_beyond_int64_are_refused(start: Start) -> None:
    server = start(mixed_model())
    ok = {"age": 2**63 - 1, "city": "north", "income": 0}
    assert server.ask("POST", "/predict", ok)[0] == 200
    assert server.ask("POST", "/predict", ok | {"age": 2**63})[0] == 422
    assert server.ask("POST", "/predict", ok | {"age": 1.5})[1]["where"] == "$.age"
    assert server.ask("POST", "/predict", ok | {"age": 2.0})[0] == 200


def test_too_many_rows_and_too_many_bytes_are_413(start: Start) -> None:
    server = start(linear_model(), "[predictions]\nmax_rows_per_request = 10\nmax_body_bytes = 2048\n")
    assert server.ask("POST", "/predict", [{"a": 1, "b": 1}] * 11)[0] == 413
    assert server.ask("POST", "/predict", b" " * 2049)[0] == 413
    assert server.ask("POST", "/predict", b'{"a":1,"b":2}' + b" " * 2000)[0] == 200


def test_a_body_that_is_declared_to_be_something_else_is_415(start: Start) -> None:
    server = start(linear_model())
    good = b'{"a": 1, "b": 1}'
    assert server.ask("POST", "/predict", good, {"content-type": "text/csv"})[0] == 415
    assert server.ask("POST", "/predict", good, {"content-encoding": "br"})[0] == 415
    for kind in (
        "application/json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "application/vnd.x+json",
    ):
        assert server.ask("POST", "/predict", good, {"content-type": kind})[0] == 200


def test_wrong_paths_and_methods_are_404_and_405_as_json(start: Start) -> None:
    server = start(linear_model())
    assert server.ask("GET", "/nowhere")[0] == 404
    status, body, headers = server.ask("GET", "/predict")
    assert status == 405
    assert body["received"] == "GET"
    assert "POST" in headers["allow"]


def test_without_a_champion_the_service_says_503_and_is_not_ready(start: Start) -> None:
    server = start(None)
    status, _, headers = server.ask("POST", "/predict", {"a": 1, "b": 1})
    assert status == 503
    assert headers["retry-after"]
    assert server.ask("GET", "/readyz")[0] == 503
    assert server.ask("GET", "/livez")[0] == 200
    server.install(linear_model())
    assert server.ask("GET", "/readyz")[0] == 200
    assert server.ask("POST", "/predict", {"a": 1, "b": 1})[0] == 200


def test_the_log_can_be_switched_off(start: Start) -> None:
    server = start(linear_model(), "[logging]\nenabled = false\n")
    assert server.ask("POST", "/predict", {"a": 1, "b": 1})[0] == 200
    assert server.ask("POST", "/labels", {"prediction_id": "x", "label": 1})[0] == 503


def test_every_answered_row_is_counted_by_the_log_writer(start: Start) -> None:
    server = start(linear_model())
    server.ask("POST", "/predict", [{"a": 1, "b": 1}] * 7)
    server.ask("POST", "/predict", {"a": 1, "b": 1})
    server.ask("POST", "/predict", {"a": 1})
    writer = server.service.plane.writer
    assert writer is not None
    assert (writer.served, writer.stored) == (8, 8)


def test_names_that_json_must_escape_are_answered_like_any_others(start: Start) -> None:
    model = mixed_model()
    names = {"age": 'age "years"', "city": "city\\town", "income": "income\n€"}
    replace = msgspec.structs.replace
    columns = [replace(one, name=names[one.name]) for one in model.signature.columns]
    inputs = [
        replace(one, columns=tuple(names[name] for name in one.columns)) for one in model.signature.inputs
    ]
    signature = replace(
        model.signature,
        columns=tuple(columns),
        inputs=tuple(inputs),
        classes=('n"o', "y\\es"),
        positive_class="y\\es",
    )
    examples = {names[name]: values for name, values in model.examples.items()}
    server = start(LoadedModel("1", signature, model._runtime, examples=examples))
    row = {names["age"]: 40, names["city"]: "atlantis", names["income"]: None}
    status, body, _ = server.ask("POST", "/predict", row)
    assert status == 200
    assert body["score"] == pytest.approx(0.59868766, abs=1e-6)
    assert (body["prediction"], list(body["probabilities"])) == ("y\\es", ['n"o', "y\\es"])
    assert server.ask("POST", "/predict", [row, row])[0] == 200
    status, body, _ = server.ask("POST", "/predict", {**row, names["age"]: "old"})
    assert status == 422
    assert names["age"] in body["where"]


def test_the_score_is_that_of_the_positive_class_wherever_it_stands(start: Start) -> None:
    model = mixed_model()
    signature = msgspec.structs.replace(model.signature, positive_class="no")
    server = start(LoadedModel("1", signature, model._runtime))
    row = {"age": 40, "city": "north", "income": 0.5}
    one, many = (server.ask("POST", "/predict", body)[1] for body in (row, [row, row]))
    for answer in (one, *many):
        assert answer["score"] == answer["probabilities"]["no"]
