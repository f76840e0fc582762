"""uvicorn's settings for a worker's connections, and the WebSocket protocol that it hands some of them to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.config import Config

if TYPE_CHECKING:
    from holdfast.serve.services import Services


def _open_stream(**arguments: Any) -> Any:
    """A connection's WebSocket protocol; its library is loaded with the first."""
    from holdfast.serve.websocket import StreamProtocol

    return StreamProtocol(**arguments)


def uvicorn_config(app: Any, services: Services) -> Config:
    """Uvicorn's settings for a worker's connections."""
    config = Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=75,
        server_header=False, date_header=False, proxy_headers=False,
        ws=_open_stream,  # type: ignore[arg-type]  # it is called and nothing else
        ws_max_size=max(one.max_body_bytes for one in services.all), ws_per_message_deflate=False,
    )  # fmt: skip
    config.load()
    return config
