"""An image as a few numbers that say how it was taken: light, focus, colour and format, not what is on it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.stats.errors import StatisticsError

IMAGE_FEATURES: Final = (
    "brightness",
    "contrast",
    "sharpness",
    "colourfulness",
    "warmth",
    "aspect",
    "megapixels",
)
_LUMA: Final = np.array([0.2126, 0.7152, 0.0722])
"""Weights of red, green and blue in brightness as eyes see it (ITU-R BT.709)."""
_MOST_PIXELS: Final = 1 << 18
"""Larger images are read in strides: a quarter of a megapixel says as much about the light."""


def image_features(image: NDArray[Any]) -> dict[str, float]:
    """Brightness, contrast, sharpness, colour, warmth, aspect and size of one image.

    Brightness is the mean of the luma Y = 0.2126 R + 0.7152 G + 0.0722 B, contrast its standard deviation;
    sharpness is the variance of Y's Laplacian with four neighbours (Pech-Pacheco et al., 2000), which blur
    lowers and noise raises. Colourfulness is that of Hasler and Süsstrunk (2003), 0 for grey; warmth is the
    mean of R - B, 0 for grey, higher under warmer light. Aspect is width by height. Costs one pass; images
    of more than a quarter of a megapixel are read in strides, whose sharpness is that of the middle.

    Args:
        image: `[H, W]`, `[H, W, C]` or `[C, H, W]` with 1, 3 or 4 channels; the fourth is left out. Whole
            numbers are taken as shares of their type's maximum (255 for bytes), floats as they are.

    Returns:
        The numbers by the names in `IMAGE_FEATURES`; where a pixel that is read is not finite, all but aspect
        and size are NaN.

    Raises:
        StatisticsError: the array is no image.

    Example:
        >>> grey = np.full((4, 8), 51, dtype=np.uint8)
        >>> found = image_features(grey)
        >>> round(found["brightness"], 6), found["contrast"], found["aspect"], found["colourfulness"]
        (0.2, 0.0, 2.0, 0.0)
    """
    pixels = _height_width_channels(np.asarray(image))
    height, width, channels = pixels.shape
    step = max(1, int(np.ceil(np.sqrt(height * width / _MOST_PIXELS))))
    some = _shares(pixels[::step, ::step])
    luma = some[..., 0] if channels == 1 else some[..., :3] @ _LUMA
    close = luma
    if step > 1:
        top, left = (height - height // step) // 2, (width - width // step) // 2
        middle = _shares(pixels[top : top + height // step, left : left + width // step])
        close = middle[..., 0] if channels == 1 else middle[..., :3] @ _LUMA
    form = {"aspect": width / height, "megapixels": width * height / 1e6}
    if not (np.isfinite(luma).all() and np.isfinite(close).all()):
        return dict.fromkeys(IMAGE_FEATURES, float("nan")) | form
    colour, warmth = (0.0, 0.0) if channels == 1 else _colour(some)
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "sharpness": _sharpness(close),
        "colourfulness": colour,
        "warmth": warmth,
        **form,
    }


def _height_width_channels(image: NDArray[Any]) -> NDArray[Any]:
    if image.dtype.kind not in "uifb" or image.ndim not in {2, 3} or image.size == 0:
        raise StatisticsError(
            "the array is no image",
            expected="numbers of shape [H, W], [H, W, C] or [C, H, W]",
            received=f"{image.dtype} of shape {list(image.shape)}",
        )
    if image.ndim == 2:
        return image[..., np.newaxis]
    if image.shape[2] in {1, 3, 4}:
        return image
    if image.shape[0] in {1, 3, 4}:
        return np.moveaxis(image, 0, 2)
    raise StatisticsError(
        "the array is no image", expected="1, 3 or 4 channels", received=f"shape {list(image.shape)}"
    )


def _shares(pixels: NDArray[Any]) -> NDArray[np.float64]:
    if pixels.dtype.kind in "ui":
        return pixels.astype(np.float64) / np.iinfo(pixels.dtype).max
    return pixels.astype(np.float64)


def _sharpness(luma: NDArray[np.float64]) -> float:
    if min(luma.shape) < 3:
        return 0.0
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    return float(laplacian.var())


def _colour(pixels: NDArray[np.float64]) -> tuple[float, float]:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    middle = np.hypot(red_green.mean(), yellow_blue.mean())
    return float(spread + 0.3 * middle), float((red - blue).mean())
