"""Who looks at the pages: sessions opened with a key or token, and proof that a form came from our pages.

A session is a random name in a cookie that no script reads and no other site sends; what it may do is kept
here, in the one process of the dashboard, and ends with it. So signing out ends a session for good, and a key
that is revoked ends all that it opened.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from holdfast.clock import Clock
from holdfast.registry import Registry
from holdfast.spec import Deployment, is_loopback
from holdfast.ui.errors import NotAllowedError, SignInError
from holdfast.ui.identity import ALL_SCOPES, Identities

if TYPE_CHECKING:
    from starlette.requests import Request

MOST_SESSIONS: Final = 1000
SCHEME_HEADER: Final = "x-holdfast-scheme"
VIEWING: Final = frozenset({"read", "admin"})
_TOKEN_BYTES: Final = 32
_LOCAL_NAMES: Final = frozenset({"localhost", "ip6-localhost"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks for a page, and what it may do."""

    name: str
    """Stands in the audit: `key <id>`, `token <subject>`, or `dashboard` where everybody is let in."""
    scopes: frozenset[str]
    form_token: str
    """What a form of this viewer must carry."""
    signed_in: bool
    read_only: bool

    def may(self, scope: str) -> bool:
        """Whether the scope, or `admin`, is among the viewer's."""
        return scope in self.scopes or "admin" in self.scopes

    def may_change(self, scope: str) -> bool:
        """The same for an act, which a read-only dashboard has none of."""
        return not self.read_only and self.may(scope)

    def __repr__(self) -> str:
        return f"Viewer({self.name!r})"


@dataclass(frozen=True, slots=True)
class _Session:
    name: str
    scopes: frozenset[str]
    expires_s: float
    of_key: bool
    """Such a session ends when the key is revoked; one of a token ends with the token."""


class Sessions:
    """Opens and finds sessions.

    Args:
        deployment: says whether keys are needed, and how long a session lasts.
        registry: of the keys.
        clock: sessions end by its monotonic time.
        read_only: nothing can be changed from these pages.
    """

    def __init__(self, deployment: Deployment, registry: Registry, clock: Clock, *, read_only: bool) -> None:
        self._security = deployment.checklist.security
        self._local = is_loopback(deployment.checklist.target.host)
        self._registry = registry
        self._clock = clock
        self._read_only = read_only
        self._identities = Identities(deployment, registry, clock)
        self._secret = os.urandom(32)
        self._sessions: dict[bytes, _Session] = {}
        self._lock = threading.Lock()  # pages are made by several threads
        self.cookie = f"holdfast-{deployment.name}"
        """Its name: cookies are shared by all ports of a host, so that two deployments need two."""

    @property
    def open_to_all(self) -> bool:
        """Whether the service, and so its pages, need no key."""
        return self._identities.open_to_all

    @property
    def takes_tokens(self) -> bool:
        """Whether an identity provider's tokens are accepted beside keys."""
        return self._identities.takes_tokens

    @property
    def length_s(self) -> float:
        """Of a session."""
        return self._security.session.seconds

    def viewer(self, token: str, authorization: str = "") -> Viewer:
        """Who asks.

        Args:
            token: the cookie's value.
            authorization: the header, as a proxy that signs people in sets it; it stands before the cookie.

        Raises:
            SignInError: nobody who is known, or no longer.
        """
        if self.open_to_all:
            return Viewer(
                "dashboard", ALL_SCOPES, self._form_token(token), signed_in=False, read_only=self._read_only
            )
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() == "bearer":
            found = self._identities.find(credential)
            # Bound to the person, not to the token, which a proxy replaces every few minutes.
            form_token = self._form_token(f"header {found.name}")
            return Viewer(found.name, found.scopes, form_token, signed_in=False, read_only=self._read_only)
        session = self._sessions.get(_digest(token))
        if session is None or self._clock.monotonic_s() >= session.expires_s:
            self.sign_out(token)
            raise SignInError("sign in with an API key")
        if session.of_key and not self._identities.still_known(session.name):
            self.sign_out(token)
            raise SignInError("the key that opened this session is no longer accepted")
        return Viewer(
            session.name,
            session.scopes,
            self._form_token(token),
            signed_in=True,
            read_only=self._read_only,
        )

    def sign_in(self, credential: str) -> str:
        """Open a session with a key or a token; returns the cookie's value.

        Raises:
            SignInError: it is not accepted, or may not read.
        """
        found = self._identities.find(credential)
        if not found.scopes & (VIEWING | {"rows", "label"}):
            raise SignInError(
                f"this {'key' if found.of_key else 'token'} may not look at the dashboard",
                expected="the scope read, rows, label or admin",
                received=", ".join(sorted(found.scopes)) or "no scope",
            )
        now_s = self._clock.monotonic_s()
        length_s = self.length_s
        if found.expires_at_us is not None:
            length_s = min(length_s, (found.expires_at_us - self._clock.now_us()) / 1e6)
        token = new_token()
        with self._lock:
            for old in [digest for digest, one in self._sessions.items() if one.expires_s <= now_s]:
                del self._sessions[old]
            while len(self._sessions) >= MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]  # the oldest
            self._sessions[_digest(token)] = _Session(
                found.name, found.scopes, now_s + length_s, found.of_key
            )
        self._registry.audit.add(actor=found.name, action="dashboard.sign_in")
        return token

    def sign_out(self, token: str) -> None:
        """End a session for good."""
        with self._lock:
            self._sessions.pop(_digest(token), None)

    def check_form(self, request: Request, viewer: Viewer, form_token: str) -> None:
        """Refuse a form that did not come from a page that this viewer was given.

        Raises:
            NotAllowedError: it came from another site, or from a page of an earlier session.
        """
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
            raise NotAllowedError("the form came from another site", received=origin[:100])
        if not hmac.compare_digest(viewer.form_token.encode(), form_token.encode()):
            raise NotAllowedError(
                "the form is of an earlier session", next_step="Go back, load the page again, and repeat"
            )

    def check_host(self, request: Request) -> None:
        """Refuse a name that a stranger's site has made to point here, where no key protects the pages.

        Raises:
            NotAllowedError: the pages are open on loopback, and the browser asks for another host.
        """
        if not (self.open_to_all and self._local) or self._security.no_auth_reason:
            return
        host = (request.url.hostname or "").strip("[]").lower()
        if host in _LOCAL_NAMES or host.endswith(".localhost"):
            return
        try:
            if ipaddress.ip_address(host).is_loopback:
                return
        except ValueError:
            pass
        raise NotAllowedError(
            "the dashboard is open on this machine only",
            expected="localhost or 127.0.0.1 as the host of the address",
            received=host[:100],
            next_step='Ask for keys ([security] auth = "keys") to reach it under another name',
        )

    def _form_token(self, token: str) -> str:
        return hmac.new(self._secret, token.encode(), hashlib.sha256).hexdigest()


def new_token() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
