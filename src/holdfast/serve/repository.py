"""A worker's side of the model repository: it passes callers' wishes on, and loads what it is told to hold.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_repository.md
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from holdfast.errors import HoldfastError
from holdfast.infer import (
    InputError,
    LoadedModel,
    MalformedBodyError,
    NotReadyError,
    UnknownModelError,
)
from holdfast.serve.control import Ask, Held, Hold, Message, Release, Released, Told, VersionState
from holdfast.serve.errors import RepositoryError
from holdfast.serve.responses import json_response, read_json_body
from holdfast.serve.service import Service
from holdfast.serve.services import no_such_model

INDEX: Final = "/v2/repository/index"
LOAD: Final = "/v2/repository/models/{model}/load"
UNLOAD: Final = "/v2/repository/models/{model}/unload"
MOST_WAITING: Final = 64
PATIENCE_S: Final = 120.0
"""Longest time that a caller waits for a load or an unload in all workers."""
logger = logging.getLogger("holdfast.serve")
_Load = Callable[[Path, str], Awaitable[LoadedModel]]


class IndexRequest(msgspec.Struct):
    """The body of a request for the index."""

    ready: bool = False
    """Only what answers."""


class _Change(msgspec.Struct):
    parameters: dict[str, Any] | None = None


class Repository:
    """Holds versions in this worker, and asks for changes in all.

    Args:
        service: of this worker.
        say: to the supervisor.
        load: opens and warms an artifact, without holding up the loop.
    """

    def __init__(self, service: Service, say: Callable[[Message], None], load: _Load) -> None:
        self._service = service
        self._say = say
        self._load = load
        self._tickets = itertools.count()
        self._waiting: dict[int, asyncio.Future[Told]] = {}
        self._wishes: asyncio.Queue[Hold | Release] = asyncio.Queue()

    def hear(self, message: Message) -> None:
        """Take in what the supervisor says of the repository; called in the loop."""
        if isinstance(message, Hold | Release):
            self._wishes.put_nowait(message)  # bounded by what callers may wait for, see `ask`
        elif isinstance(message, Told):
            future = self._waiting.pop(message.ticket, None)
            if future is not None and not future.done():
                future.set_result(message)

    async def follow(self) -> None:
        """Do what the supervisor says, one after another, until cancelled."""
        while True:
            wish = await self._wishes.get()
            if isinstance(wish, Hold):
                self._say(await self.hold(wish))
            else:
                self._service.release(wish.version)
                self._say(Released(wish.version))

    async def hold(self, wish: Hold) -> Held:
        """Load a version beside the champion; what happened is in the answer."""
        error: str | None = None
        found = self._service.find(wish.version)
        memory_bytes = 0 if found is None else found.lane.model.memory_bytes
        if found is None:
            try:
                model = await self._load(Path(wish.artifact), wish.version)
                self._service.hold(model)
                memory_bytes = model.memory_bytes
            except HoldfastError as failure:
                error = str(failure)
            except Exception as failure:
                # Whatever is wrong with an artifact is said to the caller and harms nobody else.
                logger.exception("a model version cannot be loaded")
                error = f"{type(failure).__name__}: {failure}"
        else:
            self._service.hold(None, wish.version)
        return Held(wish.version, error, memory_bytes)

    async def ask(self, act: Literal["index", "load", "unload"], version: str | None = None) -> Told:
        """The supervisor's answer.

        Raises:
            NotReadyError: too many wait, or it took too long.
            UnknownModelError: the version is not in the registry.
            RepositoryError: it cannot be done.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise NotReadyError(
                "too many callers wait for the model repository",
                expected=f"at most {MOST_WAITING}",
                next_step="Ask again when one of them has its answer",
            )
        ticket = next(self._tickets)
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = future
        self._say(Ask(ticket, act, version))
        try:
            told = await asyncio.wait_for(future, PATIENCE_S)
        except TimeoutError:
            raise NotReadyError("the workers did not answer in time", expected=f"{PATIENCE_S:g} s") from None
        finally:
            self._waiting.pop(ticket, None)
        if told.unknown:
            raise UnknownModelError(
                "no such version is registered",
                expected=", ".join(one.version for one in told.versions[-12:]) or "none is registered",
                received=repr((version or "")[:80]),
            )
        if told.error is not None:
            raise RepositoryError(told.error, where=None if version is None else f"version {version}")
        return told


class RepositoryRoutes:
    """The handlers of the model repository API."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def index(self, request: Request) -> Response:
        """Every registered version, and whether it answers."""
        return json_response(await index_of([self._service], await self._body(request, IndexRequest)))

    async def load(self, request: Request) -> Response:
        """Load a version into every worker; returns when it answers."""
        version = await self._wanted(request)
        await repository_of(self._service).ask("load", version)
        return json_response({})

    async def unload(self, request: Request) -> Response:
        """Take a version out of every worker; what it was asked before is answered."""
        version = await self._wanted(request)
        await repository_of(self._service).ask("unload", version)
        return json_response({})

    async def _wanted(self, request: Request) -> str | None:
        model = request.path_params["model"]
        if model != self._service.name:
            raise no_such_model(model, [self._service])
        parameters = (await self._body(request, _Change)).parameters or {}
        for name in parameters:
            if name not in {"version", "unload_dependents"}:
                raise InputError(
                    "not a parameter of this service",
                    where=f"$.parameters.{name[:80]}",
                    expected="version",
                    next_step="A registered version cannot be changed; register another one.",
                )
        version = parameters.get("version")
        if version is None:
            return None
        if isinstance(version, bool) or not isinstance(version, int | str):
            raise InputError("wrong type", where="$.parameters.version", expected='a version, such as "3"')
        return str(version)

    async def _body(self, request: Request, kind: Any) -> Any:
        return await read_request(request, self._service, kind)


def repository_of(service: Service) -> Repository:
    """What loads the deployment's versions.

    Raises:
        NotReadyError: nothing does.
    """
    repository = service.repository
    if not isinstance(repository, Repository):
        raise NotReadyError("this process serves without a supervisor and cannot load versions")
    return repository


async def index_of(services: Sequence[Service], asked: IndexRequest) -> list[dict[str, Any]]:
    """Every registered version of these deployments, and whether it answers.

    Of several, one that cannot tell is an entry that says why.
    """
    told = await asyncio.gather(*(_told(one, alone=len(services) == 1) for one in services))
    return [
        {
            "name": service.name,
            "version": one.version,
            "state": "READY" if one.loaded else "UNAVAILABLE",
            "reason": one.reason,
            "champion": one.champion,
            "memory_bytes": one.memory_bytes,
        }
        for service, said in zip(services, told, strict=True)
        for one in said.versions
        if one.loaded or not asked.ready
    ]


async def _told(service: Service, *, alone: bool) -> Told:
    try:
        return await repository_of(service).ask("index")
    except (NotReadyError, RepositoryError) as error:
        if alone:
            raise
        unknown = VersionState("", loaded=False, champion=False, reason=str(error), memory_bytes=0)
        return Told(0, None, unknown=False, versions=(unknown,))


async def read_request(request: Request, service: Service, kind: Any) -> Any:
    """A body of that kind; an empty one is an empty object.

    Raises:
        MalformedBodyError: it is something else.
        ContentTypeError, BodyTooLargeError, OverloadedError: see `read_json_body`.
    """
    body = await read_json_body(request, service.max_body_bytes, service.slices)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedBodyError(f"not a request of the model repository: {error}") from None
