"""Where a log lies: its folder on this machine, and its tables there or on S3-compatible storage.

The spool, the lease, requests and reports are always in the folder: a record is written to the local disk
before its answer leaves. Only the tables may lie elsewhere, shared by all machines that serve the deployment.
Whoever reads an object store takes its credentials from the environment (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`), as the two libraries below do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.fs as pfs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from holdfast.prediction_log.errors import PredictionLogError
from holdfast.spec import Deployment

_REMOTE_OPTIONS: Final = {
    "connect_timeout": "5s",
    "timeout": "30s",
    "max_retries": "4",
    "retry_timeout": "60s",
}
"""The library's own would let a pass of the keeper hang for three minutes before it says why."""


@dataclass(frozen=True, slots=True)
class TablePlace:
    """Where one Delta table lies: a folder, or `s3://bucket/prefix`."""

    url: str

    @property
    def folder(self) -> Path | None:
        """The folder; None on an object store."""
        return None if is_remote(self.url) else Path(self.url)

    @property
    def options(self) -> dict[str, str] | None:
        """For the Delta library."""
        return dict(_REMOTE_OPTIONS) if is_remote(self.url) else None

    def exists(self) -> bool:
        """Whether there is a table.

        Raises:
            PredictionLogError: the object store does not answer, or refuses.
        """
        with reaching(self.url):
            return bool(DeltaTable.is_deltatable(self.url, self.options))

    def open(self) -> DeltaTable:
        """The newest version.

        Raises:
            PredictionLogError: the object store does not answer, or refuses.
        """
        with reaching(self.url):
            return DeltaTable(self.url, storage_options=self.options)

    def create(self, schema: pa.Schema, configuration: Mapping[str, str]) -> None:
        """Make an empty table; nothing happens if another process was faster."""
        with reaching(self.url):
            DeltaTable.create(
                self.url,
                schema,
                mode="ignore",
                configuration=dict(configuration),
                storage_options=self.options,
            )

    def dataset(self, table: DeltaTable) -> Any:
        """The table's snapshot as a pyarrow data set, its files opened by Arrow itself.

        By default the Delta library opens them through a file system written in Python. Arrow's threads then
        need the interpreter, and one that still reads ahead while the interpreter ends is killed by it: the
        process hangs in its exit, or crashes there.
        """
        files, path = file_system(self.url)
        return table.to_pyarrow_dataset(filesystem=pfs.SubTreeFileSystem(path, files))


@dataclass(frozen=True, slots=True)
class LogPlace:
    """One log: the folder on this machine, and where its tables are."""

    folder: Path
    tables: str
    """A folder or `s3://bucket/prefix`, with no slash at its end."""

    @classmethod
    def of(cls, log: Deployment | Path | LogPlace) -> Self | LogPlace:
        """As the checklist says, or all in the folder given."""
        if isinstance(log, LogPlace):
            return log
        if isinstance(log, Path):
            return cls(log, str(log))
        return cls(log.log_folder, log.checklist.logging.tables.rstrip("/") or str(log.log_folder))

    @property
    def is_shared(self) -> bool:
        """Whether keepers of other machines commit to the same tables."""
        return is_remote(self.tables)

    @property
    def predictions(self) -> TablePlace:
        """One row per prediction."""
        return TablePlace(f"{self.tables}/predictions")

    @property
    def labels(self) -> TablePlace:
        """Every revision of every label."""
        return TablePlace(f"{self.tables}/labels")

    @property
    def ledger(self) -> TablePlace:
        """Counters of segments that are no longer in a spool."""
        return TablePlace(f"{self.tables}/ledger")

    @property
    def erased(self) -> TablePlace:
        """Hashes of erased ids; absent until the first erasure."""
        return TablePlace(f"{self.tables}/erased")

    @property
    def all_tables(self) -> tuple[TablePlace, ...]:
        """Whatever the keeper commits to."""
        return self.predictions, self.labels, self.ledger, self.erased


Log = Deployment | Path | LogPlace
"""What names a log: the deployment, or the log's folder with the tables in it."""


def is_remote(url: str) -> bool:
    """Whether it is on an object store."""
    return url.startswith("s3://")


def file_system(url: str) -> tuple[Any, str]:
    """The file system that holds it, and the path there."""
    if is_remote(url):
        files, path = pfs.FileSystem.from_uri(url)  # the only way in which it looks for AWS_ENDPOINT_URL
        return files, path
    return pfs.LocalFileSystem(), str(Path(url).resolve())


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
    """Say what is wrong when an object store cannot be used; errors of a local disk pass as they are."""
    try:
        yield
    except (OSError, DeltaError) as error:
        if not is_remote(url):
            raise
        reason = next((line.strip(" ↳") for line in reversed(str(error).splitlines()) if line.strip()), "")
        raise PredictionLogError(
            f"the tables of the log cannot be reached: {reason[:300]}",
            where=url,
            expected="S3-compatible storage that answers and lets this process read and write",
            next_step="Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and AWS_ENDPOINT_URL "
            "where it is not Amazon's (with AWS_ALLOW_HTTP=true for http); what is spooled stays spooled",
        ) from error
