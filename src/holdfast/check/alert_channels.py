"""Whether the channels of `[alerts]` can be reached; on request, whether they take an alarm."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from holdfast.check.lines import Line

_TIMEOUT_S: Final = 5.0


def alert_line(name: str, webhooks: Sequence[str], *, send: bool) -> Line | None:
    """One line for all webhooks; None where there are none.

    A webhook's path is often its secret, so only hosts are named.

    Args:
        name: of the deployment, for the message.
        webhooks: as the checklist has them.
        send: send each a message that says that it is a test; else only connect, TLS included.
    """
    if not webhooks:
        return None
    found = list(_faults(name, webhooks, send=send))
    done = "took a test alarm" if send else "can be reached"
    return Line(
        line="alerts.webhooks",
        asked=f"{len(webhooks)} webhook(s)",
        measured=f"{len(webhooks) - len(found)} of {len(webhooks)} {done}",
        verdict="fail" if found else "pass",
        advice="; ".join(found) or (None if send else "Send them a test alarm with --send-alerts."),
    )


def _faults(name: str, webhooks: Sequence[str], *, send: bool) -> Iterator[str]:
    for url in webhooks:
        parts = urlsplit(url)
        host = parts.hostname or ""
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(host, parts.port, timeout=_TIMEOUT_S)
        try:
            connection.connect()
            if not send:
                continue
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path, _message(name), {"content-type": "application/json"})
            status = connection.getresponse().status
            if status >= http.HTTPStatus.BAD_REQUEST:
                yield f"{host} answered {status} to a test alarm: does the URL still exist?"
        except ssl.SSLCertVerificationError as error:
            yield f"{host} has no certificate that this machine trusts: {error.verify_message}"
        except (OSError, http.client.HTTPException) as error:
            yield f"{host} cannot be reached from here: {str(error) or type(error).__name__}"
        finally:
            connection.close()


def _message(name: str) -> bytes:
    text = f"holdfast check of {name}: this is a test of the alert channel. No alarm stands."
    return msgspec.json.encode({"deployment": name, "kind": "test", "text": text})
