"""From the command to the first answer, and memory at rest: holdfast beside hand-written FastAPI, in turn.

    uv run python bench/cold_start.py

One worker each, model A, both started once before, so that their files are in memory and their bytecode is
compiled, as an installed package's is. Start-up is what a rollout, a crash and an autoscaler wait for.
Memory is read two seconds later, of each process: the proportional set size (pages that processes share are
split among them) and the unique one (what it alone holds: what one more such process costs).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from peers import PEERS
from processes import cpu_s
from systems import ask, holdfast, make_deployment, running


def memory_mb(session: int) -> dict[str, dict[str, float]]:
    """By process of a session: what it was started as, its proportional and its unique set size."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            command = (path / "cmdline").read_text().replace("\0", " ").strip()
            lines = (path / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kb = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        found[f"{path.name} {command[-48:]}"] = {
            "pss": round(kb["Pss"] / 1024, 1),
            "uss": round((kb["Private_Clean"] + kb["Private_Dirty"]) / 1024, 1),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seen: dict[str, list[dict[str, Any]]] = {"holdfast": [], "FastAPI by hand": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        model = make_deployment(folder / "on", 1, logging=True)
        with running(folder / "warm", PEERS["fastapi"], model, 1):
            pass  # its environment is made
        with holdfast(folder / "on") as (url, _):
            ask(url, patience_s=60)
        for turn in range(arguments.rounds):
            for system, started in (
                ("holdfast", lambda: holdfast(folder / "on")),
                (
                    "FastAPI by hand",
                    lambda turn=turn: running(folder / f"f{turn}", PEERS["fastapi"], model, 1),
                ),
            ):
                began = time.monotonic()
                with started() as (url, pid):
                    ask(url, patience_s=60)
                    first_s = time.monotonic() - began
                    spent_s = cpu_s(pid)
                    time.sleep(2)
                    seen[system].append(
                        {"first_answer_s": first_s, "cpu_s": spent_s, "memory_mb": memory_mb(pid)}
                    )
    document = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average": os.getloadavg()[0],
        "systems": {
            system: {
                "first_answer_s": statistics.median(one["first_answer_s"] for one in rounds),
                "cpu_s": statistics.median(one["cpu_s"] for one in rounds),
                "memory_mb": rounds[-1]["memory_mb"],
            }
            for system, rounds in seen.items()
        },
    }
    if arguments.json:
        print(json.dumps(document, indent=2))
        return
    for system, one in document["systems"].items():
        print(f"{system}: first answer {one['first_answer_s']:.2f} s, processor time {one['cpu_s']:.2f} s")
        for process, size in one["memory_mb"].items():
            print(f"    {size['pss']:>7.1f} MB, alone {size['uss']:>7.1f} MB  {process}")


if __name__ == "__main__":
    main()
