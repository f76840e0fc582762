"""Numbers and lists in words for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_LONGEST: Final = 1e9
_WITH_DECIMALS: Final = 1000.0


def plain(value: float) -> str:
    """A number with four digits, and without an exponent as long as people read it so.

    Example:
        >>> plain(16876.4), plain(0.016871), plain(21.0), plain(3.2e12)
        ('16880', '0.01687', '21', '3.2e+12')
    """
    text = f"{value:.4g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < _LONGEST else text


def level(value: float) -> str:
    """A quality: with three decimals, which say nothing more of thousands.

    Example:
        >>> level(0.8519), level(66001.76)
        ('0.852', '66,002')
    """
    return f"{value:.3f}" if abs(value) < _WITH_DECIMALS else f"{value:,.0f}"


def signed(value: float) -> str:
    """A change, with its sign.

    Example:
        >>> signed(51820.3), signed(-0.01687), signed(0.0)
        ('+51820', '-0.01687', '+0')
    """
    return f"{'-' if value < 0 else '+'}{plain(abs(value))}"


def listed(words: Sequence[str]) -> str:
    """One, two or more things in a sentence.

    Example:
        >>> listed(["data fault"]), listed(["a", "b"]), listed(["a", "b", "c"])
        ('data fault', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
