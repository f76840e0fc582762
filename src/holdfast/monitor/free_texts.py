"""Columns of free text as numbers: lengths, shares of signs, words never met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from holdfast.monitor.columns import is_plain_text, is_text
from holdfast.stats import HashedVocabulary

if TYPE_CHECKING:
    import pyarrow as pa

_DISTINCT: Final = 0.5
"""Share of distinct values above which text is no category."""
_LEAST_ROWS: Final = 200
_WORDS: Final = 3.0
"""Words in a mean text: shorter ones are names, codes and keys."""
_SAMPLE: Final = 5000
TEXTS_LOOKED_AT: Final = 20_000
"""Of a large file: a thousand a window, whose words cost a second; each word is looked up by itself."""
MEASURED_CHARACTERS: Final = 2000
"""Of a longer text only so many, its first, are looked at: a page, which takes 0.05 ms and its words 0.15 ms.
How long the text is, is counted in full."""


def free_texts(table: pa.Table) -> list[str]:
    """Names of the columns of a reference that hold sentences rather than categories."""
    import pyarrow as pa

    found = []
    for column in table.schema:
        if not is_text(column.type):
            continue
        some = table.column(column.name).slice(0, _SAMPLE)
        # Few words in the file's own dictionary are categories.
        if pa.types.is_dictionary(column.type):
            if sum(len(chunk.dictionary) for chunk in some.chunks) < _DISTINCT * len(some):
                continue
            some = some.cast(pa.string())
        # Only to look closer costs an import of 8 MB and some hundredths of a second.
        import pyarrow.compute as pc

        some = some.drop_null()
        if len(some) < _LEAST_ROWS or pc.count_distinct(some).as_py() < _DISTINCT * len(some):
            continue
        if pc.mean(pc.count_substring_regex(measured_part(some), r"\S+")).as_py() >= _WORDS:
            found.append(column.name)
    return found


def measured_part(held: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of texts that are very long the part that is looked at; the others as they are."""
    import pyarrow.compute as pc

    longest = pc.max(pc.binary_length(held)).as_py()
    # Bytes are no fewer than characters.
    if longest is None or longest <= MEASURED_CHARACTERS:
        return held
    return pc.utf8_slice_codeunits(held, 0, MEASURED_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of free text."""

    vocabulary: HashedVocabulary = field(repr=False)
    every: int = 1
    """Rows of which the words are looked at: all, or those whose number this divides. The vocabulary is then
    that of some of the others, so that the reference's rows are as new to it as those that come later."""

    @classmethod
    def learn(cls, texts: Iterable[str | None], every: int = 1) -> Self:
        """The words of a reference.

        Args:
            texts: of it, None for missing; gone through once, and none is kept.
            every: rows of which the words are looked at later.
        """
        known = (text[:MEASURED_CHARACTERS] for text in texts if text is not None)
        return cls(HashedVocabulary.fit(known), every)

    def parts(
        self, held: pa.ChunkedArray, numbers: NDArray[np.int64] | None = None, *, own: bool
    ) -> Iterator[tuple[str, Any]]:
        """Lengths, shares of signs, and the share of words that no (other) text of the reference holds."""
        import pyarrow as pa

        if not is_plain_text(held.type):
            held = held.cast(pa.string())
        part = measured_part(held)
        yield from _of_texts(held, part)
        rates = np.full(len(held), np.nan)
        looked_at = np.arange(len(held)) if numbers is None else np.flatnonzero(numbers % self.every == 0)
        for row in looked_at.tolist():
            text = part[row].as_py()
            if text is not None:
                rates[row] = self.vocabulary.unseen_rate(text, own=own and self.every == 1)
        yield "unseen words", rates


def _of_texts(held: pa.ChunkedArray, part: pa.ChunkedArray) -> Iterator[tuple[str, Any]]:
    """Length, and shares of classes of signs that every script has: no language is assumed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    length = pc.utf8_length(held).cast(pa.float64())
    yield "characters", length
    words = pc.count_substring_regex(part, r"\S+")
    if part is held:
        some = length
    else:
        some = pc.utf8_length(part).cast(pa.float64())
        # As many in each character of the rest as in those of the part.
        whole = pc.divide(pc.multiply(words.cast(pa.float64()), length), pc.max_element_wise(some, 1.0))
        words = pc.round(whole).cast(words.type)
    yield "words", words
    some = pc.max_element_wise(some, 1.0, skip_nulls=False)
    for what, signs in (("digits", r"\p{Nd}"), ("capitals", r"\p{Lu}"), ("marks", r"[\p{P}\p{S}]")):
        count = pc.count_substring_regex(part, signs).cast(pa.float64())
        yield f"share of {what}", pc.divide(count, some)
