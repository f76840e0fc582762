"""Codes of texts and of objects are those of the texts themselves, whatever they hold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from holdfast.stats import compiled_counting, distinct_objects, distinct_strings, distinct_texts

pytestmark = pytest.mark.skipif(
    compiled_counting() is None, reason="installed without a C compiler: Arrow makes the codes"
)

WORDS = [
    *(
        "",
        "a",
        "b",
        "ab",
        "ba",
        "abc",
        "acc",
        "abb",
        "aab",
        "abcd",
        "abce",
        "abcdefg",
        "abcdefgh",
        "abcdefgi",
    ),
    *(
        "begin-middle-end",
        "begin-center-end",
        "\0",
        "\0\0",
        "a\0",
        "beginning of a longer text, one",
        "x" * 500,
    ),
]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_texts_of_arrow_get_the_codes_of_a_dictionary_in_the_order_in_which_they_are_met(
    kind: pa.DataType,
) -> None:
    words = [*WORDS, "é", "日本", "日本語"]
    drawn = np.random.default_rng(3).integers(0, len(words), 5000)
    column = pa.array([words[number] for number in drawn], kind)[7:4900]
    _, bounds, texts = column.buffers()
    width = np.int64 if kind == pa.large_string() else np.int32
    at = np.frombuffer(bounds, width, len(column) + 1, 7 * np.dtype(width).itemsize)
    found = distinct_texts(np.frombuffer(texts, np.uint8), at)
    expected = column.dictionary_encode()
    assert found is not None
    np.testing.assert_array_equal(found[0], expected.indices.to_numpy())
    assert column.take(pa.array(found[1])).to_pylist() == expected.dictionary.to_pylist()


def test_objects_that_hold_the_same_text_get_the_same_code() -> None:
    drawn = np.random.default_rng(4).integers(0, len(WORDS), 3000)
    values = np.array(["".join(list(WORDS[number])) for number in drawn], dtype=object)
    found = distinct_strings(values)
    assert found is not None
    assert [values[found[1][code]] for code in found[0]] == values.tolist()
    assert len(found[1]) == len(WORDS)


@pytest.mark.parametrize("strange", [None, np.nan, 3, b"bytes", "é", "\ud800"])
def test_objects_of_which_one_is_no_plain_text_get_no_codes(strange: object) -> None:
    assert distinct_strings(np.array(["a", strange, "b"], dtype=object)) is None


def test_more_than_a_thousand_words_get_no_codes() -> None:
    most, more = ([f"word {number}" for number in range(count)] for count in (1024, 1025))
    for words, known in ((most, True), (more, False)):
        values = np.array(words, dtype=object)
        found = [distinct_objects(values), distinct_strings(values)]
        _, bounds, texts = pa.array(words).buffers()
        found.append(
            distinct_texts(np.frombuffer(texts, np.uint8), np.frombuffer(bounds, np.int32, len(words) + 1))
        )
        assert [one is not None for one in found] == [known] * 3


@pytest.mark.parametrize("bounds", [[0, 2, 9], [0, -1, 2], [3, 1, 2], [-5, 0, 1], [2**31 - 1, 2**31 - 1]])
@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_bounds_that_leave_the_texts_are_refused(bounds: list[int], kind: type) -> None:
    assert distinct_texts(np.frombuffer(b"abcd", np.uint8), np.array(bounds, dtype=kind)) is None


def test_no_rows_have_no_words() -> None:
    found = [
        distinct_texts(np.empty(0, np.uint8), np.zeros(1, np.int32)),
        distinct_strings(np.empty(0, dtype=object)),
    ]
    assert all(one is not None and len(one[0]) == len(one[1]) == 0 for one in found)
    assert distinct_texts(np.empty(0, np.uint8), np.empty(0, np.int32)) is None
    scattered = np.array(["a", "b", "a", "b"], dtype=object)[::2]
    assert distinct_strings(scattered) is None
