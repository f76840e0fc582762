"""The key that certificates are signed with: one for all who ask at once, and no half of one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from holdfast.subject import Certificate, CertificateError, read_signing_key, verify_certificate
from holdfast.subject.certificate import sign


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"00" * 31])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "signing.key").write_bytes(content)
    with pytest.raises(CertificateError, match=r"signing\.key"):
        read_signing_key(tmp_path, {})


def test_an_environment_that_holds_no_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="HOLDFAST_SIGNING_KEY"):
        read_signing_key(tmp_path, {"HOLDFAST_SIGNING_KEY": "clé"})


def test_all_who_make_the_key_at_once_have_the_same_one(tmp_path: Path) -> None:
    for number in range(30):
        folder = tmp_path / str(number)
        folder.mkdir()
        ready = threading.Barrier(4)

        def read(_: int, folder: Path = folder, ready: threading.Barrier = ready) -> bytes:
            ready.wait(10)
            return read_signing_key(folder, {})

        with ThreadPoolExecutor(4) as threads:
            keys = set(threads.map(read, range(4)))
        assert len(keys) == 1
        assert [path.name for path in folder.iterdir()] == ["signing.key"]
        assert (folder / "signing.key").stat().st_mode & 0o777 == 0o600


def test_a_certificate_whose_key_is_not_in_hexadecimal_is_refused() -> None:
    signed = sign(
        Certificate(
            request_id="r", deployment="ward", requested_by="cli:ann", requested_at="", done_at="", nonce="",
            subject_proof="", predictions=0, labels=0, spool_records=0, data_keys=0, consents=0,
            data_files={}, answered_by=(), trained_with=(), judged_on=(), texts_searched=0, still_found=(),
            unreadable=(),
        ),
        bytes(32),
    )  # fmt: skip
    with pytest.raises(CertificateError, match="another key"):
        verify_certificate(msgspec.json.encode(signed), public_key="clé")
    strange = msgspec.json.encode(msgspec.structs.replace(signed, public_key="clé"))
    with pytest.raises(CertificateError, match="another key"):
        verify_certificate(strange, public_key=signed.public_key)
    with pytest.raises(CertificateError, match="not a certificate"):
        verify_certificate(strange)
