"""The service described in OpenAPI 3.1, from the champion's signature."""

from __future__ import annotations

from typing import Any, Final

from holdfast.artifact.signature import Column, Signature
from holdfast.infer import RecordSchema
from holdfast.infer.schema import INTEGER_RANGES
from holdfast.serve.content_coding import COMPRESSED_FROM_BYTES
from holdfast.serve.openapi_errors import OF_BODIES, add_common_errors, errors, readiness
from holdfast.serve.openapi_protocols import SCHEMAS, protocol_paths
from holdfast.spec.checklist import Checklist

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "The whole message."},
        "what": {"type": "string"},
        "where": {"type": "string", "description": "Path to the fault, such as $[3].amount."},
        "expected": {"type": "string"},
        "received": {"type": "string"},
        "next_step": {"type": "string"},
    },
}


_CODINGS: Final[list[dict[str, Any]]] = [
    {
        "name": "Content-Encoding",
        "in": "header",
        "description": "How the body is compressed; limits count what it holds.",
        "schema": {"enum": ["gzip", "deflate"]},
    },
    {
        "name": "Accept-Encoding",
        "in": "header",
        "description": (
            f"An answer of {COMPRESSED_FROM_BYTES // 1024} KiB and more comes in gzip or deflate where these "
            "are accepted."
        ),
        "schema": {"type": "string"},
    },
]


def openapi(
    checklist: Checklist,
    signature: Signature | None,
    version: str | None,
    examples: list[dict[str, Any]],
    *,
    open_paths: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """The document; without a champion, records are of unknown shape.

    Args:
        checklist: of the deployment.
        signature: of the champion.
        version: of the champion.
        examples: records of the reference; pass none where they are private.
        open_paths: that ask nobody for a key.
    """
    name = checklist.model.name
    record: dict[str, Any] = {"type": "object"}
    answer: dict[str, Any] = {"type": "object"}
    if signature is not None:
        record = _record(signature, checklist)
        answer = _answer(signature)
    body: dict[str, Any] = {
        "schema": {
            "oneOf": [
                {"$ref": "#/components/schemas/Record"},
                {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/Record"},
                    "maxItems": checklist.predictions.max_rows_per_request,
                },
            ]
        }
    }
    if examples:
        body["examples"] = {"one": {"value": examples[0]}, "several": {"value": examples[:3]}}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version or "0",
            "description": f"Predictions of {name}, by holdfast.",
        },
        "paths": {
            "/predict": {"post": _predict(body)},
            "/labels": {"post": _labels()},
            "/consent": {"post": _consent()},
            **protocol_paths(name),
            f"/v2/models/{name}": {
                "get": _plain("The model's inputs and outputs (Open Inference Protocol v2)", 404, 503)
            },
            f"/v2/models/{name}/ready": readiness("Whether the model answers", 404),
            "/v2": {"get": _plain("The server's name, version and extensions")},
            "/v2/health/live": {"get": _plain("Whether the process lives")},
            "/v2/health/ready": readiness("Whether the champion is loaded"),
            "/livez": {"get": _plain("Whether the process lives")},
            "/readyz": readiness("Whether the champion is loaded and warm"),
            "/metrics": {"get": _plain("Prometheus metrics", kind="text/plain")},
            "/openapi.json": {"get": _plain("This document")},
        },
        "components": {"schemas": {"Record": record, "Answer": answer, "Error": _ERROR, **SCHEMAS}},
    }
    for operation in (one for path in document["paths"].values() for one in path.values()):
        if "requestBody" in operation:
            operation["parameters"] = [*operation.get("parameters", []), *_CODINGS]
    with_keys = checklist.security.auth == "keys"
    add_common_errors(document["paths"], with_keys=with_keys, open_paths=open_paths)
    if with_keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _record(signature: Signature, checklist: Checklist) -> dict[str, Any]:
    schema = RecordSchema.of(signature, checklist)
    show_values = checklist.privacy.sensitivity == "low"
    properties = {column.name: _column(column, show_values=show_values) for column in signature.columns}
    for name in schema.reserved:
        properties[name] = {
            "type": ["string", "number", "boolean", "null"],
            "description": "Logged, not given to the model.",
        }
    if schema.id_field in schema.reserved:
        properties[schema.id_field] = {
            "type": ["string", "integer", "null"],
            "description": "Your own id of this prediction; one is made if you give none.",
        }
    if schema.time_field in schema.reserved:
        properties[schema.time_field] = {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "The time the prediction belongs to; the time of arrival if you give none.",
        }
    return {
        "type": "object",
        "required": [column.name for column in signature.columns],
        "properties": properties,
        "additionalProperties": False,
    }


def _column(column: Column, *, show_values: bool) -> dict[str, Any]:
    kind = "number"
    if column.dtype == "string":
        kind = "string"
    elif column.dtype == "bool":
        kind = "boolean"
    elif column.dtype in INTEGER_RANGES:
        kind = "integer"
    schema: dict[str, Any] = {"type": kind}
    if kind == "integer":
        low, high = INTEGER_RANGES[column.dtype]
        schema |= {"minimum": low, "maximum": high}
    for size in reversed(column.shape):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
    if show_values and column.categories:
        schema["examples"] = list(column.categories[:8])
        schema["description"] = "Values that the reference does not hold are answered too."
    elif show_values and column.minimum is not None and column.maximum is not None:
        schema["description"] = f"From {column.minimum:g} to {column.maximum:g} in the reference."
    return schema


def _answer(signature: Signature) -> dict[str, Any]:
    number = {"type": ["number", "null"]}
    properties: dict[str, Any] = {"prediction_id": {"type": "string"}}
    if signature.task == "tensor":
        properties["outputs"] = {"type": "object"}
    elif signature.task == "regression":
        properties["prediction"] = number
    else:
        properties["prediction"] = {"enum": list(signature.classes)} if signature.classes else {}
        properties["probabilities"] = {
            "type": ["object", "null"],
            "properties": {str(name): number for name in signature.classes},
        }
        if signature.task == "binary":
            properties["score"] = number | {"description": f"Probability of {signature.positive_class!r}."}
    properties["model_version"] = {"type": "string"}
    return {"type": "object", "required": list(properties), "properties": properties}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _predict(body: dict[str, Any]) -> dict[str, Any]:
    answer = {"$ref": "#/components/schemas/Answer"}
    return {
        "operationId": "predict",
        "summary": "Answer one record, or a list of records in order",
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "200": {
                "description": "The answers; each is in the log before it is sent.",
                "content": _json({"oneOf": [answer, {"type": "array", "items": answer}]}),
            },
            **errors(*OF_BODIES, 404, 422, 503),
        },
    }


def _consent() -> dict[str, Any]:
    statement = {
        "type": "object",
        "required": ["consent"],
        "properties": {
            "subject": {"type": ["string", "integer"], "minLength": 1},
            "prediction_id": {"type": ["string", "integer"], "minLength": 1},
            "consent": {"type": "boolean"},
            "at": {"type": "string", "format": "date-time"},
        },
        "oneOf": [{"required": ["subject"]}, {"required": ["prediction_id"]}],
        "additionalProperties": False,
    }
    accepted = {"type": "object", "required": ["accepted"], "properties": {"accepted": {"type": "integer"}}}
    return {
        "operationId": "consent",
        "summary": "Say that a subject agrees to use for training, or withdraws",
        "requestBody": {
            "required": True,
            "content": _json({"oneOf": [statement, {"type": "array", "items": statement}]}),
        },
        "responses": {
            "200": {"description": "Recorded.", "content": _json(accepted)},
            **errors(*OF_BODIES, 422, 503),
        },
    }


def _labels() -> dict[str, Any]:
    label = {
        "type": "object",
        "required": ["prediction_id", "label"],
        "properties": {
            "prediction_id": {"type": "string"},
            "label": {
                "type": ["string", "number", "boolean", "null"],
                "description": "The true class or number.",
            },
            "observed_at": {"type": "string", "format": "date-time", "description": "Default: now."},
        },
    }
    content = _json({"oneOf": [label, {"type": "array", "items": label}]})
    content["application/x-ndjson"] = {"schema": label}
    refused = {
        "type": "array",
        "description": (
            "Labels turned away, as their predictions were erased, or as no answer of the model can be "
            "compared with them; absent where there are none."
        ),
        "items": {
            "type": "object",
            "required": ["where", "error"],
            "properties": {
                name: {"type": "string"} for name in ("where", "error", "expected", "received", "next_step")
            },
        },
    }
    accepted = {
        "type": "object",
        "required": ["accepted"],
        "properties": {"accepted": {"type": "integer"}, "refused": refused},
    }
    return {
        "operationId": "labels",
        "summary": "Tell what turned out to be true; late, repeated and unknown ids are kept",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {"description": "Written to the log.", "content": _json(accepted)},
            **errors(*OF_BODIES, 410, 422, 503),
        },
    }


def _plain(summary: str, *statuses: int, kind: str = "application/json") -> dict[str, Any]:
    found = {"200": {"description": summary, "content": {kind: {}}}}
    return {"summary": summary, "responses": found | errors(*statuses)}
