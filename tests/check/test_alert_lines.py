"""The lines of `[alerts]`: what is reached without a word, and what a test message finds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from holdfast.check.alert_channels import alert_lines
from holdfast.check.lines import Line
from holdfast.clock import SystemClock
from holdfast.registry import Registry
from holdfast.spec import Deployment


@contextmanager
def webhook(status: int) -> Iterator[tuple[str, list[bytes]]]:
    """The URL of a channel that answers with a status, and what it was sent."""
    heard: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/services/secret", heard
        finally:
            server.shutdown()
            thread.join()


def lines(
    folder: Path, alerts: str, *, send: bool, environ: Mapping[str, str] | None = None
) -> dict[str, Line]:
    (folder / "holdfast.toml").write_text(f'[model]\nname = "fraud"\n[alerts]\n{alerts}\n')
    deployment = Deployment.open(folder, {})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        found = alert_lines(deployment, registry, SystemClock(), environ or {}, send=send)
        return {line.line: line for line in found}


def test_without_channels_there_is_no_line(tmp_path: Path) -> None:
    assert lines(tmp_path, "", send=True) == {}


def test_a_webhook_is_reached_without_a_word_and_gets_a_message_marked_as_a_test_on_request(
    tmp_path: Path,
) -> None:
    with webhook(200) as (url, heard):
        silent = lines(tmp_path, 'webhooks = ["env:HOOK"]', send=False, environ={"HOOK": url})
        assert silent["alerts.webhooks"].verdict == "pass"
        assert heard == []
        told = lines(tmp_path, 'webhooks = ["env:HOOK"]', send=True, environ={"HOOK": url})
    assert told["alerts.webhooks"].verdict == "pass"
    assert told["alerts.webhooks"].measured == "1 of 1 took a test message"
    (message,) = map(json.loads, heard)
    assert message["kind"] == "test"
    assert "Nothing is wrong" in json.dumps(message)


def test_a_webhook_that_is_gone_or_refuses_fails_and_its_secret_path_is_not_shown(tmp_path: Path) -> None:
    with webhook(404) as (url, _):
        refused = lines(tmp_path, f'webhooks = ["{url}"]', send=True)
    gone = lines(tmp_path, f'webhooks = ["{url}"]', send=False)
    for found, reason in ((refused, "404"), (gone, "cannot be reached")):
        line = found["alerts.webhooks"]
        assert line.verdict == "fail"
        assert reason in str(line.advice)
        assert "secret" not in str(line)


def test_a_channel_that_nothing_was_sent_to_is_unknown_and_fails_where_its_address_is_missing(
    tmp_path: Path,
) -> None:
    unsent = lines(tmp_path, 'pagers = ["env:PAGER"]', send=False, environ={"PAGER": "json://localhost/s"})
    assert unsent["alerts.pagers"].verdict == "unknown"
    assert "--send-alerts" in str(unsent["alerts.pagers"].advice)
    assert "localhost" not in str(unsent)
    both = 'webhooks = ["https://hooks.example.org/x"]\npagers = ["env:PAGER"]'
    missing = lines(tmp_path, both, send=True)
    assert missing["alerts.pagers"].verdict == "fail"
    assert "PAGER" in str(missing["alerts.pagers"].advice)
    assert missing["alerts.webhooks"].verdict == "unknown"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Apprise's, when it is imported
def test_a_channel_takes_the_test_message_by_the_sender_of_real_alarms(tmp_path: Path) -> None:
    with webhook(200) as (url, heard):
        place = url.removeprefix("http://")
        found = lines(tmp_path, f'channels = ["json://{place}"]', send=True)
    assert found["alerts.channels"].verdict == "pass"
    assert "test" in heard[0].decode()
