"""MLflow's scoring call: `POST /invocations` with a data frame, instances, inputs, or CSV.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from holdfast.infer import AnsweredBatch, InputError, Job, MalformedBodyError, kind_of
from holdfast.serve.calls import Body, Call
from holdfast.serve.rows import (
    Records,
    decode_records,
    of_csv,
    of_inputs,
    of_instances,
    of_table,
    read_lenient,
)
from holdfast.serve.service import Endpoint, Service
from holdfast.serve.sink import Sink
from holdfast.serve.v1 import rows_of

INVOCATIONS: Final = "/invocations"
_FORMS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
_encode = msgspec.json.Encoder().encode


class InvocationCall(Call):
    """A decoded invocation."""

    __slots__ = ("endpoint",)

    def __init__(self, endpoint: Endpoint, records: list[Any]) -> None:
        super().__init__(len(records), records, None, endpoint.lane.codec.shape_of(records))
        self.endpoint = endpoint

    def encode(self, batch: AnsweredBatch, start: int) -> Body:
        """See `Call.encode`."""
        end = start + self.rows
        if self.endpoint.lane.model.signature.task == "tensor":
            predictions = rows_of({name: values[start:end] for name, values in batch.outputs.items()})
        else:
            predictions = batch.predictions[start:end]
        return self._answer(predictions, list(batch.ids[start:end]))

    def encode_empty(self) -> Body:
        """See `Call.encode_empty`."""
        return self._answer([], [])

    def _answer(self, predictions: list[Any], ids: list[str]) -> Body:
        version = self.endpoint.lane.version
        answer = {"predictions": predictions, "prediction_ids": ids, "model_version": version}
        return _encode(answer), None


def invoke(service: Service, body: bytes, sink: Sink) -> Job | None:
    """Answer an invocation in JSON through the sink."""
    max_rows = service.checklist.predictions.max_rows_per_request
    return service.ask(INVOCATIONS, sink, lambda endpoint: _decode(endpoint, body, max_rows))


def invoke_csv(service: Service, body: bytes, sink: Sink) -> Job | None:
    """Answer an invocation in CSV through the sink."""
    max_rows = service.checklist.predictions.max_rows_per_request

    def decode(endpoint: Endpoint) -> InvocationCall:
        records = of_csv(endpoint.lane.model.signature, body, max_rows)
        return InvocationCall(endpoint, decode_records(endpoint, records, max_rows, "$"))

    return service.ask(INVOCATIONS, sink, decode)


def _decode(endpoint: Endpoint, body: bytes, max_rows: int) -> InvocationCall:
    request = read_lenient(body)
    forms = [form for form in _FORMS if isinstance(request, dict) and form in request]
    if len(forms) != 1:
        raise MalformedBodyError(
            "not an invocation", where="$", expected=f"an object with exactly one of {', '.join(_FORMS)}"
        )
    unknown = [name for name in request if name not in {*_FORMS, "params", "signature_name"}]
    if unknown:
        raise InputError("unknown field", where=f"$.{unknown[0][:80]}", expected=f"{forms[0]} and params")
    form = forms[0]
    path, given = f"$.{form}", request[form]
    records = _records(endpoint, form, given, path)
    _apply_params(endpoint, records, request.get("params"))
    if form == "dataframe_split":
        path += ".data"
    by_column = form == "inputs" and isinstance(given, dict)
    return InvocationCall(endpoint, decode_records(endpoint, records, max_rows, path, by_column=by_column))


def _records(endpoint: Endpoint, form: str, given: Any, path: str) -> Records:
    signature = endpoint.lane.model.signature
    if form == "inputs":
        return of_inputs(signature, given, path)
    if form != "dataframe_split":
        return of_instances(signature, given, path)
    if not isinstance(given, dict) or "data" not in given:
        raise InputError("wrong type", where=path, expected='{"columns": [...], "data": [[...]]}')
    return of_table(signature, given.get("columns"), given["data"], path)


def _apply_params(endpoint: Endpoint, records: Records, params: Any) -> None:
    """Params of the whole request are fields of every row that are logged and not given to the model.

    Others are left alone, as MLflow does with params that the model does not declare.
    """
    if params is None:
        return
    if not isinstance(params, dict):
        raise InputError("wrong type", where="$.params", expected="an object", received=kind_of(params))
    schema = endpoint.lane.codec.schema
    for name in schema.reserved:
        if name in params and name != schema.id_field:
            for record in records:
                record.setdefault(name, params[name])
