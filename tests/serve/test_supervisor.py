"""The service as a whole: real processes, real sockets, real signals, a running load."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serve_process import ServeProcess, Traffic, children, make_deployment, promote, roll_back

from holdfast.clock import SystemClock
from holdfast.prediction_log import PredictionLog
from holdfast.registry import Registry

TWO = "[compute]\ncores = 2\n"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def requests_total(service: ServeProcess) -> float:
    text = service.ask("GET", "/metrics")[1]
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "holdfast_requests_total" and sample.labels["route"] == "/predict"
    )


def test_the_service_says_where_it_is_answers_and_drains_on_sigterm(tmp_path: Path) -> None:
    make_deployment(tmp_path)
    with ServeProcess(tmp_path) as service:
        assert f"demo at http://127.0.0.1:{service.port}, version 1, 1 worker" in service.log.read_text()
        assert service.ask("GET", "/readyz")[0] == 200
        assert service.ask("POST", "/predict", {"a": 3, "b": 0})[1]["prediction"] == 6.0
        workers = service.workers()
        assert all(b"hugetlb=1" in Path(f"/proc/{pid}/environ").read_bytes() for pid in workers)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
    assert not any(alive(pid) for pid in workers)
    assert PredictionLog(tmp_path / "log").ledger().served == 1


def test_sigterm_under_load_answers_every_accepted_request_and_logs_it(tmp_path: Path) -> None:
    make_deployment(tmp_path, TWO)
    with ServeProcess(tmp_path) as service, Traffic(service.port, callers=6) as traffic:
        service.wait_for(lambda: traffic.answered > 200)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
        traffic.stop()
    assert traffic.unanswered == []
    assert traffic.refused == []
    ledger = PredictionLog(tmp_path / "log").ledger()
    assert ledger.served == ledger.spooled == traffic.answered


def test_the_first_worker_waits_for_no_library_of_numbers() -> None:
    without = "import sys; sys.modules['numpy'] = sys.modules['sqlalchemy'] = None"
    program = f"{without}; import holdfast.serve.supervisor"
    assert subprocess.run([sys.executable, "-P", "-c", program], check=False).returncode == 0


def test_a_killed_worker_is_replaced_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    make_deployment(tmp_path, TWO)
    with ServeProcess(tmp_path) as service, Traffic(service.port, callers=4) as traffic:
        service.wait_for(lambda: traffic.answered > 100)
        for _ in range(3):
            victim = service.workers()[0]
            os.kill(victim, signal.SIGKILL)
            service.wait_for(lambda victim=victim: not alive(victim))
            service.wait_for(lambda: len(service.workers()) == 2)
            before = traffic.answered
            service.wait_for(lambda before=before: traffic.answered > before + 200)
        traffic.stop()
        # A caller whose connection died with its worker saw that; everybody else was answered.
        assert len(traffic.unanswered) <= 3 * 4
        assert traffic.refused == []
        assert service.ask("POST", "/predict", {"a": 1, "b": 0})[0] == 200
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
    ledger = PredictionLog(tmp_path / "log").ledger()
    assert ledger.spooled >= traffic.answered + 1
    assert len(set(traffic.ids)) == traffic.answered


def test_counters_never_go_backwards_whoever_answers_and_whoever_dies(tmp_path: Path) -> None:
    make_deployment(tmp_path, TWO)
    with ServeProcess(tmp_path) as service, Traffic(service.port, callers=2) as traffic:
        last = 0.0
        for turn in range(40):
            if turn == 20:
                os.kill(service.workers()[1], signal.SIGKILL)
            found = requests_total(service)
            assert found >= last
            last = found
            time.sleep(0.02)
        traffic.stop()
        service.wait_for(lambda: requests_total(service) >= traffic.answered * 0.5)


def test_promotion_and_rollback_under_load_fail_no_request(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path, TWO)
    with ServeProcess(tmp_path) as service, Traffic(service.port) as traffic:
        service.wait_for(lambda: traffic.versions == {"1"})
        promote(deployment, "2")
        service.wait_for(lambda: "2" in traffic.versions)
        service.wait_for(lambda: service.log.read_text().count("version 2 answers") == 2)
        for _ in range(10):
            assert service.ask("POST", "/predict", {"a": 1, "b": 0})[1]["model_version"] == "2"
        roll_back(deployment)
        service.wait_for(lambda: service.log.read_text().count("version 1 answers") == 2)
        for _ in range(10):
            assert service.ask("POST", "/predict", {"a": 1, "b": 0})[1]["model_version"] == "1"
        traffic.stop()
        assert traffic.unanswered == []
        assert traffic.refused == []
        assert traffic.not_accepted == 0


def test_a_registry_that_cannot_be_read_ends_no_service_and_is_read_again_when_it_can(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path)
    path = deployment.registry_url.removeprefix("sqlite:///")
    with ServeProcess(tmp_path) as service:
        service.wait_for(lambda: service.ask("GET", "/readyz")[0] == 200)
        worker = service.workers()
        with closing(sqlite3.connect(path)) as registry:
            registry.execute("ALTER TABLE route RENAME TO route_elsewhere")
            registry.commit()
            service.wait_for(lambda: service.log.read_text().count("the route table cannot be read") >= 2)
            status, answer = service.ask("POST", "/predict", {"a": 1, "b": 0})
            assert (status, answer["model_version"]) == (200, "1")
            assert (service.process.poll(), service.workers()) == (None, worker)
            registry.execute("ALTER TABLE route_elsewhere RENAME TO route")
            registry.commit()
        promote(deployment, "2")
        service.wait_for(lambda: service.ask("POST", "/predict", {"a": 1, "b": 0})[1]["model_version"] == "2")


def test_when_the_supervisor_is_killed_nobody_stays_behind_and_a_restart_just_works(tmp_path: Path) -> None:
    make_deployment(tmp_path, TWO)
    with ServeProcess(tmp_path, sys.executable, "-c", "import time; time.sleep(600)") as service:
        service.wait_for(lambda: len(list(children(service.process.pid))) == 3)
        pids = [pid for pid, _ in children(service.process.pid)]
        service.process.kill()
        service.process.wait(5)
        port = service.port
        (tmp_path / "holdfast.toml").write_text(
            f'[model]\nname = "demo"\n[target]\nport = {port}\n[compute]\ncores = 2\n'
        )
        with ServeProcess(tmp_path) as again:
            assert again.port == port
            assert again.ask("POST", "/predict", {"a": 2, "b": 0})[1]["prediction"] == 4.0
            again.wait_for(lambda: not any(alive(pid) for pid in pids), 10)


def test_a_background_command_is_restarted_and_ended_with_the_service(tmp_path: Path) -> None:
    make_deployment(tmp_path)
    with ServeProcess(tmp_path, sys.executable, "-c", "import time; time.sleep(600)") as service:

        def sleepers() -> list[int]:
            return [pid for pid, command in children(service.process.pid) if "time.sleep(600)" in command]

        service.wait_for(lambda: len(sleepers()) == 1)
        first = sleepers()[0]
        os.kill(first, signal.SIGKILL)
        service.wait_for(lambda: sleepers() not in ([], [first]))
        service.wait_for(lambda: "sleeper ended (SIGKILL); starting it again" in service.log.read_text())
        second = sleepers()[0]
        service.process.terminate()
        assert service.process.wait(20) == 0
    assert not alive(second)


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    make_deployment(tmp_path)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    with ServeProcess(tmp_path, sys.executable, "-c", stubborn) as service:
        service.wait_for(lambda: any("SIG_IGN" in command for _, command in children(service.process.pid)))
        time.sleep(0.3)
        service.process.send_signal(signal.SIGINT)
        time.sleep(1.5)
        assert service.process.poll() is None
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(5) == 1


def test_one_folder_is_served_once_and_one_port_too(tmp_path: Path) -> None:
    make_deployment(tmp_path / "one")
    with ServeProcess(tmp_path / "one") as service:
        same = run_to_end(tmp_path / "one")
        assert "being served already" in same.stderr
        make_deployment(tmp_path / "two", f"[speed]\nqps = 5\n#{service.port}")
        text = (tmp_path / "two" / "holdfast.toml").read_text().replace("port = 0", f"port = {service.port}")
        (tmp_path / "two" / "holdfast.toml").write_text(text)
        assert "cannot listen" in run_to_end(tmp_path / "two").stderr
        assert service.ask("GET", "/readyz")[0] == 200


def test_without_a_champion_it_lives_and_becomes_ready_when_there_is_one(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path, weights=())
    with ServeProcess(tmp_path) as service:
        assert "no model version yet" in service.log.read_text()
        assert service.ask("GET", "/livez")[0] == 200
        assert service.ask("GET", "/readyz")[0] == 503
        make_deployment(tmp_path)
        promote(deployment, "2")
        service.wait_for(lambda: service.ask("GET", "/readyz")[0] == 200)
        # Version 1 was promoted a moment before and may have been the first to load.
        service.wait_for(lambda: service.ask("POST", "/predict", {"a": 1, "b": 0})[1]["prediction"] == 5.0)


def test_an_artifact_that_was_altered_never_answers_and_the_champion_before_it_stays(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path)
    with ServeProcess(tmp_path) as service:
        for folder in deployment.artifacts_folder.iterdir():
            with (folder / "model.onnx").open("ab") as file:
                file.write(b"\0")
        promote(deployment, "2")
        service.wait_for(lambda: "version 2 cannot be loaded" in service.log.read_text())
        assert service.ask("POST", "/predict", {"a": 1, "b": 0})[1]["model_version"] == "1"


def test_where_the_champion_cannot_be_loaded_new_workers_answer_with_the_one_before_it(
    tmp_path: Path,
) -> None:
    deployment = make_deployment(tmp_path)
    promote(deployment, "2")
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        folder = deployment.artifacts_folder / registry.version("2").artifact_folder
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with ServeProcess(tmp_path) as service:
        assert "version 2 NOT loaded, version 1 answers" in service.log.read_text()
        assert service.ask("GET", "/readyz")[0] == 200
        for blow in ("killed", "reloaded"):
            before = service.workers()
            if blow == "killed":
                os.kill(before[0], signal.SIGKILL)
            else:
                service.process.send_signal(signal.SIGHUP)
            service.wait_for(lambda before=before: set(service.workers()) - set(before))
            service.wait_for(lambda before=before: not any(alive(one) for one in before))
            status, answer = service.ask("POST", "/predict", {"a": 1, "b": 0})
            assert (status, answer["model_version"]) == (200, "1"), blow


def test_sighup_takes_over_the_checklist_without_a_gap(tmp_path: Path) -> None:
    make_deployment(tmp_path)
    with ServeProcess(tmp_path) as service, Traffic(service.port, callers=2) as traffic:
        service.wait_for(lambda: traffic.answered > 20)
        before = service.workers()
        path = tmp_path / "holdfast.toml"
        path.write_text(path.read_text() + "[predictions]\nmax_rows_per_request = 2\n")
        service.process.send_signal(signal.SIGHUP)
        rows = [{"a": 1, "b": 0}] * 3
        service.wait_for(lambda: service.workers() and not set(service.workers()) & set(before))
        assert service.ask("POST", "/predict", rows)[0] == 413
        traffic.stop()
        assert traffic.unanswered == []
        assert traffic.refused == []
        assert "the checklist is taken over" in service.log.read_text()
        assert "ended (exit 0)" not in service.log.read_text()
        path.write_text("nonsense = 1")
        service.process.send_signal(signal.SIGHUP)
        service.wait_for(lambda: "the checklist is not taken over" in service.log.read_text())
        assert service.ask("POST", "/predict", rows[:1])[0] == 200


@pytest.mark.parametrize("durability", ["process", "synced"])
def test_what_was_answered_is_in_the_log_after_every_process_is_killed(
    tmp_path: Path, durability: str
) -> None:
    make_deployment(tmp_path, f'[logging]\ndurability = "{durability}"\n')
    with ServeProcess(tmp_path) as service, Traffic(service.port) as traffic:
        service.wait_for(lambda: traffic.answered > 100)
        os.killpg(service.process.pid, signal.SIGKILL)
        traffic.stop()
    assert PredictionLog(tmp_path / "log").ledger().spooled >= traffic.answered


def test_tls_and_keys_hold_from_end_to_end(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    make_deployment(
        tmp_path,
        f"""
        [security]
        auth = "keys"
        api_key_hashes = ["{hashlib.sha256(b"secret-key").hexdigest()}"]
        tls_certificate = "{certificate}"
        tls_key = "{key}"
        """,
    )
    with ServeProcess(tmp_path) as service:
        assert "https://127.0.0.1" in service.log.read_text()
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", service.port, context=context, timeout=15)
        try:
            for i in range(3):
                body = json.dumps([{"a": i, "b": 0}] * 3000)
                connection.request("POST", "/predict", body, {"authorization": "Bearer secret-key"})
                response = connection.getresponse()
                assert response.status == 200
                assert {one["prediction"] for one in json.loads(response.read())} == {2.0 * i}
            connection.request("POST", "/predict", body)
            assert connection.getresponse().status == 401
        finally:
            connection.close()
        with pytest.raises((OSError, http.client.HTTPException)):
            service.ask("GET", "/livez")
        service.process.terminate()
        assert service.process.wait(20) == 0


def run_to_end(folder: Path) -> subprocess.CompletedProcess[str]:
    from serve_process import SERVE

    result = subprocess.run(
        [sys.executable, "-c", SERVE, str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode != 0
    return result


def test_a_file_in_the_working_folder_is_not_taken_for_a_module_of_that_name(tmp_path: Path) -> None:
    make_deployment(tmp_path / "fraud")
    (tmp_path / "http.py").write_text("raise SystemExit('code of the working folder ran')")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "holdfast", "serve", "-C", "fraud"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=30)[0]
    assert "demo at http://127.0.0.1:" in first, first + rest
    assert "code of the working folder ran" not in rest
    assert process.returncode == 0
