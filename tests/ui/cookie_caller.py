"""A browser's cookies, without the browser."""

from __future__ import annotations

import asyncio

import httpx
from starlette.applications import Starlette


class Caller:
    """Asks the app itself, and keeps its cookies."""

    def __init__(self, app: Starlette) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8080"
        )
        self.cookies = self._client.cookies

    def get(self, path: str, **headers: str) -> httpx.Response:
        """A page."""
        return asyncio.run(self._client.get(path, headers=headers))

    def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """A form."""
        return asyncio.run(self._client.post(path, data=fields, headers=headers))
