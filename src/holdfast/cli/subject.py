"""`holdfast erase`, `consent` and `subject`: what people may ask about their own data."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import click

from holdfast.cli.app import EXIT_ERROR, EXIT_OK
from holdfast.cli.options import (
    CommandGroup,
    actor,
    folder_option,
    json_option,
    open_deployment,
    open_registry,
    print_json,
)
from holdfast.clock import SystemClock, iso_utc, parse_time_us
from holdfast.spec import Deployment

_NEW_MASTER_KEY_VARIABLE: Final = "HOLDFAST_NEW_MASTER_KEY"


def _pseudonym_key(deployment: Deployment) -> bytes:
    from holdfast.privacy import PSEUDONYM_KEY_VARIABLE, PseudonymKeyError
    from holdfast.subject import subject_field

    subject_field(deployment)  # without one no key would help
    key = os.environ.get(PSEUDONYM_KEY_VARIABLE)
    if not key:
        raise PseudonymKeyError(
            "the log knows subjects by pseudonym, and the key is missing",
            next_step=f"Set {PSEUDONYM_KEY_VARIABLE} to the key that the service uses",
        )
    return key.encode()


@click.command("erase")
@click.option("--subject", required=True, help="The subject's identifier, as callers send it.")
@folder_option
@json_option
def erase_command(subject: str, folder: Path, *, as_json: bool) -> int:
    """Erase a subject everywhere in the deployment, prove it by search, and write a signed certificate.

    The service may run meanwhile. Exit 1 if anything is left, which the certificate then names.
    """
    from holdfast.subject import erase_subject, read_signing_key

    deployment = open_deployment(folder)
    with open_registry(deployment) as registry:
        signed = erase_subject(
            deployment,
            registry,
            subject,
            pseudonym_key=_pseudonym_key(deployment),
            signing_key=read_signing_key(deployment.folder, os.environ),
            actor=actor(),
            clock=SystemClock(),
        )
    done = signed.certificate
    if as_json:
        print_json(signed)
    else:
        click.echo(
            f"Erased {done.predictions} predictions, {done.labels} labels, {done.consents} consents and "
            f"{sum(done.data_files.values())} rows of data files; {done.data_keys} data key destroyed."
        )
        for words, versions in (
            ("trained with these rows", done.trained_with),
            ("judged on these rows", done.judged_on),
        ):
            if versions:
                click.echo(f"Versions {words}: {', '.join(versions)}.")
        for path in done.naming_nobody:
            click.echo(f"Names nobody, so no row of it could be found: {path}")
        if any(path.startswith("references/") for path in done.naming_nobody):
            click.echo(
                "If these rows may be about the subject: register the version again with a reference that "
                "has the subject field, or drop its reference: holdfast subject drop-reference VERSION"
            )
        for path in done.still_found:
            click.echo(f"STILL FOUND in {path}")
        for name in done.unreadable:
            click.echo(f"NOT SEARCHED, written by a newer holdfast: {name}")
        click.echo(f"Certificate: {deployment.folder}/certificates/{done.request_id}.json")
    return EXIT_OK if done.complete else EXIT_ERROR


@click.command("consent")
@click.option("--subject", help="The subject's identifier, as callers send it.")
@click.option("--prediction", "prediction_id", help="One prediction instead of a subject.")
@click.option("--agree/--withdraw", "agreed", required=True, default=None, help="What is said.")
@click.option("--at", metavar="TIME", help="From when on it holds (ISO 8601); now by default.")
@folder_option
@json_option
def consent_command(
    subject: str | None,
    prediction_id: str | None,
    at: str | None,
    folder: Path,
    *,
    agreed: bool,
    as_json: bool,
) -> None:
    """Record that a subject agrees to use for training, or no longer does. Earlier statements are kept."""
    from holdfast.privacy import SubjectStore, subject_pseudonym

    if (subject is None) == (prediction_id is None):
        raise click.UsageError("Give either --subject or --prediction.")
    deployment = open_deployment(folder)
    clock = SystemClock()
    try:
        at_us = clock.now_us() if at is None else parse_time_us(at)
    except ValueError as error:
        raise click.BadParameter(f"{at!r} is no ISO 8601 time", param_hint="--at") from error
    who = None if subject is None else subject_pseudonym(_pseudonym_key(deployment), subject)
    with (
        open_registry(deployment) as registry,
        SubjectStore(deployment.folder, synced=True) as store,
    ):
        store.record_consent(
            agreed=agreed,
            subject=who,
            prediction_id=prediction_id,
            at_us=at_us,
            now_us=clock.now_us(),
            recorded_by=actor(),
        )
        registry.audit.add(actor=actor(), action="consent", detail={"agreed": agreed})
    if as_json:
        print_json({"agreed": agreed, "at": iso_utc(at_us)})
    else:
        click.echo(f"Recorded: {'agrees' if agreed else 'does not agree'} from {iso_utc(at_us)[:19]} UTC on.")


@click.group("subject", cls=CommandGroup)
def subject_command() -> None:
    """Export what is held about a subject, verify a certificate of erasure, rotate the master key."""


@subject_command.command("export")
@click.argument("subject")
@folder_option
def export(subject: str, folder: Path) -> None:
    """Print everything held about SUBJECT as one JSON document. The reading stands in the audit."""
    from holdfast.privacy import open_sealer
    from holdfast.subject import export_subject

    deployment = open_deployment(folder)
    clock = SystemClock()
    with (
        open_sealer(deployment.checklist.privacy, deployment.folder, os.environ, clock)
        or nullcontext() as sealer,
        open_registry(deployment) as registry,
    ):
        held = export_subject(
            deployment,
            registry,
            subject,
            pseudonym_key=_pseudonym_key(deployment),
            sealer=sealer,
            actor=actor(),
            clock=clock,
        )
    print_json(held)


@subject_command.command("drop-reference")
@click.argument("version")
@click.option("--reason", required=True, help="For the record of the version and the audit.")
@click.option("--champion", is_flag=True, help="Also if it answers: its monitor is blind then.")
@folder_option
@json_option
def drop(version: str, reason: str, folder: Path, *, champion: bool, as_json: bool) -> None:
    """Remove the reference of VERSION, whose rows name nobody and so cannot be erased one by one.

    The version, its evidence and its artifact stay. For monitoring, register the model again with a reference
    that has the subject field.
    """
    from holdfast.subject import drop_reference

    deployment = open_deployment(folder)
    with open_registry(deployment) as registry:
        rows = drop_reference(
            deployment, registry, version, reason=reason, actor=actor(), even_champion=champion
        )
    if as_json:
        print_json({"version": version, "rows": rows})
    else:
        click.echo(f"Dropped the reference of version {version}: {rows} rows.")


@subject_command.command("rotate-key")
@folder_option
@json_option
def rotate_key(folder: Path, *, as_json: bool) -> None:
    """Wrap the keys of all subjects with a new master key: HOLDFAST_NEW_MASTER_KEY in place of the present.

    All or none, whatever happens in the middle. Stop the service first and start it with the new key: a
    worker that has the old one can open nothing afterwards. What is logged stays as it is.
    """
    from holdfast.privacy import MASTER_KEY_VARIABLE, MasterKeyError, SubjectStore, read_master_key

    deployment = open_deployment(folder)
    file = deployment.checklist.privacy.master_key_file
    old = read_master_key(os.environ, deployment.folder / file if file else None, needed_by="rotate-key")
    fresh = os.environ.get(_NEW_MASTER_KEY_VARIABLE)
    if fresh is None:
        raise MasterKeyError(
            "there is no new master key",
            where=_NEW_MASTER_KEY_VARIABLE,
            expected="64 hexadecimal digits",
            next_step='python -c "import secrets; print(secrets.token_hex(32))" prints one',
        )
    new = read_master_key({MASTER_KEY_VARIABLE: fresh}, None, needed_by="rotate-key")
    with (
        open_registry(deployment) as registry,
        SubjectStore(deployment.folder, synced=True) as store,
    ):
        keys = store.rotate_master_key(old, new)
        registry.audit.add(actor=actor(), action="rotate.master_key", detail={"keys": keys})
    if as_json:
        print_json({"keys": keys})
    else:
        click.echo(f"{keys} keys are under the new master key. Start the service with it; destroy the old.")


@subject_command.command("verify")
@click.argument("certificate", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--public-key", metavar="HEX", help="The signer's key that you trust.")
@json_option
def verify(certificate: Path, public_key: str | None, *, as_json: bool) -> None:
    """Check the signature of the CERTIFICATE of an erasure."""
    from holdfast.subject import verify_certificate

    signed = verify_certificate(certificate.read_bytes(), public_key=public_key)
    if as_json:
        print_json({"ok": True, "public_key": signed.public_key, "certificate": signed.certificate})
    else:
        click.echo(f"The certificate is what was signed by {signed.public_key}.")
