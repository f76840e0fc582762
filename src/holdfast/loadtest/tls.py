"""TLS towards the service under load."""

from __future__ import annotations

import ssl

from holdfast.loadtest.errors import LoadTestError


def client_context(certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Speaks to any server; shows a client certificate where one is given.

    The caller decided which service to load, so its certificate is not verified: it is not what is measured.

    Args:
        certificate: PEM file.
        key: PEM file of its private key; None: it stands in the same file.

    Raises:
        LoadTestError: they cannot be read, or do not belong together.
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise LoadTestError(
                "the client certificate cannot be used",
                where=certificate,
                expected="a PEM certificate and its private key, not protected by a password",
                received=str(error),
            ) from error
    return context
