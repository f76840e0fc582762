"""Personal data in free text, found without a model and without a network.

Finds what has a form: e-mail and IP addresses, telephone numbers (libphonenumber), IBANs and card numbers
with right check digits, and national numbers of persons (python-stdnum); their checks are weak, so many a
long number is replaced that is none. It does not find names, addresses or diagnoses: where a text may hold
those, mask, drop or encrypt it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from ipaddress import ip_address
from typing import Any, Final

_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_IP: Final = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w:])"
)
_IBAN: Final = re.compile(r"\b(?=([A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30})\b)", re.IGNORECASE)
_DIGITS: Final = re.compile(r"(?<!\d)\d+(?:[ -]\d+)*(?!\d)")
_CARD_DIGITS: Final = range(13, 20)
_MOST_GROUPS: Final = 7
_NUMBER: Final = re.compile(
    r"(?<!\w)(?:[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z]|[A-Z]?\d(?:[ ./-]?\d){6,14}(?:[ -]?[A-Z]\d?)?)(?!\w)",
    re.IGNORECASE,
)
_NATIONAL: Final = (
    "us.ssn", "gb.nhs", "de.idnr", "fr.nir", "es.dni", "es.nie", "it.codicefiscale", "nl.bsn",
    "be.nn", "ch.ssn", "at.vnr", "pl.pesel", "se.personnummer", "dk.cpr", "no.fodselsnummer", "fi.hetu",
    "pt.cc", "br.cpf", "in_.aadhaar", "cn.ric", "ca.sin",
)  # fmt: skip
"""Numbers of persons, each with a check that a number written at random mostly fails."""
_LONGEST_TEXT: Final = 20_000
"""Characters that are searched; the rest of a longer text is masked, so that none can stall a worker."""


def redact_text(text: str, regions: tuple[str, ...] = ()) -> str:
    """The text with each piece of personal data replaced by its kind, such as `[e-mail]`.

    Args:
        text: any.
        regions: countries, as ISO 3166 codes, whose telephone numbers are recognised without `+` too.

    >>> redact_text("ask ada@example.org or +44 20 7946 0958, card 4111 1111 1111 1111")
    'ask [e-mail] or [phone], card [card]'
    """
    rest = ""
    if len(text) > _LONGEST_TEXT:
        text, rest = text[:_LONGEST_TEXT], "***"
    spans = sorted(_find(text, regions), key=lambda span: span[0])  # stable: what is surest comes first
    if not spans:
        return text + rest
    parts, end = [], 0
    for start, stop, kind in spans:
        if start >= end:
            parts += [text[end:start], f"[{kind}]"]
            end = stop
        elif stop > end:  # overlaps what is replaced already
            end = stop
    return "".join(parts) + text[end:] + rest


def _find(text: str, regions: tuple[str, ...]) -> Iterator[tuple[int, int, str]]:
    if "@" in text:
        for found in _EMAIL.finditer(text):
            yield found.start(), found.end(), "e-mail"
    if not any(character.isdigit() for character in text):
        return
    for found in _IP.finditer(text):
        if _is_ip(found.group()):
            yield found.start(), found.end(), "ip"
    from stdnum import iban

    for found in _IBAN.finditer(text):
        # The form takes in a word that follows; the check digits say where the number ends.
        words = found.group(1)
        while len(words) >= 15:
            if iban.is_valid(words):
                yield found.start(), found.start() + len(words), "iban"
                break
            words = words[:-1].rstrip()
    yield from _cards(text)
    yield from _phones(text, regions)
    for found in _NUMBER.finditer(text):
        if any(is_valid(found.group()) for is_valid in _national_checks()):
            yield found.start(), found.end(), "national-id"


def _cards(text: str) -> Iterator[tuple[int, int, str]]:
    """Whole groups of digits that make 13 to 19 digits with the right check digit, whatever stands beside."""
    from stdnum import luhn

    for run in _DIGITS.finditer(text):
        groups = [(run.start() + one.start(), one.group()) for one in re.finditer(r"\d+", run.group())]
        for first in range(len(groups)):
            digits = ""
            for start, group in groups[first : first + _MOST_GROUPS]:
                digits += group
                if len(digits) > _CARD_DIGITS[-1]:
                    break
                if len(digits) in _CARD_DIGITS and len(set(digits)) > 1 and luhn.is_valid(digits):
                    yield groups[first][0], start + len(group), "card"


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return text not in {"::", "::1"}


@cache
def _national_checks() -> tuple[Callable[[str], bool], ...]:
    from importlib import import_module

    return tuple(import_module(f"stdnum.{name}").is_valid for name in _NATIONAL)


def _phones(text: str, regions: tuple[str, ...]) -> Iterator[tuple[int, int, str]]:
    import phonenumbers

    for region in (None, *regions) if "+" in text else regions:
        match: Any
        for match in phonenumbers.PhoneNumberMatcher(text, region):
            yield match.start, match.end, "phone"
