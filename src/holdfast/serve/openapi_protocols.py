"""The part of the OpenAPI document about the protocols beside `POST /predict`."""

from __future__ import annotations

from typing import Any, Final

from holdfast.serve.openapi_errors import OF_BODIES, errors, readiness

_REF: Final = "#/components/schemas/"
SCHEMAS: Final[dict[str, Any]] = {
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "Comes back; also the id of the predictions."},
            "parameters": {
                "type": "object",
                "description": "binary_data_output: all outputs as bytes. Others: fields to log.",
            },
            "inputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "shape", "datatype"],
                    "properties": {
                        "name": {"type": "string"},
                        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                        "datatype": {"type": "string", "examples": ["FP32", "INT64", "BYTES"]},
                        "data": {"type": "array", "description": "Flat or nested."},
                        "parameters": {
                            "type": "object",
                            "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
                        },
                    },
                },
            },
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string"},
                        "parameters": {
                            "type": "object",
                            "properties": {"binary_data": {"type": "boolean"}},
                        },
                    },
                },
            },
        },
    },
    "V1Request": {
        "type": "object",
        "description": "Exactly one of instances (by row) and inputs (by column).",
        "properties": {
            "signature_name": {"type": "string"},
            "instances": {"type": "array"},
            "inputs": {"type": ["object", "array"]},
        },
    },
    "Invocation": {
        "type": "object",
        "description": "Exactly one of the four forms of rows.",
        "properties": {
            "dataframe_split": {
                "type": "object",
                "required": ["data"],
                "properties": {
                    "columns": {"type": "array", "items": {"type": "string"}},
                    "index": {"type": "array"},
                    "data": {"type": "array", "items": {"type": "array"}},
                },
            },
            "dataframe_records": {"type": "array", "items": {"$ref": f"{_REF}Record"}},
            "instances": {"type": "array"},
            "inputs": {"type": ["object", "array"]},
            "params": {"type": "object", "description": "Fields that are logged beside every row."},
        },
    },
    "Predictions": {
        "type": "object",
        "required": ["prediction_ids", "model_version"],
        "properties": {
            "predictions": {"type": "array"},
            "outputs": {"type": ["object", "array"]},
            "prediction_ids": {"type": "array", "items": {"type": "string"}},
            "model_version": {"type": "string"},
        },
    },
    "RepositoryIndex": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name", "version", "state", "reason"],
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "state": {"enum": ["READY", "UNAVAILABLE"]},
                "reason": {"type": "string"},
                "champion": {"type": "boolean"},
                "memory_bytes": {"type": "integer", "description": "By which all workers together grew."},
            },
        },
    },
    "VersionChange": {
        "type": "object",
        "properties": {
            "parameters": {"type": "object", "properties": {"version": {"type": ["string", "integer"]}}}
        },
    },
}


def protocol_paths(name: str) -> dict[str, Any]:
    """Paths of protocols v2, v1 and MLflow, of the model repository and of streams.

    Args:
        name: of the model.
    """
    asked, changed = errors(*OF_BODIES, 404, 422, 503), errors(*OF_BODIES, 404, 409, 422, 503)
    model, v1 = f"/v2/models/{name}", f"/v1/models/{name}"
    infer = _post("Open Inference Protocol v2: tensors in, tensors out", "InferRequest", {}, asked)
    binary = {"schema": {"type": "string", "format": "binary"}}
    infer["requestBody"]["content"]["application/octet-stream"] = binary
    infer["responses"]["200"]["content"]["application/octet-stream"] = binary
    infer["parameters"] = [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "How many bytes of the body are JSON, where tensors follow.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ]
    invoke = _post("MLflow's scoring call", "Invocation", {"$ref": f"{_REF}Predictions"}, asked)
    invoke["requestBody"]["content"]["text/csv"] = {"schema": {"type": "string"}}
    predict = _post(
        "TensorFlow Serving's and KServe v1's predict", "V1Request", {"$ref": f"{_REF}Predictions"}, asked
    )
    change = "Load a registered version into every worker (without one: the newest)"
    return {
        f"{model}/infer": {"post": infer | {"operationId": "infer"}},
        f"{model}/versions/{{version}}/infer": {
            "post": infer | {"operationId": "inferVersion", "parameters": [*infer["parameters"], _VERSION]}
        },
        f"{v1}:predict": {"post": predict | {"operationId": "predictV1"}},
        f"{v1}/versions/{{version}}:predict": {
            "post": predict | {"operationId": "predictV1Version", "parameters": [_VERSION]}
        },
        "/v1/models": {"get": _get("The models")},
        v1: {"get": _get("Readiness and the versions that answer", 404, 503)},
        "/invocations": {"post": invoke | {"operationId": "invocations"}},
        "/ping": readiness("Whether the champion is loaded"),
        "/health": readiness("Whether the champion is loaded"),
        "/version": {"get": _get("Of holdfast", kind="text/plain")},
        "/v2/repository/index": {
            "post": _post(
                "Every registered version, and whether it answers",
                None,
                {"$ref": f"{_REF}RepositoryIndex"},
                errors(*OF_BODIES, 409, 503),
            )
        },
        f"/v2/repository/models/{name}/load": {"post": _post(change, "VersionChange", {}, changed)},
        f"/v2/repository/models/{name}/unload": {
            "post": _post(
                "Take a version out (without one: all but the champion)", "VersionChange", {}, changed
            )
        },
    }


_VERSION: Final = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}


def _post(summary: str, body: str | None, answer: dict[str, Any], failing: dict[str, Any]) -> dict[str, Any]:
    schema = {"$ref": f"{_REF}{body}"} if body else {"type": "object"}
    return {
        "summary": summary,
        "requestBody": {"required": body is not None, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": summary, "content": {"application/json": {"schema": answer}}},
            **failing,
        },
    }


def _get(summary: str, *statuses: int, kind: str = "application/json") -> dict[str, Any]:
    found = {"200": {"description": summary, "content": {kind: {}}}}
    return {"summary": summary, "responses": found | errors(*statuses)}
