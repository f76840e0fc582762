"""Pseudonyms follow RFC 2104 and keep apart what must not be matched."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.privacy import canonical_text, pseudonym, subject_pseudonym

KEY = b"0123456789abcdef"


def test_a_pseudonym_is_the_left_half_of_hmac_sha256() -> None:
    message = b"4:name:Ada"
    assert pseudonym(KEY, "name", "Ada") == hmac.new(KEY, message, hashlib.sha256).hexdigest()[:32]


def test_equal_values_of_two_fields_do_not_match() -> None:
    assert pseudonym(KEY, "a", "x") != pseudonym(KEY, "b", "x")
    assert subject_pseudonym(KEY, "x") != pseudonym(KEY, "subject", "x")


def test_another_key_gives_another_pseudonym() -> None:
    assert pseudonym(KEY, "a", "x") != pseudonym(KEY[::-1], "a", "x")


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_field_and_value_cannot_be_shifted_into_each_other(a: str, b: str, c: str, d: str) -> None:
    if (a, b.strip()) != (c, d.strip()):
        assert pseudonym(KEY, a, b) != pseudonym(KEY, c, d)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1", "1"),
        (" 1 ", "1"),
        (True, "true"),
        (np.bool_(0), "false"),
        (np.int64(7), "7"),
        (np.float32(0.5), "0.5"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e300, "1e+300"),
        (2**70, "1180591620717411303424"),
        ("Yes", "Yes"),
    ],
)
def test_one_meaning_has_one_text(value: object, text: str) -> None:
    assert canonical_text(value) == text


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_an_integer_and_the_equal_float_have_the_same_text(number: int) -> None:
    assert canonical_text(number) == canonical_text(float(number)) == canonical_text(str(number))
