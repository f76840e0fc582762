"""What the head of a hot request says beside its route."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.serve.caller import CALLER_HEADERS


class HotHead:
    """The lines of a head that a hot route looks at.

    Args:
        lines: names and values as they came, the length of the body being digits.
    """

    __slots__ = (
        "authorization", "body_bytes", "codings", "content_type", "echo_keep_alive", "expects_continue",
        "json_bytes", "of_caller", "upgrades", "wanted_codings",
    )  # fmt: skip

    def __init__(self, lines: Sequence[tuple[bytes, bytes]]) -> None:
        self.body_bytes = -1
        """As declared; -1: it is not."""
        self.authorization: bytes | None = None
        self.json_bytes: bytes | None = None
        self.content_type = b""
        self.codings: list[bytes] = []
        """Values of Content-Encoding."""
        self.wanted_codings: list[bytes] = []
        """Values of Accept-Encoding."""
        self.of_caller: list[tuple[bytes, bytes]] = []
        self.echo_keep_alive = self.expects_continue = self.upgrades = False
        for name, value in lines:
            key = name.lower()
            if key == b"content-length":
                self.body_bytes = int(value)
            elif key == b"connection":
                self.echo_keep_alive = value.lower() == b"keep-alive"
            elif key == b"authorization":
                self.authorization = value
            elif key == b"content-type":
                self.content_type = value
            elif key == b"inference-header-content-length":
                self.json_bytes = value
            elif key in CALLER_HEADERS:
                self.of_caller.append((key, value))
            elif key == b"accept-encoding":
                self.wanted_codings.append(value)
            elif key == b"content-encoding":
                self.codings.append(value)
            elif key == b"expect":
                self.expects_continue = value.lower() == b"100-continue"
            elif key == b"upgrade":
                self.upgrades = True
