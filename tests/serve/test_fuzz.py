"""No bytes make the service answer 5xx or fall over: decoders by Hypothesis, routes by schemathesis."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from live_service import Server, Start, linear_model, mixed_model, starting

from holdfast.clock import ManualClock
from holdfast.errors import HoldfastError
from holdfast.infer import RecordCodec
from holdfast.serve.consent import read_consents
from holdfast.serve.labels import read_labels
from holdfast.serve.status import status_of
from holdfast.serve.v2 import V2Codec
from holdfast.spec import parse_checklist

start = starting
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "800"))
"""Per decoder of inference requests; more by hand. Of records and labels half: every
kind of refusal that 800 bodies meet there has come by the 400th."""
CHECKLIST = parse_checklist('[model]\nname = "demo"\n', source="test")
MODELS = {"linear": linear_model(), "mixed": mixed_model()}
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
fuzz_plainer = settings(fuzz, max_examples=EXAMPLES // 2)

NAMES = (
    "a", "b", "age", "city", "income", "prediction_id", "label", "y", "observed_at", "subject", "consent",
    "at", "inputs", "outputs", "name", "shape", "datatype", "data", "id", "parameters", "x",
)  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([2**63, -(2**64), 1e308]),
)
names = st.one_of(
    st.sampled_from(NAMES),
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=5)),
    max_leaves=12,
)
tensor = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.sampled_from(["x", "a", "age", "city", "income"]), scalars),
        "shape": st.one_of(st.lists(st.one_of(st.integers(-2, 4), scalars), max_size=3), scalars),
        "datatype": st.one_of(st.sampled_from(["FP32", "INT64", "BYTES", "BOOL", "UINT8", "FP16"]), scalars),
        "data": values,
        "parameters": values,
    },
)
infers = st.fixed_dictionaries(
    {"inputs": st.one_of(st.lists(tensor, max_size=3), values)},
    optional={"id": scalars, "outputs": values, "parameters": values},
)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def mangled(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bodies as they are, cut off, with a byte changed, or any bytes at all."""

    def mangle(body: bytes, at: int, byte: int, how: int) -> bytes:
        place = at % (len(body) + 1)
        if how == 0:
            return body
        return body[:place] if how == 1 else body[:place] + bytes([byte]) + body[place + 1 :]

    return st.one_of(
        st.builds(mangle, bodies, st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 2)),
        st.binary(max_size=40),
    )


bodies = mangled(st.one_of(values, st.dictionaries(names, scalars), infers).map(encoded))


def refused_or_read(read: Any) -> None:
    """Whatever the bytes: read, or refused as the caller's mistake."""
    refusal = None
    try:
        read()
    except HoldfastError as error:
        refusal = error
    assert refusal is None or 400 <= status_of(refusal) < 500, refusal


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@fuzz_plainer
@given(body=bodies)
@example(body=b'{"\x80": null}')  # a name that is not UTF-8 was once answered by a crash
def test_records_are_read_or_refused(name: str, body: bytes) -> None:
    codec = RecordCodec(MODELS[name].signature, CHECKLIST)

    def read() -> None:
        records, _ = codec.decode(body)
        codec.shape_of(records)

    refused_or_read(read)


@pytest.mark.slow
@fuzz_plainer
@given(body=bodies, lines=st.booleans())
def test_labels_are_read_or_refused(body: bytes, lines: bool) -> None:
    refused_or_read(lambda: read_labels(body, ManualClock(), lines=lines))


@pytest.mark.slow
@fuzz
@given(body=bodies)
def test_consents_are_read_or_refused(body: bytes) -> None:
    refused_or_read(lambda: read_consents(body, ManualClock()))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@fuzz
@given(body=mangled(infers.map(encoded)), json_bytes=st.one_of(st.none(), st.integers(0, 200)))
def test_infer_requests_are_read_or_refused(name: str, body: bytes, json_bytes: int | None) -> None:
    model = MODELS[name]
    codec = RecordCodec(model.signature, CHECKLIST)
    v2 = V2Codec("demo", "1", model.signature, codec.schema, 100)
    refused_or_read(lambda: v2.decode(body, json_bytes))


@pytest.mark.slow
def test_no_request_that_the_description_allows_or_forbids_is_answered_5xx(start: Start) -> None:
    server = start(mixed_model())
    document = server.ask("GET", "/openapi.json")[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_schemathesis(server, document)
    assert server.ask("POST", "/predict", {"age": 4, "city": "north", "income": 1.0})[0] == 200


def run_schemathesis(server: Server, document: dict[str, Any]) -> None:
    import schemathesis
    from schemathesis.generation import GenerationMode

    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{server.port}")
    asked = 0
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # our own document is valid
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                cases = operation.as_strategy(generation_mode=mode)

                @settings(
                    max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
                )
                @given(case=cases)
                def ask(case: Any) -> None:
                    nonlocal asked
                    asked += 1
                    response = case.call(timeout=10)
                    # 503: what this worker was started without, such as a place for consents.
                    assert response.status_code < 500 or response.status_code == 503, (
                        case.method, case.path, response.text,
                    )  # fmt: skip

                ask()
            except schemathesis.errors.InvalidSchema:
                raise
            except Exception as error:
                if "Unsatisfiable" not in type(error).__name__:
                    raise
    assert asked > 100
    assert msgspec.json.decode(msgspec.json.encode(asked)) == asked
