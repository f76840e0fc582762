"""holdfast beside other servers: the same ONNX model, machine and client, rounds in turn.

    uv run python bench/serving.py --quick --json    under a minute: holdfast with its log, FastAPI by hand
    uv run python bench/serving.py                   every system, models A, B and C, JSON and binary, 1 and
                                                     32 rows, 1 and 64 connections, with and without the log
    uv run python bench/serving.py --models A --peers granian mlserver --codecs json --rows 1

Model A is a scaler and an MLP of 64 x 64 on 20 features, B a gradient boosting of 100 trees, C an MLP of
2048 x 2048. After `just compile`, a second holdfast, whose hot path is compiled, runs beside the first.
The load generator is `wrk` (`apt-get install wrk`); it shares the machine, so only ratios travel between
machines. Each system runs in an environment of its own (`uv run --isolated --with ...`), with as many workers
where it has such; what cannot be installed or started is said so, and the others go on. How each is asked
stands in `peers.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from ceiling import Ceiling
from peers import PEERS, records
from systems import System, asked_of_holdfast, compiled, holdfast, make_deployment, running, score_of, settle
from wrk import Case, Round, load, lua

from holdfast.compiled import hot_path_is_compiled

PROMISES = {"C": "[speed]\np99_ms = 2000\ndeadline_ms = 5000\n"}
"""Peers promise nothing. 64 callers with 32 rows of model C each want half a second of work at once, most of
which holdfast would refuse under its default promise of 100 ms: see `overload.py` for that."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="three short rounds, logging on, 64 connections")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one round")
    parser.add_argument("--models", nargs="+", choices=("A", "B", "C"), default=["A", "B", "C"])
    parser.add_argument("--peers", nargs="*", choices=tuple(PEERS), default=list(PEERS))
    parser.add_argument("--codecs", nargs="+", choices=("json", "binary"), default=["json", "binary"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--connections", nargs="+", type=int, default=[64, 1])
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    if arguments.quick:
        arguments.models, arguments.peers, arguments.codecs = ["A"], ["fastapi"], ["json"]
        arguments.rows, arguments.connections = [1], [64]
    cases = [
        Case(codec, rows, connections)
        for connections in arguments.connections
        for codec in arguments.codecs
        for rows in arguments.rows
    ]
    results: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            results += compare(Path(folder), model, cases, arguments, failed)
    document = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "compiled": hot_path_is_compiled(),
        "workers": arguments.workers,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load_average": os.getloadavg()[0],
        "cases": results,
        "not_run": failed,
    }
    if arguments.quick:
        document["ratio"] = results[0]["ratios"]["FastAPI by hand"]
    print(json.dumps(document, indent=2) if arguments.json else as_text(document))


def compare(
    folder: Path, model: str, cases: list[Case], arguments: argparse.Namespace, failed: dict[str, str]
) -> list[dict[str, Any]]:
    """All cases of one model."""
    promise = PROMISES.get(model, "")
    file = make_deployment(folder / "on", arguments.workers, logging=True, model=model, extra=promise)
    if not arguments.quick:
        make_deployment(folder / "off", arguments.workers, logging=False, model=model, extra=promise)
        make_deployment(folder / "compiled", arguments.workers, logging=True, model=model, extra=promise)
    with contextlib.ExitStack() as stack:
        systems: dict[str, System] = {}
        ours = stack.enter_context(holdfast(folder / "on"))
        systems["holdfast"] = System(*ours, asked_of_holdfast(ours[0]))
        if not arguments.quick:
            bare = stack.enter_context(holdfast(folder / "off"))
            systems["holdfast, no log"] = System(*bare, asked_of_holdfast(bare[0]))
            try:
                built = stack.enter_context(holdfast(folder / "compiled", compiled()))
                systems["holdfast, compiled"] = System(*built, asked_of_holdfast(built[0]))
            except RuntimeError as error:
                failed["holdfast, compiled"] = str(error)
        for key in arguments.peers:
            peer = PEERS[key]
            try:
                peers = stack.enter_context(running(folder / key, peer, file, arguments.workers))
                systems[peer.name] = System(*peers, peer.ask)
            except RuntimeError as error:
                failed[f"{peer.name}, model {model}"] = str(error)
        wanted = score_of(ours[0], records("json", 1))
        for name, system in systems.items():
            score = score_of(system.url, system.ask("json", 1))
            if abs(score - wanted) > 1e-4:
                raise RuntimeError(f"{name} says {score}, holdfast says {wanted}")
        results = []
        ceiling = None
        if model == "C":
            ceiling = Ceiling(file, arguments.workers)
            stack.callback(ceiling.close)
        for case in cases:
            asked = {
                name: (system, question)
                for name, system in systems.items()
                if (question := system.ask(case.codec, case.rows)) is not None
            }
            seen: dict[str, list[Round]] = {name: [] for name in asked}
            script = folder / "post.lua"
            for turn in range(arguments.rounds + 1):
                for name, (system, question) in asked.items():
                    script.write_text(lua(question))
                    seconds = arguments.seconds if turn else 1.0
                    one = load(system, question, script, case.connections, seconds)
                    if turn:  # the first is a warm-up
                        seen[name].append(one)
                if not turn:
                    settle(list(systems.values()))
                if ceiling is not None:
                    ceiling.look()
            results.append(summary(model, case, seen))
            if ceiling is not None:
                results[-1]["onnxruntime_in_process"] = ceiling.reached(seen["holdfast"], case.rows)
            print(as_text({"cases": results[-1:]}), file=sys.stderr, flush=True)
    return results


def summary(model: str, case: Case, seen: dict[str, list[Round]]) -> dict[str, Any]:
    systems = {
        name: {
            "requests_per_s": statistics.median(one.requests_per_s for one in rounds),
            "spread": [min(one.requests_per_s for one in rounds), max(one.requests_per_s for one in rounds)],
            "p50_ms": statistics.median(one.p50_ms for one in rounds),
            "p99_ms": statistics.median(one.p99_ms for one in rounds),
            "cpu_us_per_request": statistics.median(one.cpu_us for one in rounds),
            "failures": sum(one.failures for one in rounds),
        }
        for name, rounds in seen.items()
    }
    ratios = {
        ours: {
            name: systems[ours]["requests_per_s"] / one["requests_per_s"]
            for name, one in systems.items()
            if one["requests_per_s"] > 0
        }
        for ours in ("holdfast", "holdfast, compiled")
        if ours in systems
    }
    return {
        "model": model, "codec": case.codec, "rows": case.rows, "connections": case.connections,
        "systems": systems, "ratios": ratios["holdfast"],
        "ratios_compiled": ratios.get("holdfast, compiled", {}),
    }  # fmt: skip


def as_text(document: dict[str, Any]) -> str:
    lines = []
    if "machine" in document:
        build = "compiled" if document["compiled"] else "interpreted"
        lines.append(
            f"{document['workers']} workers, hot path {build}; {document['machine']}; {document['date']}"
        )
    for case in document["cases"]:
        what = f"{case['codec']}, rows {case['rows']}, connections {case['connections']}"
        lines.append(f"\nmodel {case['model']}, {what}")
        for name, one in case["systems"].items():
            low, high = one["spread"]
            lines.append(
                f"  {name:<22} {one['requests_per_s']:>9,.0f}/s ({low:,.0f} to {high:,.0f})"
                f"  p50 {one['p50_ms']:.2f} ms  p99 {one['p99_ms']:.2f} ms  failures {one['failures']}"
                f"  cpu {one['cpu_us_per_request']:.0f} us"
                f"  holdfast is {case['ratios'].get(name, math.nan):.2f} times that"
                + (
                    f", compiled {case['ratios_compiled'][name]:.2f}"
                    if name in case["ratios_compiled"]
                    else ""
                )
            )
        if "onnxruntime_in_process" in case:
            found = case["onnxruntime_in_process"]
            told = {
                name: "{:.2f} ({:.2f} to {:.2f})".format(*three) for name, three in found["shares"].items()
            }
            lines.append(
                f"  ONNX Runtime in process on those cores, rows/s by batch: {found['rows_per_s']};"
                f" cpu {found['cpu_us_per_request']} us for as many rows at the best\n"
                f"  holdfast reaches {told['reached']} of the best of them; were wrk"
                f" ({found['client_us_per_request']} us) beside both,"
                f" {told['with_the_client_beside_both']}; of processor time {told['of_processor_time']}"
            )
    lines += [f"not run: {name}: {why}" for name, why in document.get("not_run", {}).items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
