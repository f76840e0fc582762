"""Three deployments whose models differ in shape, dtype and kind of answer, to be served together."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser

from holdfast.artifact import Execution, store_artifact
from holdfast.artifact.signature import Column, Signature, Tensor
from holdfast.clock import SystemClock
from holdfast.registry import Registry
from holdfast.spec import Deployment

Row = dict[str, Any]
COMMON = "[target]\nport = 0\ngrpc_port = 0\n[compute]\ncores = 2\n"
NAMES = tuple(f"c{i}" for i in range(6))


@dataclass(frozen=True)
class Kind:
    """A model of one sort, with a version for each factor."""

    name: str
    graph: str
    signature: Signature
    warmup: dict[str, list[Any]]
    row: Callable[[random.Random, int], Row]
    """One unlike any other."""
    truth: Callable[[Row, float], float]
    key: str
    """Of the number in an answer to `/predict`."""
    tensors: dict[str, tuple[str, tuple[str, ...]]]
    """Datatype and fields by input."""
    tolerance: float

    def inputs(self, rows: list[Row]) -> list[dict[str, Any]]:
        """As protocol v2 wants them in JSON."""
        found = []
        for name, (datatype, fields) in self.tensors.items():
            alone = fields == (name,)
            data = [row[name] if alone else [row[field] for field in fields] for row in rows]
            shape = [len(rows)] if alone else [len(rows), len(fields)]
            found.append({"name": name, "shape": shape, "datatype": datatype, "data": data})
        return found

    def right(self, row: Row, factor: float, answer: float) -> bool:
        """Whether the answer is that version's to this row."""
        return math.isclose(self.truth(row, factor), answer, rel_tol=self.tolerance, abs_tol=self.tolerance)


LINEAR = Kind(
    "linear",
    """<ir_version: 9, opset_import: ["": 18]>
    linear (float[N,2] x) => (float[N,1] y) <float[2,1] w = {{{0}, 0.0}}> {{ y = MatMul(x, w) }}""",
    Signature(
        columns=tuple(Column(name=name, dtype="float32", kind="numeric") for name in ("a", "b")),
        inputs=(Tensor(name="x", dtype="float32", shape=(-1, 2), columns=("a", "b")),),
        outputs=(Tensor(name="y", dtype="float32", shape=(-1, 1)),),
        task="regression",
        prediction_output="y",
    ),
    {"a": [1.0, 2.0], "b": [0.5, -1.0]},
    lambda chance, i: {"a": float(i % 2**18), "b": chance.random()},
    lambda row, factor: factor * row["a"],
    "prediction",
    {"x": ("FP32", ("a", "b"))},
    0.0,
)
WARD = Kind(
    "ward",
    """<ir_version: 9, opset_import: ["": 18, "ai.onnx.ml": 3]>
    ward (int64[N] age, string[N] city) => (float[N] p) <float scale = {{{0}}}> {{
        far = ai.onnx.ml.LabelEncoder
            <keys_strings: strings = ["north"], values_floats: floats = [1.0],
             default_float: float = 0.0> (city)
        years = Cast<to: int = 1>(age)
        a = Mul(years, scale)
        b = Add(a, far)
        p = Sigmoid(b)
    }}""",
    Signature(
        columns=(
            Column(name="age", dtype="int64", kind="numeric"),
            Column(name="city", dtype="string", kind="categorical", categories=("north", "south")),
        ),
        inputs=(
            Tensor(name="age", dtype="int64", shape=(-1,), columns=("age",)),
            Tensor(name="city", dtype="string", shape=(-1,), columns=("city",)),
        ),
        outputs=(Tensor(name="p", dtype="float32", shape=(-1,)),),
        task="binary",
        classes=("no", "yes"),
        positive_class="yes",
        probability_output="p",
    ),
    {"age": [30, 40], "city": ["north", "south"]},
    lambda chance, i: {"age": i % 4001 - 2000, "city": chance.choice(["north", "south", "elsewhere"])},
    lambda row, factor: 1 / (1 + math.exp(-(row["age"] * factor + (row["city"] == "north")))),
    "score",
    {"age": ("INT64", ("age",)), "city": ("BYTES", ("city",))},
    1e-5,
)
WIDE = Kind(
    "wide.six-columns",
    """<ir_version: 9, opset_import: ["": 18]>
    wide (double[N,6] t) => (double[N] total) <double[6,1] w = {{{0}, {0}, {0}, {0}, {0}, {0}}}> {{
        column = MatMul(t, w)
        last = Constant<value_ints = [1]>()
        total = Squeeze(column, last)
    }}""",
    Signature(
        columns=tuple(Column(name=name, dtype="float64", kind="numeric") for name in NAMES),
        inputs=(Tensor(name="t", dtype="float64", shape=(-1, 6), columns=NAMES),),
        outputs=(Tensor(name="total", dtype="float64", shape=(-1,)),),
        task="regression",
        prediction_output="total",
    ),
    {name: [0.5, 1.5] for name in NAMES},
    lambda chance, i: {name: i + chance.random() for name in NAMES},
    lambda row, factor: factor * sum(row[name] for name in NAMES),
    "prediction",
    {"t": ("FP64", NAMES)},
    1e-12,
)
KINDS = (LINEAR, WARD, WIDE)
FACTORS = {LINEAR.name: (2.0, 5.0), WARD.name: (0.001, -0.002), WIDE.name: (1.0, 0.25)}
"""Of versions 1 and 2."""


def make(folder: Path, kind: Kind, toml: str = COMMON) -> Deployment:
    """The deployment with both versions, of which the first is champion."""
    folder.mkdir(parents=True)
    (folder / "holdfast.toml").write_text(f'[model]\nname = "{kind.name}"\n{toml}')
    deployment = Deployment.open(folder, {})
    with Registry.open(deployment.registry_url, SystemClock()) as registry:
        for factor in FACTORS[kind.name]:
            graph = onnx.parser.parse_model(kind.graph.format(factor))
            artifact = store_artifact(
                deployment.artifacts_folder,
                runtime="onnx",
                model=graph.SerializeToString(),
                signature=kind.signature,
                execution=Execution(),
                warmup=kind.warmup,
            )
            registry.add_version(
                name=kind.name, sha256=artifact.sha256, created_at_us=0, created_by="test", metadata={}
            )
        registry.promote("1", reason="first", actor="test")
    return deployment


def make_three(folder: Path, toml: str = COMMON) -> list[Deployment]:
    """All of them, each in a folder of its own."""
    return [make(folder / kind.name, kind, toml) for kind in KINDS]


def raw_tensor(datatype: str, data: list[Any]) -> bytes:
    """As gRPC's raw contents want it."""
    if datatype == "BYTES":
        return b"".join(len(one).to_bytes(4, "little") + one.encode() for one in data)
    return np.array(data, {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8"}[datatype]).tobytes()
