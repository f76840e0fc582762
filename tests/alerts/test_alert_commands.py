"""`holdfast alerts` says which channels work and what was told."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from places import deployment, webhook

from holdfast.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    code = stopped.value.code
    return (code if isinstance(code, int) else 0), said.out, said.err


def test_a_test_names_each_channel_and_fails_if_one_has_not_taken_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("-C", str(tmp_path))
    with webhook() as hook:
        deployment(tmp_path, f'webhooks = ["{hook.url}"]')
        assert run(capsys, "alerts", "test", *place)[:2] == (0, "webhooks[0] 127.0.0.1: taken\n")
        deployment(tmp_path, f'webhooks = ["{hook.url}", "http://localhost:9/t0ken"]')
        code, out, _ = run(capsys, "alerts", "test", *place, "--json")
    assert code == 1
    assert [one["state"] for one in json.loads(out)] == ["sent", "given up"]
    code, out, _ = run(capsys, "alerts", "list", *place)
    assert code == 0
    assert out.startswith("No alarm stands.")
    assert out.endswith("0 waiting, 2 sent, 1 given up\n")
    code, out, _ = run(capsys, "alerts", "list", *place, "--json")
    told = json.loads(out)
    assert (told["counts"]["sent"], told["standing"]) == (2, [])
    assert {one["channel"] for one in told["messages"]} == {"webhooks[0] 127.0.0.1", "webhooks[1] localhost"}
    assert "t0ken" not in out


def test_without_a_channel_a_test_says_how_to_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment(tmp_path)
    code, _, err = run(capsys, "alerts", "test", "-C", str(tmp_path))
    assert code == 1
    assert "no channel is named" in err
    assert "webhooks" in err


def test_an_address_that_is_missing_keeps_neither_the_keeper_nor_the_monitor_from_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment(tmp_path, 'channels = ["env:HOLDFAST_TEST_UNSET"]')

    def stopped() -> threading.Event:
        stop = threading.Event()
        stop.set()
        return stop

    monkeypatch.setattr("holdfast.cli.service.stop_on_signal", stopped)
    # The keeper stands back behind the workers; the process of the tests shall not from here on.
    monkeypatch.setattr("os.nice", lambda _: 0)
    for command in (("keep",), ("monitor", "--follow")):
        code, _, err = run(capsys, *command, "-C", str(tmp_path))
        assert code == 0
        assert "nobody is told of alarms: alerts.channels[0]" in err
    code, _, err = run(capsys, "monitor", "-C", str(tmp_path))
    assert code == 1
    assert "HOLDFAST_TEST_UNSET is not set" in err
