"""A subject's rights: erased with a certificate, exported whole, asked for consent."""

from holdfast.privacy import consented
from holdfast.subject.certificate import (
    Certificate,
    CertificateError,
    SignedCertificate,
    read_signing_key,
    verify_certificate,
)
from holdfast.subject.erasing import erase_subject, subject_field
from holdfast.subject.exporting import export_subject
from holdfast.subject.references import DropError, drop_reference

__all__ = [
    "Certificate",
    "CertificateError",
    "DropError",
    "SignedCertificate",
    "consented",
    "drop_reference",
    "erase_subject",
    "export_subject",
    "read_signing_key",
    "subject_field",
    "verify_certificate",
]
