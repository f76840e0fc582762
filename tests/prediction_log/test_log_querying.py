"""SQL over the log: what it reads, and that it can do nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from log_records import T0_US, ids_of, new_writer, redacted

import holdfast
from holdfast.clock import ManualClock, SystemClock
from holdfast.prediction_log import Keeper, Label, PredictionLog, PredictionLogError
from holdfast.registry import Registry
from holdfast.spec import Deployment


@pytest.fixture
def log_folder(tmp_path: Path) -> Path:
    (tmp_path / "holdfast.toml").write_text('[model]\nname = "fraud"\n')
    writer = new_writer(tmp_path / "log")
    writer.append(redacted(ids_of("p", 5)))
    writer.append_labels(
        [Label("p-00000", 0, T0_US), Label("p-00001", 1, T0_US), Label("p-00000", 1, T0_US + 1)]
    )
    writer.close()
    Keeper(tmp_path / "log", ManualClock(T0_US)).run_once()
    return tmp_path / "log"


def rows(log_folder: Path, sql: str) -> list[tuple[object, ...]]:
    table = PredictionLog(log_folder).query(sql).read_all()
    return [tuple(row.values()) for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*), sum(input_amount) FROM predictions", [(5, 10.0)]),
        ("SELECT prediction_id, y FROM labels ORDER BY revision, sequence", 3),
        (
            "SELECT prediction_id, y FROM joined WHERE y IS NOT NULL ORDER BY 1",
            [("p-00000", "1"), ("p-00001", "1")],
        ),
        (
            "FROM joined SELECT count(*) WHERE model_version = '1' AND prediction_id IN ('p-00002', 'x')",
            [(1,)],
        ),
        ("WITH a AS (SELECT 1 AS one) SELECT one FROM a", [(1,)]),
        ("SELECT extract(hour FROM time) FROM predictions LIMIT 1", [(20,)]),
        ("DESCRIBE joined", 20),
        ("SUMMARIZE predictions", 18),
    ],
)
def test_queries_read_the_three_views(log_folder: Path, sql: str, expected: object) -> None:
    found = rows(log_folder, sql)
    assert (len(found) if isinstance(expected, int) else found) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM '{other}'",
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_parquet('https://example.com/a.parquet')",
        "COPY predictions TO '{other}'",
        "COPY (SELECT 1) TO '{other}'",
        "EXPORT DATABASE '{other}'",
        "ATTACH '{other}' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '64GB'",
        "SET enable_external_access = true",
        "PRAGMA memory_limit = '64GB'",
        "CREATE TABLE mine AS SELECT 1",
        "DROP VIEW predictions",
        "DELETE FROM predictions",
        "INSERT INTO labels SELECT * FROM labels",
        "CALL pragma_version()",
        "SELECT 1; SELECT 2",
        "",
        "SELECT getenv('HOME')",
        "SELECT * FROM log_folder",
        "SELECT no_such_column FROM predictions",
        "SELEC 1",
    ],
)
def test_a_query_can_only_read_and_only_the_log(log_folder: Path, sql: str) -> None:
    other = log_folder.parent / "other.csv"
    other.write_text("secret\n1\n")
    before = sorted(log_folder.parent.rglob("*"))
    with pytest.raises(PredictionLogError):
        PredictionLog(log_folder).query(sql.format(other=other)).read_all()
    assert sorted(log_folder.parent.rglob("*")) == before
    assert other.read_text() == "secret\n1\n"


def test_explain_analyze_cannot_carry_a_write(log_folder: Path) -> None:
    target = log_folder.parent / "written.csv"
    with pytest.raises(PredictionLogError):
        PredictionLog(log_folder).query(f"EXPLAIN ANALYZE COPY predictions TO '{target}'").read_all()
    assert not target.exists()


def test_more_than_the_memory_is_refused_and_not_taken(log_folder: Path) -> None:
    sql = "SELECT list(range) FROM range(100000000)"
    with pytest.raises(PredictionLogError, match=r"(?i)memory"):
        PredictionLog(log_folder).query(sql, memory_mb=64).read_all()
    assert rows(log_folder, "SELECT count(*) FROM predictions") == [(5,)]


def test_an_empty_log_can_be_queried(tmp_path: Path) -> None:
    assert rows(tmp_path, "SELECT count(*), count(y) FROM joined") == [(0, 0)]


def test_the_library_gives_arrow(log_folder: Path) -> None:
    folder = log_folder.parent
    everything = holdfast.log(folder).read_all()
    assert isinstance(everything, pa.Table)
    assert everything.num_rows == 5
    assert everything["y"].null_count == 3
    assert holdfast.log(str(folder), "SELECT count(*) AS n FROM joined").read_all()["n"].to_pylist() == [5]
    since = datetime.fromtimestamp(T0_US / 1e6, UTC)
    first = holdfast.log(folder, until=since.replace(microsecond=2), columns=["prediction_id"]).read_all()
    assert sorted(first["prediction_id"].to_pylist()) == ids_of("p", 2)
    assert holdfast.log(folder, since=since.replace(microsecond=4, tzinfo=None)).read_all().num_rows == 1
    with pytest.raises(PredictionLogError, match="says itself"):
        holdfast.log(folder, "SELECT 1", since=since)


def test_a_reading_by_the_library_stands_in_the_audit_without_whom_it_looked_for(log_folder: Path) -> None:
    folder = log_folder.parent
    holdfast.log(folder, columns=["prediction_id"]).read_all()
    sql = "SELECT * FROM joined WHERE prediction_id IN ('p-1', $$ann$$, $x$bob$x$) OR sequence = 4711"
    holdfast.log(folder, sql).read_all()
    with Registry.open(Deployment.open(folder, {}).registry_url, SystemClock()) as registry:
        entries = registry.audit.entries()
    assert [(one.action, one.target, one.detail) for one in entries] == [
        ("read.rows", "holdfast.log", {}),
        (
            "read.rows",
            "holdfast.log",
            {"sql": "SELECT * FROM joined WHERE prediction_id IN (?, ?, ?) OR sequence = ?"},
        ),
    ]
