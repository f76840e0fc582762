"""Whether the channels of `[alerts]` can be reached; on request, whether they take a message."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from holdfast.alerts import AlertError, Alerting, Channel
from holdfast.check.lines import Line
from holdfast.clock import Clock
from holdfast.registry import Registry
from holdfast.spec import Deployment

_KEYS: Final = ("webhooks", "channels", "pagers")
_TIMEOUT_S: Final = 5.0
_SEND: Final = "Send a test message with --send-alerts."


def alert_lines(
    deployment: Deployment, registry: Registry, clock: Clock, environ: Mapping[str, str], *, send: bool
) -> Iterator[Line]:
    """One line for each kind of channel that the checklist names.

    An address is often a secret, so a channel is named by its place and host only.

    Args:
        deployment: its `[alerts]`.
        registry: of the deployment; its outbox records the test messages.
        clock: time of the messages.
        environ: where `env:NAME` stands.
        send: send each a message that says that it is a test, by the sender of real alarms; else nothing is
            sent: webhooks are connected to, TLS included, and of the others only the address is read.
    """
    named = {key: getattr(deployment.checklist.alerts, key) for key in _KEYS}
    asked = {key: len(entries) for key, entries in named.items() if entries}
    if not asked:
        return
    try:
        alerting = Alerting.open(deployment, registry, clock, environ)
    except AlertError as error:
        yield from _unreadable(asked, error)
        return
    sent = alerting.test() if send else []
    for key, count in asked.items():
        if send:
            refused = [one for one in sent if one.channel.startswith(key) and one.state != "sent"]
            said = [f"{one.channel}: {one.error or 'no answer in time'}" for one in refused]
            yield _line(key, count, f"{count - len(said)} of {count} took a test message", faults=said)
        elif key == "webhooks":
            said = list(_unreachable([one for one in alerting.channels if one.way == "webhook"]))
            line = f"{count - len(said)} of {count} can be reached"
            yield _line(key, count, line, faults=said, otherwise=_SEND)
        else:
            yield Line(
                line=f"alerts.{key}",
                asked=f"{count} {key}",
                measured=f"{count} of {count} addresses can be read; nothing was sent",
                verdict="unknown",
                advice=_SEND,
            )


def _line(
    key: str, count: int, measured: str, *, faults: Sequence[str], otherwise: str | None = None
) -> Line:
    return Line(
        line=f"alerts.{key}",
        asked=f"{count} {key}",
        measured=measured,
        verdict="fail" if faults else "pass",
        advice="; ".join(faults) or otherwise,
    )


def _unreadable(asked: Mapping[str, int], error: AlertError) -> Iterator[Line]:
    """The line of the channel without an address fails; of the others nothing is known."""
    at_fault = next((key for key in asked if f"{key}[" in (error.where or "")), None)
    for key, count in asked.items():
        failed = key == at_fault or at_fault is None
        yield Line(
            line=f"alerts.{key}",
            asked=f"{count} {key}",
            measured="an address cannot be read" if failed else None,
            verdict="fail" if failed else "unknown",
            advice=str(error) if failed else f"See alerts.{at_fault} first.",
        )


def _unreachable(webhooks: Sequence[Channel]) -> Iterator[str]:
    for channel in webhooks:
        parts = urlsplit(channel.address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            yield f"{channel.name} has no certificate that this machine trusts: {error.verify_message}"
        except (OSError, http.client.HTTPException) as error:
            yield f"{channel.name} cannot be reached from here: {str(error) or type(error).__name__}"
        finally:
            connection.close()
