from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from holdfast.artifact import Column, Signature, Tensor
from holdfast.infer import LoadedModel
from holdfast.spec import parse_checklist

PAIR = Signature(
    columns=(
        Column(name="a", dtype="float32", kind="numeric"),
        Column(name="b", dtype="float32", kind="numeric"),
    ),
    inputs=(Tensor(name="x", dtype="float32", shape=(-1, 2), columns=("a", "b")),),
    outputs=(Tensor(name="y", dtype="float32", shape=(-1,)),),
    task="regression",
    prediction_output="y",
)
"""Two numbers in, one out."""

EVERYTHING = Signature(
    columns=(
        Column(name="number", dtype="float64", kind="numeric"),
        Column(name="short", dtype="float32", kind="numeric", nullable=True),
        Column(name="count", dtype="int64", kind="numeric"),
        Column(name="tiny", dtype="uint8", kind="numeric"),
        Column(name="huge", dtype="uint64", kind="numeric"),
        Column(name="flag", dtype="bool", kind="boolean"),
        Column(name="city", dtype="string", kind="categorical", categories=("a", "b")),
        Column(name="pixels", dtype="float32", kind="image", shape=(2, 3)),
    ),
    inputs=(),
    outputs=(),
    task="regression",
)
"""One column of every kind."""


class Arithmetic:
    """A runtime for batching: weights times inputs, with faults and pauses on demand."""

    def __init__(self, weight: float = 1.0, pause_s: float = 0.0) -> None:
        self.weight = weight
        self.pause_s = pause_s
        self.batches: list[int] = []
        self.closed = False
        self.threads: set[str] = set()

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        assert not self.closed, "run after close"
        x = feeds["x"]
        self.batches.append(len(x))
        self.threads.add(threading.current_thread().name)
        if self.pause_s:
            time.sleep(self.pause_s)
        if (x[:, 1] == -1).any():
            raise ValueError("a poisoned row")
        return {"y": (x[:, 0] * np.float32(self.weight)).astype(np.float32)}

    def close(self) -> None:
        self.closed = True


DEMO = parse_checklist('[model]\nname = "demo"\n', source="test")
"""A checklist with nothing but a name."""


def model_of(runtime: Arithmetic, version: str = "1") -> LoadedModel:
    return LoadedModel(version, PAIR, runtime)
