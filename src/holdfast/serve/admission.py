"""Which callers are admitted, and to what: by API keys, and by tokens of an identity provider."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from holdfast.clock import Clock
from holdfast.serve.errors import ForbiddenError, RateLimitedError, UnauthorisedError
from holdfast.serve.rates import SLOTS, RateGate, RateSlots
from holdfast.serve.tokens import TokenVerifier
from holdfast.spec.checklist import Security

if TYPE_CHECKING:
    from holdfast.registry import Registry

Scope = Literal["predict", "label", "read", "rows", "admin"]
_PREFIX: Final = b"hfk_"
_ID_DIGITS: Final = 12
_ALL: Final = frozenset({"predict", "label", "read", "rows", "admin"})
_OF_CHECKLIST: Final = frozenset({"predict", "label", "read"})
"""What a key from the checklist may do: what every key could before there were scopes."""
_FIRST_TOKEN_SLOT: Final = SLOTS // 2
_MOST_TOKENS: Final = 4096
_NOBODY: Final = hashlib.sha256(b"").digest()


class KeyEntry(msgspec.Struct, frozen=True):
    """One active key as the supervisor tells it to the workers."""

    key_id: str
    sha256: bytes
    scopes: tuple[str, ...]
    expires_at_us: int | None
    requests_per_s: float | None
    slot: int
    """For its rate."""

    def __repr__(self) -> str:
        return f"KeyEntry({self.key_id!r})"


def active_keys(registry: Registry) -> tuple[KeyEntry, ...]:
    """Every key of the registry that was not revoked."""
    return tuple(
        KeyEntry(
            key.key_id,
            bytes.fromhex(key.sha256),
            key.scopes,
            key.expires_at_us,
            key.requests_per_s,
            key.number,
        )
        for key in registry.api_keys.all()
        if key.revoked_at_us is None
    )


class Grant:
    """What one admitted caller may do. Looked up once per head, asked once per request."""

    __slots__ = ("_clock", "_expires_at_us", "caller", "gate", "name", "scopes")

    def __init__(
        self,
        name: str,
        scopes: frozenset[str],
        expires_at_us: int | None,
        gate: RateGate | None,
        clock: Clock,
        *,
        caller: str = "",
    ) -> None:
        self.name = name
        """Stands in counts and in the audit: `key <id>`, never a secret."""
        self.caller = caller or name
        """The same for all grants of one caller, and for nobody else's; never shown."""
        self.scopes = scopes
        self.gate = gate
        self._expires_at_us = expires_at_us
        self._clock = clock

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self._expires_at_us is not None and self._clock.now_us() >= self._expires_at_us

    def admit(self) -> bool:
        """Whether one more request may pass now; if so it counts against the caller's rate."""
        return not self.expired and (self.gate is None or self.gate.admit())


class Admission:
    """Decides over Authorization headers.

    Args:
        security: the checklist's section.
        clock: for expiry and rates.
        slots: shared by the workers.
        tokens: where tokens are accepted beside keys.
    """

    def __init__(
        self,
        security: Security,
        clock: Clock,
        slots: RateSlots | None = None,
        tokens: TokenVerifier | None = None,
    ) -> None:
        self.open_to_all = security.auth == "none"
        self._clock = clock
        self._slots = slots or RateSlots()
        self._default_rate = security.requests_per_s_per_key
        self.tokens = tokens
        self._of_tokens: dict[bytes, Grant] = {}
        self._grants: dict[bytes, tuple[bytes, Grant]] = {}
        self._of_checklist = [
            (bytes.fromhex(one), self._grant(f"key {one[:12]}", _OF_CHECKLIST, None, None, SLOTS - 1 - index))
            for index, one in enumerate(security.api_key_hashes)
        ]

    def _grant(
        self,
        name: str,
        scopes: frozenset[str],
        expires_at_us: int | None,
        rate: float | None,
        slot: int,
        *,
        caller: str = "",
    ) -> Grant:
        rate = self._default_rate if rate is None else rate
        gate = None if rate is None else RateGate(self._slots, slot % SLOTS, rate, self._clock)
        return Grant(name, scopes, expires_at_us, gate, self._clock, caller=caller)

    def replace_keys(self, entries: Sequence[KeyEntry]) -> None:
        """From now on these are the registry's active keys, and no others."""
        self._grants = {
            entry.key_id.encode(): (
                entry.sha256,
                self._grant(
                    f"key {entry.key_id}",
                    _ALL if "admin" in entry.scopes else frozenset(entry.scopes),
                    entry.expires_at_us,
                    entry.requests_per_s,
                    entry.slot,
                ),
            )
            for entry in entries
        }

    @property
    def names(self) -> frozenset[str]:
        """Of the callers that keys let in now, as they stand in `Grant.name`."""
        return frozenset(grant.name for _, grant in (*self._grants.values(), *self._of_checklist))

    def forget_tokens(self) -> None:
        """Tokens seen before must be verified again: the provider's keys have changed."""
        self._of_tokens.clear()

    def find(self, authorization: bytes | None) -> Grant:
        """Who asks.

        A key carries its public id, by which the one hash to compare with is found; the comparison takes the
        same time wherever they differ. Costs about 2 microseconds.

        Raises:
            UnauthorisedError: nobody who is known.
        """
        scheme, _, credential = (authorization or b"").partition(b" ")
        credential = credential.strip()
        if scheme.lower() == b"bearer" and credential:
            found = self._find_key(credential)
            if found is None and self.tokens is not None and credential.count(b".") == 2:
                found = self._find_token(self.tokens, credential)
            if found is not None and not found.expired:
                return found
        raise UnauthorisedError(
            "an API key is needed" if not authorization else "the API key is not accepted",
            expected="the header `Authorization: Bearer KEY`",
        )

    def _find_token(self, tokens: TokenVerifier, token: bytes) -> Grant:
        digest = hashlib.sha256(token).digest()
        known = self._of_tokens.get(digest)
        if known is None:
            said = tokens.verify(token)
            subject = hashlib.sha256(said.subject.encode())
            slot = _FIRST_TOKEN_SLOT + int.from_bytes(subject.digest()[:4], "little") % (SLOTS // 4)
            scopes = _ALL if "admin" in said.scopes else said.scopes & _ALL
            caller = f"token of {subject.hexdigest()}"
            known = self._grant("token", scopes, said.expires_at_us, None, slot, caller=caller)
            if len(self._of_tokens) >= _MOST_TOKENS:
                self._of_tokens.clear()
            self._of_tokens[digest] = known
        return known

    def _find_key(self, key: bytes) -> Grant | None:
        digest = hashlib.sha256(key).digest()
        start = len(_PREFIX)
        if key.startswith(_PREFIX) and key[start + _ID_DIGITS : start + _ID_DIGITS + 1] == b"_":
            known, grant = self._grants.get(key[start : start + _ID_DIGITS], (_NOBODY, None))
            if hmac.compare_digest(digest, known) and grant is not None:
                return grant
        accepted = None
        for known, grant in self._of_checklist:
            # Every hash is compared, in constant time: neither which key nor how much of it matched leaks.
            if hmac.compare_digest(digest, known):
                accepted = grant
        return accepted


def check_scope(grant: Grant, scopes: frozenset[str]) -> None:
    """Refuse a caller who may not do this, or not so often.

    Args:
        grant: the caller's.
        scopes: any one of these is enough.

    Raises:
        ForbiddenError: none of the caller's scopes is enough.
        RateLimitedError: the caller asks too often.
        UnauthorisedError: the grant's time is over.
    """
    if not (grant.scopes & scopes):
        wanted = sorted(scopes or _OF_CHECKLIST)
        raise ForbiddenError(
            "this key may not do that",
            expected="a key with the scope " + " or ".join(wanted),
            received=", ".join(sorted(grant.scopes)) or "no scope",
            next_step=f"Let whoever runs the service make one: holdfast key create NAME --scope {wanted[0]}",
        )
    if not grant.admit():
        if grant.gate is None or grant.expired:
            raise UnauthorisedError(
                "the API key has expired",
                next_step="Let whoever runs the service make a new one: holdfast key create NAME",
            )
        raise RateLimitedError(grant.gate.wait_s())
