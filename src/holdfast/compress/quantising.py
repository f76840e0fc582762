"""Eight-bit integers by onnxruntime's quantiser: dynamic and static, sensitive operators left out."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from holdfast.building import building_folder
from holdfast.compress.candidates import Candidate, Feeds, NotTried, Original, deviation

_OPERATORS: Final = ("MatMul", "Gemm", "Conv")
_CALIBRATION_ROWS: Final = 512
_BLOCK: Final = 64
_MOST_LOOKED_AT: Final = 16
"""Operators whose sensitivity is measured one by one; each costs a quantisation."""
_SENSITIVE: Final = 3.0
"""An operator that alone moves the answers by so many times the median one is left out."""


def quantised(original: Original) -> Iterator[Candidate | NotTried]:
    """Dynamic int8, static int8, and static int8 without what hurts."""
    nodes = [node for node in original.proto().graph.node if node.op_type in _OPERATORS]
    if not nodes:
        yield NotTried("int8", "there is no matrix product or convolution")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            with building_folder(Path(tempfile.gettempdir()), "holdfast-int8-") as folder:
                yield from _all(original, folder)
        finally:
            logging.disable(logging.NOTSET)


def _all(original: Original, folder: Path) -> Iterator[Candidate | NotTried]:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, prepared, target = folder / "source.onnx", folder / "prepared.onnx", folder / "target.onnx"
    source.write_bytes(_named(original))
    try:
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True, skip_optimization=True)
    except Exception:  # noqa: BLE001 - preparation helps and is not needed
        prepared.write_bytes(source.read_bytes())
    try:
        quantize_dynamic(str(prepared), str(target), per_channel=True, weight_type=QuantType.QInt8)
        yield Candidate(
            "dynamic int8", "weights in int8 per channel, inputs scaled at each run", target.read_bytes()
        )
    except Exception as error:  # noqa: BLE001 - the quantiser raises whatever it meets
        yield NotTried("dynamic int8", _first_line(error))

    per_channel = True

    def static(only: list[str] | None, without: list[str]) -> bytes:
        quantize_static(
            str(prepared),
            str(target),
            _Reader(original.feeds, original.rows),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            nodes_to_quantize=only,
            nodes_to_exclude=without,
            extra_options={"ActivationSymmetric": False},
        )
        return target.read_bytes()

    how = "weights and inputs in int8, calibrated on the reference"
    try:
        yield Candidate("static int8", f"{how}, per channel", static(None, []))
    except Exception:  # noqa: BLE001 - see above
        # onnxruntime 1.32 cannot quantise the bias of a Gemm per channel.
        per_channel = False
        try:
            yield Candidate("static int8", f"{how}, per tensor, as this graph allows", static(None, []))
        except Exception as error:  # noqa: BLE001 - see above
            yield NotTried("static int8", _first_line(error))
            return
    names = _operators(prepared)
    if not 2 <= len(names) <= _MOST_LOOKED_AT:
        return
    moved = {name: deviation(original, static([name], [])) for name in names}
    ordered = sorted(moved.values())
    median = ordered[(len(ordered) - 1) // 2]
    sensitive = [name for name, by in moved.items() if by > _SENSITIVE * median]
    if sensitive and len(sensitive) < len(names):
        yield Candidate(
            "static int8, sensitive left out",
            f"as static int8, with {len(sensitive)} of {len(names)} operators in float32",
            static(None, sensitive),
        )


def _named(original: Original) -> bytes:
    """Every node with a name of its own, by which the quantiser can be told of it."""
    proto = original.proto()
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{index}"
    encoded: bytes = proto.SerializeToString()
    return encoded


def _operators(path: Path) -> list[str]:
    import onnx

    return [node.name for node in onnx.load(str(path)).graph.node if node.op_type in _OPERATORS]


class _Reader:
    """Gives the quantiser blocks of rows."""

    def __init__(self, feeds: Feeds, rows: int) -> None:
        self._blocks = [
            {name: values[start : start + _BLOCK] for name, values in feeds.items()}
            for start in range(0, min(rows, _CALIBRATION_ROWS), _BLOCK)
        ]

    def get_next(self) -> dict[str, Any] | None:
        return self._blocks.pop() if self._blocks else None

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, Any]:
        block = self.get_next()
        if block is None:
            raise StopIteration
        return block


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
