"""A sound as a few numbers that say how it was recorded: level, noise, band, clipping, not what is said."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

AUDIO_FEATURES: Final = (
    "loudness_db",
    "noise_floor_db",
    "bandwidth_hz",
    "centroid_hz",
    "clipping",
    "duration_s",
)
_SILENCE_DB: Final = -120.0
"""What digital silence is called: below the noise of rounding to 16 bits (-101)."""
_FRAME_S: Final = 0.02
"""Length of a frame: speech is steady for so long."""
_QUIET_SHARE: Final = 0.1
"""Share of frames that are taken as without a signal: pauses."""
_BAND_SHARE: Final = 0.99
"""Share of the power below the bandwidth."""
_NEAR_PEAK: Final = 0.999
"""Share of the peak from which a sample counts as clipped: rounding after a clipper moves it by less."""
_BLOCK: Final = 1 << 14
_MOST_BLOCKS: Final = 64


def audio_features(sound: NDArray[Any], rate_hz: float) -> dict[str, float]:
    """Loudness, noise floor, bandwidth, spectral centroid, clipping and duration of one recording.

    Loudness is the root mean square in decibels below full scale; the noise floor is the tenth percentile of
    the same over frames of 20 ms, so of the pauses. Of the power spectrum P(f) without its mean, the centroid
    is sum(f P) / sum(P), and the bandwidth is the frequency below which 99 % of the power lies. Clipping is
    the share of samples within 0.1 % of the recording's peak, whatever gain came after it: 0.03 for a sine,
    a few in ten thousand for speech. A recording longer than a million samples is transformed in 64 blocks.

    Args:
        sound: `[N]` samples, or `[N, C]` or `[C, N]` with at most 8 channels, which are averaged. Whole
            numbers are taken as shares of their type's maximum, floats as shares of 1.
        rate_hz: samples per second.

    Returns:
        The numbers by the names in `AUDIO_FEATURES`; all but the duration NaN where a sample is not finite.

    Raises:
        StatisticsError: the array is no sound, or the rate is not positive.

    Example:
        >>> t = np.arange(8000) / 8000
        >>> found = audio_features(np.sin(2 * np.pi * 1000 * t), 8000)
        >>> round(found["loudness_db"], 2), round(found["centroid_hz"]), found["duration_s"]
        (-3.01, 1000, 1.0)
    """
    if not rate_hz > 0:
        raise StatisticsError("not a sampling rate", expected="samples per second", received=str(rate_hz))
    samples = _mono(np.asarray(sound))
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        return dict.fromkeys(AUDIO_FEATURES, float("nan")) | {"duration_s": len(samples) / rate_hz}
    frame = max(1, round(_FRAME_S * rate_hz))
    whole = len(samples) // frame
    levels = _decibels(
        np.mean(samples[: whole * frame].reshape(whole, frame) ** 2, axis=1)
        if whole
        else np.array([np.mean(samples**2)])
    )
    centroid, bandwidth = _spectrum(samples, rate_hz)
    return {
        "loudness_db": float(_decibels(np.array(np.mean(samples**2)))),
        "noise_floor_db": float(np.quantile(levels, _QUIET_SHARE)),
        "bandwidth_hz": bandwidth,
        "centroid_hz": centroid,
        "clipping": float(np.mean(np.abs(samples) >= _NEAR_PEAK * peak)) if peak > 0 else 0.0,
        "duration_s": len(samples) / rate_hz,
    }


def _mono(sound: NDArray[Any]) -> NDArray[np.float64]:
    if sound.dtype.kind not in "uif" or sound.ndim not in {1, 2} or sound.size == 0:
        raise StatisticsError(
            "the array is no sound",
            expected="numbers of shape [N], [N, C] or [C, N]",
            received=f"{sound.dtype} of shape {list(sound.shape)}",
        )
    if sound.dtype.kind == "u":  # bytes of a WAV file lie around the middle
        middle = (np.iinfo(sound.dtype).max + 1) // 2
        samples = (sound.astype(np.float64) - middle) / middle
    elif sound.dtype.kind == "i":
        samples = sound.astype(np.float64) / (float(np.iinfo(sound.dtype).max) + 1)
    else:
        samples = sound.astype(np.float64)
    if samples.ndim == 2:
        channels = int(np.argmin(samples.shape))
        if samples.shape[channels] > 8:
            raise StatisticsError(
                "the array is no sound", expected="at most 8 channels", received=f"shape {list(sound.shape)}"
            )
        samples = samples.mean(axis=channels)
    return samples


def _decibels(power: NDArray[np.float64]) -> NDArray[np.float64]:
    floor = 10 ** (_SILENCE_DB / 10)
    decibels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, floor))
    return decibels


def _spectrum(samples: NDArray[np.float64], rate_hz: float) -> tuple[float, float]:
    if len(samples) > _BLOCK * _MOST_BLOCKS:
        starts = np.linspace(0, len(samples) - _BLOCK, _MOST_BLOCKS).astype(np.intp)
        parts = samples[starts[:, np.newaxis] + np.arange(_BLOCK)]
    else:
        parts = samples[np.newaxis]
    parts = parts - parts.mean(axis=1, keepdims=True)
    power = (np.abs(np.fft.rfft(parts, axis=1)) ** 2).sum(axis=0)
    total = power.sum()
    if total <= 0:
        return 0.0, 0.0
    frequencies = np.fft.rfftfreq(parts.shape[1], 1 / rate_hz)
    below = np.searchsorted(np.cumsum(power), _BAND_SHARE * total)
    return float(frequencies @ power / total), float(frequencies[min(int(below), len(frequencies) - 1)])
