"""Encrypted values: one sealed text per row, opened only with the subject's data key."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from holdfast.clock import Clock
from holdfast.privacy.subjects import SubjectStore

if TYPE_CHECKING:
    import pyarrow as pa

SEALED: Final = "sealed"
"""Name of the context field that holds a row's sealed values; in the log the column `context_sealed`."""
_COLUMN: Final = f"context_{SEALED}"
_VERSION: Final = "1:"
_NONCE_BYTES: Final = 12
_NOBODY: Final = ""
"""Rows about nobody in particular share one key."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


class Sealer:
    """Seals and opens rows with AES-256-GCM under the data key of each row's subject.

    Args:
        store: of the data keys; closed with the sealer.
        master_key: 32 bytes that wrap them.
        clock: for when a key was made.
    """

    def __init__(self, store: SubjectStore, master_key: bytes, clock: Clock) -> None:
        self._store = store
        self._master_key = master_key
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; no call may follow."""
        self._store.close()

    def seal(self, subject: str | None, prediction_id: str, values: Mapping[str, object]) -> str:
        """The values as one text that is bound to the row. About 30 microseconds for 20 values."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._store.data_key(self._master_key, subject or _NOBODY, self._clock.now_us())
        nonce = os.urandom(_NONCE_BYTES)
        secret = AESGCM(key).encrypt(nonce, _encode(values), prediction_id.encode("utf-8", "replace"))
        return _VERSION + base64.b64encode(nonce + secret).decode()

    def open(self, subject: str | None, prediction_id: str, sealed: str | None) -> dict[str, Any] | None:
        """The values of one row; None if the subject's key is destroyed or the text is not this row's."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if sealed is None or not sealed.startswith(_VERSION):
            return None
        key = self._store.find_data_key(self._master_key, subject or _NOBODY)
        if key is None:
            return None
        try:
            raw = base64.b64decode(sealed.removeprefix(_VERSION), validate=True)
            plain = AESGCM(key).decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], prediction_id.encode("utf-8", "replace")
            )
        except (InvalidTag, ValueError):
            return None
        return _decode(plain)

    def seal_bytes(self, subject: str | None, header: bytes, content: memoryview) -> bytes:
        """A large content under the subject's key, bound to its header: AES-256-SIV (RFC 5297).

        Equal contents of one subject become equal bytes, so they are stored once; those of two subjects
        differ, so that nobody can tell that they were equal. Holds one copy, the result.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        key = self._store.data_key(self._master_key, subject or _NOBODY, self._clock.now_us())
        return AESSIV(_large_key(key)).encrypt(content, [header])

    def open_bytes(self, subject: str | None, header: bytes, sealed: bytes) -> bytes | None:
        """The reverse of `seal_bytes`; None if the subject's key is destroyed or another's."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        key = self._store.find_data_key(self._master_key, subject or _NOBODY)
        if key is None:
            return None
        try:
            return AESSIV(_large_key(key)).decrypt(sealed, [header])
        except InvalidTag:
            return None

    def open_table(self, table: pa.Table) -> pa.Table:
        """The table with each sealed value in a column of its own, `input_<name>` or `context_<name>`.

        Needs the columns prediction_id, subject and context_sealed; the last is left out of the result. Rows
        whose subject's key is destroyed have no values, and a name without any value gets no column.
        """
        if _COLUMN not in table.column_names:
            return table
        opened = [
            self.open(subject, name, sealed) or {}
            for subject, name, sealed in zip(
                _texts(table, "subject"), _texts(table, "prediction_id"), _texts(table, _COLUMN), strict=True
            )
        ]
        names = dict.fromkeys(name for row in opened for name, value in row.items() if value is not None)
        result = table.drop_columns([_COLUMN])
        for name in names:
            column = _column([row.get(name) for row in opened])
            if name in result.column_names:  # some rows were logged before the field was encrypted
                stored = result.column(name)
                merged = [
                    new if new is not None else old
                    for new, old in zip(column.to_pylist(), stored.to_pylist(), strict=True)
                ]
                result = result.set_column(result.column_names.index(name), name, _column(merged))
            else:
                result = result.append_column(name, column)
        return result


def _large_key(data_key: bytes) -> bytes:
    """Of its own, so that no key serves two ciphers."""
    return hashlib.blake2b(b"large inputs", digest_size=64, key=data_key).digest()


def _texts(table: pa.Table, name: str) -> Sequence[Any]:
    listed: list[Any] = (
        table.column(name).to_pylist() if name in table.column_names else [None] * table.num_rows
    )
    return listed


def _column(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])
