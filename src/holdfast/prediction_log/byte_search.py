"""The proof of an erasure: a search for bytes in every file of a folder, inside compressed tables too."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pfs
import pyarrow.parquet as pq

from holdfast.prediction_log.errors import PredictionLogError
from holdfast.prediction_log.places import file_system, is_remote, reaching

_SHORTEST_BYTES: Final = 4
_BATCH_ROWS: Final = 65_536
_THREADS: Final = min(4, os.cpu_count() or 1)
"""Decoding and searching leave the interpreter alone; each thread holds one batch of one file."""


class Found(msgspec.Struct, frozen=True):
    """A place where one of the texts stands; which one is not told."""

    path: str
    column: str | None
    """Of a Parquet file, when the text stands in its decoded values only."""


def search_bytes(folder: Path | str, texts: Iterable[str]) -> list[Found]:
    """Every file under the folder that holds one of the texts as UTF-8, as it is or inside a Parquet column.

    `s3://bucket/prefix` is searched as a folder is; each object is read whole, once.

    Raw bytes are searched first; the values of a Parquet file are compressed, so they are decoded, column by
    column, and searched as well. About 16 s of one core
    for 10 million rows of 20 columns (1 GB of files).

    Raises:
        PredictionLogError: a text is shorter than 4 bytes, which would be found by chance.
    """
    needles = [text.encode() for text in texts]
    if not needles or min(map(len, needles)) < _SHORTEST_BYTES:
        raise PredictionLogError("the text to search for is too short", expected="4 bytes or more")
    # One automaton for all of them (RE2): the time does not grow with their number, as with Python's `re`.
    pattern = "|".join("".join(f"\\x{byte:02x}" for byte in needle) for needle in needles)
    if isinstance(folder, str) and is_remote(folder):
        return _search_objects(folder, pattern)
    files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(chain.from_iterable(threads.map(partial(_in_file, pattern), files)))


def _search_objects(url: str, pattern: str) -> list[Found]:
    files, prefix = file_system(url)
    with reaching(url):
        listed = files.get_file_info(pfs.FileSelector(prefix, allow_not_found=True, recursive=True))
        paths = sorted(one.path for one in listed if one.type is pfs.FileType.File)
        with ThreadPoolExecutor(_THREADS) as threads:
            return list(chain.from_iterable(threads.map(partial(_in_object, files, pattern), paths)))


def _in_object(files: Any, pattern: str, path: str) -> list[Found]:
    """What an object holds; one that a running service has removed meanwhile holds nothing."""
    try:
        with files.open_input_file(path) as file:
            content = file.read_buffer()
    except FileNotFoundError:
        return []
    name = f"s3://{path}"
    if content.size and _matches(content, pattern):
        return [Found(name, None)]
    if path.endswith(".parquet"):
        return [Found(name, column) for column in _in_columns(pa.BufferReader(content), pattern)]
    return []


def _in_file(pattern: str, path: Path) -> list[Found]:
    """What the file holds; a file that a running service has removed meanwhile holds nothing."""
    try:
        if not path.stat().st_size:
            return []
        if _matches(_content(path), pattern):
            return [Found(str(path), None)]
        if path.suffix == ".parquet":
            return [Found(str(path), column) for column in _in_columns(path, pattern)]
    except FileNotFoundError:
        return []
    return []


def _content(path: Path) -> pa.Buffer:
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


def _matches(buffer: pa.Buffer, pattern: str) -> bool:
    """Whether the bytes hold a match, without a copy of them."""
    offsets = pa.py_buffer(struct.pack("<qq", 0, buffer.size))
    whole = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, buffer])
    return bool(pc.match_substring_regex(whole, pattern)[0].as_py())


def _in_columns(path: Path | pa.BufferReader, pattern: str) -> list[str]:
    names: dict[str, None] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if name not in names and any(_matches(part, pattern) for part in _text_buffers([column])):
                    names[name] = None
    return list(names)


def _text_buffers(columns: Sequence[pa.Array]) -> Iterator[pa.Buffer]:
    """Buffers of all values that can hold text, however nested."""
    for column in columns:
        kind: Any = column.type
        if pa.types.is_nested(kind):
            yield from _text_buffers(_children(column))
        elif pa.types.is_dictionary(kind):
            yield from _text_buffers([column.dictionary])
        elif not pa.types.is_primitive(kind) and not pa.types.is_null(kind):
            yield from (buffer for buffer in column.buffers() if buffer is not None)


def _children(column: pa.Array) -> list[pa.Array]:
    if pa.types.is_struct(column.type):
        return list(column.flatten())
    if pa.types.is_map(column.type):
        return [column.keys, column.items]
    return [column.values]
