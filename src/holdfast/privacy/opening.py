"""The redactor and the sealer of a deployment, with the secrets that they need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holdfast.clock import Clock
from holdfast.privacy.pseudonym import PSEUDONYM_KEY_VARIABLE
from holdfast.privacy.redactor import Redactor, needs_master_key
from holdfast.privacy.sealing import Sealer
from holdfast.privacy.subjects import SubjectStore, read_master_key
from holdfast.spec.checklist import Privacy


def open_redactor(
    privacy: Privacy,
    folder: Path,
    environ: Mapping[str, str],
    clock: Clock,
    *,
    synced: bool = False,
    pseudonym_key: bytes | None = None,
) -> Redactor:
    """What the checklist's `[privacy]` asks for.

    Args:
        privacy: the checklist's section.
        folder: of the deployment, where the data keys are kept.
        environ: holds the secrets (pass `os.environ`).
        clock: of the data keys.
        synced: new data keys survive a power loss.
        pseudonym_key: instead of the environment's.

    Raises:
        PseudonymKeyError: a pseudonym key is needed and there is none.
        MasterKeyError: a master key is needed and there is none.
    """
    if pseudonym_key is None and PSEUDONYM_KEY_VARIABLE in environ:
        pseudonym_key = environ[PSEUDONYM_KEY_VARIABLE].encode()
    sealer = open_sealer(privacy, folder, environ, clock, synced=synced)
    return Redactor(privacy, pseudonym_key, sealer)


def open_sealer(
    privacy: Privacy, folder: Path, environ: Mapping[str, str], clock: Clock, *, synced: bool = False
) -> Sealer | None:
    """What seals and opens encrypted values, or None where the checklist encrypts nothing.

    Raises:
        MasterKeyError: a master key is needed and there is none.
    """
    needed_by = needs_master_key(privacy)
    if not needed_by:
        return None
    file = folder / privacy.master_key_file if privacy.master_key_file else None
    master_key = read_master_key(environ, file, needed_by=needed_by)
    return Sealer(SubjectStore(folder, synced=synced), master_key, clock)
