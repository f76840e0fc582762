"""Forget a subject: everywhere in the deployment folder, with the proof by search and a signed certificate.

Each step may be repeated, so an erasure that was interrupted is done again from its beginning. The data key
goes first: from then on no copy of an encrypted row can be opened, whatever else fails.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import msgspec

from holdfast.clock import Clock, iso_utc
from holdfast.files import write_whole
from holdfast.infer import forget_units, keep_units_of, place_of, share_folder
from holdfast.prediction_log import PredictionLog, erase, search_bytes, settle
from holdfast.privacy import SUBJECTS_FILE, PrivacyError, SubjectStore, canonical_text, subject_pseudonym
from holdfast.registry import Registry
from holdfast.spec import Deployment
from holdfast.subject.certificate import Certificate, SignedCertificate, sign, subject_proof
from holdfast.subject.data_files import Wanted, data_files, note_in_manifests, remove_rows
from holdfast.subject.references import Noting

CERTIFICATES_FOLDER: Final = "certificates"
_SHORTEST_SEARCHED_BYTES: Final = 8
"""A shorter identifier is found by chance in any large file."""
_MOST_IDS_SEARCHED: Final = 200
"""Prediction ids of which the bytes are searched; rows of one subject leave together or not at all."""


def erase_subject(
    deployment: Deployment,
    registry: Registry,
    subject: str,
    *,
    pseudonym_key: bytes,
    signing_key: bytes,
    actor: str,
    clock: Clock,
) -> SignedCertificate:
    """Erase a subject from the deployment folder; returns once no file of it is left to search.

    Covers the data key, consents, references and data sets, predictions and labels in all versions of the
    tables, large inputs that nobody else's predictions name, units of assignment, and the spool, while the
    service runs. Does not reach copies outside the folder; of those, what was encrypted can no longer be
    opened.

    Args:
        deployment: with `[privacy] subject_field`.
        registry: for the audit, and for which versions had seen the rows.
        subject: as callers name the subject.
        pseudonym_key: under which the log knows the subject.
        signing_key: of the certificate, 32 bytes.
        actor: who asks for it.
        clock: wall time.

    Raises:
        PrivacyError: the checklist names no subject field, or a table of the folder cannot be read.
        KeeperBehindError: the running keeper does not carry it out; the request stands.
    """
    wanted, pseudonym, ids = find(deployment, subject, pseudonym_key, clock)
    log = PredictionLog(deployment)
    digests = log.large_inputs_of(pseudonym)
    requested_at_us = clock.now_us()
    keys = consents = 0
    if (deployment.folder / SUBJECTS_FILE).exists():
        with SubjectStore(deployment.folder, synced=True) as store:
            keys, consents = store.erase([pseudonym], sorted(ids))
    identifier = canonical_text(subject)
    noting = Noting(
        deployment, registry, lambda sha256: subject_proof(pseudonym_key, f"reference {sha256}", identifier)
    )
    removed, silent = _remove_from_files(deployment, wanted, noting)
    assignments = _forget_assignments(deployment, registry, subject)
    report = erase(deployment, clock, subjects=[pseudonym], prediction_ids=sorted(ids))
    # Again: a table that had promised its rows was published meanwhile, and had kept its units before.
    assignments += _forget_assignments(deployment, registry, subject)
    # What others' predictions name too stays, and so does its hash.
    gone = sorted(digests - log.large_inputs_of(None)) if digests else []
    searched, left = _search(deployment, log, [pseudonym, identifier], sorted(ids), gone)
    nonce = secrets.token_hex(16)
    trained, judged, by_file = _versions_with(registry, removed)
    said = {"request_id": report.request_id, "at": iso_utc(clock.now_us())}
    note_in_manifests(deployment, removed, by_file, said)
    certificate = Certificate(
        request_id=report.request_id,
        deployment=deployment.name,
        requested_by=actor,
        requested_at=iso_utc(requested_at_us),
        done_at=iso_utc(clock.now_us()),
        nonce=nonce,
        subject_proof=subject_proof(pseudonym_key, nonce, identifier),
        predictions=report.predictions,
        labels=report.labels,
        spool_records=report.spool_records,
        large_inputs=report.large_inputs,
        data_keys=keys,
        consents=consents,
        assignments=assignments,
        data_files=removed,
        answered_by=report.model_versions,
        trained_with=trained,
        judged_on=judged,
        naming_nobody=silent,
        texts_searched=searched,
        still_found=tuple(sorted(left)),
        unreadable=report.unreadable,
    )
    signed = _publish(deployment, sign(certificate, signing_key))
    noting.certify(report.request_id)
    registry.audit.add(
        actor=actor,
        action="erase",
        target=report.request_id,
        detail={
            "predictions": certificate.predictions,
            "labels": certificate.labels,
            "complete": certificate.complete,
            "signature": signed.signature,
        },
    )
    return signed


def _search(
    deployment: Deployment, log: PredictionLog, names: list[str], ids: list[str], gone: list[str]
) -> tuple[int, set[str]]:
    """How many texts were searched, and files of the deployment that still hold one of them.

    Args:
        deployment: whose.
        log: of it.
        names: of the subject: the pseudonym and the identifier.
        ids: of the subject's predictions.
        gone: hashes of large inputs that nobody names any more.
    """
    searched = [*names, *ids[:_MOST_IDS_SEARCHED], *gone[:_MOST_IDS_SEARCHED]]
    texts = [text for text in searched if len(text.encode()) >= _SHORTEST_SEARCHED_BYTES]
    left = _places_with(deployment, texts)
    left |= {
        path.removeprefix(f"{deployment.folder.as_posix()}/") for path in log.places_of_large_inputs(gone)
    }
    return len(texts), left


def _publish(deployment: Deployment, signed: SignedCertificate) -> SignedCertificate:
    """The certificate as a file of the deployment."""
    folder = deployment.folder / CERTIFICATES_FOLDER
    folder.mkdir(exist_ok=True)
    write_whole(
        folder / f"{signed.certificate.request_id}.json",
        msgspec.json.format(msgspec.json.encode(signed), indent=2),
    )
    return signed


def _remove_from_files(
    deployment: Deployment, wanted: Wanted, noting: Noting
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Rows removed by file, and files that name nobody; both without the deployment's folder."""
    removed: dict[str, int] = {}
    silent: list[str] = []
    for path in data_files(deployment):
        name = path.relative_to(deployment.folder).as_posix()
        rows = remove_rows(path, wanted, noting.before_replacing(path))
        if rows is None:
            silent.append(name)
        elif rows:
            removed[name] = rows
    return removed, tuple(silent)


def _places_with(deployment: Deployment, texts: list[str]) -> set[str]:
    """Files that hold one of the texts, in the deployment's folder and where its tables are."""
    found = {
        Path(one.path).relative_to(deployment.folder).as_posix()
        for one in search_bytes(deployment.folder, texts)
    }
    if deployment.checklist.logging.tables:
        found |= {one.path for one in search_bytes(deployment.checklist.logging.tables, texts)}
    return found


def subject_field(deployment: Deployment) -> str:
    """The field that names the person a record is about.

    Raises:
        PrivacyError: the checklist names none.
    """
    field = deployment.checklist.privacy.subject_field
    if not field:
        raise PrivacyError(
            "the log does not know subjects",
            where="[privacy] subject_field",
            expected="the field that names the person a record is about",
        )
    return field


def find(
    deployment: Deployment, subject: str, pseudonym_key: bytes, clock: Clock
) -> tuple[Wanted, str, frozenset[str]]:
    """Whose rows are meant, the subject's pseudonym, and the ids of the predictions that are in the log.

    Raises:
        PrivacyError: the checklist names no subject field.
    """
    import pyarrow.compute as pc

    field = subject_field(deployment)
    pseudonym = subject_pseudonym(pseudonym_key, subject)
    settle(deployment, clock=clock)
    ids: set[str] = set()
    for batch in PredictionLog(deployment).predictions(columns=["prediction_id", "subject"]):
        ids.update(
            batch.filter(pc.equal(batch.column("subject"), pseudonym)).column("prediction_id").to_pylist()
        )
    found = frozenset(ids)
    return Wanted(canonical_text(subject), pseudonym, found, field), pseudonym, found


def _forget_assignments(deployment: Deployment, registry: Registry, subject: str) -> int:
    """Forget by which keyed hash rows of the subject were assigned in tables; returns how many hashes went.

    Where rows are not assigned by the subject field, nobody knows which hashes are of this subject: all go.
    """
    keep_units_of(deployment.scored_folder, registry.rollouts.open())
    route = registry.route().challenger
    if route is None:
        return 0
    checklist = deployment.checklist
    by_subject = checklist.rollout.assign_by == checklist.privacy.subject_field
    return forget_units(
        share_folder(deployment.scored_folder, route.rollout, route.share),
        [place_of(route.assignment_key, canonical_text(subject))] if by_subject else None,
    )


def _versions_with(
    registry: Registry, removed: dict[str, int]
) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, list[str]]]:
    """Versions that were trained with, and judged on, files that held such rows; and the first by file.

    A version's own reference lies in `references/<version>/`; its training data are the paths in the list
    `data_sets` of its metadata.
    """
    trained, judged = [], []
    by_file: dict[str, list[str]] = {}
    for version in registry.versions():
        files = [path for path in version.metadata.get("data_sets", ()) if path in removed]
        if files:
            trained.append(version.version)
        for path in files:
            by_file.setdefault(path, []).append(version.version)
        if any(path.startswith(f"references/{version.version}/") for path in removed):
            judged.append(version.version)
    return tuple(trained), tuple(judged), by_file
