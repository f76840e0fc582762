"""Smaller and faster versions of a model: the frontier of size, speed and quality inside a budget."""

from holdfast.compress.errors import CompressError
from holdfast.compress.judging import Judgement, SliceLoss
from holdfast.compress.picture import draw_frontier
from holdfast.compress.probe import Probed
from holdfast.compress.report import CompressReport, Measured, Skipped
from holdfast.compress.running import EVIDENCE_KIND, compress_version

__all__ = [
    "EVIDENCE_KIND",
    "CompressError",
    "CompressReport",
    "Judgement",
    "Measured",
    "Probed",
    "Skipped",
    "SliceLoss",
    "compress_version",
    "draw_frontier",
]
