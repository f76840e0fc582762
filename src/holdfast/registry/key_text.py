"""What an API key is, without where it is stored: its text, its hash, its scopes."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, Literal, get_args

import msgspec

Scope = Literal["predict", "label", "read", "rows", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
PREFIX: Final = "hfk_"
_SECRET_BYTES: Final = 32
ID_BYTES: Final = 6


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key, without the key itself. Its repr shows no hash."""

    number: int
    """Order of creation, from 1."""
    key_id: str
    """The public part, 12 hexadecimal digits; it stands in the key's own text."""
    name: str
    """Of whoever uses it."""
    sha256: str
    """Of the whole key, 256 random bits: a fast hash is enough, as there is nothing to guess."""
    scopes: tuple[Scope, ...]
    """`admin` includes the others."""
    requests_per_s: float | None
    """None: as `[security] requests_per_s_per_key` says."""
    created_at_us: int
    created_by: str
    expires_at_us: int | None
    revoked_at_us: int | None
    revoked_by: str | None

    def __repr__(self) -> str:
        return f"ApiKey(key_id={self.key_id!r}, name={self.name!r})"

    def state(self, now_us: int) -> Literal["active", "expired", "revoked"]:
        """Whether it is accepted now."""
        if self.revoked_at_us is not None:
            return "revoked"
        return "active" if self.expires_at_us is None or now_us < self.expires_at_us else "expired"


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was just made. This is the only time that its text exists outside the caller's hands."""

    key: str
    entry: ApiKey

    def __repr__(self) -> str:
        return f"NewKey({self.entry!r})"


def new_secret(key_id: str | None = None) -> str:
    """The text of a key: a prefix that scanners for leaked secrets can find, a public id, 256 random bits."""
    return f"{PREFIX}{key_id or secrets.token_hex(ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def key_hash(key: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).hexdigest()
