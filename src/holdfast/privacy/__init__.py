"""Redaction, pseudonyms, consent, field classes: nothing reaches the log but a `RedactedRecord`."""

from holdfast.privacy.pseudonym import (
    PSEUDONYM_KEY_VARIABLE,
    PseudonymKeyError,
    canonical_text,
    pseudonym,
    subject_pseudonym,
)
from holdfast.privacy.record import PredictionRecord, Values
from holdfast.privacy.redactor import MASK, PrivacyError, RedactedRecord, Redactor

__all__ = [
    "MASK",
    "PSEUDONYM_KEY_VARIABLE",
    "PredictionRecord",
    "PrivacyError",
    "PseudonymKeyError",
    "RedactedRecord",
    "Redactor",
    "Values",
    "canonical_text",
    "pseudonym",
    "subject_pseudonym",
]
