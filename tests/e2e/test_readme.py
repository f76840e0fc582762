"""The README is run as a new user would run it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
# The two commands of the README's top are what CI itself runs.
NOT_HERE = ("uv run holdfast demo", "uv run pytest")


def _blocks() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = re.findall(
        r"^```(bash|python)\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE
    )
    return [(language, code) for language, code in found if not any(command in code for command in NOT_HERE)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _script(folder: Path) -> str:
    """One shell script of all blocks, so that the service of one block serves the next."""
    lines = ["set -euo pipefail", "set -m", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, (language, code) in enumerate(_blocks()):
        if language == "python":
            (folder / f"block_{number}.py").write_text(code)
            lines.append(f"python block_{number}.py")
        else:
            lines.append(code)
    lines.append("echo README-DONE")
    return "\n".join(lines).replace("8080", str(_free_port()))


@pytest.mark.slow
def test_every_block_of_the_readme_runs_in_order(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", _script(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "README-DONE" in done.stdout, done.stdout + done.stderr
    assert '"prediction_id":"patient-1"' in done.stdout.replace(" ", "")
    assert "Data drift" in done.stdout


def test_every_command_stands_in_the_readme_or_the_reference() -> None:
    from holdfast.cli.app import COMMANDS

    reference = (README.parent / "docs" / "reference" / "command-line.md").read_text()
    for command in COMMANDS:
        assert f"## holdfast {command}\n" in reference
