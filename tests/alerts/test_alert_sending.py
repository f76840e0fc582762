"""Messages reach real servers: once where all is well, at least once where it is not."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from places import Hook, deployment, webhook
from test_alert_policy import DRIFT

from holdfast.alerts import AlertError, Alerting, channels_of, log_alarm
from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import Account
from holdfast.registry import Registry


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as opened:
        yield opened


@pytest.fixture
def other() -> Iterator[Hook]:
    with webhook() as opened:
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start_us=1_780_000_000_000_000)


def opened(folder: Path, alerts: str) -> tuple[Registry, Alerting]:
    mine = deployment(folder, alerts)
    clock = SystemClock()
    registry = Registry.open(mine.registry_url, clock)
    return registry, Alerting.open(mine, registry, clock, {})


def test_a_webhook_receives_the_alarm_as_json_once(tmp_path: Path, hook: Hook) -> None:
    page = 'dashboard = "https://ward.example.org/ui/"'
    registry, alerting = opened(tmp_path, f'webhooks = ["{hook.url}"]\n{page}')
    with registry:
        alerting.stands(DRIFT)
        assert alerting.sender.send_due().sent == 1
        assert alerting.sender.send_due().sent == 0
    (message,) = hook.received
    assert message["id"] == "ward/drift/2026-06-30/1"
    assert message["sentence"] == "Data drift, sudden, since 2026-06-30."
    assert message["what"] == ["data drift"]
    assert (message["columns"], message["severity"], message["kind"]) == (["age"], "warning", "alarm")
    assert message["url"] == "https://ward.example.org/ui/"


@pytest.mark.parametrize("code", [500, 404, 302])
def test_a_failing_webhook_is_tried_again_with_growing_pauses(
    tmp_path: Path, hook: Hook, clock: ManualClock, code: int
) -> None:
    mine = deployment(tmp_path, f'webhooks = ["{hook.url}"]')
    with Registry.open(mine.registry_url, clock) as registry:
        alerting = Alerting.open(mine, registry, clock, {})
        hook.codes = [code] * 3
        alerting.stands(DRIFT)
        waited = []
        for _ in range(3):
            assert alerting.sender.send_due(wait_s=5).failed == 1
            (delivery,) = registry.outbox.deliveries()
            waited.append(round((delivery.due_at_us - clock.now_us()) / 1e6))
            assert alerting.sender.send_due(wait_s=5).failed == 0, "not before its pause is over"
            clock.advance_s(waited[-1])
        assert waited == [15, 30, 60]
        assert registry.outbox.deliveries()[0].error == f"it answered with HTTP {code}"
        assert alerting.sender.send_due(wait_s=5).sent == 1
        assert len(hook.received) == 1


def test_a_message_is_given_up_and_counted_when_its_time_is_over(
    tmp_path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    mine = deployment(tmp_path, 'webhooks = ["http://127.0.0.1:9/t0ken"]\nretry = "2h"')
    with Registry.open(mine.registry_url, clock) as registry:
        alerting = Alerting.open(mine, registry, clock, {})
        alerting.stands(DRIFT)
        with caplog.at_level(logging.WARNING, "holdfast.alerts"):
            for _ in range(40):
                alerting.sender.send_due(wait_s=5)
                clock.advance_s(600)
        assert registry.outbox.counts() == {"waiting": 0, "sent": 0, "given up": 1}
        assert "given up" in caplog.text
        assert "t0ken" not in caplog.text


def test_a_slow_channel_and_a_broken_one_hold_nobody_up(tmp_path: Path, hook: Hook, other: Hook) -> None:
    slow = hook
    slow.hold.clear()
    urls = f'webhooks = ["{slow.url}", "http://127.0.0.1:9/", "{other.url}"]'
    registry, alerting = opened(tmp_path, urls)
    with registry:
        alerting.stands(DRIFT)
        done = alerting.sender.send_due(wait_s=1.0)
        assert (done.sent, done.failed, done.busy) == (1, 1, 1)
        assert len(other.received) == 1
        assert alerting.sender.send_due(wait_s=0).busy == 1, "a channel that is at it is left alone"
        slow.hold.set()
        alerting.sender.send_due(wait_s=5)
        assert registry.outbox.counts()["sent"] == 2
        assert len(slow.received) == 1


def test_a_channel_that_the_checklist_names_no_more_is_given_up(tmp_path: Path) -> None:
    registry, alerting = opened(tmp_path, 'webhooks = ["http://127.0.0.1:9/"]')
    with registry:
        alerting.stands(DRIFT)
    registry, alerting = opened(tmp_path, "")
    with registry:
        assert alerting.sender.send_due().given_up == 1
        assert registry.outbox.deliveries()[0].error == "the checklist no longer names this channel"


def _raise_and_die(folder: Path, url: str) -> None:
    """Writes the alarm and dies before anything is sent."""
    registry, alerting = opened(folder, f'webhooks = ["{url}"]')
    alerting.stands(DRIFT)
    del registry
    os.kill(os.getpid(), signal.SIGKILL)


def _send_until_killed(folder: Path, url: str) -> None:
    _, alerting = opened(folder, f'webhooks = ["{url}"]')
    alerting.sender.send_due(wait_s=60)


def test_an_alarm_outlives_kill_9_before_it_was_sent(tmp_path: Path, hook: Hook) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_raise_and_die, args=(tmp_path, hook.url))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert hook.received == []
    registry, alerting = opened(tmp_path, f'webhooks = ["{hook.url}"]')
    with registry:
        assert not alerting.stands(DRIFT), "it was written"
        alerting.sender.send_due()
    assert len(hook.received) == 1


def test_an_alarm_outlives_kill_9_while_it_was_being_sent(tmp_path: Path, hook: Hook) -> None:
    registry, alerting = opened(tmp_path, f'webhooks = ["{hook.url}"]')
    with registry:
        alerting.stands(DRIFT)
    hook.hold.clear()
    hook.codes = [503]  # what the dead process will not hear
    process = multiprocessing.get_context("spawn").Process(
        target=_send_until_killed, args=(tmp_path, hook.url)
    )
    process.start()
    assert hook.arrived.wait(60)
    process.kill()
    process.join(60)
    hook.hold.set()
    later = ManualClock(start_us=SystemClock().now_us() + 301_000_000)
    mine = deployment(tmp_path, f'webhooks = ["{hook.url}"]')
    with Registry.open(mine.registry_url, later) as registry:
        assert Alerting.open(mine, registry, later, {}).sender.send_due().sent == 1
    assert [one["kind"] for one in hook.received] == ["alarm"]


def test_two_senders_send_one_message_once(tmp_path: Path, hook: Hook) -> None:
    mine = f'webhooks = ["{hook.url}"]'
    registry, alerting = opened(tmp_path, mine)
    with registry:
        for number in range(20):
            alerting.stands(_of(number))
        pairs = [opened(tmp_path, mine) for _ in range(4)]
        threads = [
            threading.Thread(target=lambda one=one: [one.sender.send_due() for _ in range(5)])
            for _, one in pairs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for one, _ in pairs:
            one.close()
        assert registry.outbox.counts() == {"waiting": 0, "sent": 20, "given up": 0}
    assert len({one["id"] for one in hook.received}) == len(hook.received) == 20


def _of(number: int) -> Any:
    import msgspec

    return msgspec.structs.replace(DRIFT, source=f"drift {number}")


class _Inbox:
    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(  # noqa: N802 - the name that the server calls
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.mails.append(envelope.content)
        return "250 OK"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Apprise's, when it is imported
def test_mail_arrives_through_apprise_with_the_sentence_in_it(tmp_path: Path) -> None:
    inbox = _Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    try:
        (tmp_path / "mail").write_text(f"mailto://127.0.0.1:{port}?from=ward@a.example&to=ann@a.example\n")
        registry, alerting = opened(tmp_path, 'channels = ["file:mail"]')
        with registry:
            alerting.stands(DRIFT)
            done = alerting.sender.send_due()
    finally:
        server.stop()
    assert done.sent == 1
    (mail,) = map(message_from_bytes, inbox.mails)
    assert str(mail["Subject"]) == "ward: data drift"
    parts = [part for part in mail.walk() if not part.is_multipart()]
    body = b"".join(bytes(part.get_payload(decode=True)) for part in parts)
    assert b"Data drift, sudden, since 2026-06-30." in body


def test_addresses_come_from_the_environment_and_stand_in_no_repr(tmp_path: Path) -> None:
    mine = deployment(
        tmp_path, 'webhooks = ["https://hooks.example.org/s3cret"]\nchannels = ["env:FRAUD_SLACK"]'
    )
    found = channels_of(mine, {"FRAUD_SLACK": "slack://s3cret-a/b/c"})
    assert [one.name for one in found] == ["webhooks[0] hooks.example.org", "channels[0] slack"]
    assert found[1].address == "slack://s3cret-a/b/c"
    assert "s3cret" not in repr(found) + repr(mine.checklist.alerts) + repr(mine)


@pytest.mark.parametrize(
    ("alerts", "words"),
    [
        ('channels = ["env:UNSET"]', "environment variable UNSET is not set"),
        ('webhooks = ["file:nowhere"]', "cannot be read"),
        ('webhooks = ["env:OTHER"]', r"expected a URL of http or https"),
        ('webhooks = ["http://[::1/s3cret"]', r"expected a URL of http or https"),
    ],
)
def test_an_address_that_is_not_there_is_named_without_its_text(
    tmp_path: Path, alerts: str, words: str
) -> None:
    with pytest.raises(AlertError, match=words) as caught:
        channels_of(deployment(tmp_path, alerts), {"OTHER": "slack://s3cret"})
    assert "s3cret" not in str(caught.value)


def test_a_test_message_says_which_channel_has_taken_it_and_is_not_tried_again(
    tmp_path: Path, hook: Hook
) -> None:
    registry, alerting = opened(tmp_path, f'webhooks = ["{hook.url}", "http://127.0.0.1:9/"]')
    with registry:
        taken, refused = alerting.test()
        assert (taken.state, refused.state) == ("sent", "given up")
        assert refused.error == "the connection was refused"
        assert registry.outbox.counts()["waiting"] == 0
    assert [one["kind"] for one in hook.received] == ["test"]


def _account(unaccounted: int) -> Account:
    return Account(
        at_us=1_780_000_000_000_000,
        served=100, stored=100 - unaccounted, spooled=0, sampled_out=0,
        dropped=0, expired=0, erased=0, labels_refused=0, torn_records=0,
        unaccounted=unaccounted, coverage=0.9,
    )  # fmt: skip


def test_rows_that_the_log_has_lost_are_told_until_they_are_found(tmp_path: Path, hook: Hook) -> None:
    registry, alerting = opened(tmp_path, f'webhooks = ["{hook.url}"]')
    with registry, alerting.sending():
        assert [log_alarm(alerting, _account(lost)) for lost in (0, 7, 7, 9, 0, 0)] == [
            False, True, False, False, True, False,
        ]  # fmt: skip
    assert [one["kind"] for one in hook.received] == ["alarm", "resolved"]
    assert hook.received[0]["title"] == "ward: 7 predictions are unaccounted for"


def test_a_webhook_with_a_user_and_a_password_is_sent_both_and_told_nowhere(
    tmp_path: Path, hook: Hook
) -> None:
    url = hook.url.replace("//", "//ann:p%40ss@")
    registry, alerting = opened(tmp_path, f'webhooks = ["{url}"]')
    with registry:
        (delivery,) = alerting.test()
    assert (delivery.state, delivery.channel) == ("sent", "webhooks[0] 127.0.0.1")
    assert hook.authorization == "Basic " + b64encode(b"ann:p@ss").decode()
