"""What the supervisor and its workers say to each other, over one socket pair per worker.

Frames of 4 bytes length and MessagePack. The end of the stream is a message too: the other side is gone.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, Literal

import msgspec

from holdfast.serve.admission import KeyEntry
from holdfast.spec.checklist import Checklist

DEPLOYMENTS: Final = "/deployments/"
"""Below it and a name stands everything that a service of that one deployment has at its root."""
_LENGTH: Final = struct.Struct("<I")


class Message(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Anything that is said."""

    model: str = ""
    """Name of the deployment that it speaks of; "": of the whole service."""


class Hold(Message, frozen=True):
    """To a worker: load this version too and answer those who ask for it by name."""

    version: str
    artifact: str


class Release(Message, frozen=True):
    """To a worker: this version need not be held any longer; the champion goes on answering."""

    version: str


class Held(Message, frozen=True):
    """From a worker: what became of a `Hold`."""

    version: str
    error: str | None
    memory_bytes: int
    """By which loading it made the process grow."""


class Released(Message, frozen=True):
    """From a worker: the version answers no more, unless it is the champion."""

    version: str


class Ask(Message, frozen=True):
    """From a worker: a caller wants this of the model repository."""

    ticket: int
    act: Literal["index", "load", "unload"]
    version: str | None
    """None: for a load the newest, for an unload all but the champion; where the service holds several
    deployments, the whole model."""


class VersionState(msgspec.Struct, frozen=True):
    """One registered version in the service."""

    version: str
    loaded: bool
    champion: bool
    reason: str
    """Why it is not loaded, where that is known."""
    memory_bytes: int
    """Over all workers."""


class Told(Message, frozen=True):
    """To a worker: the answer to its `Ask`."""

    ticket: int
    error: str | None
    unknown: bool
    """The version is not in the registry."""
    versions: tuple[VersionState, ...]


class Home(msgspec.Struct, frozen=True):
    """One deployment as a worker starts with it."""

    folder: str
    checklist: Checklist
    checklist_hash: str
    holds: tuple[Hold, ...] = ()
    """Loaded before it listens."""
    dashboard: str = ""
    """Path of the dashboard's socket; "": there is none."""


class Start(Message, frozen=True):
    """To a worker, first of all: who it is."""

    index: int
    replica: str
    version: str
    """Of holdfast."""
    homes: tuple[Home, ...]
    """At least one; the first decides what is the whole service's."""
    grpc_address: str = ""
    """Where to listen for gRPC; "": nowhere."""
    several: bool = False
    """Whether others may come beside a lone one: then even that one is asked by its name."""


class Challenger(msgspec.Struct, frozen=True):
    """The challenger of a rollout, as a worker needs it."""

    version: str
    artifact: str
    rollout: int
    canary: bool
    """False: it gets copies only."""
    share: float
    key: bytes
    """Of the hash that assigns."""

    def __repr__(self) -> str:
        return f"Challenger(version={self.version!r}, canary={self.canary}, share={self.share})"


class Route(Message, frozen=True):
    """To a worker: this version answers from now on."""

    generation: int
    version: str | None
    artifact: str
    challenger: Challenger | None = None
    before: str | None = None
    """The champion before it, for a worker that has none and cannot load this one."""
    before_artifact: str = ""
    withdrawn: bool = False
    """The whole model is unloaded: nothing of it answers until another route says so."""
    ticket: int = 0
    """Comes back with what the worker says to it."""


class Keys(Message, frozen=True):
    """To a worker: these keys of the registry are active from now on, and no others."""

    entries: tuple[KeyEntry, ...]


class Drain(Message, frozen=True):
    """To a worker: finish and exit."""

    notice_s: float
    """Seconds between not being ready and not accepting."""
    last_to_listen: bool = False
    """Nobody accepts from the worker's listening socket after it."""


class Loaded(Message, frozen=True):
    """From a worker: the version of this generation answers."""

    generation: int
    version: str | None
    ticket: int = 0
    memory_bytes: int = 0
    """By which loading the version made the process grow."""


class LoadFailed(Message, frozen=True):
    """From a worker: the version could not be loaded; what answered before still does."""

    generation: int
    version: str | None
    error: str
    ticket: int = 0
    answering: str | None = None
    """What answers instead; None: nothing does."""
    memory_bytes: int = 0
    """Of what answers."""


class ChallengerFailed(Message, frozen=True):
    """From a worker: the challenger could not be loaded; the champion answers everything."""

    version: str
    error: str


_FromSupervisor = Start | Route | Keys | Drain | Hold | Release | Told
_FromWorker = Loaded | LoadFailed | ChallengerFailed | Held | Released | Ask
Spoken = _FromSupervisor | _FromWorker
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Spoken).decode


def frame(message: Message) -> bytes:
    """The bytes of one message."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Spoken]:
        """The messages that are complete."""
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(_decode(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return messages


def receive_one(connection: socket.socket) -> Spoken:
    """Block for one message; for the first, before there is a loop.

    Raises:
        EOFError: the other side is gone.
    """
    body = _exactly(connection, _LENGTH.unpack(_exactly(connection, _LENGTH.size))[0])
    message: Spoken = _decode(body)
    return message


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("the supervisor is gone")
        data += part
    return data
