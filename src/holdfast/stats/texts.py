"""A text as a few numbers that assume no language: lengths, classes of characters, words never met."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

TEXT_FEATURES: Final = (
    "characters",
    "tokens",
    "mean_token_length",
    "share_of_letters",
    "share_of_digits",
    "share_of_capitals",
    "share_of_marks",
    "share_of_spaces",
    "share_of_ascii",
)
VOCABULARY_BITS: Final = 16
"""A word meets one of 5000 others in its place in 7 % of cases, at 64 kB."""
_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_CLASSES: Final = {"L": 0, "N": 1, "P": 2, "S": 2, "Z": 3, "C": 3}


def tokens_of(text: str) -> list[str]:
    """Runs of letters, digits and underscores, and each mark by itself, in lower case.

    Example:
        >>> tokens_of("Zu viel, 30 %!")
        ['zu', 'viel', ',', '30', '%', '!']
    """
    return _TOKEN.findall(text.lower())


def text_features(text: str) -> dict[str, float]:
    """Lengths in characters and tokens, and shares of classes of characters by Unicode's categories.

    Capitals count as letters too. Shares of an empty text are 0.

    Returns:
        The numbers by the names in `TEXT_FEATURES`.

    Example:
        >>> found = text_features("Ää 12!")
        >>> [found[name] for name in ("characters", "tokens", "mean_token_length")]
        [6.0, 3.0, 1.6666666666666667]
        >>> round(found["share_of_letters"], 3), round(found["share_of_digits"], 3)
        (0.333, 0.333)
    """
    counts = [0, 0, 0, 0]
    capitals = 0
    for character in text:
        category = unicodedata.category(character)
        capitals += category == "Lu"
        place = _CLASSES.get(category[0])
        if place is not None:
            counts[place] += 1
    tokens = tokens_of(text)
    length = len(text)
    some = max(length, 1)
    letters, digits, marks, spaces = counts
    return {
        "characters": float(length),
        "tokens": float(len(tokens)),
        "mean_token_length": sum(map(len, tokens)) / max(len(tokens), 1),
        "share_of_letters": letters / some,
        "share_of_digits": digits / some,
        "share_of_capitals": capitals / some,
        "share_of_marks": marks / some,
        "share_of_spaces": spaces / some,
        "share_of_ascii": sum(character.isascii() for character in text) / some,
    }


@dataclass(frozen=True, slots=True)
class HashedVocabulary:
    """Which tokens a reference's texts held, as places of their hashes; holds no word.

    A token of the reference itself is unseen if no other text of it holds it: so the rate of unseen tokens
    in the reference is that of texts of the same kind that come later, and not zero.
    """

    texts: NDArray[np.uint8] = field(repr=False)
    """`[2 ** 16]`: in how many texts of the reference a place occurs: 0, 1, or 2 for more."""

    @classmethod
    def fit(cls, texts: Iterable[str]) -> Self:
        """The vocabulary of a reference.

        Example:
            >>> vocabulary = HashedVocabulary.fit(["late bus", "late train"])
            >>> vocabulary.unseen_rate("late plane"), vocabulary.unseen_rate("late bus", own=True)
            (0.5, 0.5)
        """
        counts = np.zeros(1 << VOCABULARY_BITS, dtype=np.uint8)
        for text in texts:
            places = np.unique(_places(text))
            counts[places] = np.minimum(counts[places] + 1, 2)
        return cls(counts)

    def unseen_rate(self, text: str, *, own: bool = False) -> float:
        """Share of the text's tokens that no (other) text of the reference holds; 0 for none.

        Args:
            text: of the reference if `own`, else any.
            own: whether it is one of the texts that the vocabulary was fitted on.
        """
        places = _places(text)
        return float(np.mean(self.texts[places] <= int(own))) if len(places) else 0.0


def _places(text: str) -> NDArray[np.intp]:
    mask = (1 << VOCABULARY_BITS) - 1
    tokens = (token.encode("utf-8", "surrogatepass") for token in tokens_of(text))
    return np.array([zlib.crc32(token) & mask for token in tokens], dtype=np.intp)
