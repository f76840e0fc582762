"""What the log may hold of a record, decided by the class of each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Never, final

import numpy as np

from holdfast.privacy.pseudonym import (
    PrivacyError,
    PseudonymKeyError,
    check_key,
    pseudonym,
    subject_pseudonym,
)
from holdfast.privacy.record import PredictionRecord, Values
from holdfast.spec.checklist import FieldAction, FieldClass, Privacy

__all__ = ["MASK", "PrivacyError", "PseudonymKeyError", "RedactedRecord", "Redactor"]

MASK: Final = "***"
"""What stands for a masked value that was present; a missing one stays missing."""

_DEFAULT_ACTIONS: Final[dict[FieldClass, FieldAction]] = {
    "identifier": "hash",
    "quasi-identifier": "keep",
    "sensitive": "keep",
    "free-text": "mask",
    "plain": "keep",
}


class _Seal:
    """The right to construct a `RedactedRecord`; there is one, and only this module holds it."""

    __slots__ = ()


_SEAL: Final = _Seal()


@final
class RedactedRecord:
    """N answered rows from which everything that must not be logged is gone.

    Only `Redactor.redact` makes one, so a function that takes a `RedactedRecord` cannot be given raw data.
    The repr shows no value.
    """

    __slots__ = ("consent", "context", "inputs", "raw", "subject")

    inputs: Mapping[str, Values]
    context: Mapping[str, Values]
    subject: Sequence[str | None] | None
    """Pseudonyms, N values; None where the checklist names no subject field or the record has none."""
    consent: Sequence[bool | None] | None
    raw: PredictionRecord
    """For the fields that no action touches: ids, times, versions, outputs. Never its inputs or context."""

    def __init__(
        self,
        seal: _Seal,
        raw: PredictionRecord,
        *,
        inputs: Mapping[str, Values],
        context: Mapping[str, Values],
        subject: Sequence[str | None] | None,
        consent: Sequence[bool | None] | None,
    ) -> None:
        if seal is not _SEAL:
            raise PrivacyError(
                "a RedactedRecord cannot be constructed directly",
                next_step="Pass the record through Redactor.redact",
            )
        put = object.__setattr__
        put(self, "raw", raw)
        put(self, "inputs", inputs)
        put(self, "context", context)
        put(self, "subject", subject)
        put(self, "consent", consent)

    def __setattr__(self, name: str, value: object) -> Never:
        raise PrivacyError(f"a RedactedRecord is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> Never:
        raise PrivacyError(f"a RedactedRecord is immutable: {name} cannot be deleted")

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        return f"RedactedRecord(rows={len(self)}, model_version={self.raw.model_version!r})"


class Redactor:
    """Applies the checklist's `[privacy]` section to records, one after another.

    The subject and the consent field are taken from a record's context (or inputs) and become the columns
    `subject` and `consent`; they are never logged under their own names unless they are inputs of the model,
    where the action of their class applies.

    Args:
        privacy: the checklist's section.
        key: the pseudonym key, from the environment variable `HOLDFAST_PSEUDONYM_KEY`, which only the
            composition root reads.

    Raises:
        PseudonymKeyError: something must be hashed and the key is missing or shorter than 16 bytes; at
            construction, never while a request waits.
    """

    def __init__(self, privacy: Privacy, key: bytes | None) -> None:
        actions = {**_DEFAULT_ACTIONS, **privacy.actions}
        self._actions: dict[str, FieldAction] = {
            name: actions[field_class] for name, field_class in privacy.fields.items()
        }
        self._unclassed: FieldAction = "mask" if privacy.sensitivity == "high" else actions["plain"]
        self._subject_field = privacy.subject_field
        self._consent_field = privacy.consent_field
        self._key = b""
        if needed_by := self._needs_key():
            self._key = check_key(key, needed_by=needed_by)
        self._changes = {name: action for name, action in self._actions.items() if action != "keep"}
        self._idle = (
            not self._changes
            and self._unclassed == "keep"
            and not self._subject_field
            and not self._consent_field
        )

    def _needs_key(self) -> str:
        """The checklist path that cannot do without a key, or ""."""
        if self._subject_field:
            return "[privacy] subject_field"
        if self._unclassed == "hash":
            return "[privacy.actions] plain"
        return next(
            (f"[privacy.fields] {name}" for name, what in self._actions.items() if what == "hash"), ""
        )

    def redact(self, record: PredictionRecord) -> RedactedRecord:
        """The record as it may be logged. Costs well under a microsecond when no field needs an action."""
        if self._idle:
            return RedactedRecord(
                _SEAL, record, inputs=record.inputs, context=record.context, subject=None, consent=None
            )
        return RedactedRecord(
            _SEAL,
            record,
            inputs=self._redact_fields(record.inputs, hide_personal=False),
            context=self._redact_fields(record.context, hide_personal=True),
            subject=self._subject(record),
            consent=self._consent(record),
        )

    def _redact_fields(self, fields: Mapping[str, Values], *, hide_personal: bool) -> Mapping[str, Values]:
        personal = (self._subject_field, self._consent_field) if hide_personal else ()
        if self._unclassed == "keep" and not any(name in fields for name in (*self._changes, *personal)):
            return fields
        redacted: dict[str, Values] = {}
        for name, values in fields.items():
            action = self._actions.get(name, self._unclassed)
            if action == "drop" or name in personal:
                continue
            redacted[name] = values if action == "keep" else self._replace(name, values, action)
        return redacted

    def _replace(self, name: str, values: Values, action: FieldAction) -> Values:
        if action == "mask":
            return [None if missing(value) else MASK for value in rows(values)]
        return [None if missing(value) else pseudonym(self._key, name, value) for value in rows(values)]

    def _subject(self, record: PredictionRecord) -> Sequence[str | None] | None:
        values = self._personal_values(record, self._subject_field)
        if values is None:
            return None
        return [
            None if missing(value) or value == "" else subject_pseudonym(self._key, value)
            for value in rows(values)
        ]

    def _consent(self, record: PredictionRecord) -> Sequence[bool | None] | None:
        values = self._personal_values(record, self._consent_field)
        if values is None:
            return None
        return [_as_consent(value) for value in rows(values)]

    @staticmethod
    def _personal_values(record: PredictionRecord, field: str) -> Values | None:
        if not field:
            return None
        values = record.context.get(field)
        return record.inputs.get(field) if values is None else values


def rows(values: Values) -> Sequence[object]:
    """The values one by one as Python objects; a shaped value becomes nested lists."""
    if isinstance(values, np.ndarray):
        listed: list[object] = values.tolist()
        return listed
    return values


def missing(value: object) -> bool:
    """Whether it is null or NaN."""
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 - the NaN test


def _as_consent(value: object) -> bool | None:
    """Only a clear yes is a yes: True, 1 or "true"; anything else that is present is a no."""
    if missing(value):
        return None
    return value is True or value == 1 or (isinstance(value, str) and value.strip().lower() in {"true", "1"})
