"""The command line as a shell sees it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from holdfast.cli.app import COMMANDS, EXIT_ERROR, EXIT_USAGE, main, root
from holdfast.cli.options import first_use
from holdfast.clock import SystemClock
from holdfast.files import write_whole
from holdfast.prediction_log import SpoolWriter
from holdfast.privacy import PredictionRecord, Redactor
from holdfast.spec import Deployment
from holdfast.spec.checklist import Privacy


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


def test_help_names_every_command_and_every_exit_code() -> None:
    shown = _run("--help").stdout
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert "Exit codes" in shown


def test_importing_holdfast_imports_no_other_library() -> None:
    code = "import sys; before = set(sys.modules); import holdfast; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "numpy" not in done.stdout
    assert "click" not in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_listed_summary_is_the_commands_own(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_a_mistyped_command_is_a_usage_error_with_the_nearest_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _exit_code("sevre") == EXIT_USAGE
    assert "Did you mean 'serve'?" in capsys.readouterr().err


def test_an_error_says_what_where_and_what_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("versions", "-C", str(tmp_path)) == EXIT_ERROR
    said = capsys.readouterr().err
    assert str(tmp_path) in said
    assert "holdfast init" in said


def test_with_json_an_error_is_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("versions", "--json", "-C", str(tmp_path)) == EXIT_ERROR
    assert json.loads(capsys.readouterr().err)["where"].startswith(str(tmp_path))


def test_with_json_a_wrong_command_line_is_one_json_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("versions", "--jsn", "--json") == EXIT_USAGE
    assert "--jsn" in json.loads(capsys.readouterr().err)["error"]


def test_what_the_system_refuses_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert _exit_code("init", str(tmp_path / "file" / "fraud"), "--yes") == EXIT_ERROR
    said = capsys.readouterr().err
    assert said.strip() == f"error: {tmp_path / 'file' / 'fraud'}: not a directory"


def test_the_next_step_names_the_deployment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my fraud"
    assert _exit_code("init", str(folder), "--yes", "--name", "fraud") == 0
    assert f"-C '{folder}'" in capsys.readouterr().out
    for arguments in (["versions"], ["rollout", "status"]):
        assert _exit_code(*arguments, "-C", str(folder)) == 0
        assert f"holdfast register MODEL --reference FILE -C '{folder}'" in capsys.readouterr().out


def test_a_champion_of_a_batch_deployment_is_to_score_a_table(tmp_path: Path) -> None:
    assert (
        _exit_code("init", str(tmp_path), "--yes", "--name", "ward", "--set", "predictions.mode=batch") == 0
    )
    deployment = Deployment.open(tmp_path, {})
    assert first_use(deployment, tmp_path) == f"holdfast score SOURCE TARGET -C {tmp_path}"


def test_init_with_yes_writes_a_file_that_opens(tmp_path: Path) -> None:
    folder = tmp_path / "fraud"
    done = CliRunner().invoke(root, ["init", str(folder), "--yes", "--set", "speed.p99_ms=50"])
    assert done.exit_code == 0, done.output
    checklist = Deployment.open(folder, {}).checklist
    assert checklist.model.name == "fraud"
    assert checklist.speed.p99_ms == 50


def test_init_never_overwrites_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit_code("init", str(tmp_path), "--yes", "--name", "one") == 0
    before = (tmp_path / "holdfast.toml").read_bytes()
    assert _exit_code("init", str(tmp_path), "--yes", "--name", "two") == EXIT_ERROR
    assert (tmp_path / "holdfast.toml").read_bytes() == before
    assert "--force" in capsys.readouterr().err
    assert _exit_code("init", str(tmp_path), "--yes", "--name", "two", "--force") == 0
    assert Deployment.open(tmp_path, {}).checklist.model.name == "two"


def test_init_refuses_an_answer_that_the_checklist_does_not_allow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code("init", str(tmp_path), "--yes", "--set", "speed.p99=50") == EXIT_ERROR
    assert "p99_ms" in capsys.readouterr().err
    assert not (tmp_path / "holdfast.toml").exists()


def test_the_schema_is_printed_as_json() -> None:
    done = CliRunner().invoke(root, ["schema"])
    assert json.loads(done.output)["title"] == "holdfast.toml"


def _loaded_after(code: str) -> set[str]:
    """The libraries that a process has loaded when it has run that code."""
    code += "\nimport sys; print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.partition("loaded: ")[2].split())


HEAVY = {
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "onnxruntime",
    "sqlalchemy",
    "deltalake",
    "duckdb",
    "rich",
}


def test_help_loads_nothing_heavy() -> None:
    code = "from holdfast.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    loaded = _loaded_after(code)
    assert "click" in loaded
    assert not loaded & (HEAVY | {"uvicorn", "msgspec"})


def test_the_help_of_no_command_loads_anything_heavy() -> None:
    code = (
        "from holdfast.cli.app import COMMANDS, root\nimport click\n"
        "for name in COMMANDS: root.get_command(click.Context(root), name)"
    )
    loaded = _loaded_after(code)
    assert "msgspec" in loaded
    assert not loaded & HEAVY


def test_a_group_lists_its_commands_with_whole_sentences() -> None:
    listed = " ".join(_run("rollout", "--help").stdout.split())
    assert (
        "Take the challenger of the open rollout away; without one, go back to the champion before." in listed
    )


def test_diagnose_tells_the_kind_and_exits_with_3_when_asked_to(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(5)
    for name, shift in (("reference", 0.0), ("current", 1.0)):
        table = pa.table({"x": rng.normal(shift, size=4000), "z": rng.normal(size=4000)})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    files = [
        "--reference",
        str(tmp_path / "reference.parquet"),
        "--current",
        str(tmp_path / "current.parquet"),
    ]
    done = _run("diagnose", *files, "--json", "--fail-on-alarm")
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert found["kinds"] == ["data drift"]
    assert found["features"][0]["name"] == "x"


def test_log_query_prints_a_table_csv_and_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "shop")
    assert _exit_code("init", folder, "--yes") == 0
    capfd.readouterr()
    query = ("log", "query", "SELECT count(*) AS n, [1, 2] AS list FROM joined", "-C", folder)
    assert _exit_code(*query) == 0
    shown = capfd.readouterr()
    assert shown.out.split() == ["n", "list", "0", "[1,", "2]"]
    assert "Coverage: 0 of 0 rows served" in shown.err
    assert _exit_code(*query, "--csv") == 0
    assert capfd.readouterr().out == '"n","list"\n0,"[1,2]"\n'
    assert _exit_code(*query, "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert document["rows"] == [{"n": 0, "list": [1, 2]}]
    assert document["coverage"]["served"] == 0
    assert _exit_code("log", "query", "FROM read_csv('/etc/passwd')", "--json", "-C", folder) == EXIT_ERROR
    refused = capfd.readouterr()
    assert refused.out == ""
    assert "disabled" in json.loads(refused.err)["what"]


def test_what_a_caller_sent_neither_styles_nor_breaks_the_screen_of_whoever_reads_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "shop")
    assert _exit_code("init", folder, "--yes") == 0
    capfd.readouterr()
    sent = "[e-mail] [/bold] [red]x\x1b[2J\u202e"
    assert _exit_code("log", "query", f"SELECT '{sent}' AS \"[/]\"", "-C", folder) == 0
    assert capfd.readouterr().out.split("\n")[1].strip() == r"[e-mail] [/bold] [red]x\x1b[2J\u202e"
    writer = SpoolWriter(tmp_path / "shop" / "log", deployment="shop", replica="w", clock=SystemClock())
    record = PredictionRecord(
        model_version="1", arm="champion", prediction_ids=["p"], times_us=[1], latency_us=[1],
        inputs={"note": [sent]}, context={}, prediction=[1],
    )  # fmt: skip
    writer.append(Redactor(Privacy(), None).redact(record))
    writer.close()
    assert _exit_code("log", "tail", "-C", folder) == 0
    assert r"input_note=[e-mail] [/bold] [red]x\x1b[2J\u202e" in capfd.readouterr().out


def test_the_proof_of_the_log_says_how_many_ids_of_several_rows_it_does_not_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "shop")
    assert _exit_code("init", folder, "--yes") == 0
    writer = SpoolWriter(tmp_path / "shop" / "log", deployment="shop", replica="w", clock=SystemClock())
    ids = [f"p{number}" for number in range(103)] * 2
    record = PredictionRecord(
        model_version="1", arm="champion", prediction_ids=ids, times_us=[1] * 206, latency_us=[1] * 206,
        inputs={}, context={}, prediction=[1] * 206,
    )  # fmt: skip
    writer.append(Redactor(Privacy(), None).redact(record))
    writer.close()
    capfd.readouterr()
    assert _exit_code("log", "verify", "-C", folder) == 0
    assert capfd.readouterr().out.endswith("to 2 rows\n  and 3 more ids, each to several rows\n")
    assert _exit_code("audit", "verify", "-C", folder) == 0
    assert "entries is whole" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("folder", "name"), [("häuser", "hauser"), ("mein haus", "mein-haus"), ("東京", "model")]
)
def test_a_folder_whose_name_no_deployment_may_have_gives_the_nearest(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], folder: str, name: str
) -> None:
    assert _exit_code("init", str(tmp_path / folder), "--yes") == 0
    assert Deployment.open(tmp_path / folder, {}).name == name
    assert f"model.name = {name}: from the folder's name" in capfd.readouterr().out


def test_log_labels_prints_counts_and_refuses_a_maturity_that_is_none(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "shop")
    assert _exit_code("init", folder, "--yes") == 0
    assert _exit_code("log", "labels", "--maturity", "2h", "-C", folder) == 0
    assert "Of 0 that are 2 h old" in capfd.readouterr().out
    assert _exit_code("log", "labels", "--maturity", "soon", "-C", folder) == EXIT_USAGE


@pytest.mark.slow
def test_help_takes_less_than_three_tenths_of_a_second_of_processor_time() -> None:
    assert min(_processor_s("--help") for _ in range(5)) < 0.3


def _processor_s(*arguments: str) -> float:
    """Of one command; unlike the time on the wall, not that of whatever else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(*arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_page_that_cannot_be_written_whole_leaves_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "drift.html"
    page.write_text("yesterday's")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, unlimited[1]))
    try:
        with pytest.raises(OSError, match="too large") as refused:
            write_whole(page, b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert refused.value.filename == str(page)
    assert page.read_text() == "yesterday's"
    assert list(tmp_path.iterdir()) == [page]


def test_a_page_is_on_the_disk_before_it_takes_its_name_and_its_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "drift.html"
    synced: list[tuple[str, bool]] = []

    def noted(fd: int) -> None:
        synced.append((Path(f"/proc/self/fd/{fd}").readlink().name, page.exists()))

    monkeypatch.setattr(os, "fsync", noted)
    write_whole(page, b"x")
    assert synced == [(".drift.html.partial", False), (tmp_path.name, True)]


@pytest.mark.parametrize(
    "asked",
    [
        ("subject", "export", "ann"),
        ("erase", "--subject", "ann"),
        ("consent", "--subject", "ann", "--agree"),
    ],
)
def test_where_the_log_knows_nobody_no_key_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: tuple[str, ...]
) -> None:
    assert _exit_code("init", str(tmp_path / "ward"), "--yes") == 0
    assert _exit_code(*asked, "-C", str(tmp_path / "ward")) == EXIT_ERROR
    said = capsys.readouterr().err
    assert "[privacy] subject_field" in said
    assert "key" not in said
