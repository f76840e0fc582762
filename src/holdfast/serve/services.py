"""The deployments of one worker: which of them a request is for, and who may see which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote

from holdfast.infer import UnknownModelError
from holdfast.serve.admission import check_scope
from holdfast.serve.control import DEPLOYMENTS
from holdfast.serve.errors import ForbiddenError, RateLimitedError, UnauthorisedError
from holdfast.serve.service import FOR_PREDICTIONS, Service
from holdfast.serve.status import reason_name

_PREFIX: Final = DEPLOYMENTS.encode()
_NAMING: Final = (b"/v2/models/", b"/v1/models/", b"/v2/repository/models/")
"""Paths that name the model themselves."""


class Services:
    """The deployments of one worker, each with its own versions, batcher, log, counts and keys.

    Args:
        services: at least one, of different names; the first answers for what belongs to none of them.
        several: even a lone one is asked by its name, since others may come.
    """

    def __init__(self, services: Sequence[Service], *, several: bool = False) -> None:
        self.all = tuple(services)
        self.first = self.all[0]
        self.alone = self.first if len(self.all) == 1 and not several else None
        """The only one, to which every request goes whatever it names."""
        self._by_name = {one.name: one for one in self.all}

    def find(self, name: str) -> Service | None:
        """The one of that name."""
        return self._by_name.get(name)

    def choose(self, path: bytes) -> tuple[Service | None, bytes]:
        """Which deployment a request is for, and the path as it would be if that one were alone.

        Args:
            path: target of the request, as it came, perhaps with a query.

        Returns:
            None and the path where it names no deployment, or one that is not here.
        """
        if path.startswith(_PREFIX):
            name, slash, rest = path[len(_PREFIX) :].partition(b"/")
            name, mark, query = name.partition(b"?")
            found = self._by_name.get(unquote(name.decode("latin-1")))
            if found is not None:
                return found, b"/" + rest + mark + query if slash or mark else b"/"
        if self.alone is not None:
            return self.alone, path
        for start in _NAMING:
            if path.startswith(start):
                name = path[len(start) :].partition(b"?")[0].partition(b"/")[0].partition(b":")[0]
                return self._by_name.get(unquote(name.decode("latin-1"))), path
        return None, path

    @property
    def ready(self) -> bool:
        """Whether a load balancer should send requests here: all that are not unloaded can answer."""
        return all(one.ready or one.withdrawn for one in self.all) and not self.first.draining

    def drain(self) -> None:
        """Not ready from now on, and every connection ends with its next answer."""
        for one in self.all:
            one.draining = True

    def admitting(self, authorization: bytes | None, scopes: frozenset[str] = frozenset()) -> list[Service]:
        """The deployments that this caller may ask, for routes that name none.

        Args:
            authorization: value of the header, as it came.
            scopes: any one of these is enough; empty: every known caller may.

        Raises:
            UnauthorisedError, ForbiddenError, RateLimitedError: what the first says, if none lets it in.
        """
        let_in: list[Service] = []
        refusals: list[UnauthorisedError | ForbiddenError | RateLimitedError] = []
        for one in self.all:
            try:
                _admit(one, authorization, scopes)
            except (UnauthorisedError, ForbiddenError, RateLimitedError) as error:
                refusals.append(error)
            else:
                let_in.append(one)
        if not let_in:
            # Only now is it a refusal: that a key of one deployment does not open another is as it should be.
            said = next((one for one in refusals if not isinstance(one, UnauthorisedError)), refusals[0])
            self.first.counts.refuse(reason_name(said))
            raise said
        return let_in

    def know(self, authorization: bytes | None) -> None:
        """Refuse a caller whom no deployment knows; costs nobody's rate.

        Raises:
            UnauthorisedError: none does.
        """
        refusal: UnauthorisedError | None = None
        for one in self.all:
            if one.admission.open_to_all:
                return
            try:
                one.admission.find(authorization)
            except UnauthorisedError as error:
                refusal = error
            else:
                return
        if refusal is not None:
            self.first.counts.refuse("unauthorised")
            raise refusal

    def named(self, name: str, authorization: bytes | None) -> Service:
        """The one of that name.

        Raises:
            UnknownModelError: there is none; names those that this caller may see.
            UnauthorisedError, ForbiddenError, RateLimitedError: there is none, nor any that lets it in.
        """
        found = self.alone or self._by_name.get(name)
        if found is None:
            raise no_such_model(name, self.admitting(authorization, FOR_PREDICTIONS))
        return found


def _admit(service: Service, authorization: bytes | None, scopes: frozenset[str]) -> None:
    """As `Service.authorise`, and counts nothing but the caller's rate."""
    if not service.admission.open_to_all:
        grant = service.admission.find(authorization)
        check_scope(grant, scopes or grant.scopes)


def no_such_model(name: str, seen: Sequence[Service]) -> UnknownModelError:
    """The error for a name that no deployment has, to a caller who may see these."""
    known = ", ".join(repr(one.name) for one in seen)
    return UnknownModelError("no such model", expected=known, received=repr(name[:80]))
