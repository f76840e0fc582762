# ruff: noqa: E501 - programs and requests are written as they are sent
"""Requests per second by protocol: one row, one worker, logging on, 64 requests in flight, in turn.

    uv run python bench/protocols.py

The load generator (`wrk`; for gRPC `grpc.aio`, whose own cost is in its number) shares the machine, so only the ratio
to `POST /predict` travels.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers import FEATURES
from systems import BODY, ask, holdfast, make_deployment

ROUNDS = 3
SECONDS = 3


def requests(url: str) -> dict[str, tuple[str, dict[str, str], bytes]]:
    import urllib.request

    with urllib.request.urlopen(f"{url}/v2/models/bench") as response:
        inputs = json.load(response)["inputs"]
    row = list(json.loads(BODY).values())
    packed = len(inputs) == 1
    parts = [row] if packed else [[value] for value in row]
    shapes = [[1, FEATURES]] if packed else [[1]] * FEATURES
    wire = {"FP32": "<f4", "FP64": "<f8"}
    tail = b"".join(np.array(p, wire[i["datatype"]]).tobytes() for p, i in zip(parts, inputs, strict=True))
    tensors = [
        {"name": i["name"], "datatype": i["datatype"], "shape": s}
        for i, s in zip(inputs, shapes, strict=True)
    ]
    as_json = [t | {"data": p} for t, p in zip(tensors, parts, strict=True)]
    size = {t["name"]: len(tail) // len(tensors) for t in tensors}
    as_bytes = [t | {"parameters": {"binary_data_size": size[t["name"]]}} for t in tensors]
    head = json.dumps({"inputs": as_bytes, "parameters": {"binary_data_output": True}}).encode()
    kind = {"content-type": "application/json"}
    binary = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    names = list(json.loads(BODY))
    return {
        "POST /predict": ("/predict", kind, BODY.encode()),
        "v2 JSON": ("/v2/models/bench/infer", kind, json.dumps({"inputs": as_json}).encode()),
        "v2 bytes": ("/v2/models/bench/infer", binary, head + tail),
        "v1 fields": (
            "/v1/models/bench:predict",
            kind,
            json.dumps({"instances": [json.loads(BODY)]}).encode(),
        ),
        "v1 values": ("/v1/models/bench:predict", kind, json.dumps({"instances": [row]}).encode()),
        "MLflow split": (
            "/invocations",
            kind,
            json.dumps({"dataframe_split": {"columns": names, "data": [row]}}).encode(),
        ),
    }


def wrk(url: str, path: str, headers: dict[str, str], body: bytes, script: Path) -> float:
    escaped = "".join(f"\\{byte:03d}" for byte in body)
    lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    script.write_text('wrk.method = "POST"\n' + "\n".join(lines) + f'\nwrk.body = "{escaped}"\n')
    command = ["wrk", "-t1", "-c64", f"-d{SECONDS}s", "-s", str(script), url + path]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        raise RuntimeError(f"{path}: {text}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None:
        raise RuntimeError(text)
    return float(found[1])


async def grpc_rate(
    address: str, inputs: list[tuple[str, str, list[int], bytes]], connections: int = 1
) -> float:
    import grpc

    from holdfast.serve.grpc_messages import SERVICE, message_class

    request = message_class("ModelInferRequest")(model_name="bench")
    for name, datatype, shape, data in inputs:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(data)
    body = request.SerializeToString()
    answered = 0
    async with contextlib.AsyncExitStack() as stack:
        calls = []
        for _ in range(connections):
            alone = [("grpc.use_local_subchannel_pool", 1)]  # or all would share one connection
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, alone))
            calls.append(channel.unary_unary(f"/{SERVICE}/ModelInfer"))
            await calls[-1](body)
        end_s = time.monotonic() + SECONDS

        async def ask_on(call: Any) -> None:
            nonlocal answered
            while time.monotonic() < end_s:
                await call(body)
                answered += 1

        await asyncio.gather(*(ask_on(calls[i % connections]) for i in range(64)))
    return answered / SECONDS


def grpc_inputs(binary: tuple[str, dict[str, str], bytes]) -> list[tuple[str, str, list[int], bytes]]:
    size = int(binary[1]["inference-header-content-length"])
    found, at = [], size
    for tensor in json.loads(binary[2][:size])["inputs"]:
        length = tensor["parameters"]["binary_data_size"]
        found.append((tensor["name"], tensor["datatype"], tensor["shape"], binary[2][at : at + length]))
        at += length
    return found


def main() -> None:
    seen: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bench"
        make_deployment(folder, 1, logging=True)
        checklist = folder / "holdfast.toml"
        checklist.write_text(checklist.read_text().replace("[target]\n", "[target]\ngrpc_port = 0\n"))
        with holdfast(folder) as (url, _):
            ask(url)
            asked = requests(url)
            grpc_address = json.loads((folder / "run" / "serve.json").read_text())["grpc"]
            for _ in range(ROUNDS):
                for protocol, (path, headers, body) in asked.items():
                    rate = wrk(url, path, headers, body, Path(name) / "wrk.lua")
                    seen.setdefault(protocol, []).append(rate)
                rate = asyncio.run(grpc_rate(grpc_address, grpc_inputs(asked["v2 bytes"])))
                seen.setdefault("gRPC raw", []).append(rate)
    base = statistics.median(seen["POST /predict"])
    for protocol, rates in seen.items():
        middle = statistics.median(rates)
        spread = f"{min(rates):8.0f} to {max(rates):.0f}"
        sys.stdout.write(
            f"{protocol:14} {middle:8.0f}/s  {middle / base:5.2f} of POST /predict  ({spread})\n"
        )


if __name__ == "__main__":
    main()
