"""Ending a key: whoever has stolen it goes on using it until then."""

from __future__ import annotations

import json
import sqlite3

from holdfast.clock import Clock
from holdfast.registry.key_text import ApiKey
from holdfast.registry.plainly import Act, change, write_down


def revoke_key(url: str, clock: Clock, key_id: str, *, actor: str) -> ApiKey:
    """End a key for ever. Revoking it again changes nothing.

    Args:
        url: of the registry.
        clock: the time of the entry.
        key_id: the key's public part.
        actor: who does it.

    Raises:
        RegistryError: the registry cannot be written.
        UnknownKeyError: lists those that are active.
    """
    act = Act(clock.now_us(), actor)
    return change(url, lambda connection: _revoke(connection, act, key_id)) or _by_registry(
        url, clock, key_id, actor=actor
    )


def _by_registry(url: str, clock: Clock, key_id: str, *, actor: str) -> ApiKey:
    from holdfast.registry.registry import Registry

    with Registry.open(url, clock) as registry:
        return registry.api_keys.revoke(key_id, actor=actor)


def _revoke(connection: sqlite3.Connection, act: Act, key_id: str) -> ApiKey | None:
    query = "SELECT * FROM api_keys WHERE key_id = ?"
    found = connection.execute(query, (key_id,)).fetchone()
    if found is None:
        return None
    if found["revoked_at_us"] is None:
        connection.execute(
            "UPDATE api_keys SET revoked_at_us = ?, revoked_by = ? WHERE key_id = ?",
            (act.at_us, act.actor, key_id),
        )
        write_down(connection, act, "key.revoke", key_id, {"name": found["name"]})
        found = connection.execute(query, (key_id,)).fetchone()
    return ApiKey(**{**dict(found), "scopes": tuple(json.loads(found["scopes"]))})
