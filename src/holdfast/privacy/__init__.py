"""Redaction, pseudonyms, consent, field classes: nothing reaches the log but a `RedactedRecord`."""

from holdfast.privacy.consenting import consented
from holdfast.privacy.generalising import generaliser
from holdfast.privacy.large_values import LargeColumn, read_large
from holdfast.privacy.opening import open_redactor, open_sealer
from holdfast.privacy.pseudonym import (
    PSEUDONYM_KEY_VARIABLE,
    PseudonymKeyError,
    canonical_text,
    pseudonym,
    subject_pseudonym,
)
from holdfast.privacy.recogniser import redact_text
from holdfast.privacy.record import PredictionRecord, Values
from holdfast.privacy.redactor import FEATURE, MASK, PrivacyError, RedactedRecord, Redactor, field_actions
from holdfast.privacy.sealing import SEALED, Sealer
from holdfast.privacy.subjects import (
    MASTER_KEY_VARIABLE,
    SUBJECTS_FILE,
    Consent,
    MasterKeyError,
    SubjectStore,
    read_master_key,
)

__all__ = [
    "FEATURE",
    "MASK",
    "MASTER_KEY_VARIABLE",
    "PSEUDONYM_KEY_VARIABLE",
    "SEALED",
    "SUBJECTS_FILE",
    "Consent",
    "LargeColumn",
    "MasterKeyError",
    "PredictionRecord",
    "PrivacyError",
    "PseudonymKeyError",
    "RedactedRecord",
    "Redactor",
    "Sealer",
    "SubjectStore",
    "Values",
    "canonical_text",
    "consented",
    "field_actions",
    "generaliser",
    "open_redactor",
    "open_sealer",
    "pseudonym",
    "read_large",
    "read_master_key",
    "redact_text",
    "subject_pseudonym",
]
