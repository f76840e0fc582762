"""Consent as callers send it, and the book in which a worker writes it down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from holdfast.clock import Clock
from holdfast.infer import InputError, NotReadyError, check_time, kind_of, nearest, read_json
from holdfast.privacy import PSEUDONYM_KEY_VARIABLE, SubjectStore, subject_pseudonym

_FIELDS: Final = ("subject", "prediction_id", "consent", "at")


class Statement(NamedTuple):
    """One statement as it came. Never shown: it names a person."""

    subject: str | int | None
    prediction_id: str | None
    agreed: bool
    at_us: int


class ConsentBook:
    """Writes statements down beside the log; each call waits for the disk, so call it in a thread.

    Args:
        folder: of the deployment.
        pseudonym_key: under which the log knows subjects; None: only predictions can be named.
        clock: wall time.
    """

    def __init__(self, folder: Path, pseudonym_key: bytes | None, clock: Clock) -> None:
        self._folder = folder
        self._key = pseudonym_key
        self._clock = clock
        self._store: SubjectStore | None = None

    def record(self, statements: Sequence[Statement], recorded_by: str) -> None:
        """Add the statements; all are checked before the first is written.

        Raises:
            NotReadyError: a subject is named and there is no pseudonym key.
        """
        if self._key is None and any(one.subject is not None for one in statements):
            raise NotReadyError(
                "the service does not know subjects", next_step=f"Start it with {PSEUDONYM_KEY_VARIABLE}."
            )
        if self._store is None:
            self._store = SubjectStore(self._folder, synced=True)
        now_us = self._clock.now_us()
        for one in statements:
            who = None
            if one.subject is not None and self._key is not None:
                who = subject_pseudonym(self._key, one.subject)
            self._store.record_consent(
                agreed=one.agreed,
                subject=who,
                prediction_id=one.prediction_id,
                at_us=one.at_us,
                now_us=now_us,
                recorded_by=recorded_by,
            )

    def close(self) -> None:
        """No call may follow."""
        if self._store is not None:
            self._store.close()


def read_consents(body: bytes, clock: Clock) -> list[Statement]:
    """The statements of a body: one JSON object or a list of them.

    Raises:
        MalformedBodyError: not readable.
        InputError: a statement is not of the form; `where` is the path. Values are not repeated.
    """
    value = read_json(body)
    found = [(one, f"$[{i}]") for i, one in enumerate(value)] if isinstance(value, list) else [(value, "$")]
    return [_read_statement(one, path, clock.now_us()) for one, path in found]


def _read_statement(value: Any, path: str, now_us: int) -> Statement:
    if not isinstance(value, dict):
        raise InputError("wrong type", where=path, expected="an object", received=kind_of(value))
    for name in value:
        if name not in _FIELDS:
            near = nearest(name, _FIELDS)
            raise InputError(
                "unknown field",
                where=f"{path}.{name[:80]}",
                expected=", ".join(_FIELDS),
                next_step=f"Did you mean {near!r}?" if near else None,
            )
    subject, prediction_id = value.get("subject"), value.get("prediction_id")
    if (subject is None) == (prediction_id is None):
        raise InputError(
            "names nothing or two things", where=path, expected="either subject or prediction_id"
        )
    named = "prediction_id" if subject is None else "subject"
    who = value[named]
    if isinstance(who, bool) or not isinstance(who, str | int) or who == "":
        raise InputError("wrong type", where=f"{path}.{named}", expected="a text", received=kind_of(who))
    agreed = value.get("consent")
    if not isinstance(agreed, bool):
        raise InputError(
            "missing" if "consent" not in value else "wrong type",
            where=f"{path}.consent",
            expected="true or false",
        )
    at = value.get("at")
    if at is not None and not isinstance(at, str):
        raise InputError("wrong type", where=f"{path}.at", expected="a time (ISO 8601)", received=kind_of(at))
    at_us = now_us if at is None else check_time(at, f"{path}.at")
    return Statement(subject, None if prediction_id is None else str(prediction_id), agreed, at_us)
