"""Small pictures of image tensors, for people who look at rows of the log."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

SIDE_PIXELS: Final = 32
"""Longest side: about 4 KB of text at most."""
_CHANNELS: Final = frozenset({1, 3, 4})
_GREY_DIMENSIONS: Final = 2


def thumbnail(image: NDArray[np.generic]) -> str | None:
    """A PNG of at most 32 x 32 pixels as a `data:` URL, which any browser shows.

    None for a tensor that is no picture.

    Channels may stand first or last; other than 1, 3 or 4 of them are shown as their mean. Values that are
    not 8-bit are stretched from the smallest to the largest, so a picture normalised for a model is seen as
    one, and brightness is not comparable between thumbnails.
    """
    from PIL import Image

    pixels = _channels_last(image)
    if pixels is None or not pixels.size:
        return None
    step = -(-max(pixels.shape[:2]) // SIDE_PIXELS)
    # Every step-th pixel, so that nothing larger than the result is made of a large image.
    small = pixels[::step, ::step]
    if small.dtype != np.uint8:
        numbers = small.astype(np.float64)
        finite = np.isfinite(numbers)
        low, high = (numbers[finite].min(), numbers[finite].max()) if finite.any() else (0.0, 0.0)
        with np.errstate(over="ignore"):
            scale = 255.0 / (high - low) if high > low else 0.0
        small = ((np.where(finite, numbers, low) / 2 - low / 2) * scale * 2).astype(np.uint8)
    if small.ndim > _GREY_DIMENSIONS and small.shape[2] not in _CHANNELS:
        small = small.mean(axis=2).astype(np.uint8)
    if small.ndim > _GREY_DIMENSIONS and small.shape[2] == 1:
        small = small[:, :, 0]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(small)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _channels_last(image: NDArray[np.generic]) -> NDArray[np.generic] | None:
    """Rows, columns and perhaps channels."""
    if image.ndim == _GREY_DIMENSIONS:
        return image
    if image.ndim != _GREY_DIMENSIONS + 1:
        return None
    first, last = image.shape[0], image.shape[2]
    if last not in _CHANNELS and (first in _CHANNELS or first < last):
        return np.moveaxis(image, 0, 2)
    return image
