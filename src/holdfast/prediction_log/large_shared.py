"""Large inputs of tables on an object store: beside the tables there, shared by all machines.

A worker writes a content to its own disk, as ever. The keeper brings it to the object store before it commits
the row that names it, and keeps its own copy for a while after that. Object stores lock nothing, so a keeper
of one machine may remove a content at the very moment in which another one names it again: for that the copy
is there. `SharedContents.tidy` gives it up once it is old and the store still has the content, and otherwise
brings it there again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pfs

from holdfast.clock import Clock
from holdfast.prediction_log.large_keeping import Contents, LargeFault, large_columns, names_in
from holdfast.prediction_log.large_store import PLAIN_SUFFIX, SEALED_SUFFIX, large_folder, large_path
from holdfast.prediction_log.places import LogPlace, file_system, reaching

FRESH_S: Final = 1800.0
"""A content younger than this is not brought again: nobody removes it within the hour."""
ORPHAN_S: Final = 3600.0
"""A content that no row names is removed at this age: a row that names it may be about to be committed."""
KEEP_COPY_S: Final = 600.0
"""How long the copy on this machine outlives its last use: longer than any removal takes."""
TIDY_EVERY_S: Final = 60.0
_AT_ONCE: Final = 16
"""Requests under way: an object store answers in tens of milliseconds, whatever the size."""
_CHUNK_BYTES: Final = 1 << 20


class _Stored(Protocol):
    path: str
    base_name: str
    size: int
    mtime_ns: int | None


class SharedContents:
    """What lies on the object store, for the process that has the lease.

    Args:
        place: of the log.
        clock: for the age of contents; the store's own clock is taken to agree within minutes.
    """

    def __init__(self, place: LogPlace, clock: Clock) -> None:
        self._place = place
        self._local = large_folder(place.folder)
        self._clock = clock
        self._tidy_due_s = clock.monotonic_s()

    def upload(self, rows: pa.Table) -> int:
        """Bring the contents that these rows name to the store; returns how many. Call it before the commit.

        A content that is not on this machine either is left to `verify`.

        Raises:
            PredictionLogError: the store does not answer, or refuses.
        """
        digests: set[str] = set()
        for column in large_columns(rows.schema):
            digests.update(one for one in pc.unique(rows[column]).to_pylist() if one is not None)
        paths = [path for digest in sorted(digests) if (path := large_path(self._local, digest)) is not None]
        if not paths:
            return 0
        with reaching(self._place.tables), ThreadPoolExecutor(_AT_ONCE) as threads:
            files, folder = _store(self._place)
            return sum(threads.map(lambda path: self._bring(files, folder, path, fresh_s=FRESH_S), paths))

    def tidy_is_due(self) -> bool:
        """Whether copies on this machine are to be looked at."""
        return self._clock.monotonic_s() >= self._tidy_due_s and self._local.is_dir()

    def tidy(self, contents: Contents, seen_ns: int) -> int:
        """Give up the copies on this machine that are no longer needed; returns how many.

        Args:
            contents: those of this machine.
            seen_ns: from `Contents.moment`; what was spooled before it is committed.

        Raises:
            PredictionLogError: as `upload`.
        """
        self._tidy_due_s = self._clock.monotonic_s() + TIDY_EVERY_S
        old = contents.unused_since(seen_ns - round(KEEP_COPY_S * 1e9))
        if not old:
            return 0
        named = names_in(self._place.predictions.dataset(self._place.predictions.open()))
        with reaching(self._place.tables), ThreadPoolExecutor(_AT_ONCE) as threads:
            files, folder = _store(self._place)

            def is_needed(path: Path) -> bool:
                """Whether it was missing there, and so must be looked at once more."""
                is_named = bytes.fromhex(path.stem) in named
                return is_named and self._bring(files, folder, path, fresh_s=None) > 0

            needed = list(threads.map(is_needed, old))
        gone = [path for path, wanted in zip(old, needed, strict=True) if not wanted]
        return contents.remove(gone, seen_ns)

    def remove_unnamed(self, *, older_than_s: float) -> tuple[int, int]:
        """Remove the contents there that no row names and that are that old; returns how many, and bytes.

        Raises:
            PredictionLogError: as `upload`.
        """
        with reaching(self._place.tables), ThreadPoolExecutor(_AT_ONCE) as threads:
            files, folder = _store(self._place)
            until_ns = self._clock.now_us() * 1000 - round(older_than_s * 1e9)
            listed = list(_listed(files, folder))
            if not listed:
                return 0, 0
            named = names_in(self._place.predictions.dataset(self._place.predictions.open()))
            doomed = [one for one in listed if _key_of(one) not in named]

            def remove(one: _Stored) -> int:
                if older_than_s:
                    one = files.get_file_info(one.path)
                    if one.mtime_ns is None or one.mtime_ns > until_ns:
                        return -1
                files.delete_file(one.path)
                return int(one.size)

            sizes = [size for size in threads.map(remove, doomed) if size >= 0]
        return len(sizes), sum(sizes)

    def sizes(self) -> dict[str, int]:
        """Bytes by content hash."""
        with reaching(self._place.tables):
            return {_key_of(one).hex(): one.size for one in _listed(*_store(self._place))}

    def _bring(self, files: Any, folder: str, path: Path, *, fresh_s: float | None) -> int:
        """1 if it was not there, or not fresh enough."""
        target = f"{folder}/{path.parent.name}/{path.name}"
        found = files.get_file_info(target)
        if found.type == pfs.FileType.File and found.size == path.stat().st_size:
            now_ns = self._clock.now_us() * 1000
            if fresh_s is None or (found.mtime_ns or 0) > now_ns - fresh_s * 1e9:
                return 0
        with path.open("rb") as source, files.open_output_stream(target) as sink:
            while chunk := source.read(_CHUNK_BYTES):
                sink.write(chunk)
        return 1


def read_content(place: LogPlace, digest: str) -> bytes | None:
    """The bytes of a content, from the store or from this machine; None: it is nowhere.

    Raises:
        PredictionLogError: the store does not answer, or refuses.
    """
    if place.is_shared:
        with reaching(place.tables):
            files, folder = _store(place)
            for path in _paths(folder, digest):
                if files.get_file_info(path).type == pfs.FileType.File:
                    with files.open_input_stream(path) as source:
                        return bytes(source.read())
    path_here = large_path(large_folder(place.folder), digest)
    return None if path_here is None else path_here.read_bytes()


def places_of(place: LogPlace, digests: Iterable[str]) -> list[str]:
    """Where these contents still lie, on this machine and on the store."""
    wanted = sorted(digests)
    here = (large_path(large_folder(place.folder), digest) for digest in wanted)
    found = [str(path) for path in here if path is not None]
    if place.is_shared and wanted:
        with reaching(place.tables):
            files, folder = _store(place)
            stored = {_key_of(one).hex(): one.path for one in _listed(files, folder)}
        found += [f"s3://{stored[digest]}" for digest in wanted if digest in stored]
    return found


def check_shared(place: LogPlace, named: set[bytes]) -> tuple[int, tuple[LargeFault, ...]]:
    """Read every content that is named from the store; returns bytes read, and what is not whole."""
    with reaching(place.tables), ThreadPoolExecutor(_AT_ONCE) as threads:
        files, folder = _store(place)
        digests = sorted(key.hex() for key in named)
        found = list(threads.map(_hasher(files, folder), digests))
    faults = tuple(
        LargeFault(digest, "changed" if seen else "missing")
        for digest, (seen, _) in zip(digests, found, strict=True)
        if seen != digest
    )
    return sum(size for _, size in found), faults


def _hasher(files: Any, folder: str) -> Callable[[str], tuple[str, int]]:
    def hash_of(digest: str) -> tuple[str, int]:
        for path in _paths(folder, digest):
            if files.get_file_info(path).type == pfs.FileType.File:
                hashed, size_bytes = hashlib.sha256(), 0
                with files.open_input_stream(path) as source:
                    while chunk := source.read(_CHUNK_BYTES):
                        hashed.update(chunk)
                        size_bytes += len(chunk)
                return hashed.hexdigest(), size_bytes
        return "", 0

    return hash_of


def _store(place: LogPlace) -> tuple[Any, str]:
    files, path = file_system(place.tables)
    return files, f"{path}/large_inputs"


def _paths(folder: str, digest: str) -> list[str]:
    return [f"{folder}/{digest[:2]}/{digest}{suffix}" for suffix in (PLAIN_SUFFIX, SEALED_SUFFIX)]


def _listed(files: Any, folder: str) -> Iterator[_Stored]:
    selector = pfs.FileSelector(folder, recursive=True, allow_not_found=True)
    for one in files.get_file_info(selector):
        if one.type == pfs.FileType.File and one.base_name.endswith((PLAIN_SUFFIX, SEALED_SUFFIX)):
            yield one


def _key_of(one: _Stored) -> bytes:
    return bytes.fromhex(one.base_name.split(".")[0])
