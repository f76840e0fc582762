"""holdfast beside Triton (the server that `nvidia-pytriton` carries), both asked by Triton's own protocol.

    uv run python bench/triton.py --rounds 5 --json

Model A, as many workers in each, holdfast's log on, 64 requests in flight, in turn: protocol v2 over HTTP as
JSON and with binary tensors (`wrk`), and over gRPC (`grpc.aio` on eight connections, which takes more of the
machine than the servers do). Beside the rates stands the processor time of all processes of a system per
request, which the client does not touch.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import struct
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from peers import FEATURES, PEERS, ROW, v2
from processes import cpu_s
from protocols import SECONDS, grpc_rate
from systems import System, asked_of_holdfast, holdfast, make_deployment, running, settle
from wrk import load, lua

CONNECTIONS = 64

Seen = tuple[float, float]
"""Requests per second, and processor microseconds per request."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        file = make_deployment(folder / "bench", arguments.workers, logging=True)
        checklist = folder / "bench" / "holdfast.toml"
        checklist.write_text(checklist.read_text().replace("[target]\n", "[target]\ngrpc_port = 0\n"))
        url, pid = stack.enter_context(holdfast(folder / "bench"))
        ours = System(url, pid, asked_of_holdfast(url))
        peer = PEERS["pytriton"]
        url, pid = stack.enter_context(running(folder / "triton", peer, file, arguments.workers))
        port = int(url.rpartition(":")[2])
        theirs = System(url, pid, peer.ask)
        served = json.loads((folder / "bench" / "run" / "serve.json").read_text())
        addresses = {"holdfast": served["grpc"], "Triton": f"127.0.0.1:{port + 1}"}
        tensors = {"holdfast": input_of_holdfast(ours.url), "Triton": "input"}
        settle([ours, theirs])
        seen: dict[str, dict[str, list[Seen]]] = {}
        for turn in range(arguments.rounds + 1):
            for rows in arguments.rows:
                for system, one in (("holdfast", ours), ("Triton", theirs)):
                    found = over_http(one, rows, folder / "post.lua")
                    found["gRPC"] = over_grpc(one.pid, addresses[system], tensors[system], rows)
                    for protocol, pair in found.items() if turn else ():  # the first is a warm-up
                        seen.setdefault(f"{protocol}, rows {rows}", {}).setdefault(system, []).append(pair)
    document: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average": os.getloadavg()[0],
        "workers": arguments.workers,
        "requests_per_s": {
            case: {
                system: round(statistics.median(rate for rate, _ in pairs)) for system, pairs in both.items()
            }
            for case, both in seen.items()
        },
        "cpu_us_per_request": {
            case: {system: round(statistics.median(us for _, us in pairs)) for system, pairs in both.items()}
            for case, both in seen.items()
        },
        "ratio": {case: ratio(both["holdfast"], both["Triton"]) for case, both in seen.items()},
    }
    sys.stdout.write((json.dumps(document, indent=2) if arguments.json else as_text(document)) + "\n")


def input_of_holdfast(url: str) -> str:
    with urllib.request.urlopen(f"{url}/v2/models/bench", timeout=60) as response:
        return str(json.load(response)["inputs"][0]["name"])


def over_http(system: System, rows: int, script: Path) -> dict[str, Seen]:
    name = input_of_holdfast(system.url)
    found = {}
    for codec in ("json", "binary"):
        question = v2("bench", name)(codec, rows)
        if question is None:
            raise RuntimeError(f"protocol v2 has no {codec}")
        script.write_text(lua(question))
        one = load(system, question, script, CONNECTIONS, 2.0)
        if one.failures:
            raise RuntimeError(f"{one.failures} failures at {system.url}")
        found[f"HTTP, {codec}"] = one.requests_per_s, one.cpu_us
    return found


def over_grpc(pid: int, address: str, name: str, rows: int) -> Seen:
    data = struct.pack(f"<{FEATURES}f", *ROW) * rows
    before_s = cpu_s(pid)
    rate = asyncio.run(grpc_rate(address, [(name, "FP32", [rows, FEATURES], data)], 8))
    return rate, (cpu_s(pid) - before_s) / (rate * SECONDS) * 1e6


def ratio(ours: list[Seen], theirs: list[Seen]) -> list[float]:
    """The median of the rounds' ratios, the least and the greatest."""
    ratios = [a / b for (a, _), (b, _) in zip(ours, theirs, strict=True)]
    return [round(one, 2) for one in (statistics.median(ratios), min(ratios), max(ratios))]


def as_text(document: dict[str, Any]) -> str:
    lines = [f"{document['machine']}; {document['date']}; load {document['load_average']:.1f}"]
    for case, rates in document["requests_per_s"].items():
        middle, low, high = document["ratio"][case]
        cpu_us = document["cpu_us_per_request"][case]
        lines.append(
            f"  {case:<22} holdfast {rates['holdfast']:>8,}/s ({cpu_us['holdfast']} us)"
            f"  Triton {rates['Triton']:>7,}/s ({cpu_us['Triton']} us)"
            f"  {middle:.2f} times ({low:.2f} to {high:.2f})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
