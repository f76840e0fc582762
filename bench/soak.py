"""Correctness under load: mixed clients against the real service, every answer checked offline.

    uv run python bench/soak.py                       a million requests
    uv run python bench/soak.py --requests 20000 --json

Clients speak every protocol on kept connections: single records, lists, protocol v2 as JSON and as binary
tensors, to the champion and to a version by name, v1 and MLflow's, alone and pipelined, and gRPC; a second
deployment, with a model of another shape and dtype, is asked in the same service all the while; some send
nonsense, some are cut off in the middle of a request or leave before they have read their answer, and the
champion is swapped between two versions all the time. Each row is unlike every other, so an answer that
belongs to another row is seen. In the end each answered row is run again, offline and all in one array, on
the version that answered it, and must have the same bits; each answered prediction id must be in the log,
once. Exit code 1 if anything is wrong, mixed up or lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from soak_questions import ASK, NAME, OTHER, OTHER_WEIGHTS, WEIGHTS, Soak, request

CONNECTIONS = 48
GRPC_CLIENTS = 8
SWAP_EVERY_S = 0.7
GRAPH = """
<ir_version: 9, opset_import: ["": 18]>
soak (float[N,2] x) => (float[N,1] y)
<float[2,1] w = {{{0}, {1}}}>
{{ y = MatMul(x, w) }}
"""
OTHER_GRAPH = """
<ir_version: 9, opset_import: ["": 18]>
neighbour (double[N,3] t) => (double[N,1] total)
<double[3,1] w = {{{0}, {1}, {2}}}>
{{ total = MatMul(t, w) }}
"""


async def response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def client(soak: Soak) -> None:
    while soak.left > 0:
        reader, writer = await asyncio.open_connection("127.0.0.1", soak.port)
        try:
            for _ in range(soak.chance.randrange(1, 400)):
                if soak.left <= 0:
                    return
                count = soak.chance.choice((1, 1, 1, 1, 1, 1, 1, 6))
                soak.left -= count
                asked = [soak.chance.choice(ASK)(soak) for _ in range(count)]
                data = b"".join(one for one, _ in asked)
                end = soak.chance.random()
                if end < 0.002:
                    soak.seen["cut off while sending"] += count
                    writer.write(data[: soak.chance.randrange(1, len(data))])
                    break
                writer.write(data)
                if end < 0.004:
                    soak.seen["left before the answer"] += count
                    break
                for _, check in asked:
                    status, headers, content = await asyncio.wait_for(response(reader), 60)
                    soak.seen[f"status {status}"] += 1
                    try:
                        check(status, headers, content)
                    except (ValueError, KeyError, TypeError) as error:
                        soak.faults.append(repr(error)[:300])
        except (OSError, EOFError, TimeoutError) as error:
            soak.faults.append(f"lost: {error!r}")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def grpc_client(soak: Soak, address: str) -> None:
    """Raw tensors over gRPC, now and then to a version by name."""
    import grpc

    from holdfast.serve.grpc_messages import SERVICE, message_class

    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=message_class("ModelInferRequest").SerializeToString,
            response_deserializer=message_class("ModelInferResponse").FromString,
        )
        while soak.left > 0:
            soak.left -= 1
            rows = soak.new_rows(soak.chance.randrange(1, 6))
            version = soak.chance.choice(["", "", *WEIGHTS])
            asked = message_class("ModelInferRequest")(model_name=NAME, model_version=version)
            asked.inputs.add(name="x", datatype="FP32", shape=[len(rows), 2])
            asked.raw_input_contents.append(np.array(rows, "<f4").tobytes())
            try:
                answer = await call(asked, timeout=60)
            except grpc.aio.AioRpcError as error:
                soak.faults.append(f"gRPC: {error.code()}: {error.details()}"[:300])
                continue
            soak.seen["gRPC"] += 1
            if version not in {"", answer.model_version}:
                soak.faults.append(f"version {version} was asked for, {answer.model_version} answered")
            values = np.frombuffer(answer.raw_output_contents[0], "<f4").tolist()
            ids = answer.parameters["prediction_ids"].string_param.split(",")
            soak.heard(rows, values, answer.model_version, ids)


async def load_all(soak: Soak) -> None:
    """Both versions answer by name, whoever is champion."""
    reader, writer = await asyncio.open_connection("127.0.0.1", soak.port)
    for version in WEIGHTS:
        body = json.dumps({"parameters": {"version": version}}).encode()
        writer.write(request(f"/v2/repository/models/{NAME}/load", body))
        status, _, content = await response(reader)
        if status != 200:
            raise RuntimeError(f"version {version} is not loaded: {content[:300]!r}")
    writer.close()


def make_deployment(folder: Path) -> Any:
    import onnx.parser

    from holdfast.artifact import Column, Execution, Signature, Tensor, store_artifact
    from holdfast.clock import SystemClock
    from holdfast.registry import Registry
    from holdfast.spec import Deployment

    folder.mkdir(parents=True)
    (folder / "holdfast.toml").write_text(
        f'[model]\nname = "{NAME}"\n[target]\nport = 0\ngrpc_port = 0\n[compute]\ncores = 2\n'
        "[speed]\np99_ms = 20000\ndeadline_ms = 30000\n"
    )
    signature = Signature(
        columns=tuple(Column(name=name, dtype="float32", kind="numeric") for name in ("a", "b")),
        inputs=(Tensor(name="x", dtype="float32", shape=(-1, 2), columns=("a", "b")),),
        outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
        task="regression",
        prediction_output="y",
    )
    deployment = Deployment.open(folder, {})
    models = {}
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        for version, weights in WEIGHTS.items():
            model = onnx.parser.parse_model(GRAPH.format(*weights)).SerializeToString()
            models[version] = model
            artifact = store_artifact(
                deployment.artifacts_folder, runtime="onnx", model=model, signature=signature,
                execution=Execution(), warmup={"a": [1.0, 2.0], "b": [0.5, 1.0]},
            )  # fmt: skip
            registry.add_version(
                name=NAME, sha256=artifact.sha256, created_at_us=0, created_by="soak", metadata={}
            )
        registry.promote("1", reason="first", actor="soak")
    return deployment, models


def make_other(folder: Path) -> Any:
    """The second deployment."""
    import onnx.parser

    from holdfast.artifact import Column, Execution, Signature, Tensor, store_artifact
    from holdfast.clock import SystemClock
    from holdfast.registry import Registry
    from holdfast.spec import Deployment

    folder.mkdir(parents=True)
    (folder / "holdfast.toml").write_text(
        f'[model]\nname = "{OTHER}"\n[target]\nport = 0\ngrpc_port = 0\n[compute]\ncores = 2\n'
        "[speed]\np99_ms = 20000\ndeadline_ms = 30000\n"
    )
    signature = Signature(
        columns=tuple(Column(name=name, dtype="float64", kind="numeric") for name in ("p", "q", "r")),
        inputs=(Tensor(name="t", dtype="float64", shape=(-1, 3), columns=("p", "q", "r")),),
        outputs=(Tensor(name="total", dtype="float64", shape=(-1, 1)),),
        task="regression",
        prediction_output="total",
    )
    deployment = Deployment.open(folder, {})
    model = onnx.parser.parse_model(OTHER_GRAPH.format(*OTHER_WEIGHTS)).SerializeToString()
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        artifact = store_artifact(
            deployment.artifacts_folder, runtime="onnx", model=model, signature=signature,
            execution=Execution(), warmup={name: [1.0, 2.0] for name in ("p", "q", "r")},
        )  # fmt: skip
        registry.add_version(
            name=OTHER, sha256=artifact.sha256, created_at_us=0, created_by="soak", metadata={}
        )
        registry.promote("1", reason="first", actor="soak")
    return deployment


def swap(deployment: Any, stop: threading.Event, swaps: list[int]) -> None:
    from holdfast.clock import SystemClock
    from holdfast.registry import Registry

    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        while not stop.wait(SWAP_EVERY_S):
            swaps[0] += 1
            registry.promote("2" if swaps[0] % 2 else "1", reason="soak", actor="soak")


def check_offline(soak: Soak, models: dict[str, bytes]) -> int:
    """Rows whose answer is not what the model says of them."""
    import onnxruntime

    feeds = np.array(soak.rows, dtype=np.float32).reshape(-1, 2)
    told = np.array(soak.answers, dtype=np.float64)
    right = np.zeros(len(feeds), dtype=bool)
    for version, model in models.items():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        wanted = session.run(None, {"x": feeds})[0].reshape(-1).astype(np.float64)
        spoke = np.array([one in {version, ""} for one in soak.versions])
        right |= spoke & (wanted == told)
    return int((~right).sum())


def check_log(deployment: Any, ids: list[str]) -> dict[str, int]:
    """Answered ids that are not in the log, or there twice."""
    subprocess.run(
        [sys.executable, "-m", "holdfast", "keep", "--once", "-C", str(deployment.folder)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    from holdfast.prediction_log import PredictionLog

    stored: Counter[str] = Counter()
    for batch in PredictionLog(deployment.log_folder).predictions(columns=["prediction_id"]):
        stored.update(batch.column("prediction_id").to_pylist())
    return {
        "rows": stored.total(),
        "answered ids that are missing": sum(one not in stored for one in ids),
        "ids that stand there twice": sum(count > 1 for count in stored.values()),
        "ids answered twice": len(ids) - len(set(ids)),
    }


def run(folder: Path, requests: int, seed: int) -> dict[str, Any]:
    deployment, models = make_deployment(folder)
    other = make_other(folder.with_name(OTHER))
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "holdfast", "serve", str(folder), str(other.folder), "--no-monitor"],
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    stop, swaps = threading.Event(), [0]
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://\S+:(\d+)", log.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        soak = Soak(int(found[1]), requests, seed)
        swapper = threading.Thread(target=swap, args=(deployment, stop, swaps))
        swapper.start()
        began = time.monotonic()

        async def clients() -> None:
            await load_all(soak)
            address = json.loads((deployment.run_folder / "serve.json").read_text())["grpc"]
            spoken = [grpc_client(soak, address) for _ in range(GRPC_CLIENTS)]
            await asyncio.gather(*spoken, *(client(soak) for _ in range(CONNECTIONS)))

        try:
            asyncio.run(clients())
        finally:
            stop.set()
            swapper.join()
        seconds = time.monotonic() - began
        process.terminate()
        exit_code = process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    wrong = check_offline(soak, models)
    logged, other_logged = check_log(deployment, soak.ids), check_log(other, soak.other_ids)
    bad = [one[name] for one in (logged, other_logged) for name in one if name != "rows"]
    return {
        "requests": requests,
        "seconds": round(seconds, 1),
        "swaps of the champion": swaps[0],
        "seen": dict(sorted(soak.seen.items())),
        "rows answered": len(soak.rows),
        "rows with a wrong answer": wrong,
        "faults": len(soak.faults),
        "first faults": soak.faults[:5],
        "log": logged,
        "rows answered by the neighbour": len(soak.other_ids),
        "log of the neighbour": other_logged,
        "exit code of the service": exit_code,
        "right": wrong == 0 and not soak.faults and not any(bad) and exit_code == 0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = run(Path(name) / NAME, arguments.requests, arguments.seed)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        for key, value in found.items():
            print(f"{key}: {value}")
    return 0 if found["right"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
