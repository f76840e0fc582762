"""Numbers that a table holds as text: with a decimal point or comma, groups of thousands, a unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.artifact.arrow_types import is_number
from holdfast.monitor.columns import is_text

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_CATEGORIES: Final = 20
"""Numbers of so few values may well be codes: they stay categories."""
_LEAST_SHARE: Final = 0.95
"""Of the values that are there; what is written otherwise counts as missing."""
_MISSING: Final = ("", "?", "-", ".", "na", "n/a", "#n/a", "nan", "null", "none", "missing", "unknown")
_LONGEST_MISSING: Final = max(map(len, _MISSING))
_SIGNS: Final = "€$£¥%"
_POINT: Final = r"(\d+|[1-9]\d{0,2}(,\d{3})+)?(\.\d+|\d\.)?([eE][+-]?\d+)?"
_COMMA: Final = r"(\d+|[1-9]\d{0,2}([. '\x{2019}\x{00a0}]\d{3})+)?(,\d+)?"
_CODE: Final = r"^[+-]?0\d"
"""Zeros ahead of a number are of a code: of a place, an article, a person."""
_LOOKED_AT: Final = 1000
_TRUE: Final = frozenset({"true", "t", "yes", "y", "ja", "j", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "nein", "0"})


@dataclass(frozen=True, slots=True)
class NumberText:
    """How the numbers of a column of text are written."""

    comma: bool = False
    """Whether decimals follow a comma."""
    sign: str = ""
    """Of a unit, in every value."""

    @classmethod
    def of_reference(cls, held: pa.ChunkedArray) -> NumberText | None:
        """None where the values are names, codes or categories.

        Args:
            held: text of a reference.
        """
        import pyarrow as pa

        if pa.types.is_dictionary(held.type) and _has_few_words(held):
            return None
        import pyarrow.compute as pc

        # The first value tells of most columns, and is nearly always among the first rows.
        for some in (held.slice(0, _LOOKED_AT), held):
            known = _known(some)
            if len(known) and re.search(r"\d", str(known[0].as_py())) is None:
                return None
        found = cls.of(held)
        if found is None or pc.count_distinct(known).as_py() <= _MOST_CATEGORIES:
            return None
        if pc.any(pc.match_substring_regex(known, _CODE)).as_py():
            return None
        lengths = pc.min_max(pc.utf8_length(known)).as_py()
        whole = pc.all(pc.match_substring_regex(known, r"^\d+$")).as_py()
        return None if whole and lengths["min"] == lengths["max"] else found

    @classmethod
    def of(cls, held: pa.ChunkedArray) -> NumberText | None:
        """The way in which nearly all values are numbers; None where they are not."""
        import pyarrow.compute as pc

        known = _known(held)
        if not len(known):
            return None
        first = str(known[0].as_py())
        sign = next((one for one in _SIGNS if one in first), "")
        ways = [cls(comma, sign) for comma in (False, True)]
        shares = [pc.mean(pc.match_substring_regex(known, way.pattern)).as_py() for way in ways]
        best = max(range(2), key=lambda place: (shares[place], -place))
        return ways[best] if shares[best] >= _LEAST_SHARE else None

    @property
    def pattern(self) -> str:
        """Of a value that is a number."""
        number = _COMMA if self.comma else _POINT
        sign = re.escape(self.sign)
        bare = rf"{number}" if not sign else rf"({sign}\s*{number}|{number}\s*{sign})"
        # Everything of a number may be absent, but not all of it.
        return rf"^[+-]?{bare}$"

    def read(self, held: pa.ChunkedArray) -> pa.ChunkedArray:
        """The numbers, null where a value is none; whole ones as such, so that names of rows are known."""
        import pyarrow as pa
        import pyarrow.compute as pc

        text = _trimmed(held)
        fits = pc.and_(pc.match_substring_regex(text, self.pattern), pc.match_substring_regex(text, r"\d"))
        bare = pc.replace_substring_regex(text, rf"[\s{re.escape(self.sign)}'\x{{2019}}\x{{00a0}}]", "")
        if self.comma:
            bare = pc.replace_substring(pc.replace_substring(bare, ".", ""), ",", ".")
        else:
            bare = pc.replace_substring(bare, ",", "")
        numbers = pc.if_else(fits, bare, pa.scalar(None, bare.type)).cast(pa.float64())
        rest = pc.all(pc.equal(pc.floor(numbers), numbers)).as_py()
        large = pc.max(pc.abs(numbers)).as_py()
        if rest and large is not None and large < 2**53:
            return numbers.cast(pa.int64())
        return numbers


def of_booleans(held: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Words for yes and no as booleans; None where a value is another."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_lower(_trimmed(held))
    words = {word for word in pc.unique(text).to_pylist() if word is not None}
    if not words or not words <= _TRUE | _FALSE:
        return None
    yes = pc.is_in(text, value_set=pa.array(sorted(_TRUE), text.type))
    return pc.if_else(pc.is_valid(text), yes, pa.scalar(None, pa.bool_()))


def as_the_reference_writes(
    old: pa.Table, new: pa.Table, names: Sequence[str]
) -> tuple[pa.Table, tuple[str, ...]]:
    """Current columns of another type than the reference's, read as the reference holds them, and which.

    Args:
        old: the reference.
        new: the current rows.
        names: of the columns that are looked at.
    """
    read = []
    for name in names:
        if name not in old.column_names or name not in new.column_names:
            continue
        found = _as_of_reference(old.column(name), new.column(name))
        if found is not None:
            new = new.set_column(new.column_names.index(name), name, found)
            read.append(name)
    return new, tuple(read)


def _as_of_reference(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.ChunkedArray | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text(new.type) and pa.types.is_boolean(old.type):
        return of_booleans(new)
    if is_text(new.type) and is_number(old.type):
        way = NumberText.of(new)
        if way is None:
            return of_booleans(new) if _truth(old) is not None else None
        return way.read(new)
    if is_text(old.type) and (pa.types.is_boolean(new.type) or is_number(new.type)):
        answers = _yes_and_no(old)
        truth = _truth(new) if answers else None
        if answers and truth is not None:
            return pc.if_else(truth, pa.scalar(answers[0]), pa.scalar(answers[1]))
    if is_text(old.type) and is_number(new.type):
        numbers = new.cast(pa.float64(), safe=False)
        whole = pc.all(pc.equal(pc.floor(numbers), numbers)).as_py()
        return (numbers.cast(pa.int64()) if whole else new).cast(pa.string())
    return None


def _yes_and_no(old: pa.ChunkedArray) -> tuple[str, str] | None:
    """The words for yes and for no of a column that holds these two and no digits."""
    import pyarrow.compute as pc

    words = [one for one in pc.unique(_trimmed(old)).to_pylist() if one]
    yes, no = (
        [one for one in words if one.lower() in some and not one.isdigit()] for some in (_TRUE, _FALSE)
    )
    return (yes[0], no[0]) if len(words) == 2 and len(yes) == len(no) == 1 else None


def _truth(new: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Booleans, or zeros and ones as such."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(new.type):
        return new
    values = set(pc.unique(new.drop_null()).to_pylist())
    return pc.equal(new.cast(pa.float64(), safe=False), 1.0) if values <= {0, 1} else None


def numbers_of_text(
    old: pa.Table, new: pa.Table, names: Sequence[str], *, fractions: bool
) -> tuple[pa.Table, pa.Table, tuple[str, ...]]:
    """Both tables with columns of text that hold numbers as numbers, and which these are.

    Args:
        old: the reference.
        new: the current rows.
        names: of the columns that are looked at.
        fractions: whether whole numbers stay as they are, as they may be classes.
    """
    read = []
    for name in names:
        way = NumberText.of_reference(old.column(name)) if is_text(old.schema.field(name).type) else None
        found = None if way is None else way.read(old.column(name))
        if way is None or found is None or (fractions and not _has_fractions(found)):
            continue
        old = old.set_column(old.column_names.index(name), name, found)
        if name in new.column_names and is_text(new.schema.field(name).type):
            now = way.read(new.column(name))
            new = new.set_column(new.column_names.index(name), name, now)
        read.append(name)
    return old, new, tuple(read)


def _has_fractions(numbers: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(numbers.type))


def _trimmed(held: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(held.type):
        held = held.cast(held.type.value_type)
    return pc.utf8_trim_whitespace(held)


def _has_few_words(held: pa.ChunkedArray) -> bool:
    """Whether codes of text are of so few words that they are categories, whatever the rows."""
    words: set[str] = set()
    for chunk in held.chunks:
        if len(chunk.dictionary) > _MOST_CATEGORIES:
            return False
        words.update(chunk.dictionary.to_pylist())
    return len(words) <= _MOST_CATEGORIES


def _known(held: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    text = _trimmed(held).drop_null()
    # Lower case of the whole of long texts takes longer than all else that is asked of them.
    head = pc.utf8_slice_codeunits(text, 0, _LONGEST_MISSING + 1)
    marks = pc.is_in(pc.utf8_lower(head), value_set=pa.array(_MISSING, text.type))
    return text.filter(pc.invert(marks))
