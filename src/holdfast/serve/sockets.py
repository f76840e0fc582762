"""Listening sockets, opened by the supervisor, inherited by workers: a crash loses no queued connection."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import resource
import select
import socket
import struct
import time
from asyncio import BaseTransport
from typing import Final

from holdfast.serve.errors import ListenError

_BACKLOG: Final = 2048
_RETRY_S: Final = 0.1
_PATIENCE_S: Final = 3.0
"""How long to wait for a port that a stopping service still holds."""

_SO_ATTACH_FILTER: Final = 26  # Linux; Python's socket module does not name it
_NO_SYN: Final = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of TCP's flags
        (0x45, 0, 1, 0x02),  # SYN set? else skip one
        (0x06, 0, 0, 0),  # drop the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # keep it whole
    )
)
"""Classic BPF (Linux, networking/filter): drop what would open a connection, pass what completes one."""


def open_sockets(host: str, port: int, count: int) -> tuple[list[socket.socket], int]:
    """`count` listening sockets on one address, among which the kernel spreads new connections.

    SO_REUSEPORT would let another service of the same user share the port and take half of its requests, so
    the address is first asked for without it.

    Args:
        host: a name or an address.
        port: 0 takes a free one.
        count: at least 1.

    Raises:
        ListenError: the address is taken or not ours.
    """
    host = host.strip("[]")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ListenError(f"no such address: {error}", where=f"{host}:{port}") from error
    deadline_s = time.monotonic() + (_PATIENCE_S if port else 0)
    while True:
        try:
            return _open(family, kind, address, count)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline_s:
                raise ListenError(
                    f"cannot listen: {error.strerror}",
                    where=f"{host}:{port}",
                    next_step="Stop the other service, or choose another [target] port (0 takes a free one)."
                    if error.errno == errno.EADDRINUSE
                    else None,
                ) from error
            time.sleep(_RETRY_S)


def reserve_port(host: str, port: int) -> tuple[socket.socket, int]:
    """A port on which workers will open listening sockets of their own, held until the socket is closed.

    The socket is bound and does not listen, so no connection comes to it; no other user can take the port.

    Args:
        host: a name or an address.
        port: 0 takes a free one.

    Raises:
        ListenError: the address is taken or not ours.
    """
    opened, found = open_sockets(host, port, 2)
    for one in opened:
        one.close()
    family = opened[0].family
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host.strip("[]"), found))
    except OSError as error:
        reserved.close()
        raise ListenError(f"cannot listen: {error.strerror}", where=f"{host}:{found}") from error
    return reserved, found


def open_no_more(listening: socket.socket) -> None:
    """Let the socket begin no connection any more, while those begun still complete and can be accepted.

    Closing a listening socket resets the connections in its queue, among them those that came between the
    last accept and the close; their clients may have sent a request already. After this call the queue only
    empties, so it can be accepted to its end first. A client that comes later is refused once the socket is
    closed, by then its system has sent the opening again.

    Linux only; elsewhere, or where the kernel forbids it, nothing happens.
    """
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    with contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HL", len(_NO_SYN) // 8, ctypes.addressof(program)),
        )


def _open(family: int, kind: int, address: tuple[object, ...], count: int) -> tuple[list[socket.socket], int]:
    with contextlib.ExitStack() as undo:
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = (address[0], probe.getsockname()[1], *address[2:])
        opened = []
        for _ in range(count):
            one = undo.enter_context(socket.socket(family, kind))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # inherited by what it accepts
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if count > 1:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(address)
            one.listen(_BACKLOG)
            opened.append(one)
        undo.pop_all()
        return opened, int(str(address[1]))


def has_unread(transport: BaseTransport) -> bool:
    """Whether bytes have come that nobody has read yet; closing it now would reset them."""
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor < 0:
        return False
    asked = select.poll()  # select() knows no descriptor from 1024 on
    asked.register(descriptor, select.POLLIN)
    return bool(asked.poll(0))


def allow_most_connections() -> None:
    """Take as many open files for this process as the system grants; beyond them connections are closed.

    The limit that a shell sets by itself is often 1024, for the sake of programs that use select().
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS grants less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
