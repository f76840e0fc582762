"""Listening sockets at the end of a service."""

from __future__ import annotations

import socket
import sys

import pytest

from holdfast.serve.sockets import open_no_more, open_sockets


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
