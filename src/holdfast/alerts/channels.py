"""Where messages go: webhooks by HTTP, everything else through Apprise."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from holdfast.alerts.errors import AlertError, ChannelError
from holdfast.errors import MissingExtraError
from holdfast.spec import Deployment

Way = Literal["webhook", "apprise"]
TIMEOUT_S: Final = 10.0
"""For each step of one webhook: far above a healthy one, far below the pause between two tries."""
_NOTE_TYPES: Final = {"critical": "failure", "warning": "warning", "good news": "success"}


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One place that is told. Its address is a secret: it stands in no `repr`, error or record."""

    name: str
    """Where the checklist names it, and of what sort it is: `channels[0] slack`."""
    way: Way
    pager: bool
    address: str

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"

    def send(self, content: Mapping[str, Any]) -> None:
        """Send one message; blocks until it was taken.

        Raises:
            ChannelError: it was not taken.
            MissingExtraError: Apprise is not installed.
        """
        if self.way == "webhook":
            _post(self.address, content)
        else:
            _notify(self.address, content)


def channels_of(deployment: Deployment, environ: Mapping[str, str]) -> tuple[Channel, ...]:
    """Every channel that the checklist names, with its address from wherever that stands.

    Raises:
        AlertError: an address is not where the checklist says, or is no URL.
    """
    return tuple(_all(deployment, environ))


def _all(deployment: Deployment, environ: Mapping[str, str]) -> Iterator[Channel]:
    alerts = deployment.checklist.alerts
    ways: tuple[tuple[str, tuple[str, ...], Way], ...] = (
        ("webhooks", alerts.webhooks, "webhook"),
        ("channels", alerts.channels, "apprise"),
        ("pagers", alerts.pagers, "apprise"),
    )
    for key, texts, way in ways:
        for index, text in enumerate(texts):
            place = f"{key}[{index}]"
            address = _address(text, deployment.folder, environ, f"alerts.{place}")
            try:
                parts = urlsplit(address)
                whole = bool(parts.scheme)
                if way == "webhook":
                    # A port that is no number is said here, and not at the first alarm.
                    whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
            except ValueError:
                whole = False
            if not whole:
                expected = "a URL of http or https" if way == "webhook" else "a URL of Apprise"
                raise AlertError("the address of a channel is no such URL", where=place, expected=expected)
            # Of a webhook the host is told; in a URL of Apprise the host may be a token.
            sort = parts.hostname if way == "webhook" else parts.scheme
            yield Channel(name=f"{place} {sort}", way=way, pager=key == "pagers", address=address)


def _address(text: str, folder: Path, environ: Mapping[str, str], where: str) -> str:
    if text.startswith("env:"):
        name = text.removeprefix("env:")
        if not environ.get(name):
            raise AlertError(
                f"the environment variable {name} is not set", where=where, expected="the channel's address"
            )
        return environ[name].strip()
    if text.startswith("file:"):
        path = folder / text.removeprefix("file:")
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AlertError(
                "the file with the address of a channel cannot be read",
                where=f"{where} ({path})",
                received=type(error).__name__,
                next_step="Write the channel's URL into it, readable by the service's user alone",
            ) from error
    return text


_KNOWN: Final = {
    "TimeoutError": "no answer in time",
    "ConnectionRefusedError": "the connection was refused",
    "ConnectionResetError": "it ended the connection without an answer",
    "RemoteDisconnected": "it ended the connection without an answer",
    "BadStatusLine": "what it answered is no HTTP",
    "gaierror": "its host is not known",
    "InvalidURL": "its URL holds a space or a line break",
    "UnicodeEncodeError": "its URL holds letters that must be written as %XX, or in a host as xn--",
    "SSLCertVerificationError": "its certificate is not trusted",
    "SSLError": "it speaks no TLS that can be agreed on",
}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """A redirected POST would become a GET without the message, which somebody would answer with 200."""
        return


def _post(address: str, content: Mapping[str, Any]) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "holdfast"}
    parts = urlsplit(address)
    if parts.username is not None:
        # urllib takes both for a part of the host.
        who = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(who.encode()).decode()}"
        address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(  # noqa: S310 - http and https alone
        address, data=msgspec.json.encode(content), headers=headers, method="POST"
    )
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise ChannelError(f"it answered with HTTP {error.code}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        raise ChannelError(_words(reason) if isinstance(reason, Exception) else "no answer") from None
    except Exception as error:  # noqa: BLE001 - whatever a broken server or URL makes the library raise
        raise ChannelError(_words(error)) from None


def _words(error: Exception) -> str:
    """What happened, without the text of the error: that may hold the address."""
    name = type(error).__name__
    return _KNOWN.get(name, name)


def _notify(address: str, content: Mapping[str, Any]) -> None:
    try:
        import apprise
    except ImportError as error:
        raise MissingExtraError("apprise", "alerts") from error
    # Its log would name addresses; what it says is whether the message was taken.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    speaker = apprise.Apprise()
    if not speaker.add(address):
        raise ChannelError("Apprise cannot read its URL")
    try:
        taken = speaker.notify(
            title=str(content["title"]),
            body=text_of(content),
            notify_type=_NOTE_TYPES.get(str(content["severity"]), "info"),
        )
    except Exception as error:  # noqa: BLE001 - more than a hundred services, each with its own faults
        raise ChannelError(_words(error)) from None
    if not taken:
        raise ChannelError("it did not take the message")


def text_of(content: Mapping[str, Any]) -> str:
    """The message for people, in plain text."""
    lines = [str(content["sentence"])]
    if content["cost"]:
        lines.append(str(content["cost"]))
    lines += [f"-> {one}" for one in content["advice"]]
    if content["url"]:
        lines.append(str(content["url"]))
    if content["kind"] != "test":
        lines.append(f"({content['kind']} {content['key']})")
    return "\n".join(lines)
