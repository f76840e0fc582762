"""Keyed pseudonyms: the same person always gets the same text, and nobody without the key gets back."""

from __future__ import annotations

import hmac
from typing import Final

from holdfast.errors import HoldfastError

PSEUDONYM_KEY_VARIABLE: Final = "HOLDFAST_PSEUDONYM_KEY"
"""The environment variable that the composition root reads; no room reads the environment itself."""

_SUBJECT: Final = "\x1fsubject"
"""Field name under which subjects are hashed; no checklist field can have this name."""

MIN_KEY_BYTES: Final = 16
_DIGEST_BYTES: Final = 16


class PrivacyError(HoldfastError):
    """Personal data cannot be handled as the checklist says."""


class PseudonymKeyError(PrivacyError):
    """The checklist asks for pseudonyms and the key is missing or too short."""


def check_key(key: bytes | None, *, needed_by: str) -> bytes:
    """The key itself, once it is fit for use.

    Raises:
        PseudonymKeyError: it is missing, or shorter than 16 bytes.
    """
    make_one = (
        f"Set {PSEUDONYM_KEY_VARIABLE} to a secret of at least {MIN_KEY_BYTES} characters, such as what "
        'python -c "import secrets; print(secrets.token_hex(32))" prints. Keep it outside the log: '
        "whoever has both can test guesses"
    )
    if not key:
        raise PseudonymKeyError(
            "a pseudonym key is needed and there is none", where=needed_by, next_step=make_one
        )
    if len(key) < MIN_KEY_BYTES:
        raise PseudonymKeyError(
            "the pseudonym key is too short",
            where=PSEUDONYM_KEY_VARIABLE,
            expected=f"at least {MIN_KEY_BYTES} bytes",
            received=f"{len(key)} bytes",
            next_step=make_one,
        )
    return key


def pseudonym(key: bytes, field: str, value: object) -> str:
    """32 hexadecimal digits that stand for this value of this field.

    HMAC-SHA256 (RFC 2104) over the field's name and the value's canonical text, cut to its left half, the
    shortest cut that RFC advises. The field's name is part of it, so equal values of two fields do not match.
    Costs about 2 microseconds.
    """
    message = f"{len(field)}:{field}:{canonical_text(value)}".encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256")[:_DIGEST_BYTES].hex()


def subject_pseudonym(key: bytes, value: object) -> str:
    """The pseudonym that stands in the log's `subject` column for a person's own identifier."""
    return pseudonym(key, _SUBJECT, value)


def canonical_text(value: object) -> str:
    """One text for one meaning: `1` for 1, 1.0 and "1"; `true` and `false`; a float's shortest exact decimal.

    Text is kept as it is, without its outer white space.
    """
    if isinstance(value, str):
        return value.strip()
    item = getattr(value, "item", None)
    if item is not None:  # a numpy scalar
        value = item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)
