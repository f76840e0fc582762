"""What leaves the row, what stays of it there, and thumbnails of image tensors."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arithmetic import PAIR, Arithmetic
from PIL import Image

from holdfast.artifact import Column, Signature, Tensor
from holdfast.clock import SystemClock
from holdfast.infer import Block, DataPlane, LargeRule, LoadedModel
from holdfast.infer.large_inputs import set_apart, short_features
from holdfast.infer.thumbnails import thumbnail
from holdfast.prediction_log import PredictionLog, SpoolWriter, settle
from holdfast.privacy import Redactor
from holdfast.spec.checklist import Logging, Privacy
from holdfast.stats import IMAGE_FEATURES, image_features

CAMERA = Signature(
    columns=(
        Column(name="photo", dtype="uint8", kind="image", shape=(-1, -1, 3)),
        Column(name="sound", dtype="float32", kind="audio", shape=(-1,)),
        Column(name="speed", dtype="float64", kind="numeric"),
        Column(name="past", dtype="float32", kind="numeric", shape=(5000,)),
    ),
    inputs=(Tensor(name="x", dtype="float32", shape=(-1, 1), columns=("speed",)),),
    outputs=PAIR.outputs,
    task="regression",
    prediction_output="y",
)


class Constant(Arithmetic):
    def run(self, feeds: Any) -> dict[str, Any]:
        return {"y": np.zeros(2, dtype=np.float32)}


def test_large_values_of_the_three_kinds_leave_the_row_and_nothing_else(tmp_path: Path) -> None:
    clock = SystemClock()
    writer = SpoolWriter(tmp_path, deployment="camera", replica="w", clock=clock)
    plane = DataPlane(writer, Redactor(Privacy(), None), clock, large=LargeRule.of(Logging()))
    model = LoadedModel("1", CAMERA, Constant())
    photo = np.random.default_rng(0).integers(0, 256, (2, 80, 100, 3), dtype=np.uint8)
    past = np.zeros((2, 5000), dtype=np.float32)
    block = Block(
        2,
        {"photo": photo, "sound": np.ones((2, 10), np.float32), "speed": np.array([1.0, 2.0]), "past": past},
        ids=["a", "b"],
    )
    assert plane.answer(model, block).block is block
    writer.close()
    settle(tmp_path, clock)
    log = PredictionLog(tmp_path)
    rows = {row["prediction_id"]: row for row in log.predictions().read_all().to_pylist()}
    for at, name in enumerate("ab"):
        np.testing.assert_array_equal(log.large_input(rows[name]["large_photo"]), photo[at])
        assert rows[name]["feature_photo_thumbnail"].startswith("data:image/png;base64,")
        assert rows[name]["input_sound"] == [1.0] * 10
        assert len(rows[name]["input_past"]) == 5000
    assert {"input_photo", "large_sound", "large_past"}.isdisjoint(rows["a"])


def test_where_nothing_is_large_the_columns_are_passed_on_as_they_are() -> None:
    columns = {"photo": np.zeros((2, 4, 4, 3), np.uint8)}
    inputs, large, features = set_apart(columns, {"photo": "image"}, LargeRule(49, 1))
    assert inputs is columns
    assert (large, features) == ({}, {})


def test_an_array_is_set_apart_without_a_copy() -> None:
    columns: dict[str, Any] = {"photo": np.zeros((2, 4, 4, 3), np.uint8), "speed": np.zeros(2)}
    inputs, large, _ = set_apart(columns, {"photo": "image"}, LargeRule(48, 1))
    assert list(inputs) == ["speed"]
    assert large["photo"] is columns["photo"]


def test_what_is_large_is_said_by_the_checklist() -> None:
    assert LargeRule.of(Logging(large_input_kb=2.5, audio_rate_hz=8000)) == LargeRule(2500, 8000)


def test_short_features_are_those_of_each_value_alone() -> None:
    images = np.random.default_rng(2).integers(0, 256, (3, 8, 9, 3), dtype=np.uint8)
    found = short_features("image", images, 1.0)
    assert list(found) == [*IMAGE_FEATURES, "thumbnail"]
    assert found["warmth"] == [image_features(image)["warmth"] for image in images]
    sounds = np.random.default_rng(3).normal(size=(2, 400))
    assert short_features("audio", sounds, 8000.0)["duration_s"] == [0.05, 0.05]
    embeddings = np.random.default_rng(4).normal(size=(2, 3, 4))
    norms: Any = short_features("embedding", embeddings, 1.0)["norm"]
    np.testing.assert_allclose(norms, np.linalg.norm(embeddings.reshape(2, 12), axis=1))


@pytest.mark.parametrize("kind", ["image", "audio", "embedding"])
@pytest.mark.parametrize(
    "values", [np.full((2, 3, 5, 7, 9), np.nan), np.full((2, 30), np.inf), np.zeros((2, 0))]
)
def test_what_is_not_of_its_kind_has_no_features_and_harms_no_answer(kind: Any, values: Any) -> None:
    for column in short_features(kind, values, 8000.0).values():
        assert len(column) == 2


def opened(text: str | None) -> np.ndarray[Any, Any]:
    assert text is not None
    content = base64.b64decode(text.removeprefix("data:image/png;base64,"), validate=True)
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((20, 30), (20, 30)),
        ((20, 30, 1), (20, 30)),
        ((20, 30, 3), (20, 30, 3)),
        ((3, 20, 30), (20, 30, 3)),
        ((4, 200, 100), (29, 15, 4)),
        ((7, 20, 30), (20, 30)),
        ((640, 480, 3), (32, 24, 3)),
    ],
)
def test_a_thumbnail_has_the_proportions_of_its_image(shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
    assert opened(thumbnail(np.zeros(shape, np.uint8))).shape == seen


def test_a_small_8_bit_image_is_its_own_thumbnail() -> None:
    image = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(opened(thumbnail(image)), image)


def test_a_normalised_image_is_stretched_to_what_can_be_seen() -> None:
    image = np.array([[-2.0, 0.5], [3.0, np.nan]], dtype=np.float32)
    np.testing.assert_array_equal(opened(thumbnail(image)), [[0, 127], [255, 0]])
    assert opened(thumbnail(np.full((2, 2), np.inf, np.float32))).max() == 0
    widest = np.array([[np.finfo(np.float64).min, np.finfo(np.float64).max]])
    assert opened(thumbnail(widest)).shape == (1, 2)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5), (0, 4)])
def test_what_is_no_picture_has_no_thumbnail(shape: tuple[int, ...]) -> None:
    assert thumbnail(np.zeros(shape, np.float32)) is None
