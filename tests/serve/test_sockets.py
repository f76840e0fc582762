"""Listening sockets at the end of a service."""

from __future__ import annotations

import fcntl
import resource
import socket
import subprocess
import sys
from typing import Any, cast

import pytest

from holdfast.serve.sockets import has_unread, open_no_more, open_sockets


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux socket filters")
def test_a_listener_that_opens_no_more_still_hands_out_what_is_open() -> None:
    (listening,), port = open_sockets("127.0.0.1", 0, 1)
    address = ("127.0.0.1", port)
    with listening, socket.create_connection(address, timeout=5) as before:
        before.sendall(b"sent early")
        open_no_more(listening)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.2)
        before.sendall(b", and late")
        accepted, _ = listening.accept()
        with accepted:
            listening.close()
            before.shutdown(socket.SHUT_WR)
            with accepted.makefile("rb") as read:
                assert read.read() == b"sent early, and late"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


class Transport:
    """Of one socket."""

    def __init__(self, of: socket.socket) -> None:
        self.of = of

    def get_extra_info(self, _: str) -> socket.socket:
        return self.of


def test_unread_bytes_are_seen_on_the_thousandth_connection_too() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("the system grants fewer than 2000 open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD, 1500)) as late:
        transport = cast("Any", Transport(late))
        assert not has_unread(transport)
        theirs.sendall(b"late")
        assert has_unread(transport)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_worker_takes_as_many_open_files_as_the_system_grants() -> None:
    program = """
import resource
from holdfast.serve.sockets import allow_most_connections
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
allow_most_connections()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(512, 512)"
