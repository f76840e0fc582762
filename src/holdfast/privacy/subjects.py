"""What is kept about subjects outside the log: their data keys and what they have agreed to.

One SQLite file, `subjects.db`, beside the checklist. A subject is known here by pseudonym only. Every data
key is stored wrapped by the master key, which is in no file of the deployment: the file alone opens nothing,
the master key alone opens nothing, and a key that was destroyed here opens nothing ever again, in no backup
of the log. Back this file up apart from the log and for less time: a restored key is a restored subject.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

from holdfast.privacy.pseudonym import PrivacyError

MASTER_KEY_VARIABLE: Final = "HOLDFAST_MASTER_KEY"
"""The environment variable that the composition root reads; no room reads the environment itself."""
SUBJECTS_FILE: Final = "subjects.db"
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_WITNESS: Final = "\0witness of the master key"
"""The entry that tells which master key is in use, from the first rotation on."""
_MOST_CACHED_KEYS: Final = 10_000
_BUSY_TIMEOUT_S: Final = 15.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS data_keys (
    subject TEXT PRIMARY KEY, wrapped BLOB NOT NULL, created_at_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consents (
    number INTEGER PRIMARY KEY, subject TEXT, prediction_id TEXT, agreed INTEGER NOT NULL,
    at_us INTEGER NOT NULL, recorded_at_us INTEGER NOT NULL, recorded_by TEXT NOT NULL,
    CHECK ((subject IS NULL) <> (prediction_id IS NULL)));
CREATE INDEX IF NOT EXISTS consents_of_subject ON consents (subject);
CREATE INDEX IF NOT EXISTS consents_of_prediction ON consents (prediction_id);
CREATE TABLE IF NOT EXISTS erasures (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL);
INSERT OR IGNORE INTO erasures VALUES (1, 0);
"""


class MasterKeyError(PrivacyError):
    """The checklist asks for encryption and the master key is missing or is no key."""


class Consent(NamedTuple):
    """One statement, about a subject (pseudonym) or about one prediction."""

    subject: str | None
    prediction_id: str | None
    agreed: bool
    at_us: int
    """From when on it holds."""
    recorded_at_us: int
    recorded_by: str


def read_master_key(environ: Mapping[str, str], file: Path | None, *, needed_by: str) -> bytes:
    """The 32 bytes that wrap all data keys, from the environment or else from a file.

    Raises:
        MasterKeyError: neither holds 64 hexadecimal digits. The text never repeats what was there.
    """
    text, where = environ.get(MASTER_KEY_VARIABLE), MASTER_KEY_VARIABLE
    if text is None and file is not None:
        where = str(file)
        try:
            text = file.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise MasterKeyError("the master key cannot be read", where=where) from error
    make_one = (
        f"Set {MASTER_KEY_VARIABLE}, or [privacy] master_key_file, to what "
        'python -c "import secrets; print(secrets.token_hex(32))" prints. Keep it outside the deployment '
        "folder and keep it: without it what is encrypted is lost"
    )
    if text is None:
        raise MasterKeyError("a master key is needed and there is none", where=needed_by, next_step=make_one)
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise MasterKeyError(
            "not a master key", where=where, expected="64 hexadecimal digits", next_step=make_one
        )
    return key


class SubjectStore:
    """The file, open. One object may be used by several threads.

    Args:
        folder: of the deployment.
        synced: wait for the disk at each new key, as durability "synced" needs.

    Raises:
        PrivacyError: here and by every method, the file cannot be read or written.
    """

    def __init__(self, folder: Path, *, synced: bool = False) -> None:
        path = folder / SUBJECTS_FILE
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        self._path = path
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            with self._use():
                for pragma in (
                    "journal_mode = WAL",
                    f"synchronous = {'FULL' if synced else 'NORMAL'}",
                    "secure_delete = ON",
                ):
                    self._database.execute(f"PRAGMA {pragma}")
                self._database.executescript(_SCHEMA)
        except PrivacyError:
            self._database.close()
            raise
        self._keys: dict[str, bytes] = {}
        self._seen = (-1, -1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No call may follow."""
        self._database.close()

    @contextmanager
    def _use(self) -> Iterator[None]:
        """The file, for one thread."""
        try:
            with self._lock:
                yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):  # of a caller, not of the disk
            raise
        except sqlite3.Error as error:  # full, locked for too long, gone, no database
            raise PrivacyError(
                "the keys and consents of subjects cannot be read or written",
                where=str(self._path),
                received=str(error),
            ) from error

    @contextmanager
    def _change(self) -> Iterator[None]:
        """All of it or nothing."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException:
            self._database.rollback()
            raise

    # Data keys

    def data_key(self, master_key: bytes, subject: str, now_us: int) -> bytes:
        """The subject's data key, made at first use. A transaction of about 0.1 ms at first use.

        Raises:
            MasterKeyError: it was wrapped by another master key.
        """
        with self._use():
            self._forget_destroyed()
            known = self._keys.get(subject)
            if known is not None:
                return known
            found = self._find(master_key, subject)
            if found is None:
                self._find(master_key, _WITNESS)  # after a rotation no key is made under the old one
                self._database.execute(
                    "INSERT INTO data_keys VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    (subject, _wrap(master_key, subject, os.urandom(KEY_BYTES)), now_us),
                )
                found = self._find(master_key, subject)  # perhaps another worker's
            if found is None:
                raise PrivacyError("the subject is being erased at this moment", next_step="Ask again.")
            return found

    def find_data_key(self, master_key: bytes, subject: str) -> bytes | None:
        """The subject's data key, or None if there is none (any more).

        Raises:
            MasterKeyError: it was wrapped by another master key.
        """
        with self._use():
            self._forget_destroyed()
            return self._keys.get(subject) or self._find(master_key, subject)

    def rotate_master_key(self, old: bytes, new: bytes) -> int:
        """Wrap every data key with another master key, all or none; returns how many.

        One transaction: whatever dies in the middle, all keys are under the old one. Logged values are not
        touched. A worker that still has the old master key can neither open nor make a key afterwards.

        Raises:
            MasterKeyError: the keys are not under the old master key; none is changed.
        """
        with self._use():
            with self._change():
                rows = self._database.execute("SELECT subject, wrapped FROM data_keys").fetchall()
                for subject, wrapped in rows:
                    fresh = _wrap(new, subject, _unwrap(old, subject, wrapped))
                    self._database.execute(
                        "UPDATE data_keys SET wrapped = ? WHERE subject = ?", (fresh, subject)
                    )
                self._database.execute(
                    "INSERT INTO data_keys VALUES (?, ?, 0) ON CONFLICT DO NOTHING",
                    (_WITNESS, _wrap(new, _WITNESS, os.urandom(KEY_BYTES))),
                )
                self._database.execute("UPDATE erasures SET number = number + 1")
            self._keys.clear()
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return sum(subject != _WITNESS for subject, _ in rows)

    def _find(self, master_key: bytes, subject: str) -> bytes | None:
        row = self._database.execute("SELECT wrapped FROM data_keys WHERE subject = ?", (subject,)).fetchone()
        if row is None:
            return None
        if len(self._keys) >= _MOST_CACHED_KEYS:
            self._keys.clear()
        self._keys[subject] = key = _unwrap(master_key, subject, row[0])
        return key

    def _forget_destroyed(self) -> None:
        """Drop the cached keys when another connection has destroyed one."""
        version = self._database.execute("PRAGMA data_version").fetchone()[0]
        if version != self._seen[0]:
            number = self._database.execute("SELECT number FROM erasures").fetchone()[0]
            if number != self._seen[1]:
                self._keys.clear()
            self._seen = (version, number)

    # Consent

    def record_consent(
        self,
        *,
        agreed: bool,
        subject: str | None = None,
        prediction_id: str | None = None,
        at_us: int,
        now_us: int,
        recorded_by: str,
    ) -> None:
        """Add a statement about a subject (pseudonym) or a prediction; earlier ones are kept."""
        with self._use():
            self._database.execute(
                "INSERT INTO consents VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                (subject, prediction_id, int(agreed), at_us, now_us, recorded_by),
            )

    def consents(self, as_of_us: int | None = None) -> list[Consent]:
        """Every statement that holds from that moment or before, in the order in which they count."""
        query = "SELECT subject, prediction_id, agreed, at_us, recorded_at_us, recorded_by FROM consents"
        limit = "" if as_of_us is None else " WHERE at_us <= ?"
        with self._use():
            rows = self._database.execute(
                f"{query}{limit} ORDER BY at_us, number", () if as_of_us is None else (as_of_us,)
            ).fetchall()
        return [Consent(row[0], row[1], bool(row[2]), row[3], row[4], row[5]) for row in rows]

    # Erasure

    def erase(self, subjects: Sequence[str], prediction_ids: Sequence[str] = ()) -> tuple[int, int]:
        """Destroy the subjects' keys and remove their statements, from the file's free pages too.

        Returns:
            Keys destroyed, statements removed.
        """
        with self._use():
            keys = statements = 0
            with self._change():
                run = self._database.execute
                for subject in subjects:
                    keys += run("DELETE FROM data_keys WHERE subject = ?", (subject,)).rowcount
                    statements += run("DELETE FROM consents WHERE subject = ?", (subject,)).rowcount
                for name in prediction_ids:
                    statements += run("DELETE FROM consents WHERE prediction_id = ?", (name,)).rowcount
                run("UPDATE erasures SET number = number + 1")
            self._keys.clear()
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return keys, statements


def _wrap(master_key: bytes, subject: str, key: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(master_key).encrypt(nonce, key, f"holdfast data key of {subject}".encode())


def _unwrap(master_key: bytes, subject: str, wrapped: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(master_key).decrypt(
            wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], f"holdfast data key of {subject}".encode()
        )
    except InvalidTag:
        raise MasterKeyError(
            "this is not the master key that the data keys were wrapped with",
            where=SUBJECTS_FILE,
            next_step=f"Set {MASTER_KEY_VARIABLE} to the one that was used before",
        ) from None
