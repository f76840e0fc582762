"""The dashboard of one deployment of several: its pages stand below a path of the service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OWN_LINK: Final = re.compile(rb'\b(href|action|src)="(?=/ui/)')
"""Only markup of ours holds a plain quote: what comes from data is escaped."""
_FOOTER_END: Final = b"</footer>"
_ALL: Final = b'<span><a href="/">All deployments</a></span>\n</footer>'


class Below:
    """Puts a path before the links and redirects of an app whose pages are at `/ui/`.

    Args:
        app: is asked with paths as if it stood at the root.
        path: without a slash at its end, such as `/deployments/fraud`.
    """

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        held: list[Message] = []

        async def put(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [self._header(name, value) for name, value in message["headers"]]
                message = {**message, "headers": headers}
                if any(name == b"content-type" and value.startswith(b"text/html") for name, value in headers):
                    held.append(message)  # until its length is known
                    return
            elif held:
                start = held.pop()  # a page is one piece
                body = _OWN_LINK.sub(rb'\1="' + self._path, message["body"])
                body = body.replace(_FOOTER_END, _ALL)
                length = str(len(body)).encode()
                start["headers"] = [
                    (name, length if name == b"content-length" else value) for name, value in start["headers"]
                ]
                await send(start)
                message = {**message, "body": body}
            await send(message)

        await self._app(scope, receive, put)

    def _header(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        return name, self._path + value if name == b"location" and value.startswith(b"/ui/") else value
