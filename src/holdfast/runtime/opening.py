"""From a stored artifact to a model that runs."""

from __future__ import annotations

from holdfast.artifact.packing import Packer
from holdfast.artifact.store import Artifact
from holdfast.runtime.errors import RuntimeFailure
from holdfast.runtime.protocol import Runtime
from holdfast.spec.checklist import Compute


def load_library(runtime: str) -> None:
    """Do what the first artifact of a kind makes a process do, and what that keeps whatever comes and goes.

    Args:
        runtime: of an artifact.
    """
    if runtime == "onnx":
        from holdfast.runtime.onnx import load_onnxruntime

        load_onnxruntime()


def open_runtime(artifact: Artifact, compute: Compute | None = None) -> Runtime:
    """Load an artifact into its adapter and run it once on its warm-up rows.

    Args:
        artifact: verified.
        compute: threads, arena and accelerator; None: the defaults.

    Raises:
        RuntimeFailure: it cannot be loaded, or fails on rows of its own reference.
    """
    runtime: Runtime
    if artifact.runtime == "onnx":
        from holdfast.runtime.onnx import OnnxRuntime

        runtime = OnnxRuntime(
            artifact.model_file.read_bytes(),
            where=str(artifact.model_file),
            execution=artifact.execution,
            compute=compute or Compute(),
        )
    else:
        from holdfast.runtime.python import PythonRuntime

        if artifact.execution.python_target is None:
            raise RuntimeFailure("the artifact names no callable", where=str(artifact.model_file))
        runtime = PythonRuntime(artifact.execution.python_target)
    _warm_up(runtime, artifact)
    return runtime


def _warm_up(runtime: Runtime, artifact: Artifact) -> None:
    columns = artifact.warmup_columns()
    if not columns:
        return
    n_rows = len(next(iter(columns.values())))
    packer = Packer(artifact.signature)
    runtime.run(packer.pack({name: values[:1] for name, values in columns.items()}, 1))
    runtime.run(packer.pack(columns, n_rows))
