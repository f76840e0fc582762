"""Lines of the access log say the same whichever way a request was noted."""

from __future__ import annotations

import json
import tempfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.telemetry import Access, AccessLog


def written(log: AccessLog, file: Any) -> list[dict[str, Any]]:
    log.write()
    file.seek(0)
    return [json.loads(line) for line in file.read().splitlines()]


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


ids = st.sampled_from([b"", b"5f0c-1", b"%d%%", b"4bf92f3577b34da6"])


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**51),
            st.sampled_from(["GET", "POST"]),
            st.one_of(names, st.sampled_from(["/predict", "/a%d", 'TIME"', '"duration_ms":0.0,"rows":0,'])),
            st.integers(100, 599),
            st.floats(0, 1000),
            st.integers(0, 100_000),
            names,
            ids,
            ids,
        ),
        max_size=70,
    ),
    names,
)
def test_a_plain_note_gives_the_line_of_a_full_one(
    noted: list[tuple[int, str, str, int, float, int, str, bytes, bytes]], model: str
) -> None:
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as other:
        plain, full = AccessLog(one.fileno(), model), AccessLog(other.fileno(), model)
        for note in noted:
            plain.add_plain(note)
            full.add(Access(*note[:-1], note[-1].decode()))
        found, wanted = written(plain, one), written(full, other)
    assert len(found) == len(noted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert abs(mine.pop("duration_ms") - theirs.pop("duration_ms")) <= 0.001
    assert found == wanted
