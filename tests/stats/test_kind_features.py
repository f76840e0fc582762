"""Features of large inputs agree with closed forms, SciPy and a published definition."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, signal

from holdfast.stats import (
    AUDIO_FEATURES,
    IMAGE_FEATURES,
    TEXT_FEATURES,
    HashedVocabulary,
    StatisticsError,
    audio_features,
    embedding_features,
    image_features,
    projection_signs,
    text_features,
)

RATE_HZ = 8000


def picture(seed: int = 0, height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_brightness_contrast_and_sharpness_are_those_of_scipys_laplacian() -> None:
    image = picture()
    luma = (image / 255) @ [0.2126, 0.7152, 0.0722]
    found = image_features(image)
    assert found["brightness"] == pytest.approx(luma.mean())
    assert found["contrast"] == pytest.approx(luma.std())
    assert found["sharpness"] == pytest.approx(ndimage.laplace(luma)[1:-1, 1:-1].var())
    assert (found["aspect"], found["megapixels"]) == (1.5, 0.0024)


def test_colourfulness_of_two_halves_is_hasler_and_suesstrunks_by_hand() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    image[:, 0, 0] = 255  # left red, right blue
    image[:, 1, 2] = 255
    # rg is 1 and 0: mean 0.5, deviation 0.5; yb is 0.5 and -1: mean -0.25, deviation 0.75.
    expected = math.hypot(0.5, 0.75) + 0.3 * math.hypot(0.5, 0.25)
    found = image_features(image)
    assert found["colourfulness"] == pytest.approx(expected)
    assert found["warmth"] == 0.0


@pytest.mark.parametrize("layout", ["channels first", "shares", "sixteen bits", "alpha", "grey"])
def test_the_layout_of_an_image_changes_nothing(layout: str) -> None:
    image = picture()
    if layout == "grey":
        image = np.repeat(image[..., :1], 3, axis=2)
    made: dict[str, NDArray[Any]] = {
        "channels first": np.moveaxis(image, 2, 0),
        "shares": image / 255,
        "sixteen bits": image.astype(np.uint16) * 257,
        "alpha": np.concatenate([image, image[..., :1]], axis=2),
        "grey": image[..., 0],
    }
    other = made[layout]
    assert image_features(other) == pytest.approx(image_features(image))


def test_a_large_image_is_as_bright_and_sharp_as_its_parts() -> None:
    image = picture(1, 1200, 900)
    whole, part = image_features(image), image_features(image[:500, :500])
    assert whole["sharpness"] == pytest.approx(part["sharpness"], rel=0.02)
    assert whole["brightness"] == pytest.approx(image_features(image[:, :450])["brightness"], rel=0.01)
    assert whole["megapixels"] == 1.08


def test_blur_lowers_sharpness_and_warm_light_raises_warmth() -> None:
    image = picture()
    before = image_features(image)
    assert image_features(ndimage.uniform_filter(image, (3, 3, 1)))["sharpness"] < before["sharpness"] / 10
    warmer = np.clip(image * [1.0, 0.9, 0.6], 0, 255)
    assert image_features(warmer.astype(np.uint8))["warmth"] > before["warmth"] + 0.1


def tone(hz: float, amplitude: float = 1.0, seconds: float = 2.0) -> NDArray[np.float64]:
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return amplitude * np.sin(2 * np.pi * hz * time)


def test_a_sine_has_the_level_centroid_and_clipping_of_the_closed_form() -> None:
    found = audio_features(tone(437.0, 0.5), RATE_HZ)
    assert found["loudness_db"] == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=1e-6)
    assert found["centroid_hz"] == pytest.approx(437, abs=0.01)
    assert found["bandwidth_hz"] == pytest.approx(437, abs=0.51)
    assert found["clipping"] == pytest.approx(2 * math.acos(0.999) / math.pi, rel=0.05)
    assert found["duration_s"] == 2.0


def test_centroid_and_bandwidth_of_noise_agree_with_scipys_periodogram() -> None:
    noise = np.random.default_rng(3).normal(size=16_000)
    low = signal.sosfilt(signal.butter(8, 1000, fs=RATE_HZ, output="sos"), noise)
    frequency, power = signal.periodogram(low, RATE_HZ, detrend="constant", scaling="spectrum")
    power[1:-1] /= 2  # one-sided: SciPy counts both sides of the middle ones
    found = audio_features(low, RATE_HZ)
    assert found["centroid_hz"] == pytest.approx(frequency @ power / power.sum(), rel=1e-6)
    at = frequency[np.searchsorted(np.cumsum(power), 0.99 * power.sum())]
    assert found["bandwidth_hz"] == pytest.approx(at)
    assert 900 < found["bandwidth_hz"] < 1200


def test_the_noise_floor_is_that_of_the_pauses() -> None:
    sound = np.concatenate([tone(300, 0.5, 1.0), tone(300, 0.005, 0.5)])
    found = audio_features(sound, RATE_HZ)
    assert found["noise_floor_db"] == pytest.approx(20 * math.log10(0.005 / math.sqrt(2)), abs=0.05)


def test_clipping_is_seen_whatever_gain_follows_it() -> None:
    clipped = np.clip(tone(300, 2.0), -1, 1)
    expected = 1 - 2 * math.asin(0.5) / math.pi
    for gain in (1.0, 0.1):
        assert audio_features(gain * clipped, RATE_HZ)["clipping"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("kind", ["int16", "uint8", "stereo", "channels first", "int32"])
def test_the_format_of_a_sound_changes_nothing(kind: str) -> None:
    sound = np.round(tone(300, 0.5) * 127) / 128
    made: dict[str, NDArray[Any]] = {
        "int16": (sound * 2**15).astype(np.int16),
        "int32": (sound * 2**31).astype(np.int32),
        "uint8": (sound * 128 + 128).astype(np.uint8),
        "stereo": np.stack([sound, sound], axis=1),
        "channels first": np.stack([sound, sound]),
    }
    other = made[kind]
    assert audio_features(other, RATE_HZ) == pytest.approx(audio_features(sound, RATE_HZ), abs=1e-9)


def test_silence_and_a_long_recording_have_numbers() -> None:
    assert audio_features(np.zeros(100, dtype=np.int16), RATE_HZ) == {
        "loudness_db": -120.0, "noise_floor_db": -120.0, "bandwidth_hz": 0.0, "centroid_hz": 0.0,
        "clipping": 0.0, "duration_s": 0.0125,
    }  # fmt: skip
    long = np.random.default_rng(0).normal(size=1_200_000) * 0.1
    assert audio_features(long, RATE_HZ)["centroid_hz"] == pytest.approx(2000, rel=0.01)


def test_projections_of_unit_vectors_are_the_signs_and_their_mean_square_is_the_length() -> None:
    signs = projection_signs(32, seed=5)
    found = embedding_features(np.eye(32), seed=5)
    assert found["norm"] == pytest.approx(np.ones(32))
    for number in range(8):
        assert found[f"projection_{number + 1}_seed_5"] == pytest.approx(signs[number] / math.sqrt(32))
    x = np.random.default_rng(1).normal(size=(1, 64))
    many = np.array([list(embedding_features(x, seed, 50).values())[1:] for seed in range(100)])
    assert np.mean(many**2) == pytest.approx(float((x**2).mean()), rel=0.1)


def test_projections_do_not_depend_on_a_librarys_generator() -> None:
    digest = __import__("hashlib").shake_256(b"holdfast projection 7 0 16").digest(2)
    bits = [int(bit) for byte in digest for bit in f"{byte:08b}"]
    assert projection_signs(16, seed=7, count=1)[0].tolist() == [2 * bit - 1 for bit in bits]


def test_unseen_tokens_of_a_reference_are_as_frequent_as_of_later_texts_of_its_kind() -> None:
    random = np.random.default_rng(4)
    weights = 1 / np.arange(1, 3001)
    weights /= weights.sum()

    def texts(count: int) -> list[str]:
        return [" ".join(f"w{word}" for word in random.choice(3000, 12, p=weights)) for _ in range(count)]

    old, new = texts(800), texts(800)
    vocabulary = HashedVocabulary.fit(old)
    before = np.mean([vocabulary.unseen_rate(text, own=True) for text in old])
    after = np.mean([vocabulary.unseen_rate(text) for text in new])
    assert before > 0.02
    assert after == pytest.approx(before, abs=0.01)
    assert vocabulary.unseen_rate("völlig andere Wörter") == 1.0
    mask = (1 << 16) - 1
    place = zlib.crc32(b"w1") & mask
    assert vocabulary.texts[place] == 2


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_finite_features_and_shares_between_0_and_1(text: str) -> None:
    found = text_features(text)
    assert tuple(found) == TEXT_FEATURES
    assert all(math.isfinite(value) for value in found.values())
    assert all(0 <= value <= 1 for name, value in found.items() if name.startswith("share"))
    assert found["characters"] == len(text)


def test_names_are_those_that_are_announced() -> None:
    assert tuple(image_features(picture())) == IMAGE_FEATURES
    assert tuple(audio_features(tone(300), RATE_HZ)) == AUDIO_FEATURES


def test_what_is_no_image_sound_or_embedding_is_refused() -> None:
    with pytest.raises(StatisticsError, match="no image"):
        image_features(np.zeros((5, 5, 7)))
    with pytest.raises(StatisticsError, match="no image"):
        image_features(np.zeros(5))
    with pytest.raises(StatisticsError, match="no sound"):
        audio_features(np.zeros((20, 20)), RATE_HZ)
    with pytest.raises(StatisticsError, match="sampling rate"):
        audio_features(np.zeros(20), 0)
    with pytest.raises(StatisticsError, match="no embeddings"):
        embedding_features(np.zeros(3))


def test_pixels_that_are_not_finite_give_nan_and_no_error() -> None:
    for strange in (np.nan, np.inf):
        for pixels in (np.full((4, 8), strange), np.where(np.arange(96).reshape(4, 8, 3) == 7, strange, 0.5)):
            image = image_features(pixels)
            assert (image.pop("aspect"), image.pop("megapixels")) == (2.0, 32e-6)
            assert all(map(math.isnan, image.values()))
        sound = audio_features(np.where(np.arange(400) == 7, strange, 0.5), RATE_HZ)
        assert sound.pop("duration_s") == 400 / RATE_HZ
        assert all(map(math.isnan, sound.values()))


def test_a_text_with_half_a_character_is_a_text() -> None:
    assert HashedVocabulary.fit(["half \ud83d", "a"]).unseen_rate("half \ud83d") == 0.0
