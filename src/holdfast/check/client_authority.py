"""An authority of client certificates for a check; the deployment's own has its key elsewhere."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holdfast.check.lines import Line
from holdfast.loadtest import Target, UnreachableError

_VALID: Final = dt.timedelta(hours=6)
_SLACK: Final = dt.timedelta(minutes=5)
"""Clocks of two programs on one machine agree; a certificate from this very second still needs some."""
_EXPIRES_SOON_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class ClientAuthority:
    """Files of a made-up authority, of a caller that it vouches for, and of a stranger."""

    authority: Path
    caller: Path = field(repr=False)
    stranger: Path = field(repr=False)
    asked: str
    """The deployment's own file, as the checklist names it."""
    fault: str | None
    """What is wrong with that file."""

    def line(self, target: Target) -> Line:
        """Whether the running service keeps out who has no certificate, or that of another authority."""
        fits = True
        found = ["a certificate of the authority: answered"]
        for who, certificate in (("none", None), ("another authority's", str(self.stranger))):
            caller = Target(target.url, target.model, "json", target.key, certificate)
            try:
                status, _ = caller.ask("GET", f"/v2/models/{target.model}")
            except UnreachableError:
                found.append(f"{who}: kept out")
            else:
                fits = False
                found.append(f"{who}: {status}")
        advice = self.fault
        if not fits:
            advice = (
                "A caller without its certificate must not pass the handshake: report this, it is a defect."
            )
        return Line(
            line="security.tls_client_ca",
            asked=self.asked,
            measured="; ".join(found),
            verdict="pass" if fits and self.fault is None else "fail",
            advice=advice,
        )


def make_client_authority(folder: Path, own: Path, asked: str) -> ClientAuthority:
    """Write the files into a folder.

    Args:
        folder: which exists.
        own: the authority of the deployment.
        asked: its name in the checklist.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("check's authority", key, None)
    path = folder / "authority.pem"
    path.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    caller = _with_key(folder / "caller.pem", "check", (authority, key))
    stranger = _with_key(folder / "stranger.pem", "stranger", None)
    return ClientAuthority(path, caller, stranger, asked, _fault(own))


def _with_key(
    path: Path, name: str, signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(name, key, signer)
    path.touch(mode=0o600)
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if signer is None else signer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .sign(key if signer is None else signer[1], hashes.SHA256())
    )


def _fault(own: Path) -> str | None:
    try:
        certificates = x509.load_pem_x509_certificates(own.read_bytes())
    except (OSError, ValueError) as error:
        return f"The authority cannot be read ({error}): is it PEM?"
    days = min(one.not_valid_after_utc for one in certificates) - dt.datetime.now(dt.UTC)
    if days < dt.timedelta(days=_EXPIRES_SOON_DAYS):
        return (
            f"Renew it: it is valid for {days.days} more days, and {_EXPIRES_SOON_DAYS} are asked for; "
            "afterwards no caller gets in."
        )
    return None
