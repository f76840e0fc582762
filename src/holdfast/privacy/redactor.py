"""What the log may hold of a record, decided by the class of each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Never, final

import numpy as np

from holdfast.privacy.generalising import MASK, Generalise, generaliser
from holdfast.privacy.large_values import LargeColumn, Seal
from holdfast.privacy.pseudonym import (
    PrivacyError,
    PseudonymKeyError,
    check_key,
    pseudonym,
    subject_pseudonym,
)
from holdfast.privacy.recogniser import redact_text
from holdfast.privacy.record import PredictionRecord, Values
from holdfast.privacy.sealing import SEALED, Sealer
from holdfast.spec.checklist import FieldAction, FieldClass, Privacy

FEATURE: Final = "feature_"
"""Before the name of a column that holds a short feature: `feature_<input>_<feature>`."""

__all__ = ["MASK", "PrivacyError", "PseudonymKeyError", "RedactedRecord", "Redactor"]

_DEFAULT_ACTIONS: Final[dict[FieldClass, FieldAction]] = {
    "identifier": "hash",
    "quasi-identifier": "keep",
    "sensitive": "keep",
    "free-text": "redact",
    "plain": "keep",
}
_ACTIONS_OF_HIGH: Final[dict[FieldClass, FieldAction]] = {
    "identifier": "hash",
    "quasi-identifier": "encrypt",
    "sensitive": "encrypt",
    "free-text": "encrypt",
    "plain": "encrypt",
}


def field_actions(privacy: Privacy) -> tuple[dict[str, FieldAction], FieldAction]:
    """The action for each field that the checklist names, and that for every other field.

    What is said of a field counts more than what is said of its class, and that more than the defaults, which
    `sensitivity = "high"` makes stricter.
    """
    defaults = _ACTIONS_OF_HIGH if privacy.sensitivity == "high" else _DEFAULT_ACTIONS
    by_class = {**defaults, **privacy.actions}
    by_field: dict[str, FieldAction] = {
        **{name: by_class[field_class] for name, field_class in privacy.fields.items()},
        **dict.fromkeys(privacy.generalise, "generalise"),
        **privacy.field_actions,
    }
    return by_field, by_class["plain"]


def needs_master_key(privacy: Privacy) -> str:
    """The checklist path that asks for encryption, or ""."""
    by_field, others = field_actions(privacy)
    for name, action in by_field.items():
        if action == "encrypt":
            return f"[privacy] the field {name}"
    return "[privacy] every field that has no class" if others == "encrypt" else ""


class _Seal:
    """The right to construct a `RedactedRecord`; there is one, and only this module holds it."""

    __slots__ = ()


_SEAL: Final = _Seal()
_NOTHING_LARGE: Final[Mapping[str, LargeColumn]] = {}
_NO_FEATURES: Final[Mapping[str, Values]] = {}


@final
class RedactedRecord:
    """N answered rows from which everything that must not be logged is gone.

    Only `Redactor.redact` makes one, so a function that takes a `RedactedRecord` cannot be given raw data.
    The repr shows no value.
    """

    __slots__ = ("consent", "context", "features", "inputs", "large", "raw", "subject")

    inputs: Mapping[str, Values]
    context: Mapping[str, Values]
    large: Mapping[str, LargeColumn]
    """What is stored beside the tables."""
    features: Mapping[str, Values]
    """Short features of large inputs, by `<input>_<feature>`."""
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
        large: Mapping[str, LargeColumn] = _NOTHING_LARGE,
        features: Mapping[str, Values] = _NO_FEATURES,
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
        put(self, "large", large)
        put(self, "features", features)
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
        sealer: encrypts; needed where an action is `encrypt`. Closed with the redactor.

    Raises:
        PrivacyError: something must be encrypted and there is no sealer.
        PseudonymKeyError: something must be hashed and the key is missing or shorter than 16 bytes; at
            construction, never while a request waits.
    """

    def __init__(self, privacy: Privacy, key: bytes | None, sealer: Sealer | None = None) -> None:
        self._actions, self._unclassed = field_actions(privacy)
        self._generalise: dict[str, Generalise] = {
            name: generaliser(how) for name, how in privacy.generalise.items()
        }
        self._regions = privacy.phone_regions
        self._sealer = sealer
        if sealer is None and (needed_by := needs_master_key(privacy)):
            raise PrivacyError("values must be encrypted and there is no master key", where=needed_by)
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

    def close(self) -> None:
        """Close the sealer; no call may follow."""
        if self._sealer is not None:
            self._sealer.close()

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
                _SEAL,
                record,
                inputs=record.inputs,
                context=record.context,
                subject=None,
                consent=None,
                large={name: LargeColumn(values) for name, values in record.large.items()}
                if record.large
                else _NOTHING_LARGE,
                features=_named(record.features) if record.features else _NO_FEATURES,
            )
        secret: dict[str, Values] = {}
        subject = self._subject(record)
        inputs = self._redact_fields(record.inputs, secret, hide_personal=False)
        large, features = self._redact_large(record, subject, secret)
        context = self._redact_fields(record.context, secret, hide_personal=True)
        if secret and self._sealer is not None:
            context = {**context, SEALED: self._seal(self._sealer, record, subject, secret)}
        return RedactedRecord(
            _SEAL,
            record,
            inputs=inputs,
            context=context,
            subject=subject,
            consent=self._consent(record),
            large=large,
            features=features,
        )

    def _redact_large(
        self, record: PredictionRecord, subject: Sequence[str | None] | None, secret: dict[str, Values]
    ) -> tuple[Mapping[str, LargeColumn], Mapping[str, Values]]:
        """Large inputs are kept, encrypted with their features, or left out: nothing else fits an array."""
        large: dict[str, LargeColumn] = {}
        features: dict[str, Values] = {}
        for name, values in record.large.items():
            action = self._actions.get(name, self._unclassed)
            of_this = _named({name: record.features.get(name, {})})
            if action == "keep":
                large[name] = LargeColumn(values)
                features |= of_this
            elif action == "encrypt" and self._sealer is not None:
                large[name] = LargeColumn(values, _sealing(self._sealer, subject))
                secret.update({f"{FEATURE}{feature}": found for feature, found in of_this.items()})
        return large, features

    @staticmethod
    def _seal(
        sealer: Sealer,
        record: PredictionRecord,
        subject: Sequence[str | None] | None,
        secret: Mapping[str, Values],
    ) -> list[str]:
        """One text per row, which holds all values of the row that must be encrypted."""
        columns = [
            [None if missing(value) else value for value in rows(values)] for values in secret.values()
        ]
        subjects = subject or [None] * len(record)
        return [
            sealer.seal(who, name, dict(zip(secret, values, strict=True)))
            for who, name, *values in zip(subjects, record.prediction_ids, *columns, strict=True)
        ]

    def _redact_fields(
        self, fields: Mapping[str, Values], secret: dict[str, Values], *, hide_personal: bool
    ) -> Mapping[str, Values]:
        """What may be logged of the fields; those to encrypt go into `secret` under their column's name."""
        kind = "context" if hide_personal else "input"
        personal = (self._subject_field, self._consent_field) if hide_personal else ()
        if self._unclassed == "keep" and not any(name in fields for name in (*self._changes, *personal)):
            return fields
        redacted: dict[str, Values] = {}
        for name, values in fields.items():
            action = self._actions.get(name, self._unclassed)
            if action == "drop" or name in personal:
                continue
            if action == "encrypt":
                secret[f"{kind}_{name}"] = values
                continue
            redacted[name] = values if action == "keep" else self._replace(name, values, action)
        return redacted

    def _replace(self, name: str, values: Values, action: FieldAction) -> Values:
        if action == "mask":
            return [None if missing(value) else MASK for value in rows(values)]
        if action == "generalise":
            coarser = self._generalise[name]
            return [None if missing(value) else coarser(value) for value in rows(values)]  # type: ignore[misc]  # coarser values are scalars
        if action == "redact":
            return [
                None
                if missing(value)
                else redact_text(value, self._regions)
                if isinstance(value, str)
                else MASK
                for value in rows(values)
            ]
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


def _named(features: Mapping[str, Mapping[str, Values]]) -> dict[str, Values]:
    return {
        f"{name}_{feature}": values for name, found in features.items() for feature, values in found.items()
    }


def _sealing(sealer: Sealer, subject: Sequence[str | None] | None) -> Seal:
    def seal(row: int, header: bytes, content: memoryview) -> bytes:
        return sealer.seal_bytes(None if subject is None else subject[row], header, content)

    return seal


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
