"""What must be in order before the first worker starts."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec

from holdfast.clock import SystemClock
from holdfast.errors import MissingExtraError
from holdfast.serve.errors import ServeError
from holdfast.serve.security import check_exposure, make_tls
from holdfast.serve.tokens import TokenVerifier
from holdfast.spec import Deployment
from holdfast.spec.checklist import Privacy


def check_deployment(deployment: Deployment) -> None:
    """Whatever a worker would stumble over, before there is one."""
    checklist = deployment.checklist
    check_exposure(checklist)
    if checklist.target.grpc_port is not None and find_spec("grpc_reflection") is None:
        raise MissingExtraError("grpcio", "grpc")
    make_tls(checklist.security, deployment.folder)
    if checklist.security.jwt_jwks:
        TokenVerifier(checklist.security, deployment.folder)
    if checklist.logging.enabled and checklist.privacy != Privacy():  # which needs no secret, nor numpy
        from holdfast.privacy import open_redactor

        open_redactor(checklist.privacy, deployment.folder, os.environ, SystemClock()).close()


@contextlib.contextmanager
def published(run_folder: Path, url: str, grpc: str | None, name: str) -> Iterator[None]:
    """Say in the folder where the service is, as long as it is there."""
    path = run_folder / "serve.json"
    path.write_bytes(msgspec.json.encode({"url": url, "grpc": grpc, "pid": os.getpid(), "name": name}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def only_one(run_folder: Path) -> Iterator[None]:
    """Hold the folder's lock, with nobody's old counts in it; the kernel lets go of it however we end.

    Raises:
        ServeError: another supervisor serves this folder.
    """
    path = run_folder / "serve.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise ServeError(
                "this deployment is being served already",
                where=str(run_folder.parent),
                received=f"process {file.read().strip() or 'unknown'}",
                next_step="Stop it first.",
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        for old in run_folder.glob("*.counts"):
            old.unlink(missing_ok=True)
        yield
