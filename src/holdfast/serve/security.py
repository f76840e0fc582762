"""Who may reach the service, and over which transport."""

from __future__ import annotations

import ssl
from pathlib import Path

from holdfast.serve.errors import ExposureError, ServeError
from holdfast.spec import is_loopback
from holdfast.spec.checklist import Checklist, Security


def check_exposure(checklist: Checklist) -> None:
    """Refuse an address that strangers reach, unless they need a key and the transport is encrypted.

    The checklist's own rules say the same; this one holds whatever way a checklist was made.

    Raises:
        ExposureError: the service would be open.
    """
    host, security = checklist.target.host, checklist.security
    if is_loopback(host):
        return
    if security.auth != "keys" and not security.no_auth_reason:
        raise ExposureError(
            "anybody who reaches this address could ask without a key",
            where="[target] host",
            expected='127.0.0.1, or [security] auth = "keys"',
            received=host,
            next_step="Make a key with: holdfast key",
        )
    if not security.tls_certificate and not security.no_tls_reason:
        raise ExposureError(
            "requests and keys would cross the network unencrypted",
            where="[target] host",
            expected="127.0.0.1, or [security] tls_certificate and tls_key",
            received=host,
        )


def tls_context(security: Security) -> ssl.SSLContext | None:
    """The server's TLS context (1.2 or newer), or None.

    Raises:
        ServeError: the certificate or key cannot be used.
    """
    if not security.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(security.tls_certificate, security.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise ServeError(
            f"the certificate or its key cannot be used: {error}", where="[security] tls_certificate, tls_key"
        ) from error
    return context


def tls_pair(security: Security) -> tuple[bytes, bytes] | None:
    """Private key and certificate in PEM, or None; for servers that load them themselves.

    Raises:
        ServeError: a file cannot be read.
    """
    if not security.tls_certificate:
        return None
    try:
        return Path(security.tls_key).read_bytes(), Path(security.tls_certificate).read_bytes()
    except OSError as error:
        raise ServeError(
            f"the certificate or its key cannot be read: {error.strerror}",
            where="[security] tls_certificate, tls_key",
        ) from error
