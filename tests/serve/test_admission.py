from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from live_service import Client, Server, Start, linear_model, starting
from serve_process import ServeProcess, make_deployment

from holdfast.clock import ManualClock, SystemClock
from holdfast.registry import Registry
from holdfast.serve.admission import Admission, KeyEntry, check_scope
from holdfast.serve.errors import ForbiddenError, RateLimitedError, UnauthorisedError
from holdfast.serve.rates import RateGate, RateSlots, make_rates_file
from holdfast.serve.tokens import Token, TokenVerifier
from holdfast.spec.checklist import Security

start = starting

ROW = {"a": 1, "b": 1}
EVERY = frozenset({"predict", "label", "read"})


def text_of(number: int) -> str:
    return f"hfk_{number:012x}_secret{number}"


def entry(
    number: int,
    scopes: Sequence[str] = ("predict",),
    expires_at_us: int | None = None,
    rate: float | None = None,
) -> KeyEntry:
    digest = hashlib.sha256(text_of(number).encode()).digest()
    return KeyEntry(f"{number:012x}", digest, tuple(scopes), expires_at_us, rate, number)


def bearer(number: int) -> bytes:
    return f"Bearer {text_of(number)}".encode()


def ask(client: Client, key: str, path: str = "/predict", extra: str = "") -> int:
    body = json.dumps(ROW).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{extra}"
    head += f"content-length: {len(body)}\r\n\r\n"
    client.socket.sendall(head.encode() + body)
    return client.response()[0]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_us=1_000)


@pytest.fixture
def admission(clock: ManualClock) -> Admission:
    return Admission(Security(auth="keys"), clock)


def test_each_key_is_found_as_itself_and_no_other(admission: Admission) -> None:
    admission.replace_keys([entry(1), entry(2, ["read"])])
    assert admission.find(bearer(1)).name == "key 000000000001"
    assert admission.find(bearer(2)).scopes == {"read"}


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic " + text_of(1).encode(),
        text_of(1).encode(),
        bearer(3),
        bearer(1) + b"x",
        bearer(1)[:-1],
        b"Bearer hfk_000000000001_",
        b"Bearer hfk_",
        b"Bearer hfk_000000000001_secret2",
        b"Bearer " + hashlib.sha256(text_of(1).encode()).hexdigest().encode(),
        b"Bearer \xff\x00",
    ],
)
def test_nothing_else_is_a_key(admission: Admission, authorization: bytes | None) -> None:
    admission.replace_keys([entry(1), entry(2)])
    with pytest.raises(UnauthorisedError):
        admission.find(authorization)


def test_a_key_that_is_gone_or_expired_is_refused(admission: Admission, clock: ManualClock) -> None:
    admission.replace_keys([entry(1), entry(2, expires_at_us=2_000_000)])
    grant = admission.find(bearer(2))
    assert grant.admit()
    clock.advance_s(2)
    assert not grant.admit()
    with pytest.raises(UnauthorisedError):
        admission.find(bearer(2))
    with pytest.raises(UnauthorisedError, match="expired"):
        check_scope(grant, EVERY)
    admission.replace_keys([entry(2)])
    with pytest.raises(UnauthorisedError):
        admission.find(bearer(1))


def test_admin_includes_every_scope_and_nothing_else_includes_another(admission: Admission) -> None:
    admission.replace_keys([entry(1, ["admin"]), entry(2, ["label"])])
    for scope in EVERY:
        check_scope(admission.find(bearer(1)), frozenset({scope}))
    with pytest.raises(ForbiddenError, match="scope predict"):
        check_scope(admission.find(bearer(2)), frozenset({"predict"}))


def test_a_rate_allows_one_second_at_once_and_then_its_pace(clock: ManualClock) -> None:
    gate = RateGate(RateSlots(), 7, 10.0, clock)
    assert [gate.admit() for _ in range(12)] == [True] * 10 + [False] * 2
    assert gate.wait_s() == pytest.approx(0.1)
    admitted = 0
    for _ in range(100):
        clock.advance_s(0.05)
        admitted += gate.admit()
    assert admitted == 50


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.0, 1000.0])
def test_over_a_long_time_no_more_is_admitted_than_the_rate(clock: ManualClock, rate: float) -> None:
    gate = RateGate(RateSlots(), 0, rate, clock)
    step_s, seconds = 0.25 / rate, 30 / rate
    admitted = 0
    for _ in range(round(seconds / step_s)):
        admitted += gate.admit()
        clock.advance_s(step_s)
    assert 30 <= admitted <= 30 + max(rate, 1)


def test_workers_share_a_rate_and_callers_do_not(tmp_path: Path, clock: ManualClock) -> None:
    path = make_rates_file(tmp_path)
    security = Security(auth="keys", requests_per_s_per_key=4.0)
    workers = [Admission(security, clock, RateSlots(path)) for _ in range(2)]
    for worker in workers:
        worker.replace_keys([entry(1), entry(2), entry(3, rate=1.0)])
    grants = [worker.find(bearer(1)) for worker in workers]
    assert sum(grants[i % 2].admit() for i in range(20)) == 4
    assert sum(workers[i % 2].find(bearer(2)).admit() for i in range(20)) == 4
    assert sum(workers[i % 2].find(bearer(3)).admit() for i in range(20)) == 1


def test_a_caller_over_its_rate_is_told_when_to_return(admission: Admission) -> None:
    admission.replace_keys([entry(1, rate=0.5)])
    grant = admission.find(bearer(1))
    check_scope(grant, EVERY)
    with pytest.raises(RateLimitedError, match=r"in 2 s") as refused:
        check_scope(grant, EVERY)
    assert refused.value.retry_after_s == pytest.approx(2.0)


def test_each_route_asks_for_its_scope(start: Start) -> None:
    server = start(linear_model(), '[security]\nauth = "keys"')
    scopes = ["predict", "label", "read", "admin"]
    server.call(server.service.admission.replace_keys, [entry(i, [one]) for i, one in enumerate(scopes)])
    label = {"prediction_id": "x", "label": 1.0}
    infer: dict[str, object] = {"inputs": []}
    wanted = {
        ("POST", "/predict"): ("predict", ROW),
        ("POST", "/v2/models/demo/infer"): ("predict", infer),
        ("POST", "/labels"): ("label", label),
        ("GET", "/metrics"): ("read", None),
        ("POST", "/consent"): ("label", {}),
        ("POST", "/v2/repository/models/demo/load"): ("admin", {}),
        ("POST", "/v2/repository/models/demo/unload"): ("admin", {}),
    }
    for (method, path), (scope, body) in wanted.items():
        for number, own in enumerate(scopes):
            status, _, _ = server.ask(method, path, body, {"authorization": bearer(number).decode()})
            assert (status == 403) == (own not in {scope, "admin"}), (path, own, status)
            assert status != 401
    for path in ("/", "/openapi.json", "/v2", "/v2/models/demo", "/v2/models/demo/ready"):
        for number in range(4):
            assert server.ask("GET", path, None, {"authorization": bearer(number).decode()})[0] == 200


def test_a_head_that_was_admitted_before_is_refused_once_its_key_is_revoked(start: Start) -> None:
    server = start(linear_model(), '[security]\nauth = "keys"')
    replace(server, [entry(1), entry(2)])
    client, other = server.client(), server.client()
    assert [ask(client, text_of(1)) for _ in range(3)] == [200] * 3
    assert ask(other, text_of(2)) == 200
    assert len(server.state.known_heads) == 2
    replace(server, [entry(2)])
    assert [ask(client, text_of(1)) for _ in range(2)] == [401] * 2
    assert [ask(other, text_of(2)) for _ in range(2)] == [200] * 2
    assert server.service.counts.refusals["unauthorised"] == 2


def test_a_head_with_ids_is_refused_once_its_key_is_revoked_however_often_it_came(start: Start) -> None:
    server = start(linear_model(), '[security]\nauth = "keys"')
    replace(server, [entry(1), entry(2)])
    client = server.client()
    names = [f"x-request-id: {i}\r\n" for i in range(60)]
    assert {ask(client, text_of(1), extra=one) for one in names} == {200}
    assert {ask(client, text_of(2)[:-1] + "3", extra=one) for one in names} == {401}, "another key"
    replace(server, [entry(2)])
    assert {ask(client, text_of(1), extra=one) for one in names} == {401}


def test_a_known_head_is_held_to_its_rate_and_its_end(start: Start) -> None:
    server = start(linear_model(), '[security]\nauth = "keys"\nrequests_per_s_per_key = 5')
    expires_s = time.time() + 0.7
    replace(server, [entry(1), entry(2), entry(3, expires_at_us=round(expires_s * 1e6), rate=1e6)])
    client = server.client()
    assert ask(client, text_of(3)) == 200
    statuses = [ask(client, text_of(1)) for _ in range(20)]
    assert statuses[:5] == [200] * 5
    assert 429 in statuses
    assert [ask(client, text_of(2)) for _ in range(5)] == [200] * 5
    time.sleep(max(expires_s - time.time(), 0.0) + 0.1)
    assert ask(client, text_of(3)) == 401
    status, _, headers = server.ask("POST", "/predict", ROW, {"authorization": bearer(2).decode()})
    if status == 429:
        assert int(headers["retry-after"]) >= 1


def replace(server: Server, entries: list[KeyEntry]) -> None:
    """What a worker does when the supervisor tells it of new keys."""

    def both() -> None:
        server.service.admission.replace_keys(entries)
        server.state.known_heads.clear()

    server.call(both)


@pytest.mark.slow
def test_a_key_works_and_ends_within_a_second_in_every_worker(tmp_path: Path) -> None:
    deployment = make_deployment(
        tmp_path, 'host = "127.0.0.1"\n[compute]\ncores = 2\n[security]\nauth = "keys"\n'
    )
    registry = Registry.open(deployment.registry_url, SystemClock())
    with registry, ServeProcess(tmp_path) as service:
        assert "make a key" in service.log.read_text()

        def statuses(key: str) -> list[int]:
            return [connected.status(key) for connected in callers]

        callers = [Caller(service.port) for _ in range(12)]  # spread over both workers by the kernel
        made = registry.api_keys.create(name="shop", scopes=["predict"], actor="ann")
        other = registry.api_keys.create(name="till", scopes=["predict"], actor="ann")
        began = time.monotonic()
        while set(statuses(made.key)) != {200}:
            assert time.monotonic() - began < 1.0
        registry.api_keys.revoke(made.entry.key_id, actor="ann")
        began = time.monotonic()
        while set(statuses(made.key)) != {401}:
            assert time.monotonic() - began < 1.0
        assert set(statuses(other.key)) == {200}
        for caller in callers:
            caller.client.close()


class Caller:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        import socket

        self.client = Client(socket.create_connection(("127.0.0.1", port), timeout=10))

    def status(self, key: str) -> int:
        return ask(self.client, key)


def test_a_key_of_the_checklist_has_the_scopes_of_callers_and_not_of_admins(
    clock: ManualClock,
) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    admission = Admission(Security(auth="keys", api_key_hashes=(digest,)), clock)
    assert admission.find(b"Bearer secret").scopes == EVERY


def test_who_was_away_long_has_saved_up_no_more_than_a_second(clock: ManualClock) -> None:
    gate = RateGate(RateSlots(), 7, 10.0, clock)
    assert gate.admit()
    clock.advance_s(100)
    assert [gate.admit() for _ in range(12)] == [True] * 10 + [False] * 2


def test_who_has_no_scope_at_all_is_told_which_there_are(admission: Admission) -> None:
    admission.replace_keys([entry(1, [])])
    with pytest.raises(ForbiddenError, match=r"label or predict or read; received no scope\. .*scope label"):
        check_scope(admission.find(bearer(1)), frozenset())


class Trusting(TokenVerifier):
    """Takes any token for one that ends after a second."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.verified = clock, 0

    def verify(self, token: bytes) -> Token:
        self.verified += 1
        return Token(token.decode(), frozenset({"predict"}), self.clock.now_us() + 1_000_000)


def test_a_token_is_verified_once_and_so_many_are_remembered_and_no_more(clock: ManualClock) -> None:
    tokens = Trusting(clock)
    admission = Admission(Security(auth="keys"), clock, tokens=tokens)
    for number in range(5000):
        for _ in range(2):
            assert admission.find(b"Bearer a.%d.c" % number).scopes == {"predict"}
        assert len(admission._of_tokens) <= 4096
    assert tokens.verified == 5000
    for nothing in (b"Bearer a.b", b"Bearer a.b.c.d", b"Bearer abc"):
        with pytest.raises(UnauthorisedError):
            admission.find(nothing)
    assert tokens.verified == 5000, "what is no token is not looked at"


def test_a_key_and_a_token_end_at_the_microsecond_that_they_say(clock: ManualClock) -> None:
    admission = Admission(Security(auth="keys"), clock, tokens=Trusting(clock))
    admission.replace_keys([entry(1, expires_at_us=1_001_000)])
    grants = [admission.find(bearer(1)), admission.find(b"Bearer a.b.c")]
    clock.sleep_s(0.999_999)
    assert [grant.admit() for grant in grants] == [True, True]
    clock.sleep_s(0.000_001)
    assert [grant.admit() for grant in grants] == [False, False]
    for authorization in (bearer(1), b"Bearer a.b.c"):
        with pytest.raises(UnauthorisedError):
            admission.find(authorization)
