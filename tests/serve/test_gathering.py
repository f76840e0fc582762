"""Deployments come and go in a service that goes on answering."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serve_process import ADDRESS, make_deployment

from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog, settle
from holdfast.registry import Registry
from holdfast.serve import Gathering, Served, ServeError
from holdfast.serve.gathering import Changes
from holdfast.spec import Deployment


class Gathered:
    """`holdfast serve --all`, as operators run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = folder.parent / f"{folder.name}.log"
        command = [sys.executable, "-P", "-m", "holdfast", "serve", "--all", str(folder), "--no-monitor"]
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--port", "0", "--workers", "1"],
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self.wait_for("deployment")
        found = ADDRESS.search(self.said.read_text())
        assert found is not None
        self.url = found[0]

    def wait_for(self, words: str, longest_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + longest_s
        while words not in self.said.read_text():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline_s, self.said.read_text()
            time.sleep(0.02)

    def ask(self, name: str, a: float) -> httpx.Response:
        return httpx.post(f"{self.url}/deployments/{name}/predict", json={"a": a, "b": 0}, timeout=30)

    def wait_until_refused(self, name: str, rows: int, longest_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + longest_s
        body = [{"a": 1, "b": 0}] * rows
        while httpx.post(f"{self.url}/deployments/{name}/predict", json=body).status_code != 413:
            assert time.monotonic() < deadline_s, self.said.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(40)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


PATIENT = "[speed]\np99_ms = 5000\ndeadline_ms = 20000\n"
"""Nothing is refused because the machine is busy: that is admission, which has tests of its own."""


def named(folder: Path, name: str, weight: float, toml: str = "") -> Deployment:
    made = make_deployment(folder, PATIENT + toml, weights=(weight,))
    checklist = folder / "holdfast.toml"
    checklist.write_text(checklist.read_text().replace('"demo"', f'"{name}"'))
    return Deployment.open(made.folder, {})


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Gathered]:
    named(tmp_path / "all" / "one", "one", 2.0)
    running = Gathered(tmp_path / "all")
    yield running
    running.stop()


class Load:
    """Asks one deployment on kept connections until told to stop; every answer must be right."""

    def __init__(self, service: Gathered, name: str, weight: float) -> None:
        self._stop = threading.Event()
        self.ids: list[str] = []
        self.wrong: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(service, name, weight, place)) for place in range(2)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, service: Gathered, name: str, weight: float, place: int) -> None:
        with httpx.Client(base_url=service.url, timeout=30) as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                asked = f"{name}-{place}-{number}"
                row = {"prediction_id": asked, "a": float(number), "b": 0.0}
                try:
                    answer = client.post(f"/deployments/{name}/predict", json=row)
                except httpx.TransportError as error:
                    self.wrong.append(repr(error))
                    continue
                if answer.status_code == 200 and answer.json()["prediction"] == weight * number:
                    self.ids.append(asked)
                else:
                    self.wrong.append(answer.text)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.slow
def test_one_comes_changes_and_goes_under_load_and_neither_loses_a_request(
    tmp_path: Path, service: Gathered
) -> None:
    load = Load(service, "one", 2.0)
    assert service.ask("two", 1).status_code == 404
    named(tmp_path / "made elsewhere", "two", 5.0).folder.rename(service.folder / "two")
    service.wait_for("two at http")
    answer = service.ask("two", 3)
    assert (answer.status_code, answer.json().get("prediction")) == (200, 15.0), answer.text
    assert {one["name"] for one in httpx.get(f"{service.url}/deployments").json()["deployments"]} == {
        "one",
        "two",
    }
    other = Load(service, "two", 5.0)
    with (service.folder / "two" / "holdfast.toml").open("a") as checklist:
        checklist.write("[predictions]\nmax_rows_per_request = 2\n")
    service.process.send_signal(signal.SIGHUP)
    service.wait_until_refused("two", rows=3)
    time.sleep(0.5)
    other.stop()
    (service.folder / "two" / "holdfast.toml").rename(service.folder / "two" / "holdfast.toml.off")
    service.wait_for("two is taken away")
    assert service.ask("two", 3).status_code == 404
    load.stop()
    assert (load.wrong, other.wrong) == ([], [])
    assert len(load.ids) > 50
    (service.folder / "two" / "holdfast.toml.off").rename(tmp_path / "holdfast.toml")
    (service.folder / "two").rename(tmp_path / "two")
    (tmp_path / "holdfast.toml").rename(tmp_path / "two" / "holdfast.toml")
    for folder, asked in ((service.folder / "one", load.ids), (tmp_path / "two", other.ids)):
        deployment = Deployment.open(folder, {})
        settle(deployment, SystemClock())
        log = PredictionLog(deployment)
        held = log.predictions(columns=["prediction_id"]).read_all()["prediction_id"].to_pylist()
        assert set(asked) <= set(held)
        assert len(held) == len(set(held))
        assert log.verify().ok
    two = Deployment.open(tmp_path / "two", {})
    with Registry.open(two.registry_url, SystemClock()) as registry:
        acts = [entry.action for entry in registry.audit.entries(begins="service.")]
    assert acts == ["service.add", "service.remove"]


@pytest.mark.slow
def test_what_cannot_be_served_beside_the_others_is_refused_once_and_taken_up_when_it_is_mended(
    tmp_path: Path, service: Gathered
) -> None:
    broken = named(tmp_path / "made elsewhere", "one", 5.0).folder.rename(service.folder / "two")
    service.wait_for("two deployments of the name 'one'")
    time.sleep(2.5)
    assert service.said.read_text().count("is not taken up") == 1
    assert service.ask("one", 1).json()["prediction"] == 2.0
    text = (broken / "holdfast.toml").read_text()
    (broken / "holdfast.toml").write_text(text.replace('"one"', '"two"'))
    service.wait_for("two at http")
    assert service.ask("two", 1).json()["prediction"] == 5.0
    assert json.loads((service.folder / "two" / "run" / "serve.json").read_text())["name"] == "two"


@pytest.mark.slow
def test_one_that_another_service_has_is_refused_once_and_the_others_answer(
    tmp_path: Path, service: Gathered
) -> None:
    other = named(tmp_path / "elsewhere" / "two", "two", 5.0)
    second = Gathered(tmp_path / "elsewhere")
    try:
        (service.folder / "two").symlink_to(other.folder)
        service.wait_for("two is not taken up")
        time.sleep(2.5)
        assert service.said.read_text().count("is not taken up") == 1
        assert service.ask("one", 1).json()["prediction"] == 2.0
        assert second.ask("two", 1).json()["prediction"] == 5.0
    finally:
        second.stop()


def test_the_last_one_is_never_taken_away_and_a_folder_of_none_is_refused(tmp_path: Path) -> None:
    gathering = Gathering(tmp_path, Served)
    with pytest.raises(ServeError, match="holdfast init"):
        gathering.first()
    one = named(tmp_path / "one", "one", 2.0)
    assert [served.deployment.name for served in gathering.first()] == ["one"]
    assert gathering.look([one]).added == []
    (one.folder / "holdfast.toml").unlink()
    assert gathering.look([one]).gone == []


def test_a_relative_folder_is_the_same_folder_at_every_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(tmp_path / "all" / "one", "one", 2.0)
    monkeypatch.chdir(tmp_path)
    gathering = Gathering(Path("all"), Served)
    found = [served.deployment for served in gathering.first()]
    assert gathering.look(found) == Changes()


def test_a_link_out_of_the_folder_is_a_deployment_and_a_file_deeper_down_is_none(tmp_path: Path) -> None:
    elsewhere = named(tmp_path / "elsewhere", "one", 2.0)
    named(tmp_path / "all" / "group" / "deep", "deep", 2.0)
    (tmp_path / "all" / "link").symlink_to(elsewhere.folder)
    found = Gathering(tmp_path / "all", Served).first()
    assert [served.deployment.name for served in found] == ["one"]
