"""What `holdfast compress` finds for four models, with the original of each beside it.

    uv run python bench/compress.py [mlp gbm cnn linear] [--work DIR] [--out bench/results/compress.json]

mlp: 20 inputs, two hidden layers of 2048, 2 classes. gbm: 1000 boosted trees. cnn: scikit-learn's digits.
linear: logistic regression, where nothing is to be gained. Sizes and speeds are ratios against the original,
measured in turns in one process; losses are on held-out rows of the reference, bounded from above at 95 % and
corrected for the number of candidates.

A run that is broken off goes on where it was, given the same `--work`. `--out` keeps what other runs found
for other models.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from holdfast.check.running import machine
from holdfast.clock import SystemClock
from holdfast.compress import CompressReport, compress_version
from holdfast.registry import Registry, register_model
from holdfast.spec import Deployment

ALLOWED_LOSS = 0.01
WANTED = {"mlp": (0.3, 1.5), "gbm": (0.3, 1.5)}
"""Size at most and throughput at least, of the original's."""


def data(rows: int) -> tuple[pd.DataFrame, Any]:
    inputs, labels = make_classification(
        rows, 20, n_informative=8, n_redundant=4, class_sep=1.2, flip_y=0.02, random_state=0
    )
    return pd.DataFrame(inputs.astype(np.float32), columns=[f"f{i}" for i in range(20)]), labels


def mlp() -> tuple[Any, pd.DataFrame]:
    inputs, labels = data(24_000)
    model = MLPClassifier((2048, 2048), max_iter=2, batch_size=256, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(inputs.iloc[:4000].to_numpy(), labels[:4000])
    return model, inputs.iloc[4000:].assign(y=labels[4000:])


def gbm() -> tuple[Any, pd.DataFrame]:
    inputs, labels = data(24_000)
    # Slow enough that the last trees still learn: a faster one is sure of every row after some hundred.
    model = GradientBoostingClassifier(n_estimators=1000, learning_rate=0.02, subsample=0.5, random_state=0)
    model.fit(inputs.iloc[:4000].to_numpy(), labels[:4000])
    return model, inputs.iloc[4000:].assign(y=labels[4000:])


def linear() -> tuple[Any, pd.DataFrame]:
    inputs, labels = data(24_000)
    model = LogisticRegression(max_iter=500).fit(inputs.iloc[:4000].to_numpy(), labels[:4000])
    return model, inputs.iloc[4000:].assign(y=labels[4000:])


def cnn() -> tuple[Any, pd.DataFrame]:
    """Two convolutions with random filters, pooled, and a dense layer fitted on them."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    rng = np.random.default_rng(0)
    first = (rng.normal(size=(32, 1, 3, 3)) / 3).astype(np.float32)
    second = (rng.normal(size=(64, 32, 3, 3)) / 17).astype(np.float32)
    features = _features(images, first, second)
    half = len(images) // 3
    head = LogisticRegression(max_iter=2000, C=1.0).fit(features[:half], labels[:half])
    constants = {"k1": first, "k2": second, "w": head.coef_.T.astype(np.float32)}
    constants["b"] = head.intercept_.astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "k1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "k2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "digits",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 1, 8, 8])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 10])],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    rest = pd.DataFrame({"image": images[half:].tolist(), "y": labels[half:]})
    return model, rest


def _features(images: Any, first: Any, second: Any) -> Any:
    """What the two convolutions make of the images, by the same operators."""
    import onnxruntime

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "k1"], ["c1"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c1"], ["r1"]),
            helper.make_node("Conv", ["r1", "k2"], ["c2"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c2"], ["r2"]),
            helper.make_node("MaxPool", ["r2"], ["p2"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Flatten", ["p2"], ["flat"]),
        ],
        "features",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 1, 8, 8])],
        [helper.make_tensor_value_info("flat", TensorProto.FLOAT, [None, 1024])],
        [numpy_helper.from_array(first, "k1"), numpy_helper.from_array(second, "k2")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"image": images})[0]


MODELS: dict[str, Callable[[], tuple[Any, pd.DataFrame]]] = {
    "mlp": mlp,
    "gbm": gbm,
    "cnn": cnn,
    "linear": linear,
}


def run(name: str, folder: Path) -> CompressReport:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "holdfast.toml").write_text(f'[model]\nname = "{name}"\n')
    deployment = Deployment.open(folder, {})
    clock = SystemClock()
    with Registry.open(deployment.registry_url, clock) as registry:
        if registry.route().champion is None:
            register(name, deployment, registry, clock)
        return compress_version(
            deployment,
            registry,
            clock,
            version="1",
            allowed_loss=ALLOWED_LOSS,
            actor="bench",
            machine=machine(),
            said=lambda line: print("   ", line, flush=True),
        )


def register(name: str, deployment: Deployment, registry: Registry, clock: SystemClock) -> None:
    import pyarrow as pa

    model, reference = MODELS[name]()
    table = pa.Table.from_pandas(reference, preserve_index=False)
    if "image" in table.column_names:
        nested = pa.list_(pa.list_(pa.list_(pa.float32())))
        table = table.set_column(0, "image", pa.array(reference["image"].tolist(), nested))
    register_model(deployment, registry, model, reference=table, labels="y", clock=clock)


@contextlib.contextmanager
def place(given: Path | None) -> Iterator[Path]:
    """The folder that was asked for, or one for this run alone."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--work", type=Path, help="Folder that a run which is broken off goes on from.")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for name in given.models:
        started = time.monotonic()
        with place(given.work) as folder:
            report = run(name, folder / name)
        took = time.monotonic() - started
        found = {**msgspec.to_builtins(report), "allowed_loss": ALLOWED_LOSS, "seconds": round(took, 1)}
        show(name, report, took)
        if name in WANTED:
            found["met_by"] = met_by(name, report)
            size, throughput = WANTED[name]
            print(
                f"  at most {size} of the size, {throughput} times the throughput, loss <= 1 point: "
                f"{found['met_by']}"
            )
        if given.out:
            keep(given.out, name, found)


def show(name: str, report: CompressReport, took_s: float) -> None:
    print(f"\n{name}: {report.size_bytes} bytes, {report.p50_ms:.4f} ms, {report.rows_per_s:.0f} rows/s")
    for one in report.frontier:
        faster, judged = one.probed, one.judgement
        print(
            f"  {one.name:34} size {one.size_ratio:6.3f}  throughput {faster.batch_speedup[0]:6.2f}  "
            f"latency {faster.speedup[0]:6.2f}  loss {judged.loss:+.4f} <= {judged.upper:.4f}"
        )
    for other in report.skipped:
        print(f"  {other.name}: {other.why}")
    print(f"  chosen: {report.chosen}; {report.missing}  ({took_s:.0f} s, {report.tried} candidates)")


def met_by(name: str, report: CompressReport) -> list[str]:
    """Candidates that reach what is wanted of this model."""
    size, throughput = WANTED[name]
    return [
        one.name
        for one in report.frontier
        if one.size_ratio <= size
        and one.probed.batch_speedup[0] >= throughput
        and one.judgement.upper <= ALLOWED_LOSS
    ]


def keep(out: Path, name: str, found: dict[str, Any]) -> None:
    """Beside what other runs found for other models."""
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    results |= {"machine": machine(), "cores": os.cpu_count(), name: found}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
