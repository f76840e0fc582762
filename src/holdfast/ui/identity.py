"""Who holds a credential: an API key of the registry, or a token of the identity provider.

The dashboard has its own view of both, read as the service's workers read theirs: keys when the registry's
have changed, the provider's public keys when a token names one that is not known, and every `jwt_refresh`.
"""

from __future__ import annotations

import threading
from typing import Final

import msgspec

from holdfast.clock import Clock
from holdfast.registry import Registry
from holdfast.serve import Admission, ServeError, TokenVerifier, UnauthorisedError, active_keys
from holdfast.spec import Deployment
from holdfast.ui.errors import SignInError

ALL_SCOPES: Final = frozenset({"predict", "label", "read", "rows", "admin"})
_RETRY_S: Final = 10.0
"""At least so long passes between two requests to the identity provider that strangers' tokens cause."""
_LONGEST_NAME: Final = 100
_FRESH: Final = "Take a fresh token from the identity provider, meant for this deployment"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a credential stands for."""

    name: str
    """Stands in the audit: `key <id>` or `token <subject>`, never a secret."""
    scopes: frozenset[str]
    expires_at_us: int | None
    """Of a token; a key is asked for again at each look."""
    of_key: bool


class Identities:
    """Finds whom a credential stands for.

    Args:
        deployment: says whose tokens are accepted.
        registry: of the keys.
        clock: for expiry.
    """

    def __init__(self, deployment: Deployment, registry: Registry, clock: Clock) -> None:
        self._deployment = deployment
        self._security = deployment.checklist.security
        self._registry = registry
        self._clock = clock
        self._admission = Admission(self._security, clock)
        self._keys_seen: tuple[int, int] | None = None
        self._tokens: TokenVerifier | None = None
        self._refreshed_s = float("-inf")
        self._lock = threading.Lock()

    @property
    def open_to_all(self) -> bool:
        """Whether the service, and so its pages, need no key."""
        return self._admission.open_to_all

    @property
    def takes_tokens(self) -> bool:
        """Whether an identity provider is named."""
        return bool(self._security.jwt_jwks)

    def find(self, credential: str) -> Identity:
        """Whom a key or token stands for. For a token this may ask the provider for its keys.

        Raises:
            SignInError: nobody who is known; the text says why and never repeats the credential.
        """
        self.refresh()
        text = credential.strip().encode("utf-8", "replace")
        try:
            grant = self._admission.find(b"Bearer " + text)
        except UnauthorisedError as error:
            if text.count(b".") != 2:
                raise SignInError(
                    "the key is not accepted",
                    next_step="Check that it is whole, and neither expired nor revoked: holdfast key list",
                ) from error
            return self._of_token(text)
        return Identity(name=grant.name, scopes=grant.scopes, expires_at_us=None, of_key=True)

    def still_known(self, name: str) -> bool:
        """Whether the key of this name is accepted still."""
        self.refresh()
        return name in self._admission.names

    def refresh(self) -> None:
        """Take over the registry's active keys when they have changed; one count otherwise."""
        seen = self._registry.api_keys.fingerprint()
        if seen == self._keys_seen:
            return
        self._admission.replace_keys(active_keys(self._registry))
        self._keys_seen = seen

    def _of_token(self, token: bytes) -> Identity:
        if not self.takes_tokens:
            raise SignInError(
                "this looks like a token, and no identity provider is named here",
                next_step="Give an API key, or name the provider with [security] jwt_jwks",
            )
        with self._lock:
            verifier = self._verifier()
            try:
                said = verifier.verify(token)
            except UnauthorisedError as error:
                if not verifier.unknown_key_seen or not self._fetch(verifier, _RETRY_S):
                    raise SignInError(error.what, next_step=_FRESH) from error
                try:
                    said = verifier.verify(token)
                except UnauthorisedError as again:
                    raise SignInError(again.what, next_step=_FRESH) from again
        subject = "".join(letter for letter in said.subject if letter.isprintable())[:_LONGEST_NAME]
        return Identity(
            name=f"token {subject}",
            scopes=ALL_SCOPES if "admin" in said.scopes else said.scopes & ALL_SCOPES,
            expires_at_us=said.expires_at_us,
            of_key=False,
        )

    def _verifier(self) -> TokenVerifier:
        """With keys that are no older than `jwt_refresh`; a file's are looked at each time."""
        try:
            if self._tokens is None:
                self._tokens = TokenVerifier(self._security, self._deployment.folder)
        except (ServeError, OSError) as error:
            raise SignInError("the keys of the identity provider cannot be read") from error
        every_s = self._security.jwt_refresh.microseconds / 1e6 if self._tokens.is_url else 0.0
        self._fetch(self._tokens, every_s)
        return self._tokens

    def _fetch(self, verifier: TokenVerifier, least_s: float) -> bool:
        """Read the provider's keys again unless that was a moment ago; whether they were read."""
        now_s = self._clock.monotonic_s()
        if now_s - self._refreshed_s < least_s:
            return False
        self._refreshed_s = now_s
        try:
            verifier.refresh()
        except (ServeError, OSError):
            return False  # those held before stay
        return True
