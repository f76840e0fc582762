"""The data plane: validate, batch, run, record. One, behind every transport."""

from holdfast.infer.assignment import is_below, place_of
from holdfast.infer.block import Block
from holdfast.infer.budget import resident_bytes
from holdfast.infer.errors import (
    InferError,
    InputError,
    MalformedBodyError,
    ModelFailedError,
    NotReadyError,
    OverloadedError,
    TooManyRowsError,
    UnknownModelError,
)
from holdfast.infer.job import Copier, Job, Observer
from holdfast.infer.lane import Lane
from holdfast.infer.large_inputs import LargeRule
from holdfast.infer.model import LoadedModel, load_model
from holdfast.infer.opening import open_plane
from holdfast.infer.plane import (
    CHALLENGER_ARM,
    CHAMPION_ARM,
    PINNED_ARM,
    SHADOW_ARM,
    AnsweredBatch,
    DataPlane,
)
from holdfast.infer.records import RecordCodec, read_json
from holdfast.infer.schema import RecordSchema
from holdfast.infer.seen_units import SeenUnits, forget_units, keep_units_of, share_folder
from holdfast.infer.turns import TurnBatcher
from holdfast.infer.validation import (
    check_columns,
    check_record,
    check_time,
    check_value,
    kind_of,
    nearest,
    truths_of_numbers,
)

__all__ = [
    "CHALLENGER_ARM",
    "CHAMPION_ARM",
    "PINNED_ARM",
    "SHADOW_ARM",
    "AnsweredBatch",
    "Block",
    "Copier",
    "DataPlane",
    "InferError",
    "InputError",
    "Job",
    "Lane",
    "LargeRule",
    "LoadedModel",
    "MalformedBodyError",
    "ModelFailedError",
    "NotReadyError",
    "Observer",
    "OverloadedError",
    "RecordCodec",
    "RecordSchema",
    "SeenUnits",
    "TooManyRowsError",
    "TurnBatcher",
    "UnknownModelError",
    "check_columns",
    "check_record",
    "check_time",
    "check_value",
    "forget_units",
    "is_below",
    "keep_units_of",
    "kind_of",
    "load_model",
    "nearest",
    "open_plane",
    "place_of",
    "read_json",
    "resident_bytes",
    "share_folder",
    "truths_of_numbers",
]
