"""Personal data with a form is found in text; what only looks like it is left alone."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.privacy import redact_text

# Documented examples: RFC 2606 domains, RFC 5737 and 3849 addresses, the IBAN registry's own examples, card
# numbers that networks publish for tests, Ofcom's numbers for drama, published specimen national numbers.
FOUND = {
    "write to ada.lovelace+work@example.co.uk today": "write to [e-mail] today",
    "from 192.0.2.17 and 2001:db8::8a2e:370:7334.": "from [ip] and [ip].",
    "IBAN GB29 NWBK 6016 1331 9268 19 please": "IBAN [iban] please",
    "pay DE89370400440532013000.": "pay [iban].",
    "card 4111-1111-1111-1111 and 378282246310005": "card [card] and [card]",
    "call +44 20 7946 0958 now": "call [phone] now",
    "NHS number 943 476 5919": "NHS number [national-id]",
    "dni 54362315K, pesel 44051401359": "dni [national-id], pesel [national-id]",
}
KEPT = [
    "",
    "blood pressure 120/80, pulse 72, 14:30:00",
    "dose 2.5 mg twice a day for 10 days",
    "order 4111111111111112 is no card",  # wrong check digit
    "version 1.2.3 of 2026-03-14",
    "temperatures 36.6 37.2 38.9",
    "a::b and std::vector",
    "DE00370400440532013000 x",  # wrong check digits
]


@pytest.mark.parametrize(("text", "redacted"), FOUND.items())
def test_what_has_a_form_and_right_check_digits_is_replaced_by_its_kind(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_like_it_is_left_alone(text: str) -> None:
    assert redact_text(text) == text


def test_a_national_telephone_number_needs_its_country() -> None:
    assert redact_text("call 020 7946 0958", ("GB",)) == "call [phone]"


@settings(deadline=None, max_examples=200)
@given(
    st.text(max_size=60),
    st.sampled_from(["ada@example.org", "4111 1111 1111 1111", "DE89370400440532013000"]),
)
def test_no_text_around_it_hides_it(around: str, secret: str) -> None:
    assert secret not in redact_text(f"{around} {secret} {around}")


@pytest.mark.parametrize("piece", ["a", "1 ", "1", ":", "a@", "@", "AB12", "+4", "1.1.", "9" * 12 + " "])
def test_no_text_stalls_a_worker(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    redact_text(text, ("GB", "DE"))
    assert time.process_time() - began < 5.0
