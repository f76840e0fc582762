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
    if security.auth != "keys" and not security.tls_client_ca and not security.no_auth_reason:
        raise ExposureError(
            "anybody who reaches this address could ask without a key",
            where="[target] host",
            expected='127.0.0.1, or [security] auth = "keys" or tls_client_ca',
            received=host,
            next_step="Make a key with: holdfast key create",
        )
    if not security.tls_certificate and not security.no_tls_reason:
        raise ExposureError(
            "requests and keys would cross the network unencrypted",
            where="[target] host",
            expected="127.0.0.1, or [security] tls_certificate and tls_key",
            received=host,
        )


class Tls:
    """The server's TLS (1.2 or newer), with a certificate that may be renewed while it serves.

    With `tls_client_ca`, callers without a certificate of that authority do not get past the handshake.

    Args:
        security: with `tls_certificate`.
        folder: of the deployment, to which the files are relative.

    Raises:
        ServeError: a file cannot be used.
    """

    def __init__(self, security: Security, folder: Path) -> None:
        self._certificate = folder / security.tls_certificate
        self._key = folder / security.tls_key if security.tls_key else None
        self._client_ca = folder / security.tls_client_ca if security.tls_client_ca else None
        self._stamp = self._read_stamp()
        self.context = self._make()

    def _read_stamp(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            found = [path.stat() for path in (self._certificate, self._key) if path is not None]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in found)

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise ServeError(
                f"the certificate or its key cannot be used: {error}",
                where="[security] tls_certificate, tls_key",
            ) from error
        if self._client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self._client_ca)
            except (OSError, ssl.SSLError) as error:
                raise ServeError(
                    f"the authority of client certificates cannot be used: {error}",
                    where="[security] tls_client_ca",
                ) from error
        return context

    def renew(self) -> bool:
        """Take a renewed certificate over for new connections; old ones keep theirs. Costs two stats.

        Returns:
            Whether there was one.

        Raises:
            ServeError: the new files do not fit (perhaps only one of the two is there yet); the old
                certificate goes on, and the next call tries again.
        """
        stamp = self._read_stamp()
        if stamp is None or stamp == self._stamp:
            return False
        self._make()  # a context that fails half way would be left with a certificate without its key
        try:
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise ServeError(
                f"the certificate or its key changed while they were read: {error}",
                where="[security] tls_certificate, tls_key",
            ) from error
        self._stamp = stamp
        return True


def make_tls(security: Security, folder: Path) -> Tls | None:
    """TLS as the checklist says, or None.

    Raises:
        ServeError: a file cannot be used.
    """
    return Tls(security, folder) if security.tls_certificate else None


def client_ca(security: Security, folder: Path) -> bytes | None:
    """Certificates of the authority of clients in PEM, or None.

    Raises:
        ServeError: the file cannot be read.
    """
    if not security.tls_client_ca:
        return None
    try:
        return (folder / security.tls_client_ca).read_bytes()
    except OSError as error:
        raise ServeError(
            f"the authority of client certificates cannot be read: {error.strerror}",
            where="[security] tls_client_ca",
        ) from error


def tls_pair(security: Security, folder: Path) -> tuple[bytes, bytes] | None:
    """Private key and certificate in PEM, or None; for servers that load them themselves.

    Raises:
        ServeError: a file cannot be read.
    """
    if not security.tls_certificate:
        return None
    try:
        return (folder / security.tls_key).read_bytes(), (folder / security.tls_certificate).read_bytes()
    except OSError as error:
        raise ServeError(
            f"the certificate or its key cannot be read: {error.strerror}",
            where="[security] tls_certificate, tls_key",
        ) from error
