"""Images, sounds, embeddings and texts are judged by named features: in tables, large files and the log."""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from holdfast.artifact import Column, Signature, Tensor
from holdfast.clock import SystemClock
from holdfast.infer import Block, DataPlane, LargeRule, LoadedModel
from holdfast.monitor import Diagnosis, MonitorError, diagnose, streams
from holdfast.monitor.cells import cells
from holdfast.monitor.kinds import Kinds
from holdfast.monitor.log_rows import Translation, read_reference
from holdfast.prediction_log import PredictionLog, SpoolWriter, settle
from holdfast.privacy import Redactor
from holdfast.spec import Privacy
from holdfast.stats import image_features

ROWS, WINDOW = 600, "50 rows"
Make = Callable[[int, float], Any]


def found_in(found: Diagnosis) -> set[str]:
    return {one.name for one in found.features}


def photos(seed: int, light: float) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    base = random.uniform(0.4, 0.8, (ROWS, 1, 1, 1)) + random.normal(0, 0.05, (ROWS, 8, 12, 3))
    shares = np.clip(base * light * [1.0, 0.95, 0.9], 0, 1)
    return list((shares * 255).astype(np.uint8))


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def wav(samples: NDArray[np.float64], rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())
    return file.getvalue()


def as_lists(seed: int, light: float) -> pa.Table:
    return pa.table({"photo": pa.array([one.tolist() for one in photos(seed, light)])})


def as_files(seed: int, light: float) -> pa.Table:
    return pa.table({"photo": pa.array(map(png, photos(seed, light)), pa.binary())})


def as_structs(seed: int, light: float) -> pa.Table:
    cells = [{"bytes": png(one), "path": None} for one in photos(seed, light)]
    return pa.table({"photo": pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()}))})


def with_speed(table: pa.Table, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    for name in ("speed", "weight", "width", "heat"):
        table = table.append_column(name, pa.array(random.normal(size=ROWS)))
    return table


def as_one_array(seed: int, light: float) -> dict[str, NDArray[np.uint8]]:
    return {"photo": np.stack(photos(seed, light))}


@pytest.mark.parametrize("make", [as_lists, as_files, as_structs, as_one_array])
def test_a_change_of_light_is_seen_and_named_however_the_image_is_held(make: Make) -> None:
    reference = make(1, 1.0)
    assert diagnose(reference, make(2, 1.0), window=WINDOW).verdict == "healthy"
    assert "photo: brightness" in found_in(diagnose(reference, make(3, 0.7), window=WINDOW))


def test_the_holding_of_an_image_changes_no_feature() -> None:
    made = [make(1, 1.0) for make in (as_lists, as_files, as_structs)]
    tables = [Kinds.fit(one).apply(one, None, reference=True) for one in made]
    for other in tables[1:]:
        for name in tables[0].column_names:
            assert other.column(name).to_pylist() == pytest.approx(tables[0].column(name).to_pylist())
    assert tables[0].column("photo: brightness")[0].as_py() == pytest.approx(
        image_features(photos(1, 1.0)[0])["brightness"]
    )


def voices(seed: int, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> pa.Table:
    random = np.random.default_rng(seed)
    sounds = []
    for _ in range(ROWS):
        time = np.arange(random.integers(800, 1600)) / 8000
        pitches, levels = random.uniform(100, 3000, 5), random.uniform(0.02, 0.15, 5)
        voiced = (levels * np.sin(2 * np.pi * time[:, np.newaxis] * pitches)).sum(axis=1)
        sounds.append(wav(change(voiced + random.normal(0, 0.001, len(time)))))
    return pa.table({"said": pa.array(sounds, pa.binary())})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda sound: np.convolve(sound, np.ones(8) / 8, "same"), "said: centroid_hz"),
        (lambda sound: np.clip(sound, -0.1, 0.1), "said: clipping"),
        (lambda sound: 0.5 * sound, "said: loudness_db"),
    ],
)
def test_a_new_microphone_is_seen_and_named(change: Any, named: str) -> None:
    same = voices(1, lambda sound: sound)
    assert named in found_in(diagnose(same, voices(2, change), window=WINDOW))


def test_embeddings_that_move_are_seen_and_their_copies_are_healthy() -> None:
    def meanings(seed: int, moved: float) -> pa.Table:
        values = np.random.default_rng(seed).normal(moved, 1, (3000, 32))
        return pa.table({"meaning": pa.array(values.tolist())})

    assert diagnose(meanings(1, 0), meanings(2, 0), window="200 rows").verdict == "healthy"
    found = found_in(diagnose(meanings(1, 0), meanings(3, 0.4), window="200 rows"))
    assert any(name.startswith("meaning: ") for name in found)


def test_new_words_are_seen_although_the_form_of_the_texts_is_as_before() -> None:
    def texts(seed: int, stem: str) -> pa.Table:
        random = np.random.default_rng(seed)
        words = [" ".join(f"{stem}{n:03d}" for n in random.integers(0, 300, 8)) for _ in range(2000)]
        return pa.table({"note": words})

    reference = texts(1, "ab")
    assert diagnose(reference, texts(2, "ab"), window="100 rows").verdict == "healthy"
    assert found_in(diagnose(reference, texts(3, "cd"), window="100 rows")) == {"note: unseen words"}


def test_broken_files_are_missing_values_and_a_fault_by_name() -> None:
    broken = pa.table({"photo": pa.array([png(one)[:60] for one in photos(2, 1.0)], pa.binary())})
    found = diagnose(with_speed(as_files(1, 1.0), 1), with_speed(broken, 2), window=WINDOW)
    assert "data fault" in found.kinds
    assert "photo: brightness" in found_in(found)


def test_sounds_without_a_rate_are_judged_when_their_kind_is_said() -> None:
    random = np.random.default_rng(0)
    lists = pa.table(
        {"said": [random.normal(0, 0.1, random.integers(900, 1100)).tolist() for _ in range(50)]}
    )
    unsaid = Kinds.fit(lists)
    assert unsaid.plain
    table = Kinds.fit(lists, kinds={"said": "audio"}, rate_hz=4000).apply(lists, None, reference=True)
    assert np.mean(table.column("said: centroid_hz").to_pylist()) == pytest.approx(1000, rel=0.03)
    with pytest.raises(MonitorError, match="cannot be"):
        Kinds.fit(lists, kinds={"said": "smell"})


def test_large_files_are_judged_by_kind_batch_by_batch_with_a_column_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(name: str, seed: int, light: float) -> Path:
        path = tmp_path / name
        table = as_files(seed, light).append_column(
            "speed", pa.array(np.random.default_rng(seed).normal(size=ROWS))
        )
        day = np.arange(ROWS) * 3_600_000_000
        table = table.append_column("made", pa.array(day, pa.timestamp("us", "UTC")))
        parquet.write_table(table, path, row_group_size=250)
        return path

    monkeypatch.setattr(streams, "LARGE_ROWS", 100)
    own = {"double": lambda table: 2 * np.array(table.column("speed").to_pylist())}
    reference = write("reference.parquet", 1, 1.0)
    assert streams.open_streams(reference, reference) is not None
    calm = diagnose(reference, write("same.parquet", 2, 1.0), window=WINDOW, columns=own)
    assert calm.verdict == "healthy"
    found = diagnose(reference, write("dark.parquet", 3, 0.7), window=WINDOW, columns=own)
    assert "photo: brightness" in found_in(found)
    bad = {"double": lambda table: table.column("speed").to_numpy()[:3]}
    with pytest.raises(MonitorError, match="of your own"):
        diagnose(reference, reference, window=WINDOW, columns=bad)


CAMERA = Signature(
    columns=(
        Column(name="photo", dtype="uint8", kind="image", shape=(8, 12, 3)),
        Column(name="meaning", dtype="float32", kind="embedding", shape=(32,)),
        Column(name="speed", dtype="float64", kind="numeric"),
    ),
    inputs=(Tensor(name="x", dtype="float32", shape=(-1, 1), columns=("speed",)),),
    outputs=(Tensor(name="y", dtype="float32", shape=(-1,)),),
    task="regression",
    prediction_output="y",
)


class Constant:
    def run(self, feeds: Any) -> dict[str, Any]:
        return {"y": np.zeros(4, dtype=np.float32)}


@pytest.mark.parametrize("rule", [None, LargeRule(100, 16_000.0)])
def test_the_log_gives_the_features_of_the_reference_in_the_row_and_beside_it(
    tmp_path: Path, rule: LargeRule | None
) -> None:
    random = np.random.default_rng(0)
    photo = np.stack(photos(1, 1.0)[:4])
    meaning = random.normal(size=(4, 32)).astype(np.float32)
    clock = SystemClock()
    writer = SpoolWriter(tmp_path, deployment="camera", replica="w", clock=clock)
    plane = DataPlane(writer, Redactor(Privacy(), None), clock, large=rule)
    columns = {"photo": photo, "meaning": meaning, "speed": np.arange(4.0)}
    plane.answer(LoadedModel("1", CAMERA, Constant()), Block(4, columns, ids=list("abcd")))  # type: ignore[arg-type]  # all it needs
    writer.close()
    settle(tmp_path, clock)

    held = pa.table({
        "photo": pa.array([one.tolist() for one in photo]),
        "meaning": pa.array(meaning.tolist()),
        "speed": pa.array(np.arange(4.0)),
        "prediction": pa.array(np.zeros(4)),
    })  # fmt: skip
    parquet.write_table(held, tmp_path / "reference.parquet")
    translation, reference = read_reference(tmp_path / "reference.parquet", CAMERA)
    log = PredictionLog(tmp_path)
    wanted = translation.log_columns(log.schema().names)
    rows = translation.log(
        log.joined(None, None, [*wanted, "prediction_id"]).read_all().sort_by("prediction_id")
    )
    assert set(rows.columns) == set(reference.columns)
    assert {"photo: brightness", "meaning: norm", "speed"} <= set(rows.columns)
    for name, values in reference.columns.items():
        assert isinstance(values, np.ndarray)
        np.testing.assert_allclose(
            np.sort(np.asarray(rows.columns[name])), np.sort(values), rtol=1e-6, atol=1e-9
        )
    expected = [image_features(one)["warmth"] for one in photo]
    np.testing.assert_allclose(np.asarray(reference.columns["photo: warmth"]), expected)
    assert isinstance(translation, Translation)


HOUR_US = 3_600_000_000


def written(path: Path, seed: int, begin: int, *, new_words: bool = False, stray: bool = False) -> Path:
    random = np.random.default_rng(seed)
    rows = 6000
    words = np.array([f"word{'abcdefghij'[one % 10]}{one}" for one in range(400)])
    said = [" ".join(row) for row in words[random.integers(0, 400, (rows, 5))]]
    if new_words:
        said = [text.replace("worda", "worka") if row >= rows // 2 else text for row, text in enumerate(said)]
    at = begin * HOUR_US + np.arange(rows) * (HOUR_US // 100)
    if stray:
        at[[5, 77]] = 0
    columns = {"x": random.normal(size=rows), "said": said, "at": pa.array(at, pa.timestamp("us", "UTC"))}
    parquet.write_table(pa.table(columns), path, row_group_size=2000)
    return path


def test_words_never_met_and_a_wrong_clock_are_seen_in_large_files_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LARGE_ROWS", 100)
    old = written(tmp_path / "old.parquet", 1, 500_000)
    sound = diagnose(old, written(tmp_path / "sound.parquet", 2, 500_100), window="5h")
    assert sound.verdict == "healthy"
    new = diagnose(old, written(tmp_path / "new.parquet", 3, 500_100, new_words=True), window="5h")
    assert [one.name for one in new.features] == ["said: unseen words"]
    astray = diagnose(old, written(tmp_path / "astray.parquet", 4, 500_100, stray=True), window="5h")
    assert astray.kinds == ("data fault",)
    assert "2 rows dated 1970-01-01" in astray.features[0].description
    assert len(astray.windows) == len(sound.windows)


def test_a_path_of_a_pipe_is_a_missing_value_and_nobody_waits_for_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.png")
    assert list(cells(pa.array([str(tmp_path / "endless.png")]))) == [(None, None)]
