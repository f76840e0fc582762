"""The predict call of TensorFlow Serving and KServe v1: `instances` by row, `inputs` by column.

https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from holdfast.errors import HoldfastError
from holdfast.infer import AnsweredBatch, InputError, Job, MalformedBodyError, read_json
from holdfast.serve.calls import Body, Call
from holdfast.serve.rows import decode_records, of_inputs, of_instances, read_lenient
from holdfast.serve.service import Endpoint, Service
from holdfast.serve.sink import Sink

V1_PREDICT: Final = "/v1/models/{model}:predict"
_DEFAULT_SIGNATURE: Final = "serving_default"


class _Request(msgspec.Struct):
    instances: Raw | UnsetType = UNSET
    inputs: Raw | UnsetType = UNSET
    signature_name: str | None = None


_decode_request = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


class V1Call(Call):
    """A decoded predict call."""

    __slots__ = ("by_column", "endpoint")

    def __init__(self, endpoint: Endpoint, records: list[Any], *, by_column: bool) -> None:
        super().__init__(len(records), records, None, endpoint.lane.codec.shape_of(records))
        self.endpoint = endpoint
        self.by_column = by_column

    def encode(self, batch: AnsweredBatch, start: int) -> Body:
        """See `Call.encode`."""
        end = start + self.rows
        return self._answer(
            {name: values[start:end] for name, values in batch.outputs.items()}, batch.ids[start:end]
        )

    def encode_empty(self) -> Body:
        """See `Call.encode_empty`."""
        return self._answer({tensor.name: [] for tensor in self.endpoint.lane.model.signature.outputs}, [])

    def _answer(self, outputs: dict[str, list[Any]], ids: Any) -> Body:
        about = {"prediction_ids": list(ids), "model_version": self.endpoint.lane.version}
        if self.by_column:
            alone = next(iter(outputs.values())) if len(outputs) == 1 else outputs
            return _encode({"outputs": alone, **about}), None
        return _encode({"predictions": rows_of(outputs), **about}), None


def rows_of(outputs: dict[str, list[Any]]) -> list[Any]:
    """One value per row where there is one output, one object per row where there are several."""
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return [dict(zip(outputs, values, strict=True)) for values in zip(*outputs.values(), strict=True)]


def predict_v1(service: Service, body: bytes, sink: Sink, model: str, version: str | None) -> Job | None:
    """Answer a predict call through the sink."""
    max_rows = service.checklist.predictions.max_rows_per_request
    return service.ask(V1_PREDICT, sink, lambda endpoint: _decode(endpoint, body, max_rows), model, version)


def _decode(endpoint: Endpoint, body: bytes, max_rows: int) -> V1Call:
    try:
        request = _decode_request(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _decode_slowly(endpoint, read_lenient(body), max_rows)
    instances = request.instances
    if not isinstance(instances, UnsetType) and isinstance(request.inputs, UnsetType):
        _check_signature(request.signature_name)
        content = bytes(instances)
        if content[:1] == b"[" and content[1:].lstrip()[:1] == b"{":
            # Objects of the model's own fields need no detour.
            try:
                records = decode_records(endpoint, content, max_rows, "$.instances")
                return V1Call(endpoint, records, by_column=False)
            except HoldfastError:
                pass
    return _decode_slowly(endpoint, read_json(body), max_rows)


def _decode_slowly(endpoint: Endpoint, request: Any, max_rows: int) -> V1Call:
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise MalformedBodyError(
            "not a predict call", where="$", expected='{"instances": [...]} or {"inputs": ...}'
        )
    _check_signature(request.get("signature_name"))
    signature = endpoint.lane.model.signature
    if "instances" in request:
        path = "$.instances"
        records = of_instances(signature, request["instances"], path)
        return V1Call(endpoint, decode_records(endpoint, records, max_rows, path), by_column=False)
    path, inputs = "$.inputs", request["inputs"]
    found = decode_records(
        endpoint, of_inputs(signature, inputs, path), max_rows, path, by_column=isinstance(inputs, dict)
    )
    return V1Call(endpoint, found, by_column=True)


def _check_signature(name: Any) -> None:
    if name not in {None, "", _DEFAULT_SIGNATURE} if isinstance(name, str | None) else True:
        raise InputError("no such signature", where="$.signature_name", expected=repr(_DEFAULT_SIGNATURE))


def status_v1(model: str, versions: list[str], *, ready: bool) -> dict[str, Any]:
    """The body of `GET /v1/models/{model}`: KServe's `name` and `ready`, and TensorFlow Serving's status."""
    return {
        "name": model,
        "ready": ready,
        "model_version_status": [
            {
                "version": version,
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
            for version in versions
        ],
    }
