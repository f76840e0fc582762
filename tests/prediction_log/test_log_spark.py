"""The log's tables are read by Spark without holdfast.

Two engines speak Spark's language:

- Sail (`pysail`), from PyPI, answers Spark Connect without Java and reads the Delta log itself.
- Apache Spark needs Java, and reads Delta tables with the jars of delta-spark, which come from Maven and not
  from PyPI. `uv run --isolated --no-group sail --group spark pytest tests/prediction_log/test_log_spark.py`
  tests it: the tables as Delta where DELTA_JARS names the jars (paths with commas between), and in any case
  the Parquet files of the newest version, which shows that every file and every type is one that Spark reads.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable
from log_records import T0_US, ids_of, new_writer, redacted

from holdfast.clock import ManualClock
from holdfast.prediction_log import Keeper, Label, PredictionLog, erase, settle

DELTA_JARS = os.environ.get("DELTA_JARS", "")

pytestmark = [
    # PySpark leaves its sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]


def apache_spark() -> Iterator[Any]:
    if not (Path(import_module("pyspark").__file__ or "").parent / "jars").is_dir():
        pytest.skip("only the client of PySpark is installed: the dependency group spark brings Apache Spark")
    if shutil.which("java") is None:
        pytest.skip("Apache Spark needs Java")
    builder = (
        import_module("pyspark.sql")
        .SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "1g")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
    )
    if DELTA_JARS:
        catalog = "org.apache.spark.sql.delta.catalog.DeltaCatalog"
        builder = (
            builder.config("spark.jars", DELTA_JARS)
            .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
            .config("spark.sql.catalog.spark_catalog", catalog)
        )
    session = builder.getOrCreate()
    yield session
    session.stop()


def sail() -> Iterator[Any]:
    pytest.importorskip("pysail", reason="the dependency group sail is not installed")
    server = import_module("pysail.spark").SparkConnectServer()
    server.start(background=True)
    host, port = server.listening_address
    with pytest.MonkeyPatch.context() as patch:
        # PySpark takes a main module without a file, as xdist's workers have it, for its own doctests.
        patch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
        connect = import_module("pyspark.sql.connect.session")
    session = connect.SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    yield session
    session.stop()
    server.stop()


@pytest.fixture(scope="module", params=[apache_spark, sail])
def spark(request: pytest.FixtureRequest) -> Iterator[Any]:
    pytest.importorskip("pyspark", reason="neither the dependency group sail nor spark is installed")
    yield from request.param()


def as_delta(spark: Any, table: Path) -> Any:
    if "connect" not in type(spark).__module__ and not DELTA_JARS:
        pytest.skip("DELTA_JARS does not name the jars of delta-spark, which come from Maven")
    return spark.read.format("delta").load(str(table))


def as_files(spark: Any, table: Path) -> Any:
    files = DeltaTable(str(table)).file_uris()
    return spark.read.option("mergeSchema", "true").parquet(*files)


@pytest.mark.parametrize("opened", [as_delta, as_files])
def test_spark_joins_predictions_with_their_last_labels_as_the_log_does(
    spark: Any, opened: Callable[[Any, Path], Any], tmp_path: Path
) -> None:
    clock = ManualClock(T0_US)
    writer = new_writer(tmp_path, clock)
    for part in range(3):  # several files, of several schemas
        inputs = {
            "amount": np.linspace(0, 1, 4, dtype=np.float32),
            "count": np.arange(4) + part,
            "flag": np.array([True, False, True, False]),
            "city": ["Köln", None, "x", ""],
            "pixels": np.arange(4 * 6, dtype=np.float32).reshape(4, 2, 3),
        }
        names = list(inputs)[: 3 + part]
        writer.append(
            redacted(
                ids_of(f"p{part}", 4),
                inputs={name: inputs[name] for name in names},
                probabilities=np.full((4, 2), 0.5),
                large={"photo": np.zeros((4, 9, 9), np.float32)} if part == 2 else {},
            )
        )
        writer.append_labels([Label(f"p{part}-00000", 1, T0_US), Label(f"p{part}-00001", 0.5, T0_US)])
        writer.append_labels([Label(f"p{part}-00000", "last", T0_US + 7)])
        Keeper(tmp_path, clock).run_once()
    writer.close()
    settle(tmp_path, clock)
    erase(tmp_path, clock, prediction_ids=["p0-00003"])  # a rewritten file
    opened(spark, tmp_path / "predictions").createOrReplaceTempView("predictions")
    opened(spark, tmp_path / "labels").createOrReplaceTempView("labels")
    found = spark.sql(
        """
        SELECT p.*, l.y FROM predictions p LEFT JOIN (
            SELECT prediction_id, max_by(y, struct(observed_at, revision, sequence)) AS y
            FROM labels GROUP BY prediction_id
        ) l ON p.prediction_id = l.prediction_id ORDER BY p.prediction_id
        """
    )
    expected = PredictionLog(tmp_path).joined().read_all().sort_by("prediction_id")
    names = [name for name in expected.column_names if name != "observed_at"]
    assert set(names) == set(found.columns)
    # Times as text: Spark gives naive ones, in the time zone of this machine.
    times = {"time", "logged_at"}
    rows = [row.asDict() for row in found.select(*[name for name in names if name not in times]).collect()]
    assert rows == [
        {name: value for name, value in row.items() if name in names and name not in times}
        for row in expected.to_pylist()
    ]
    microseconds = [row[0] for row in found.selectExpr("unix_micros(time)").collect()]
    assert microseconds == [round(one.timestamp() * 1e6) for one in expected["time"].to_pylist()]
