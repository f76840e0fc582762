"""What deployments that are served together must agree on, since a service has only one of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from holdfast.serve.errors import AgreementError, ServeError
from holdfast.spec import Deployment


def _content(path: Callable[[Deployment], str]) -> Callable[[Deployment], Any]:
    """A file by what is in it: two folders may each have a copy."""

    def read(deployment: Deployment) -> Any:
        name = path(deployment)
        if not name:
            return ""
        file: Path = deployment.folder / name
        try:
            return file.read_bytes()
        except OSError:
            return str(file)

    return read


_SHARED: Final[tuple[tuple[str, Callable[[Deployment], Any], Callable[[Deployment], Any]], ...]] = (
    ("[target] host", lambda one: one.checklist.target.host, lambda one: one.checklist.target.host),
    ("[target] port", lambda one: one.checklist.target.port, lambda one: one.checklist.target.port),
    (
        "[target] grpc_port",
        lambda one: one.checklist.target.grpc_port,
        lambda one: one.checklist.target.grpc_port,
    ),
    ("[compute] cores", lambda one: one.checklist.compute.cores, lambda one: one.checklist.compute.cores),
    (
        "[security] tls_certificate",
        _content(lambda one: one.checklist.security.tls_certificate),
        lambda one: one.checklist.security.tls_certificate,
    ),
    (
        "[security] tls_key",
        _content(lambda one: one.checklist.security.tls_key),
        lambda one: one.checklist.security.tls_key,
    ),
    (
        "[security] tls_client_ca",
        _content(lambda one: one.checklist.security.tls_client_ca),
        lambda one: one.checklist.security.tls_client_ca,
    ),
)
"""Key, what is compared, and what is shown of it."""
_OPTIONS: Final = {"[target] host": "--host", "[target] port": "--port", "[compute] cores": "--workers"}


def check_agreement(deployments: Sequence[Deployment]) -> None:
    """Refuse to serve deployments together that cannot be.

    Raises:
        AgreementError: two have one name, or differ in the address, the ports, TLS or the number of workers.
    """
    first = deployments[0]
    seen: dict[str, Deployment] = {}
    for one in deployments:
        other = seen.setdefault(one.name, one)
        if other is not one:
            raise AgreementError(
                f"two deployments of the name {one.name!r}",
                where=f"{other.folder} and {one.folder}",
                expected="a name of its own for each",
                next_step="Change [model] name in one of them, or leave one of them out.",
            )
        for key, value, shown in _SHARED:
            if value(one) != value(first):
                option = _OPTIONS.get(key)
                raise AgreementError(
                    "deployments that are served together must agree on this: the service has only one",
                    where=f"{key} in {one.folder}",
                    expected=f"{_text(shown(first))}, as in {first.folder}",
                    received=_text(shown(one)),
                    next_step=f"Set it to one value, or give {option}."
                    if option
                    else "Set it to one value, or serve them as two services.",
                )


def check_names(names: Sequence[str], fresh: Sequence[Deployment]) -> None:
    """Refuse checklists, read again, in which a deployment is called otherwise than before.

    Raises:
        ServeError: one is.
    """
    for name, one in zip(names, fresh, strict=True):
        if one.name != name:
            raise ServeError(
                "a deployment cannot change its name while it is served",
                where=f"{one.folder}: [model] name",
                expected=name,
                received=one.name,
                next_step="Restart the service.",
            )


def _text(value: Any) -> str:
    return "unset" if value in {None, ""} else repr(value)
