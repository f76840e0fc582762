"""Data sets from log and files, challengers from data sets, and when to make one."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.train.building import Secrets, build_data_set, rebuild_data_set
    from holdfast.train.challenging import Asked, TrainReport, train_challenger
    from holdfast.train.comparing import Comparison, Difference, Slice
    from holdfast.train.data_set import DataSet
    from holdfast.train.errors import (
        DataSetError,
        LeakageError,
        TrainerFailedError,
        TrainError,
        WorseError,
    )
    from holdfast.train.manifest import Manifest, find_manifest, read_manifest
    from holdfast.train.policy import Plan, State, decide
    from holdfast.train.replaying import PolicyOutcome, Replay, replay
    from holdfast.train.runs import Run, past_runs
    from holdfast.train.storing import Built
    from holdfast.train.triggering import due
    from holdfast.train.watching import Watch, Watched

_HOMES = {
    "Asked": "challenging",
    "Built": "storing",
    "Comparison": "comparing",
    "DataSet": "data_set",
    "DataSetError": "errors",
    "Difference": "comparing",
    "LeakageError": "errors",
    "Manifest": "manifest",
    "Plan": "policy",
    "PolicyOutcome": "replaying",
    "Replay": "replaying",
    "Run": "runs",
    "Secrets": "building",
    "Slice": "comparing",
    "State": "policy",
    "TrainError": "errors",
    "TrainReport": "challenging",
    "TrainerFailedError": "errors",
    "Watch": "watching",
    "Watched": "watching",
    "WorseError": "errors",
    "build_data_set": "building",
    "decide": "policy",
    "due": "triggering",
    "find_manifest": "manifest",
    "past_runs": "runs",
    "read_manifest": "manifest",
    "rebuild_data_set": "building",
    "replay": "replaying",
    "train_challenger": "challenging",
}

__all__ = [
    "Asked",
    "Built",
    "Comparison",
    "DataSet",
    "DataSetError",
    "Difference",
    "LeakageError",
    "Manifest",
    "Plan",
    "PolicyOutcome",
    "Replay",
    "Run",
    "Secrets",
    "Slice",
    "State",
    "TrainError",
    "TrainReport",
    "TrainerFailedError",
    "Watch",
    "Watched",
    "WorseError",
    "build_data_set",
    "decide",
    "due",
    "find_manifest",
    "past_runs",
    "read_manifest",
    "rebuild_data_set",
    "replay",
    "train_challenger",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast.train' has no attribute {name!r}")
    return getattr(import_module(f"holdfast.train.{_HOMES[name]}"), name)
