"""API keys: who may ask, for what, until when. Only a hash of each key is stored."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from holdfast.clock import Clock
from holdfast.registry import audit
from holdfast.registry.database import api_keys_table, reading, writing
from holdfast.registry.errors import RegistryError, UnknownKeyError
from holdfast.registry.key_text import ID_BYTES, PREFIX, SCOPES, ApiKey, NewKey, Scope, key_hash, new_secret


class ApiKeys:
    """The keys of a registry."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create(
        self,
        *,
        name: str,
        scopes: Sequence[Scope],
        actor: str,
        expires_at_us: int | None = None,
        requests_per_s: float | None = None,
    ) -> NewKey:
        """Make a key.

        Args:
            name: says who uses it; several keys may share one, so that a caller can change keys.
            scopes: at least one.
            actor: who makes it.
            expires_at_us: microseconds since the epoch; None: never.
            requests_per_s: its own limit; None: the checklist's.

        Raises:
            RegistryError: an argument that makes no sense.
        """
        now_us = self._clock.now_us()
        _check(name, scopes, expires_at_us, requests_per_s, now_us)
        key_id = secrets.token_hex(ID_BYTES)
        key = new_secret(key_id)
        values: dict[str, Any] = {
            "key_id": key_id,
            "name": name,
            "sha256": key_hash(key),
            "scopes": [scope for scope in SCOPES if scope in scopes],
            "requests_per_s": requests_per_s,
            "created_at_us": now_us,
            "created_by": actor,
            "expires_at_us": expires_at_us,
            "revoked_at_us": None,
            "revoked_by": None,
        }
        with writing(self._engine) as connection:
            inserted = connection.execute(sa.insert(api_keys_table).values(values)).inserted_primary_key
            detail = {"name": name, "scopes": values["scopes"], "expires_at_us": expires_at_us}
            audit.append(connection, now_us, actor=actor, action="key.create", target=key_id, detail=detail)
        number = int(inserted[0]) if inserted is not None else 0
        return NewKey(key=key, entry=_entry({**values, "number": number}))

    def all(self) -> list[ApiKey]:
        """Every key there ever was, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(api_keys_table).order_by(api_keys_table.c.number))
            return [_entry(dict(row)) for row in rows.mappings()]

    def fingerprint(self) -> tuple[int, int]:
        """Changes with every creation and every revocation, and costs no reading of the keys.

        Keys are never deleted and never come back, so how many there are and how many are revoked says all.
        """
        counts = sa.select(sa.func.count(), sa.func.count(api_keys_table.c.revoked_at_us))
        with reading(self._engine) as connection:
            made, revoked = connection.execute(counts.select_from(api_keys_table)).one()
        return made, revoked

    def revoke(self, key_id: str, *, actor: str) -> ApiKey:
        """End a key for ever. Revoking it again changes nothing.

        Raises:
            UnknownKeyError: lists those that are active.
        """
        now_us = self._clock.now_us()
        wanted = api_keys_table.c.key_id == key_id
        with writing(self._engine) as connection:
            row = connection.execute(sa.select(api_keys_table).where(wanted)).mappings().one_or_none()
            if row is None:
                raise _unknown(connection, key_id)
            found = _entry(dict(row))
            if found.revoked_at_us is not None:
                return found
            connection.execute(
                sa.update(api_keys_table).where(wanted).values(revoked_at_us=now_us, revoked_by=actor)
            )
            audit.append(
                connection,
                now_us,
                actor=actor,
                action="key.revoke",
                target=key_id,
                detail={"name": found.name},
            )
        return msgspec.structs.replace(found, revoked_at_us=now_us, revoked_by=actor)


def _check(
    name: str,
    scopes: Sequence[Scope],
    expires_at_us: int | None,
    requests_per_s: float | None,
    now_us: int,
) -> None:
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise RegistryError("a key needs a name", expected="1 to 100 printable characters: who uses it")
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        raise RegistryError(
            "no such scope" if wrong else "a key needs at least one scope",
            expected=", ".join(SCOPES),
            received=", ".join(map(repr, wrong)) or None,
        )
    if expires_at_us is not None and expires_at_us <= now_us:
        raise RegistryError("the key would have expired already", expected="a time to come")
    if requests_per_s is not None and not (math.isfinite(requests_per_s) and requests_per_s > 0):
        raise RegistryError(
            "not a rate", expected="requests per second, above 0", received=f"{requests_per_s:g}"
        )


def _unknown(connection: sa.Connection, key_id: str) -> UnknownKeyError:
    active = sa.select(api_keys_table.c.key_id).where(api_keys_table.c.revoked_at_us.is_(None))
    known = list(connection.execute(active.order_by(api_keys_table.c.number)).scalars())
    is_a_key = key_id.startswith(PREFIX)
    return UnknownKeyError(
        "this is a whole key, not its id" if is_a_key else "there is no such key",
        where=None if is_a_key else key_id[:40],
        expected=", ".join(known) if known else "none, since no key is active",
        next_step="holdfast key list shows the ids",
    )


def _entry(row: dict[str, Any]) -> ApiKey:
    return ApiKey(**{**row, "scopes": tuple(row["scopes"])})
