"""Alarms and the messages about them: written together, sent afterwards, counted.

An alarm and its messages enter in one transaction; whoever sends takes what is due, and writes down what came
of it. A sender that dies leaves its messages behind, and they are due again after a while: a message may
arrive twice, with the same `id`, and is never lost before its time is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
import sqlalchemy as sa

from holdfast.clock import Clock
from holdfast.registry.database import (
    alarms_table,
    alert_deliveries_table,
    alert_messages_table,
    reading,
    writing,
)

_Row = TypeVar("_Row", bound=msgspec.Struct)
DeliveryState = Literal["waiting", "sent", "given up"]
KEPT_US: Final = 90 * 86_400_000_000
"""How long messages are kept: a quarter, for whoever looks back; so the outbox stays small."""
_deliveries, _messages, _alarms = alert_deliveries_table.c, alert_messages_table.c, alarms_table.c


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm, from its beginning to its end."""

    number: int
    source: str
    """What raises it, such as `drift`; of each source one alarm stands at most."""
    key: str
    """Deployment, what, since when: the same for all messages about it."""
    topics: tuple[str, ...]
    """What was told of it."""
    opened_at_us: int
    told_at_us: int | None
    """When the last message about it was written."""
    closed_at_us: int | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a source's alarm, and the message that says so."""

    key: str
    topics: tuple[str, ...]
    closed: bool = False
    content: Mapping[str, Any] | None = None
    """JSON of the message; None: nothing is told."""
    channels: Sequence[str] = ()
    """Names of the channels that are told."""
    due_at_us: int = 0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one channel."""

    number: int
    channel: str
    state: DeliveryState
    tries: int
    due_at_us: int
    sent_at_us: int | None
    error: str
    """Of the last try; never holds an address."""
    written_at_us: int
    content: dict[str, Any]


class Outbox:
    """The alarms and messages of a registry."""

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def change(
        self, source: str, decide: Callable[[Alarm | None], Change | None]
    ) -> tuple[Alarm | None, bool]:
        """Let `decide` say what becomes of a source's newest alarm while no other writer is at work.

        Returns:
            The alarm afterwards, and whether a message was written.
        """
        now_us = self._clock.now_us()
        newest = (
            sa.select(alarms_table).where(_alarms.source == source).order_by(_alarms.number.desc()).limit(1)
        )
        with reading(self._engine) as connection:  # most looks change nothing, and need no lock
            if decide(_alarm(connection.execute(newest).mappings().one_or_none())) is None:
                return _alarm(connection.execute(newest).mappings().one_or_none()), False
        with writing(self._engine) as connection:
            before = _alarm(connection.execute(newest).mappings().one_or_none())
            wanted = decide(before)
            if wanted is None:
                return before, False
            self._prune(connection, now_us)
            told = wanted.content is not None
            values: dict[str, Any] = {
                "topics": list(wanted.topics),
                "closed_at_us": now_us if wanted.closed else None,
            }
            if told:
                values["told_at_us"] = now_us
            if before is not None and before.key == wanted.key:
                number = before.number
                connection.execute(sa.update(alarms_table).where(_alarms.number == number).values(**values))
            else:
                number = _inserted(
                    connection.execute(
                        sa.insert(alarms_table).values(
                            source=source, key=wanted.key, opened_at_us=now_us, **values
                        )
                    )
                )
            if wanted.content is not None:
                _write(
                    connection,
                    now_us,
                    alarm=number,
                    content=wanted.content,
                    channels=wanted.channels,
                    due_at_us=wanted.due_at_us,
                )
            after = _alarm(connection.execute(newest).mappings().one_or_none())
        return after, told

    def write(self, content: Mapping[str, Any], channels: Sequence[str], *, hold_us: int) -> list[Delivery]:
        """Write one message that belongs to no alarm, as claimed by the caller."""
        now_us = self._clock.now_us()
        with writing(self._engine) as connection:
            message = _write(
                connection, now_us, alarm=None, content=content, channels=channels, due_at_us=now_us + hold_us
            )
            mine = _JOINED.where(_deliveries.message == message).order_by(_deliveries.number)
            return [_delivery(row) for row in connection.execute(mine).mappings()]

    def alarms(self, *, standing: bool = False) -> list[Alarm]:
        """Newest first; on request only those that stand."""
        query = sa.select(alarms_table).order_by(_alarms.number.desc())
        if standing:
            query = query.where(_alarms.closed_at_us.is_(None))
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [found for found in map(_alarm, rows) if found is not None]

    def deliveries(self, limit: int | None = None) -> list[Delivery]:
        """Newest first."""
        query = _JOINED.order_by(_deliveries.number.desc())
        if limit is not None:
            query = query.limit(limit)
        with reading(self._engine) as connection:
            return [_delivery(row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[DeliveryState, int]:
        """How many deliveries wait, were sent and were given up."""
        query = sa.select(_deliveries.state, sa.func.count()).group_by(_deliveries.state)
        found: dict[DeliveryState, int] = {"waiting": 0, "sent": 0, "given up": 0}
        with reading(self._engine) as connection:
            found.update((state, count) for state, count in connection.execute(query))
        return found

    def claim(self, channel: str, *, hold_us: int, limit: int) -> list[Delivery]:
        """Take the oldest due deliveries of a channel; nobody else gets them for `hold_us`."""
        now_us = self._clock.now_us()
        due = (
            _JOINED.where(_deliveries.state == "waiting")
            .where(_deliveries.due_at_us <= now_us)
            .where(_deliveries.channel == channel)
            .order_by(_deliveries.number)
            .limit(limit)
        )
        with reading(self._engine) as connection:
            if connection.execute(due).first() is None:
                return []
        with writing(self._engine) as connection:
            found = [_delivery(row) for row in connection.execute(due).mappings()]
            numbers = [one.number for one in found]
            connection.execute(
                sa.update(alert_deliveries_table)
                .where(_deliveries.number.in_(numbers))
                .values(due_at_us=now_us + hold_us)
            )
        return found

    def sent(self, number: int) -> None:
        """A channel took it."""
        self._set(
            number, state="sent", sent_at_us=self._clock.now_us(), tries=_deliveries.tries + 1, error=""
        )

    def failed(self, number: int, error: str, due_at_us: int | None) -> None:
        """A try failed; with None as the next time, it is given up, and counted."""
        values: dict[str, Any] = {"error": error[:200], "tries": _deliveries.tries + 1}
        if due_at_us is None:
            values["state"] = "given up"
        else:
            values["due_at_us"] = due_at_us
        self._set(number, **values)

    def release(self, numbers: Sequence[int], due_at_us: int) -> None:
        """Put claimed deliveries back that were not tried."""
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(alert_deliveries_table)
                .where(_deliveries.number.in_(list(numbers)))
                .values(due_at_us=due_at_us)
            )

    def give_up_all_but(self, channels: Sequence[str]) -> int:
        """Give up what waits for channels that are no longer named; returns how many."""
        gone = sa.and_(_deliveries.state == "waiting", _deliveries.channel.not_in(list(channels)))
        with reading(self._engine) as connection:
            if not connection.execute(
                sa.select(sa.func.count()).select_from(alert_deliveries_table).where(gone)
            ).scalar_one():
                return 0
        with writing(self._engine) as connection:
            result = connection.execute(
                sa.update(alert_deliveries_table)
                .where(gone)
                .values(state="given up", error="the checklist no longer names this channel")
            )
            return int(result.rowcount)

    def _set(self, number: int, **values: Any) -> None:
        with writing(self._engine) as connection:
            connection.execute(
                sa.update(alert_deliveries_table).where(_deliveries.number == number).values(**values)
            )

    @staticmethod
    def _prune(connection: sa.Connection, now_us: int) -> None:
        old = sa.select(_messages.number).where(_messages.at_us < now_us - KEPT_US)
        waiting = sa.select(_deliveries.message).where(_deliveries.state == "waiting")
        gone = old.where(_messages.number.not_in(waiting))
        connection.execute(sa.delete(alert_deliveries_table).where(_deliveries.message.in_(gone)))
        kept = sa.select(_deliveries.message)
        connection.execute(
            sa.delete(alert_messages_table)
            .where(_messages.at_us < now_us - KEPT_US)
            .where(_messages.number.not_in(kept))
        )


_JOINED: Final = sa.select(
    alert_deliveries_table,
    alert_messages_table.c.content,
    alert_messages_table.c.at_us.label("written_at_us"),
).join(alert_messages_table, _deliveries.message == _messages.number)


def _write(
    connection: sa.Connection,
    now_us: int,
    *,
    alarm: int | None,
    content: Mapping[str, Any],
    channels: Sequence[str],
    due_at_us: int,
) -> int:
    message = _inserted(
        connection.execute(
            sa.insert(alert_messages_table).values(alarm=alarm, at_us=now_us, content=dict(content))
        )
    )
    for channel in channels:
        connection.execute(
            sa.insert(alert_deliveries_table).values(
                message=message, channel=channel, state="waiting", tries=0, due_at_us=due_at_us, error=""
            )
        )
    return message


def _inserted(result: sa.CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    return int(key[0]) if key is not None else 0


def _alarm(row: Mapping[Any, Any] | None) -> Alarm | None:
    return None if row is None else _as(Alarm, row)


def _delivery(row: Mapping[Any, Any]) -> Delivery:
    return _as(Delivery, row)


def _as(wanted: type[_Row], row: Mapping[Any, Any]) -> _Row:
    """A row whose names may be SQLAlchemy's own strings."""
    return msgspec.convert({name: row[name] for name in wanted.__struct_fields__}, wanted)
