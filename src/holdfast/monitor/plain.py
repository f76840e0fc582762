"""Numbers in words for people."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 1e9


def plain(value: float) -> str:
    """A number with four digits, and without an exponent as long as people read it so.

    Example:
        >>> plain(16876.4), plain(0.016871), plain(21.0), plain(3.2e12)
        ('16880', '0.01687', '21', '3.2e+12')
    """
    text = f"{value:.4g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < _LONGEST else text
