"""The same rows asked in every protocol: a speaker writes the request and reads numbers out of the answer."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from live_service import Server

Row = dict[str, Any]


@dataclass(frozen=True)
class Spoken:
    """One request over HTTP."""

    path: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Heard:
    """What an answer says: the model's first output for each row, and the ids; or the error."""

    status: int
    numbers: list[Any]
    ids: list[str]
    where: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Model:
    """How protocols that speak in tensors see the columns."""

    tensors: dict[str, list[str]]
    """Columns of each input tensor, one for a tensor of its own."""
    dtypes: dict[str, str]
    output: str


LINEAR = Model({"x": ["a", "b"]}, {"x": "FP32"}, "y")
MIXED = Model(
    {"age": ["age"], "city": ["city"], "income": ["income"]},
    {"age": "INT64", "city": "BYTES", "income": "FP32"},
    "p",
)
_WIRE = {"FP32": "<f4", "INT64": "<i8"}
Write = Callable[[Model, list[Row]], Spoken]


def _json(path: str, body: Any) -> Spoken:
    return Spoken(path, json.dumps(body).encode(), {"content-type": "application/json"})


def tensor_values(model: Model, name: str, rows: list[Row]) -> list[Any]:
    columns = model.tensors[name]
    if name in columns:
        return [row[name] for row in rows]
    return [[row[column] for column in columns] for row in rows]


def tensor_shape(model: Model, name: str, rows: list[Row]) -> list[int]:
    return [len(rows)] if name in model.tensors[name] else [len(rows), len(model.tensors[name])]


def tensor_bytes(datatype: str, values: list[Any]) -> bytes:
    """As the binary extension wants them; a missing number is NaN."""
    if datatype == "BYTES":
        encoded = [str(one).encode() for one in values]
        return b"".join(struct.pack("<I", len(one)) + one for one in encoded)
    if any(one is None for one in values):
        values = [np.nan if one is None else one for one in values]
    return np.array(values, dtype=_WIRE[datatype]).tobytes()


def predict(model: Model, rows: list[Row]) -> Spoken:
    return _json("/predict", rows)


def v2_json(model: Model, rows: list[Row]) -> Spoken:
    inputs = [
        {
            "name": name,
            "shape": tensor_shape(model, name, rows),
            "datatype": model.dtypes[name],
            "data": tensor_values(model, name, rows),
        }
        for name in model.tensors
    ]
    return _json("/v2/models/demo/infer", {"inputs": inputs})


def v2_binary(model: Model, rows: list[Row]) -> Spoken:
    inputs, tail = [], b""
    for name in model.tensors:
        values = tensor_values(model, name, rows)
        data = tensor_bytes(model.dtypes[name], values)
        inputs.append(
            {
                "name": name,
                "shape": tensor_shape(model, name, rows),
                "datatype": model.dtypes[name],
                "parameters": {"binary_data_size": len(data)},
            }
        )
        tail += data
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    return Spoken("/v2/models/demo/infer", head + tail, headers)


def v1_fields(model: Model, rows: list[Row]) -> Spoken:
    return _json("/v1/models/demo:predict", {"instances": rows})


def v1_base64(model: Model, rows: list[Row]) -> Spoken:
    coded = [
        {
            name: {"b64": base64.b64encode(value.encode()).decode()} if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    return _json("/v1/models/demo:predict", {"signature_name": "serving_default", "instances": coded})


def v1_tensors(model: Model, rows: list[Row]) -> Spoken:
    columns = {name: tensor_values(model, name, rows) for name in model.tensors}
    instances = [{name: values[i] for name, values in columns.items()} for i in range(len(rows))]
    return _json("/v1/models/demo:predict", {"instances": instances})


def v1_values(model: Model, rows: list[Row]) -> Spoken:
    return _json("/v1/models/demo:predict", {"instances": [list(row.values()) for row in rows]})


def v1_columns(model: Model, rows: list[Row]) -> Spoken:
    columns = {name: tensor_values(model, name, rows) for name in model.tensors}
    return _json("/v1/models/demo:predict", {"inputs": columns})


def mlflow_split(model: Model, rows: list[Row]) -> Spoken:
    columns = [column for held in model.tensors.values() for column in held][::-1]
    data = [[row[name] for name in columns] for row in rows]
    split = {"columns": columns, "index": list(range(len(rows))), "data": data}
    return _json("/invocations", {"dataframe_split": split})


def mlflow_records(model: Model, rows: list[Row]) -> Spoken:
    return _json("/invocations", {"dataframe_records": rows, "params": {"temperature": 1}})


def mlflow_instances(model: Model, rows: list[Row]) -> Spoken:
    return _json("/invocations", {"instances": [list(row.values()) for row in rows]})


def mlflow_inputs(model: Model, rows: list[Row]) -> Spoken:
    columns = [column for held in model.tensors.values() for column in held]
    return _json("/invocations", {"inputs": {name: [row[name] for row in rows] for name in columns}})


def mlflow_csv(model: Model, rows: list[Row]) -> Spoken:
    columns = [column for held in model.tensors.values() for column in held]
    lines = [",".join(columns)]
    lines += [",".join("" if row[name] is None else str(row[name]) for name in columns) for row in rows]
    return Spoken("/invocations", "\n".join(lines).encode(), {"content-type": "text/csv; charset=utf-8"})


SPEAKERS: dict[str, Write] = {
    write.__name__: write
    for write in (
        predict, v2_json, v2_binary, v1_fields, v1_base64, v1_tensors, v1_values, v1_columns,
        mlflow_split, mlflow_records, mlflow_instances, mlflow_inputs, mlflow_csv,
    )
}  # fmt: skip


def ask(server: Server, name: str, model: Model, rows: list[Row], **headers: str) -> Heard:
    """Send the rows as that speaker does."""
    spoken = SPEAKERS[name](model, rows)
    status, body, found = server.ask("POST", spoken.path, spoken.body, spoken.headers | headers)
    return hear(name, model, status, body, found.get("inference-header-content-length"))


def hear(name: str, model: Model, status: int, body: Any, json_bytes: str | None = None) -> Heard:
    """What the answer says."""
    if status != 200:
        return Heard(status, [], [], body.get("where"), body["error"])
    if name == "predict":
        score = {"y": "prediction", "p": "score"}[model.output]
        return Heard(status, [row[score] for row in body], [row["prediction_id"] for row in body])
    if name.startswith("v2"):
        data: list[Any]
        if json_bytes is not None:
            head, tail = json.loads(body[: int(json_bytes)]), body[int(json_bytes) :]
            data = np.frombuffer(tail, "<f4").tolist()
        else:
            head = body
            data = head["outputs"][0]["data"]
        assert head["outputs"][0]["name"] == model.output
        return Heard(status, data, [one for one in head["parameters"]["prediction_ids"].split(",") if one])
    key = "outputs" if name == "v1_columns" else "predictions"
    return Heard(status, np.ravel(body[key]).tolist(), body["prediction_ids"])
