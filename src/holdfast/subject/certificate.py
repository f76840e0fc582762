"""What was erased, signed, in a form that names nobody.

The certificate holds a keyed hash of the subject: whoever has the pseudonym key and the subject's identifier
can show that it is about that subject, and nobody else can find out about whom it is.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.files import sync_file

SIGNING_KEY_VARIABLE: Final = "HOLDFAST_SIGNING_KEY"
SIGNING_KEY_FILE: Final = "signing.key"
_SEED_BYTES: Final = 32
_encode = msgspec.json.Encoder(order="sorted").encode


class CertificateError(HoldfastError):
    """A certificate cannot be made, or is not what was signed."""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed, and what had seen it."""

    format: int = 1
    request_id: str
    deployment: str
    requested_by: str
    requested_at: str
    done_at: str
    nonce: str
    subject_proof: str
    """HMAC-SHA256, under the pseudonym key, of nonce and subject."""
    predictions: int
    labels: int
    spool_records: int
    large_inputs: int = 0
    """Contents stored beside the tables that nobody else's predictions name."""
    data_keys: int
    """Destroyed, so that copies of encrypted rows are closed for ever, backups included."""
    consents: int
    assignments: int = 0
    """Keyed hashes by which rows of tables were assigned to the versions of an open rollout."""
    data_files: dict[str, int]
    """Rows removed from each file of data, by its path in the deployment folder."""
    answered_by: tuple[str, ...]
    """Model versions that had answered the subject's predictions."""
    trained_with: tuple[str, ...]
    """Model versions whose training data held rows of the subject: retrain them if that must not stay."""
    judged_on: tuple[str, ...]
    """Model versions whose reference held rows of the subject."""
    naming_nobody: tuple[str, ...] = ()
    """Tables without a column by which a row's subject could be told: rows about the subject, if there are
    any, stayed. Register a version again with the subject field, or drop its reference."""
    texts_searched: int
    """Pseudonym, prediction ids and, if long enough not to be found by chance, the identifier itself."""
    still_found: tuple[str, ...]
    """Files of the deployment folder that still hold one of them: none, if all went well."""
    unreadable: tuple[str, ...]
    """Spool segments of a newer holdfast, which were not searched."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left."""
        return not self.still_found and not self.unreadable


class SignedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate with an Ed25519 signature over its JSON with sorted keys."""

    certificate: Certificate
    public_key: str
    signature: str


def subject_proof(pseudonym_key: bytes, nonce: str, subject: str) -> str:
    """What shows whom a certificate is about, to those who have the key and the identifier."""
    return hmac.digest(pseudonym_key, f"holdfast erasure\n{nonce}\n{subject}".encode(), "sha256").hex()


def read_signing_key(folder: Path, environ: Mapping[str, str]) -> bytes:
    """The 32 bytes of the Ed25519 key: from the environment, or from `signing.key`, made at first use.

    Raises:
        CertificateError: what is there is no key.
    """
    path = folder / SIGNING_KEY_FILE
    text, where = environ.get(SIGNING_KEY_VARIABLE), SIGNING_KEY_VARIABLE
    if text is None:
        where = str(path)
        if not path.exists():
            _make_signing_key(path)
        text = path.read_text(encoding="ascii", errors="replace")
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != _SEED_BYTES:
        raise CertificateError("not a signing key", where=where, expected="64 hexadecimal digits")
    return key


def _make_signing_key(path: Path) -> None:
    """A file that is whole and on the disk when it appears; of two made at once the first one stays."""
    own = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(own, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(_SEED_BYTES) + "\n")
        sync_file(own)
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
        sync_file(path.parent)
    finally:
        own.unlink(missing_ok=True)


def sign(certificate: Certificate, signing_key: bytes) -> SignedCertificate:
    """The certificate with its signature."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(signing_key)
    return SignedCertificate(
        certificate=certificate,
        public_key=private.public_key().public_bytes_raw().hex(),
        signature=private.sign(_encode(certificate)).hex(),
    )


def verify_certificate(document: bytes, *, public_key: str | None = None) -> SignedCertificate:
    """The certificate, once its signature is right.

    Args:
        document: JSON.
        public_key: that is trusted, in hexadecimal; None: the one in the document, which shows only that
            nothing was changed, not who signed.

    Raises:
        CertificateError: it is no certificate, was changed, or was signed by another key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signed = msgspec.json.decode(document, type=SignedCertificate)
        # As it stands there: this holdfast may know fields that were not yet there when it was signed.
        said = msgspec.json.decode(document)["certificate"]
        if public_key is not None and public_key.lower() != signed.public_key:
            raise CertificateError(
                "signed by another key", expected=public_key[:64], received=signed.public_key[:64]
            )
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed.public_key)).verify(
            bytes.fromhex(signed.signature), _encode(said)
        )
    except InvalidSignature:
        raise CertificateError(
            "the certificate is not what was signed",
            next_step="Ask for the file as it stands in `certificates/` of the deployment",
        ) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise CertificateError(
            f"not a certificate of an erasure: {error}", expected="the file that `holdfast erase` wrote"
        ) from error
    return signed
