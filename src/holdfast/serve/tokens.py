"""JSON Web Tokens of an identity provider (OpenID Connect), verified with its published keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from holdfast.serve.errors import ServeError, UnauthorisedError
from holdfast.spec.checklist import Security

if TYPE_CHECKING:
    import jwt

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Only signatures that need the provider's private key; never a shared secret, never `none`."""
_FETCH_TIMEOUT_S: Final = 5.0
_SCOPE_PREFIX: Final = "holdfast:"
_LONGEST_TOKEN_BYTES: Final = 8192
logger = logging.getLogger("holdfast.serve")


class Token(msgspec.Struct, frozen=True):
    """What a verified token says."""

    subject: str
    scopes: frozenset[str]
    expires_at_us: int


class TokenVerifier:
    """Verifies tokens against keys that it holds; fetching keys is the caller's to time.

    Args:
        security: with `jwt_jwks`.
        folder: of the deployment, to which a file is relative.

    Raises:
        ServeError: the keys stand in a file that cannot be read.
    """

    def __init__(self, security: Security, folder: Path) -> None:
        self._security = security
        self.is_url = "://" in security.jwt_jwks
        self._source = security.jwt_jwks if self.is_url else str(folder / security.jwt_jwks)
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._stamp: tuple[int, int] | None = None
        self.unknown_key_seen = False
        """A token named a key that we do not hold: the provider may have a new one."""
        if not self.is_url:
            self._take(Path(self._source).read_bytes)

    def refresh(self) -> bool:
        """Read the keys again; a file only if it has changed. Blocks for a URL, so call it in a thread.

        Returns:
            Whether the keys are other ones now, so that what was admitted before must be asked again.

        Raises:
            ServeError: they cannot be had; those held before stay.
        """
        if not self.is_url:
            stat = Path(self._source).stat()
            if self._stamp == (stat.st_mtime_ns, stat.st_size):
                return False
            return self._take(Path(self._source).read_bytes)
        import jwt

        client = jwt.PyJWKClient(self._source, cache_jwk_set=False, timeout=_FETCH_TIMEOUT_S)
        return self._take(lambda: msgspec.json.encode(client.fetch_data()))

    def _take(self, read: Callable[[], bytes]) -> bool:
        import jwt

        try:
            if not self.is_url:
                stat = Path(self._source).stat()
                self._stamp = (stat.st_mtime_ns, stat.st_size)
            found = jwt.PyJWKSet.from_json(read().decode())
        except (OSError, ValueError, AttributeError, TypeError, jwt.PyJWTError) as error:  # JSON of any form
            raise ServeError(
                f"the keys of the identity provider cannot be read: {error}", where="[security] jwt_jwks"
            ) from error
        keys = {key.key_id: key for key in found.keys if key.public_key_use in {None, "sig"}}
        changed = {name: key.key for name, key in keys.items()} != {
            name: key.key for name, key in self._keys.items()
        }
        self._keys = keys
        self.unknown_key_seen = False
        return changed

    def verify(self, token: bytes) -> Token:
        """What the token says, once its signature, issuer, audience and time are right. Costs about 0.1 ms.

        Raises:
            UnauthorisedError: any of them is wrong; the text names which, never the token.
        """
        import jwt

        if len(token) > _LONGEST_TOKEN_BYTES:
            raise UnauthorisedError("the token is too long", expected=f"at most {_LONGEST_TOKEN_BYTES} bytes")
        try:
            name = jwt.get_unverified_header(token).get("kid")
            key = self._keys.get(name)
            if key is None:
                self.unknown_key_seen = True
                raise UnauthorisedError(
                    "the token is signed with a key that the provider does not publish",
                    next_step="Get a new token from the provider that [security] jwt_jwks names",
                )
            claims = jwt.decode(
                token,
                key,
                algorithms=[one for one in ALGORITHMS if one == key.algorithm_name],
                issuer=self._security.jwt_issuer,
                audience=self._security.jwt_audience,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            expires_at_us = int(float(claims["exp"]) * 1_000_000)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise UnauthorisedError(
                f"the token is not accepted: {type(error).__name__}",
                expected="a token of [security] jwt_issuer for jwt_audience that has not expired",
            ) from error
        return Token(str(claims["sub"]), self._scopes(claims), expires_at_us)

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        given = claims.get(self._security.jwt_scope_claim, ())
        if isinstance(given, str):
            given = given.split()
        if not isinstance(given, list | tuple):
            return frozenset()
        return frozenset(str(one).removeprefix(_SCOPE_PREFIX) for one in given)
