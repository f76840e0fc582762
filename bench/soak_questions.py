"""What the clients of `bench/soak.py` ask, in every protocol, and what they make of each answer."""

from __future__ import annotations

import json
import random
import struct
from collections import Counter
from typing import Any

NAME = "soak"
PREDICT = f"/deployments/{NAME}/predict"
OTHER = "neighbour"
OTHER_WEIGHTS = (1.0, 2.0, -3.0)
WEIGHTS = {"1": (2.0, 0.25), "2": (-3.0, 0.5)}


class Soak:
    """What the clients have asked and heard."""

    def __init__(self, port: int, requests: int, seed: int) -> None:
        self.port = port
        self.left = requests
        self.chance = random.Random(seed)
        self.next_row = 0
        self.seen: Counter[str] = Counter()
        self.rows: list[tuple[float, float]] = []
        self.answers: list[float] = []
        self.versions: list[str] = []
        """Of each answered row; "" where the protocol does not say."""
        self.ids: list[str] = []
        self.other_ids: list[str] = []
        """Of the second deployment's answers, which are checked as they come."""
        self.faults: list[str] = []

    def new_rows(self, count: int) -> list[tuple[float, float]]:
        """Rows that nobody else sends; exact in float32."""
        first, self.next_row = self.next_row, self.next_row + count
        return [(float(i % 2**20), float(i // 2**20) + (i % 7) / 8) for i in range(first, first + count)]

    def heard(
        self, rows: list[tuple[float, float]], answers: list[float], version: str, ids: list[str]
    ) -> None:
        if len(answers) != len(rows):
            self.faults.append(f"{len(answers)} answers to {len(rows)} rows")
            return
        self.rows += rows
        self.answers += answers
        self.versions += [version] * len(rows)
        self.ids += ids


def request(path: str, body: bytes, headers: str = "", method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: soak\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def ask_one(soak: Soak) -> tuple[bytes, Any]:
    rows = soak.new_rows(1)
    body = json.dumps({"a": rows[0][0], "b": rows[0][1]}).encode()

    def check(status: int, _: dict[str, str], content: bytes) -> None:
        answer = expect(status, 200, content)
        soak.heard(rows, [answer["prediction"]], answer["model_version"], [answer["prediction_id"]])

    return request(PREDICT, body, f"x-request-id: {soak.next_row}\r\n" if rows[0][0] % 3 else ""), check


def ask_list(soak: Soak) -> tuple[bytes, Any]:
    rows = soak.new_rows(soak.chance.randrange(2, 20))

    def check(status: int, _: dict[str, str], content: bytes) -> None:
        answers = expect(status, 200, content)
        versions = {one["model_version"] for one in answers}
        if len(versions) != 1:
            soak.faults.append(f"one request answered by {versions}")
        soak.heard(
            rows,
            [one["prediction"] for one in answers],
            versions.pop(),
            [one["prediction_id"] for one in answers],
        )

    return request(PREDICT, json.dumps([{"a": a, "b": b} for a, b in rows]).encode()), check


def ask_v2(soak: Soak) -> tuple[bytes, Any]:
    rows = soak.new_rows(soak.chance.randrange(1, 6))
    data: Any = [list(row) for row in rows] if len(rows) % 2 else [value for row in rows for value in row]
    tensor = {"name": "x", "shape": [len(rows), 2], "datatype": "FP32", "data": data}

    def check(status: int, _: dict[str, str], content: bytes) -> None:
        answer = expect(status, 200, content)
        ids = answer["parameters"]["prediction_ids"].split(",")
        soak.heard(rows, answer["outputs"][0]["data"], answer["model_version"], ids)

    return request(f"/v2/models/{NAME}/infer", json.dumps({"inputs": [tensor]}).encode()), check


def ask_binary(soak: Soak) -> tuple[bytes, Any]:
    rows = soak.new_rows(soak.chance.randrange(1, 6))
    raw = struct.pack(f"<{2 * len(rows)}f", *(value for row in rows for value in row))
    size = {"binary_data_size": len(raw)}
    tensor = {"name": "x", "shape": [len(rows), 2], "datatype": "FP32", "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()

    def check(status: int, headers: dict[str, str], content: bytes) -> None:
        size = int(headers.get("inference-header-content-length", len(content)))
        answer = expect(status, 200, content[:size])
        values = list(struct.unpack(f"<{len(rows)}f", content[size:]))
        soak.heard(rows, values, answer["model_version"], answer["parameters"]["prediction_ids"].split(","))

    length = f"inference-header-content-length: {len(head)}\r\n"
    return request(f"/v2/models/{NAME}/infer", head + raw, length), check


def ask_pinned(soak: Soak) -> tuple[bytes, Any]:
    rows = soak.new_rows(soak.chance.randrange(1, 4))
    version = soak.chance.choice(list(WEIGHTS))
    tensor = {"name": "x", "shape": [len(rows), 2], "datatype": "FP32", "data": [list(row) for row in rows]}

    def check(status: int, _: dict[str, str], content: bytes) -> None:
        answer = expect(status, 200, content)
        if answer["model_version"] != version:
            soak.faults.append(f"version {version} was asked for, {answer['model_version']} answered")
        ids = answer["parameters"]["prediction_ids"].split(",")
        soak.heard(rows, answer["outputs"][0]["data"], version, ids)

    path = f"/v2/models/{NAME}/versions/{version}/infer"
    return request(path, json.dumps({"inputs": [tensor]}).encode()), check


def ask_v1(soak: Soak) -> tuple[bytes, Any]:
    rows = soak.new_rows(soak.chance.randrange(1, 4))

    def check(status: int, _: dict[str, str], content: bytes) -> None:
        soak.heard(rows, flat(expect(status, 200, content)["predictions"]), "", [])

    body = json.dumps({"instances": [{"a": a, "b": b} for a, b in rows]}).encode()
    return request(f"/v1/models/{NAME}:predict", body), check


def ask_mlflow(soak: Soak) -> tuple[bytes, Any]:
    rows = soak.new_rows(soak.chance.randrange(1, 4))

    def check(status: int, _: dict[str, str], content: bytes) -> None:
        soak.heard(rows, flat(expect(status, 200, content)["predictions"]), "", [])

    body = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": rows}}).encode()
    return request(f"/deployments/{NAME}/invocations", body), check


def ask_other(soak: Soak) -> tuple[bytes, Any]:
    """The second deployment: whole numbers in float64, so that its answers are exact."""
    count = soak.chance.randrange(1, 6)
    rows = [(float(number), soak.chance.randrange(1000) / 8, 1.0) for number, _ in soak.new_rows(count)]
    wanted = [sum(w * x for w, x in zip(OTHER_WEIGHTS, row, strict=True)) for row in rows]
    named = soak.chance.random() < 0.5

    def check(status: int, _: dict[str, str], content: bytes) -> None:
        answer = expect(status, 200, content)
        if named:
            heard, ids = answer["outputs"][0]["data"], answer["parameters"]["prediction_ids"].split(",")
        else:
            heard = [one["prediction"] for one in answer]
            ids = [one["prediction_id"] for one in answer]
        if heard != wanted:
            soak.faults.append(f"{OTHER}: {rows} answered {heard}, not {wanted}")
        soak.other_ids += ids

    if named:
        tensor = {"name": "t", "shape": [count, 3], "datatype": "FP64", "data": [list(row) for row in rows]}
        return request(f"/v2/models/{OTHER}/infer", json.dumps({"inputs": [tensor]}).encode()), check
    body = [dict(zip(("p", "q", "r"), row, strict=True)) for row in rows]
    return request(f"/deployments/{OTHER}/predict", json.dumps(body).encode()), check


def ask_nonsense(soak: Soak) -> tuple[bytes, Any]:
    body, wanted, path = soak.chance.choice(
        [
            (b'{"a": 1, "b": ', 400, PREDICT),
            (b'{"a": 1}', 422, PREDICT),
            (b'{"a": "x", "b": 0}', 422, PREDICT),
            (b"[{}]", 422, PREDICT),
            (b'{"a": 1, "b": 0}', 404, "/predict"),
            (b'{"a": 1, "b": 0}', 422, f"/deployments/{OTHER}/predict"),
            (b'{"inputs": []}', 422, f"/v2/models/{NAME}/infer"),
            (b"{}", 404, "/nowhere"),
            (b"{}", 404, "/v2/models/other/infer"),
        ]
    )

    def check(status: int, _: dict[str, str], content: bytes) -> None:
        if status != wanted or "error" not in json.loads(content):
            soak.faults.append(f"{path} {body!r}: {status}, not {wanted}")

    return request(path, body), check


ASK = (
    [ask_one] * 10
    + [ask_list] * 3
    + [ask_v2] * 3
    + [ask_binary] * 3
    + [ask_pinned] * 2
    + [ask_v1, ask_mlflow]
    + [ask_other] * 5
    + [ask_nonsense] * 2
)


def expect(status: int, wanted: int, content: bytes) -> Any:
    if status != wanted:
        raise ValueError(f"{status}: {content[:200]!r}")
    return json.loads(content)


def flat(values: list[Any]) -> list[float]:
    return [one[0] if isinstance(one, list) else one for one in values]
