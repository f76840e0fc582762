"""Columns of your own: functions of the model's inputs, from a file beside the checklist that names them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.monitor.columns import array_values
from holdfast.monitor.errors import MonitorError
from holdfast.monitor.rows import ColumnValues

if TYPE_CHECKING:
    import pyarrow as pa

WHERE = "monitoring.own_columns"


@dataclass(frozen=True, slots=True)
class OwnMeasures:
    """The functions, by the name of the column that each makes."""

    functions: Mapping[str, Callable[[pa.Table], Any]] = field(default_factory=dict)
    digest: str = ""
    """Of their names and of their files: profiles made by other code cannot be compared."""
    failed: dict[str, str] = field(default_factory=dict)
    """What went wrong on rows of the log, by column: such rows count as missing."""

    @classmethod
    def open(cls, folder: Path, targets: Sequence[str], taken: Sequence[str]) -> OwnMeasures:
        """Runs each file once.

        Args:
            folder: of the deployment; files lie in it or below.
            targets: such as `"measures.py:ratio"`.
            taken: names that columns have already.

        Raises:
            MonitorError: a file lies elsewhere, cannot be run, or has no such function; a name is taken.
        """
        if not targets:
            return cls()
        functions: dict[str, Callable[[pa.Table], Any]] = {}
        modules: dict[Path, ModuleType] = {}
        digest = hashlib.sha256()
        for target in targets:
            file, _, name = target.rpartition(":")
            path = (folder / file).resolve()
            if not path.is_relative_to(folder.resolve()) or not path.is_file():
                raise MonitorError(
                    "a column of your own names a file that is not in the deployment's folder",
                    where=WHERE,
                    expected=f"file.py:function, of a file in {folder}",
                    received=target,
                )
            if name in functions or name in taken:
                raise MonitorError(
                    "a column of your own has the name of another column",
                    where=WHERE,
                    received=target,
                    next_step="Name the function otherwise: the column is called as it is",
                )
            code = path.read_bytes()
            digest.update(target.encode() + b"\0" + code)
            if path not in modules:
                modules[path] = _run(path, target)
            function = getattr(modules[path], name, None)
            if not callable(function):
                raise MonitorError(
                    "a column of your own names a function that its file does not have",
                    where=WHERE,
                    expected=f"def {name}(table) in {path.name}",
                    received=target,
                )
            functions[name] = function
        return cls(functions, digest.hexdigest()[:12])

    @property
    def notes(self) -> list[str]:
        """For the diagnosis."""
        return [f"{name!r} counts as missing in some rows: {what}" for name, what in self.failed.items()]

    def columns(self, inputs: pa.Table, *, strict: bool) -> dict[str, ColumnValues]:
        """A value for each row of the model's inputs, from each function.

        Args:
            inputs: by their names in the signature.
            strict: whether a function that fails is an error, as on the reference; else its rows are missing.

        Raises:
            MonitorError: a function fails, if strict.
        """
        found: dict[str, ColumnValues] = {}
        for name, function in self.functions.items():
            try:
                found[name] = _values(function(inputs), inputs.num_rows)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                if strict:
                    raise MonitorError(
                        "a column of your own cannot be made of the reference",
                        where=f"{WHERE}: {name}",
                        expected=f"an array of {inputs.num_rows} numbers or texts",
                        received=what,
                    ) from error
                self.failed[name] = what
                found[name] = np.full(inputs.num_rows, np.nan)
        return found


def _values(made: Any, rows: int) -> ColumnValues:
    import pyarrow as pa

    held = made if isinstance(made, pa.Array | pa.ChunkedArray) else pa.array(np.asarray(made))
    if len(held) != rows:
        raise ValueError(f"{len(held)} values for {rows} rows")
    return array_values(held)


class _AsWritten(SourceFileLoader):
    """Reads the source itself: its compiled form is taken for the same where length and second are."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _run(path: Path, target: str) -> ModuleType:
    name = f"holdfast_own_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_AsWritten(name, str(path)))
    if spec is None or spec.loader is None:
        raise MonitorError("a column of your own is in no Python file", where=WHERE, received=target)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise MonitorError(
            "the file of a column of your own cannot be run",
            where=f"{WHERE}: {path}",
            received=f"{type(error).__name__}: {error}",
        ) from error
    return module
