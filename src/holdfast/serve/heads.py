"""What is asked of a head beyond what the parser asks, and heads that ask for a protocol not spoken here.

Java's `HttpClient` and `curl --http2` put `Upgrade: h2c` on every request without TLS. RFC 9110 (7.8) lets a
server pass over it and answer in HTTP/1.1; the parser however takes all that follows such a head for another
protocol, the body of the request too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from holdfast.errors import HoldfastError
from holdfast.serve.errors import HeadersTooLargeError, InvalidHttpError, TransferCodingError

if TYPE_CHECKING:
    import httptools

Head = Sequence[tuple[bytes, bytes]]
"""Names and values as they came."""
HEAD_BYTES: Final = 64 * 1024
"""Longest request line with headers; a connection's buffer adds at most one read."""
_OF_UPGRADES: Final = frozenset({b"upgrade", b"http2-settings"})
_LINE_BYTES: Final = 4
"""Of a header's line, beside its name and value."""
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*[ \t]*").fullmatch
"""Characters of a host with its port (RFC 3986, 3.2.2), or nothing; the parser leaves blanks behind it."""


def check_head(version: str, url: bytes, head: Head) -> None:
    """Refuse what two readers could take for two different requests, and what is too long.

    Args:
        version: of HTTP, as in `1.1`.
        url: of the request line.
        head: all of it.

    Raises:
        InvalidHttpError: not one `Host` (RFC 9112, 3.2), or `Transfer-Encoding` in HTTP/1.0 (6.1).
        TransferCodingError: a coding beside `chunked` (RFC 9112, 6.1).
        HeadersTooLargeError: longer than is read.
    """
    hosts = []
    size = len(url)
    for name, value in head:
        size += len(name) + len(value) + _LINE_BYTES
        key = name.lower()
        if key == b"host":
            hosts.append(value)
        elif key == b"transfer-encoding":
            if version == "1.0":
                raise InvalidHttpError("HTTP/1.0 has no chunks", where="Transfer-Encoding")
            if value.strip().lower() != b"chunked":
                received = repr(value[:60])[1:]
                raise TransferCodingError(
                    "a body with this coding is not read",
                    where="Transfer-Encoding",
                    expected="chunked alone",
                    received=received,
                )
    if size > HEAD_BYTES:
        raise too_long()
    if len(hosts) > 1 or not (hosts or version == "1.0"):
        raise InvalidHttpError(
            "a request names one host", where="Host", expected="1", received=str(len(hosts))
        )
    if hosts and not _HOST(hosts[0]):
        raise InvalidHttpError("no host", where="Host", expected="a name or an address, and perhaps a port")


def too_long() -> HeadersTooLargeError:
    """The error for a head over the limit."""
    return HeadersTooLargeError("the headers are too long", expected=f"at most {HEAD_BYTES} bytes")


def why_unreadable(error: Exception) -> HoldfastError:
    """What a client is told of an error of the parser: what `check_head` said, if it was that."""
    said = error.__context__
    return (
        said if isinstance(said, HoldfastError) else InvalidHttpError("these bytes are no HTTP/1.1 request")
    )


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
