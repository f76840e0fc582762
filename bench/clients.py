# ruff: noqa: E501 - programs and requests are written as they are sent
"""Clients that weigh too much for the tests, unchanged against `holdfast serve`, each in its own environment.

    uv run python bench/clients.py

mlserver's types and codecs (protocol v2), MLflow's scoring client (`/invocations`). `tritonclient` and `curl` are in
`tests/serve/test_real_clients.py`. Needs `uv` and a package index; ends with an error if an answer is not the one
that `POST /predict` gives.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from systems import BODY, ask, holdfast, make_deployment

MLSERVER = """
import json, sys, urllib.request
import numpy as np
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse, RepositoryIndexResponse

url, row = sys.argv[1], json.loads(sys.argv[2])

def post(path, body):
    request = urllib.request.Request(url + path, body, {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=30).read()

about = MetadataModelResponse.model_validate_json(urllib.request.urlopen(url + "/v2/models/bench").read())
if len(about.inputs) == 1:
    inputs = [NumpyCodec.encode_input(about.inputs[0].name, np.array([list(row.values())], dtype=np.float32))]
else:
    inputs = [NumpyCodec.encode_input(k, np.array([v], dtype=np.float32)) for k, v in row.items()]
asked = InferenceRequest(id="mine", inputs=inputs)
answer = InferenceResponse.model_validate_json(post("/v2/models/bench/infer", asked.model_dump_json().encode()))
assert answer.id == "mine"
RepositoryIndexResponse.model_validate_json(post("/v2/repository/index", b"{}"))
print(json.dumps({output.name: NumpyCodec.decode_output(output).ravel().tolist() for output in answer.outputs}))
"""
MLFLOW = """
import json, sys
import numpy as np
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

host, port = sys.argv[1].removeprefix("http://").split(":")
row = json.loads(sys.argv[2])
client = ScoringServerClient(host, port)
client.ping()  # raises where there is no good answer
found = [client.invoke(pd.DataFrame([row])).get_predictions().iloc[0, 0]]
found.append(client.invoke(pd.DataFrame([row]), params={"beam": 3}).get_predictions().iloc[0, 0])
found.append(client.invoke(np.array([list(row.values())])).get_predictions().iloc[0, 0])
print(json.dumps({"predictions": [int(one) for one in found]}))
"""


def run(packages: list[str], program: str, url: str) -> dict[str, list[float]]:
    command = ["uv", "run", "--isolated", "--no-project", "--python", sys.executable]
    for package in packages:
        command += ["--with", package]
    done = subprocess.run(
        [*command, "python", "-W", "ignore", "-c", program, url, BODY],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bench"
        make_deployment(folder, 1, logging=True)
        with holdfast(folder) as (url, _):
            plain = ask(url)
            wanted = [plain["probabilities"]["0"], plain["probabilities"]["1"]]
            outputs = run(["mlserver==1.7.1"], MLSERVER, url)
            if wanted not in outputs.values():
                raise RuntimeError(f"mlserver's client got {outputs}, expected {wanted}")
            print(f"mlserver 1.7.1: as POST /predict, {wanted}")
            answers = run(["mlflow-skinny", "pandas", "scipy"], MLFLOW, url)["predictions"]
            if answers != [plain["prediction"]] * 3:
                raise RuntimeError(f"MLflow's client got {answers}, expected {plain['prediction']}")
            print(f"mlflow-skinny: as POST /predict, {answers}")


if __name__ == "__main__":
    main()
