"""Large inputs of tables on object storage lie beside them there, for every machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pfs
import pytest
from log_records import ids_of, new_writer, redacted
from object_store import object_store

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, PredictionLog, erase, large_folder, search_bytes
from holdfast.prediction_log.large_shared import KEEP_COPY_S, ORPHAN_S
from holdfast.prediction_log.places import LogPlace, file_system
from holdfast.privacy import Redactor, subject_pseudonym
from holdfast.spec.checklist import Privacy

KEY = b"a pseudonym key of many bytes"
DAY_S = 86_400


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store("large") as url:
        yield url


class Machine:
    """One machine's part of a log: a folder and a keeper of its own, tables that all share."""

    def __init__(self, folder: Path, bucket: str) -> None:
        self.place = LogPlace(folder, f"{bucket}/{folder.parent.name}")
        # Objects carry the real time.
        self.clock = ManualClock(time.time_ns() // 1000)
        self.log = PredictionLog(self.place)

    def keep(self, **settings: Any) -> Any:
        return Keeper(self.place, self.clock, **settings).run_once()

    def write(self, prefix: str, *values: float, subjects: list[str] | None = None) -> None:
        writer = new_writer(self.place.folder, self.clock, replica=prefix)
        writer.append(
            redacted(
                ids_of(prefix, len(values)),
                redactor=Redactor(Privacy(subject_field="who" if subjects else ""), KEY),
                large={"photo": np.stack([np.full((3, 40, 40), value, np.float32) for value in values])},
                context={"who": subjects} if subjects else {},
            )
        )
        writer.close()

    def copies(self) -> list[Path]:
        return sorted(large_folder(self.place.folder).glob("??/*.npy"))

    def let_copies_age(self) -> None:
        for path in self.copies():
            at_s = path.stat().st_mtime - KEEP_COPY_S - 60
            os.utime(path, (at_s, at_s))

    def stored(self) -> list[str]:
        files, path = file_system(self.place.tables)
        selector = pfs.FileSelector(f"{path}/large_inputs", recursive=True, allow_not_found=True)
        return [one.path for one in files.get_file_info(selector) if one.type == pfs.FileType.File]

    def digests(self) -> dict[str, str]:
        rows = self.log.predictions(columns=["prediction_id", "large_photo"]).read_all().to_pylist()
        return {row["prediction_id"]: row["large_photo"] for row in rows}


def machines(tmp_path: Path, bucket: str) -> tuple[Machine, Machine]:
    return Machine(tmp_path / "here", bucket), Machine(tmp_path / "there", bucket)


@pytest.mark.slow
def test_every_machine_reads_what_one_has_stored_and_copies_are_given_up(tmp_path: Path, bucket: str) -> None:
    here, there = machines(tmp_path, bucket)
    here.write("a", 1, 2, 1)
    there.write("b", 2, 3)
    here.keep()
    there.keep()
    assert (len(here.copies()), len(there.copies()), len(here.stored())) == (2, 2, 3)
    verified = there.log.verify()
    assert (verified.ok, verified.large_inputs) == (True, 3)
    for machine in (here, there):
        machine.let_copies_age()
        machine.keep()
        assert machine.copies() == []
    for name, value in {"a-00000": 1, "a-00001": 2, "a-00002": 1, "b-00001": 3}.items():
        found = there.log.large_input(there.digests()[name])
        np.testing.assert_array_equal(found, np.full((3, 40, 40), value, np.float32))
    here.write("c", 3)  # whose copy is no longer here
    here.keep()
    assert here.log.verify().ok
    assert len(here.stored()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", ["large inputs uploaded", "predictions committed"])
def test_a_keeper_that_dies_between_content_and_row_loses_and_doubles_nothing(
    tmp_path: Path, bucket: str, dies_at: str
) -> None:
    here, there = machines(tmp_path, bucket)
    here.write("a", 1, 2)

    def die(step: str) -> None:
        if step == dies_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.keep(on_step=die)
    assert len(here.stored()) == 2
    here.keep()
    verified = there.log.verify()
    assert (verified.ok, verified.large_inputs, verified.repeated_rows) == (True, 2, 0)
    assert there.log.count().predictions == 2


@pytest.mark.slow
def test_an_erasure_removes_a_content_everywhere_unless_another_row_names_it(
    tmp_path: Path, bucket: str
) -> None:
    here, there = machines(tmp_path, bucket)
    here.write("a", 1, 2, subjects=["ann", "bob"])
    there.write("b", 1, 5, subjects=["bob", "ann"])
    here.keep()
    there.keep()
    of_ann = here.digests()["b-00001"]
    shared = here.digests()["a-00000"]
    ann = subject_pseudonym(KEY, "ann")
    here.clock.advance_s(1)
    report = erase(here.place, here.clock, subjects=[ann])
    assert (report.predictions, report.large_inputs) == (2, 1)
    there.keep()  # has a copy of it on its own disk
    assert here.log.places_of_large_inputs([of_ann]) == there.log.places_of_large_inputs([of_ann]) == []
    assert [path for path in search_bytes(tmp_path, [of_ann, ann]) if not path.path.endswith(".db")] == []
    assert search_bytes(here.place.tables, [of_ann, ann]) == []
    assert len(there.log.places_of_large_inputs([shared])) == 2
    assert there.log.verify().ok


@pytest.mark.slow
def test_orphans_go_when_they_are_old_and_contents_go_with_their_rows(tmp_path: Path, bucket: str) -> None:
    here, there = machines(tmp_path, bucket)
    here.write("a", 1)

    def die(step: str) -> None:
        if step == "large inputs uploaded":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.keep(on_step=die)
    there.write("b", 2)
    assert there.keep(retention_days=1).retention.large_inputs == 0  # the row of the other may be under way
    assert len(there.stored()) == 2
    there.clock.advance_s(ORPHAN_S + 60)
    assert there.keep(retention_days=1).retention.large_inputs == 1
    assert there.log.verify().ok
    here.keep()
    assert here.log.verify().ok  # brought again, since the row was not committed before
    there.clock.advance_s(2 * DAY_S)
    report = there.keep(retention_days=1).retention
    assert (report.predictions, report.large_inputs) == (2, 2)
    assert there.stored() == []


@pytest.mark.slow
def test_what_was_removed_beneath_a_fresh_row_is_brought_again(tmp_path: Path, bucket: str) -> None:
    here, there = machines(tmp_path, bucket)
    here.write("a", 1)
    here.keep()
    files, _ = file_system(here.place.tables)
    files.delete_file(here.stored()[0])
    assert [fault.fault for fault in there.log.verify().large_faults] == ["missing"]
    here.let_copies_age()
    here.keep()
    assert len(here.copies()) == 1
    assert there.log.verify().ok
    here.keep()
    assert here.copies() == []
    with files.open_output_stream(here.stored()[0]) as sink:
        sink.write(b"something else")
    assert [fault.fault for fault in there.log.verify().large_faults] == ["changed"]
