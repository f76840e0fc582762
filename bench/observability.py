"""What being watched costs: metrics, access log, request ids and traces together, against none of them.

    uv run python bench/observability.py --json    about a minute; needs wrk (`apt-get install wrk`)
    uv run python bench/observability.py --only on --pairs 50    one answer, with a narrow interval

One worker, model A, single rows as JSON, 64 connections, the prediction log on. What a round reaches changes
with what else the machine does, so the services are asked in short rounds, with `off` between every two; the
median of the ratios to the rounds of `off` before and after counts, with an interval of 95 % by their order.
Beside the throughput stands the worker's processor time per request, which depends less on what else the
machine does.

- `off`: no access log, no traces, and the methods that count are put out of action (no setting does that).
- `metrics`: as by default: the counts of `/metrics`.
- `access log`: metrics, and the access log into a file.
- `traces`: metrics, and traces of one request in a hundred (`[logging] trace_fraction`, its default), sent to
  a collector that takes them.
- `on`: all of it.
- `on, with ids`: the same service, asked with an `x-request-id` and a `traceparent` that is not sampled in
  each request; `off` is asked with neither.
- `off, as long`: `off`, asked with headers as long under names that nobody reads: what client, kernel and
  parser take for the bytes. Beside its ratio to `off`, `on, with ids` has one to this, turn by turn.

Traces need the extra `opentelemetry`; without it the service that asks for them does not start.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import platform
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from log_overhead import CONNECTIONS, interval_of_median, print_pairs, worker_cpu_s
from peers import Question, records
from systems import System, holdfast, make_deployment
from wrk import load, lua

WATCHED = {
    "off": "",
    "metrics": "",
    "access log": "access_log = true\n",
    "traces": "traces = true\n",
    "on": "access_log = true\ntraces = true\n",
}
UNCOUNTED = """
import sys

if any("holdfast.serve.worker" in one for one in sys.orig_argv):
    from holdfast.telemetry.counts import Histogram, RouteCounts, ServiceCounts

    counts = ServiceCounts().version("1")
    RouteCounts.observe = RouteCounts.observe_since = lambda *_: None
    Histogram.observe = Histogram.observe_since = lambda *_: None
    ServiceCounts.batch = lambda *_: counts
"""
IDS = (
    ("x-request-id", "5f0c1f2e-7a51-4b53-9d3c-3f6b1d2a9c10"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"),
)


COMPARED = (*list(WATCHED)[1:], "on, with ids", "off, as long")
UNREAD = (("x-unread-0001", IDS[0][1][1:]), ("x-unread-02", IDS[1][1]))
"""As many bytes in all."""


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes spans."""

    taken_bytes = 0

    def do_POST(self) -> None:
        Collector.taken_bytes += len(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def main() -> None:
    print_pairs(__doc__ or "", run, as_text, pairs=12, among=COMPARED)


def run(folder: Path, pairs: int, seconds: float, only: list[str]) -> dict[str, Any]:
    question = records("json", 1)
    if not isinstance(question, Question):
        raise TypeError("one record in JSON is always spoken")
    script = folder / "post.lua"
    for name, lines in WATCHED.items():
        make_deployment(folder / name, 1, logging=True, logging_extra=lines)
    (folder / "uncounted").mkdir()
    (folder / "uncounted" / "sitecustomize.py").write_text(UNCOUNTED)
    path = os.pathsep.join(filter(None, [str(folder / "uncounted"), os.environ.get("PYTHONPATH")]))
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    with contextlib.ExitStack() as stack:
        services: dict[str, tuple[str, Any]] = {}
        with environment(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint):
            for name in WATCHED:
                if name not in ("off", *only) and not (name == "on" and "on, with ids" in only):
                    continue
                with environment(**({"PYTHONPATH": path} if name == "off" else {})):
                    services[name] = (name, stack.enter_context(holdfast(folder / name)))
        if "on, with ids" in only:
            services["on, with ids"] = services["on"]
        services["off, as long"] = services["off"]
        services = {name: one for name, one in services.items() if name in ("off", *only)}
        questions = dict.fromkeys(services, question)
        for name, headers in (("off, as long", UNREAD), ("on, with ids", IDS)):
            questions[name] = replace(question, headers=(*question.headers, *headers))
        rates: dict[str, list[float]] = {name: [] for name in services}
        costs: dict[str, list[float]] = {name: [] for name in services}
        by_rate: dict[str, list[float]] = {name: [] for name in services}
        by_cpu: dict[str, list[float]] = {name: [] for name in services}

        def ask(name: str) -> tuple[float, float]:
            place, one = services[name]
            script.write_text(lua(questions[name]))
            before_s = worker_cpu_s(folder / place)
            rate = load(System(*one, records), questions[name], script, CONNECTIONS, seconds).requests_per_s
            return rate, (worker_cpu_s(folder / place) - before_s) / (rate * seconds) * 1e6

        order = [name for name in services if name != "off"]
        for name in services:
            ask(name)
        last = ask("off")
        for turn in range(pairs):
            for name in order[:: 1 if turn % 2 == 0 else -1]:
                rate, cost_us = ask(name)
                following = ask("off")
                base_rate, base_us = ((a + b) / 2 for a, b in zip(last, following, strict=True))
                last = following
                rates[name].append(rate)
                costs[name].append(cost_us)
                by_rate[name].append(rate / base_rate)
                by_cpu[name].append(base_us / cost_us)
                rates["off"].append(following[0])
                costs["off"].append(following[1])
        log = folder / "on" / "serve.log"
        lines = sum(b'"route":"POST /predict"' in line for line in log.open("rb")) if log.exists() else 0
    collector.shutdown()
    found: dict[str, Any] = {}
    for name in services:
        found[name] = {
            "requests_per_s": round(statistics.median(rates[name])),
            "worker_us_per_request": round(statistics.median(costs[name]), 2),
        }
        if name != "off":
            found[name] |= {
                "to_off": round(statistics.median(by_rate[name]), 3),
                "to_off_interval": interval_of_median(sorted(by_rate[name])),
                "to_off_by_cpu": round(statistics.median(by_cpu[name]), 3),
                "to_off_by_cpu_interval": interval_of_median(sorted(by_cpu[name])),
            }
    both = {"on, with ids", "off, as long"} <= set(services)
    for name, ratios in (("to_as_long", by_rate), ("to_as_long_by_cpu", by_cpu)) if both else ():
        pairs_of = zip(ratios["on, with ids"], ratios["off, as long"], strict=True)
        ordered = sorted(watched / bare for watched, bare in pairs_of)
        found["on, with ids"] |= {
            name: round(statistics.median(ordered), 3),
            f"{name}_interval": interval_of_median(ordered),
        }
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_average": os.getloadavg()[0],
        "access_log_lines": lines,
        "spans_bytes": Collector.taken_bytes,
        "services": found,
    }


def as_text(document: dict[str, Any]) -> str:
    lines = [f"{document['machine']}; {document['date']}; load {document['load_average']:.1f}"]
    for name, one in document["services"].items():
        text = f"  {name:<13} {one['requests_per_s']:>8,}/s  {one['worker_us_per_request']:6.2f} us a request"
        if name != "off":
            text += f"   {one['to_off']:.3f} of off {one['to_off_interval']}, by processor time"
            text += f" {one['to_off_by_cpu']:.3f} {one['to_off_by_cpu_interval']}"
        lines.append(text)
        if "to_as_long" in one:
            text = (
                f"   {one['to_as_long']:.3f} of off, as long {one['to_as_long_interval']}, by processor time"
            )
            lines.append(f"{text} {one['to_as_long_by_cpu']:.3f} {one['to_as_long_by_cpu_interval']}")
    lines.append(
        f"  {document['access_log_lines']:,} lines in the access log, "
        f"{document['spans_bytes']:,} bytes of spans"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
