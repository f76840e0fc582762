"""`holdfast key`: make, list and revoke API keys."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from holdfast.cli.options import (
    CommandGroup,
    actor,
    folder_option,
    json_option,
    open_deployment,
    open_registry,
    print_json,
    print_table,
)
from holdfast.clock import SystemClock, iso_utc
from holdfast.registry import SCOPES, ApiKey, Scope, key_hash, new_secret, revoke_key
from holdfast.spec import Duration


@click.group("key", cls=CommandGroup)
def key_command() -> None:
    """Make, list and revoke API keys. Running services follow within a second."""


@key_command.command("create")
@click.argument("name")
@folder_option
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("predict",),
    show_default=True,
    type=click.Choice(SCOPES),
    help="What it may do; repeatable. admin includes the others.",
)
@click.option("--expires", metavar="DURATION", help="When it ends, such as 90d or 12h; never by default.")
@click.option("--rate", type=float, help="Its own limit in requests per second.")
@json_option
def create(
    name: str,
    folder: Path,
    scopes: tuple[str, ...],
    expires: str | None,
    rate: float | None,
    *,
    as_json: bool,
) -> None:
    """Make a key for NAME, whoever uses it. The key is shown once; only its hash is stored."""
    deployment = open_deployment(folder)
    clock = SystemClock()
    expires_at_us = None
    if expires is not None:
        try:
            expires_at_us = clock.now_us() + Duration.parse(expires).microseconds
        except ValueError as error:
            raise click.BadParameter(
                f"{expires!r} is no duration such as 90d", param_hint="--expires"
            ) from error
    with open_registry(deployment) as registry:
        made = registry.api_keys.create(
            name=name,
            scopes=cast("tuple[Scope, ...]", scopes),
            actor=actor(),
            expires_at_us=expires_at_us,
            requests_per_s=rate,
        )
    if as_json:
        print_json({"key": made.key, **_public(made.entry)})
        return
    click.echo(f"Key {made.entry.key_id} for {name}, shown once: {made.key}")
    if deployment.checklist.security.auth == "none":
        click.echo('No key is asked for yet: set auth = "keys" in [security].')


@key_command.command("list")
@folder_option
@json_option
def list_keys(folder: Path, *, as_json: bool) -> None:
    """List every key there ever was: who uses it, for what, until when."""
    clock = SystemClock()
    with open_registry(open_deployment(folder)) as registry:
        keys = registry.api_keys.all()
    now_us = clock.now_us()
    if as_json:
        print_json([{**_public(key), "state": key.state(now_us)} for key in keys])
        return
    if not keys:
        click.echo("There is no key. Next: holdfast key create NAME")
        return
    rows = [
        [
            key.key_id,
            key.name,
            ", ".join(key.scopes),
            iso_utc(key.created_at_us)[:19],
            "never" if key.expires_at_us is None else iso_utc(key.expires_at_us)[:19],
            key.state(now_us),
        ]
        for key in keys
    ]
    print_table("", ["id", "for", "scopes", "made (UTC)", "expires (UTC)", "state"], rows)


@key_command.command("revoke")
@click.argument("key_id")
@folder_option
@json_option
def revoke(key_id: str, folder: Path, *, as_json: bool) -> None:
    """End the key of this id for ever, within a second in every worker."""
    key = revoke_key(open_deployment(folder).registry_url, SystemClock(), key_id, actor=actor())
    if as_json:
        print_json(_public(key))
    else:
        click.echo(f"Key {key.key_id} for {key.name} is revoked.")


@key_command.command("hash")
@json_option
def make_hash(*, as_json: bool) -> None:
    """Make a key whose hash goes into the checklist, for services whose registry nobody may write."""
    key = new_secret()
    digest = key_hash(key)
    if as_json:
        print_json({"key": key, "sha256": digest})
        return
    click.echo(f"Key, shown once: {key}")
    click.echo('In holdfast.toml:\n[security]\nauth = "keys"')
    click.echo(f'api_key_hashes = ["{digest}"]')


def _public(key: ApiKey) -> dict[str, object]:
    """All but the hash."""
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": key.scopes,
        "requests_per_s": key.requests_per_s,
        "created_at": iso_utc(key.created_at_us),
        "created_by": key.created_by,
        "expires_at": None if key.expires_at_us is None else iso_utc(key.expires_at_us),
        "revoked_at": None if key.revoked_at_us is None else iso_utc(key.revoked_at_us),
        "revoked_by": key.revoked_by,
    }
