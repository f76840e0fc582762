"""The systems that `serving.py` compares with: how each is installed, started and asked.

Each one gets the same ONNX file in `MODEL`, runs ONNX Runtime with one thread per worker, and answers in its
own usual manner. "By hand" means without a serving system; the others follow their documentation's first
example with a model class of one's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

FEATURES = 20
ROW = [round(math.sin(i) * 2, 4) for i in range(FEATURES)]
NAMES = [f"f{i}" for i in range(FEATURES)]


@dataclass(frozen=True)
class Question:
    """One request, the same for every call."""

    path: str
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Ask = Callable[[str, int], Question | None]
"""The question for a codec ("json", "binary") and a number of rows; None: not spoken here."""


@dataclass(frozen=True)
class Peer:
    """One system."""

    name: str
    packages: tuple[str, ...]
    files: dict[str, str]
    command: Callable[[int, int], list[str]]
    """For a port and a number of workers."""
    ask: Ask
    patience_s: float = 60.0


def records(codec: str, rows: int) -> Question | None:
    """Named fields, as people write them; binary: protocol v2 with tensors behind the JSON."""
    record = dict(zip(NAMES, ROW, strict=True))
    if codec == "json":
        return Question("/predict", json.dumps(record if rows == 1 else [record] * rows).encode())
    return None


def raw(codec: str, rows: int) -> Question | None:
    """As `records`; binary: float32 in, float32 out, no protocol at all."""
    if codec == "binary":
        import struct

        body = struct.pack(f"<{FEATURES}f", *ROW) * rows
        return Question("/binary", body, "application/octet-stream")
    question = records(codec, rows)
    return question if question is None or rows == 1 else Question("/many", question.body)


def v2(model: str, tensor: str = "input") -> Ask:
    """Protocol v2, as JSON or with binary tensors."""

    def ask(codec: str, rows: int) -> Question | None:
        import struct

        path = f"/v2/models/{model}/infer"
        described = {"name": tensor, "shape": [rows, FEATURES], "datatype": "FP32"}
        if codec == "json":
            return Question(path, json.dumps({"inputs": [{**described, "data": ROW * rows}]}).encode())
        body = struct.pack(f"<{FEATURES}f", *ROW) * rows
        head = json.dumps(
            {
                "inputs": [{**described, "parameters": {"binary_data_size": len(body)}}],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        length = ("Inference-Header-Content-Length", str(len(head)))
        return Question(path, head + body, "application/octet-stream", (length,))

    return ask


def json_only(ask: Ask) -> Ask:
    """The system speaks no binary tensors over HTTP."""
    return lambda codec, rows: ask(codec, rows) if codec == "json" else None


def rows_of(path: str, wrap: Callable[[list[list[float]]], object]) -> Ask:
    """A list of rows in the system's own JSON."""
    return lambda codec, rows: (
        Question(path, json.dumps(wrap([ROW] * rows)).encode()) if codec == "json" else None
    )


SESSION = """
import os
import numpy as np
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
def load():
    session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda rows: session.run(None, {name: np.asarray(rows, dtype=np.float32)})[1]
"""

FASTAPI = """
from typing import Any
from fastapi import FastAPI, Request, Response
from pydantic import create_model
import numpy as np
from session import load
run = load()
names = [f"f{i}" for i in range(20)]
Record = create_model("Record", **{name: (float, ...) for name in names})
app = FastAPI()

def answer(p: list[float]) -> dict[str, Any]:
    return {"prediction": int(p[1] > p[0]), "probabilities": {"0": p[0], "1": p[1]}, "score": p[1]}

@app.post("/predict")
async def predict(record: Record) -> dict[str, Any]:
    return answer(run([[getattr(record, name) for name in names]])[0].tolist())

@app.post("/many")
async def many(records: list[Record]) -> list[dict[str, Any]]:
    return [answer(p) for p in run([[getattr(one, name) for name in names] for one in records]).tolist()]

@app.post("/binary")
async def binary(request: Request) -> Response:
    rows = np.frombuffer(await request.body(), dtype=np.float32).reshape(-1, 20)
    return Response(run(rows).astype(np.float32).tobytes(), media_type="application/octet-stream")
"""

GRANIAN = """
import msgspec
import numpy as np
from session import load
run = load()
names = [f"f{i}" for i in range(20)]
Record = msgspec.defstruct("Record", [(name, float) for name in names])
one, many = msgspec.json.Decoder(Record).decode, msgspec.json.Decoder(list[Record]).decode
encode = msgspec.json.encode
JSON, BYTES = [("content-type", "application/json")], [("content-type", "application/octet-stream")]

def answer(p):
    return {"prediction": int(p[1] > p[0]), "probabilities": {"0": p[0], "1": p[1]}, "score": p[1]}

async def app(scope, protocol):
    body = await protocol()
    if scope.path == "/predict":
        out = encode(answer(run([msgspec.structs.astuple(one(body))])[0].tolist()))
        protocol.response_bytes(200, JSON, out)
    elif scope.path == "/many":
        found = run([msgspec.structs.astuple(record) for record in many(body)]).tolist()
        protocol.response_bytes(200, JSON, encode([answer(p) for p in found]))
    else:
        rows = np.frombuffer(body, dtype=np.float32).reshape(-1, 20)
        protocol.response_bytes(200, BYTES, run(rows).astype(np.float32).tobytes())
"""

ASGI = """
import msgspec
import numpy as np
from session import load
run = load()
names = [f"f{i}" for i in range(20)]
Record = msgspec.defstruct("Record", [(name, float) for name in names])
one, many = msgspec.json.Decoder(Record).decode, msgspec.json.Decoder(list[Record]).decode
encode = msgspec.json.encode
JSON, BYTES = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")

def answer(p):
    return {"prediction": int(p[1] > p[0]), "probabilities": {"0": p[0], "1": p[1]}, "score": p[1]}

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    kind = JSON
    if scope["path"] == "/predict":
        out = encode(answer(run([msgspec.structs.astuple(one(body))])[0].tolist()))
    elif scope["path"] == "/many":
        found = run([msgspec.structs.astuple(record) for record in many(body)]).tolist()
        out = encode([answer(p) for p in found])
    else:
        rows = np.frombuffer(body, dtype=np.float32).reshape(-1, 20)
        kind, out = BYTES, run(rows).astype(np.float32).tobytes()
    length = (b"content-length", str(len(out)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [kind, length]})
    await send({"type": "http.response.body", "body": out})
"""

BARE = """
import asyncio
import multiprocessing
import socket
import sys
import httptools
import msgspec
import uvloop
from session import load

names = [f"f{i}" for i in range(20)]
Record = msgspec.defstruct("Record", [(name, float) for name in names])
one, astuple, encode = msgspec.json.Decoder(Record).decode, msgspec.structs.astuple, msgspec.json.encode
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: "

class Protocol(asyncio.Protocol):
    waiting = []

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_message_begin(self):
        self.body = b""

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        if not self.waiting:
            asyncio.get_running_loop().call_soon(turn)
        self.waiting.append((self.transport, one(self.body)))

def turn():
    jobs, Protocol.waiting = Protocol.waiting, []
    for (transport, _), p in zip(jobs, run([astuple(record) for _, record in jobs]).tolist()):
        out = encode({"prediction": int(p[1] > p[0]), "probabilities": {"0": p[0], "1": p[1]}, "score": p[1]})
        transport.write(HEAD + str(len(out)).encode() + b"\\r\\n\\r\\n" + out)

async def main(listening):
    async with await asyncio.get_running_loop().create_server(Protocol, sock=listening) as server:
        await server.serve_forever()

def work(port):
    global run
    run = load()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(2048)
    uvloop.install()
    asyncio.run(main(listening))

if __name__ == "__main__":
    port, workers = map(int, sys.argv[1:])
    others = [multiprocessing.Process(target=work, args=(port,), daemon=True) for _ in range(workers - 1)]
    for other in others:
        other.start()
    work(port)
"""

MLSERVER = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from session import load

class Model(MLModel):
    async def load(self) -> bool:
        self.run = load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = NumpyCodec.encode_output("output", self.run(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
"""

LITSERVE = """
import sys
import litserve
from session import load

class Api(litserve.LitAPI):
    def setup(self, device):
        self.run = load()
    def decode_request(self, request):
        return request["rows"]
    def predict(self, rows):
        return self.run(rows)
    def encode_response(self, output):
        return {"output": output.tolist()}

if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=int(sys.argv[2]))
    server.run(port=int(sys.argv[1]), num_api_servers=1, log_level="warning", generate_client_file=False)
"""

BENTOML = """
import bentoml
from session import load

@bentoml.service(workers=2)
class Model:
    def __init__(self) -> None:
        self.run = load()
    @bentoml.api
    async def predict(self, rows: list[list[float]]) -> list[list[float]]:
        return self.run(rows).tolist()
"""

RAY = """
import os
import sys
import time
import ray
from ray import serve
from session import load

@serve.deployment(
    num_replicas=int(sys.argv[2]), max_ongoing_requests=100, ray_actor_options={"num_cpus": 0.5}
)
class Model:
    def __init__(self) -> None:
        self.run = load()
    async def __call__(self, request):
        return {"output": self.run((await request.json())["rows"]).tolist()}

ray.init(num_cpus=os.cpu_count(), include_dashboard=False)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Model.bind(), route_prefix="/")
while True:
    time.sleep(1)
"""

PYTRITON = """
import os
import pathlib
import sys
import sysconfig
import numpy as np
import pytriton
# pytriton starts a copy of the server, which no longer finds the libraries that came in the wheel; and that
# server must take the libpython of this interpreter, not an older one of the system.
libraries = pathlib.Path(pytriton.__file__).parents[1] / "nvidia_pytriton.libs"
places = [sysconfig.get_config_var("LIBDIR"), str(libraries), os.environ.get("LD_LIBRARY_PATH", "")]
os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, places))
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from session import load

def function():
    run = load()
    @batch
    def infer(input):
        return [run(input).astype(np.float32)]
    return infer

config = TritonConfig(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[1]) + 1, allow_metrics=False)
with Triton(config=config) as triton:
    triton.bind(
        model_name="bench", infer_func=[function() for _ in range(int(sys.argv[2]))],
        inputs=[Tensor(name="input", dtype=np.float32, shape=(20,))],
        outputs=[Tensor(name="output", dtype=np.float32, shape=(2,))],
        config=ModelConfig(max_batch_size=1024),
    )
    triton.serve()
"""

MLFLOW = """
import subprocess
import sys
import mlflow
from session import load

class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.run = load()
    def predict(self, context, model_input, params=None):
        return self.run(model_input)

if __name__ == "__main__":
    import pathlib
    if not pathlib.Path("saved").exists():
        mlflow.pyfunc.save_model("saved", python_model=Model(), code_paths=["session.py"])
    arguments = ["models", "serve", "-m", "saved", "-p", sys.argv[1], "-w", sys.argv[2]]
    arguments += ["--env-manager", "local"]
    raise SystemExit(subprocess.call([sys.executable, "-m", "mlflow", *arguments]))
"""


def _mlserver(port: int, _: int) -> list[str]:
    """MLServer reads its settings from files; it is fastest without its worker pool."""
    settings = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2, "parallel_workers": 0}
    model = {"name": "bench", "implementation": "model.Model"}
    written = (
        f"echo '{json.dumps(settings)}' > settings.json; echo '{json.dumps(model)}' > model-settings.json"
    )
    return ["sh", "-c", f"{written}; exec mlserver start ."]


PEERS = {
    "fastapi": Peer(
        "FastAPI by hand", ("fastapi", "uvicorn[standard]"), {"app.py": FASTAPI},
        lambda port, workers: [
            "uvicorn", "app:app", "--port", str(port), "--workers", str(workers), "--no-access-log",
        ],
        raw,
    ),
    "granian": Peer(
        "Granian RSGI by hand", ("granian", "msgspec", "uvloop"), {"app.py": GRANIAN},
        lambda port, workers: [
            "granian", "--interface", "rsgi", "--port", str(port), "--workers", str(workers),
            "--loop", "uvloop", "--no-ws", "app:app",
        ],
        raw,
    ),
    "granian-asgi": Peer(
        "Granian ASGI by hand", ("granian", "msgspec", "uvloop"), {"app.py": ASGI},
        lambda port, workers: [
            "granian", "--interface", "asginl", "--port", str(port), "--workers", str(workers),
            "--loop", "uvloop", "--no-ws", "app:app",
        ],
        raw,
    ),
    "uvicorn": Peer(
        "uvicorn ASGI by hand", ("uvicorn[standard]", "msgspec"), {"app.py": ASGI},
        lambda port, workers: [
            "uvicorn", "app:app", "--port", str(port), "--workers", str(workers), "--no-access-log",
            "--lifespan", "off",
        ],
        raw,
    ),
    "bare": Peer(
        "bare protocol by hand", ("httptools", "msgspec", "uvloop"), {"app.py": BARE},
        lambda port, workers: ["python", "app.py", str(port), str(workers)],
        lambda codec, rows: raw(codec, rows) if codec == "json" and rows == 1 else None,
    ),
    "mlserver": Peer(
        "MLServer", ("mlserver",), {"model.py": MLSERVER}, _mlserver, json_only(v2("bench")),
    ),
    "litserve": Peer(
        "LitServe", ("litserve",), {"app.py": LITSERVE},
        lambda port, workers: ["python", "app.py", str(port), str(workers)],
        rows_of("/predict", lambda rows: {"rows": rows}),
    ),
    "bentoml": Peer(
        "BentoML", ("bentoml",), {"service.py": BENTOML},
        lambda port, _: ["bentoml", "serve", "service:Model", "--port", str(port)],
        rows_of("/predict", lambda rows: {"rows": rows}),
    ),
    "mlflow": Peer(
        "MLflow", ("mlflow",), {"app.py": MLFLOW},
        lambda port, workers: ["python", "app.py", str(port), str(workers)],
        rows_of("/invocations", lambda rows: {"inputs": rows}),
        patience_s=120,
    ),
    "pytriton": Peer(
        "Triton (pytriton)", ("nvidia-pytriton",), {"app.py": PYTRITON},
        lambda port, workers: ["python", "app.py", str(port), str(workers)],
        v2("bench"),
        patience_s=120,
    ),
    "ray": Peer(
        "Ray Serve", ("ray[serve]",), {"app.py": RAY},
        lambda port, workers: ["python", "app.py", str(port), str(workers)],
        rows_of("/", lambda rows: {"rows": rows}),
        patience_s=240,
    ),
}  # fmt: skip
