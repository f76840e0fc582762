"""Heads of requests that ask for a protocol which is not spoken here.

Java's `HttpClient` and `curl --http2` put `Upgrade: h2c` on every request without TLS. RFC 9110 (7.8) lets a
server pass over it and answer in HTTP/1.1; the parser however takes all that follows such a head for another
protocol, the body of the request too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httptools

Head = Sequence[tuple[bytes, bytes]]
"""Names and values as they came."""
_OF_UPGRADES: Final = frozenset({b"upgrade", b"http2-settings"})


def asks_for_another_http(head: Head) -> bool:
    """Whether the protocol that it asks for is another one than WebSocket."""
    wanted = [value.strip().lower() for name, value in head if name.lower() == b"upgrade"]
    return bool(wanted) and b"websocket" not in wanted


def head_without_upgrade(parser: httptools.HttpRequestParser, url: bytes, head: Head) -> bytes:
    """The head as its client would have written it for HTTP/1.1 alone."""
    lines = [b"%b %b HTTP/%b" % (parser.get_method(), url, parser.get_http_version().encode())]
    for name, value in head:
        key = name.lower()
        kept = value
        if key == b"connection":
            options = [option.strip() for option in value.split(b",")]
            kept = b", ".join(option for option in options if option.lower() not in _OF_UPGRADES)
        if key not in _OF_UPGRADES and (kept or not value):
            lines.append(b"%b: %b" % (name, kept))
    return b"\r\n".join(lines) + b"\r\n\r\n"
