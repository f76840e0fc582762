"""`holdfast register`, `versions` and `rollout`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from holdfast.cli.options import actor, folder_option, json_option, open_deployment, print_json, print_table
from holdfast.clock import SystemClock, iso_utc
from holdfast.registry import ModelVersion, Registry, register_model
from holdfast.spec import Deployment


def _open_registry(deployment: Deployment) -> Registry:
    return Registry.open(deployment.registry_url, SystemClock())


@click.command("register")
@click.argument("model")
@folder_option
@click.option(
    "--reference",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet or CSV that the model was judged good on: its inputs, best held out from training.",
)
@click.option("--labels", metavar="COLUMN", help="Column of the reference that holds the true answer.")
@click.option("--time", "time_column", metavar="COLUMN", help="Column of the reference that holds the time.")
@click.option(
    "--trust-pickle", is_flag=True, help="Load a pickle or joblib file. It can run any code: only your own."
)
@click.option("--trust-python", is_flag=True, help="Accept module:function, which is run in every worker.")
@click.option("--promote", is_flag=True, help="Make it the champion at once, without a rollout.")
@json_option
def register_command(
    model: str,
    folder: Path,
    reference: Path | None,
    labels: str | None,
    time_column: str | None,
    *,
    trust_pickle: bool,
    trust_python: bool,
    promote: bool,
    as_json: bool,
) -> None:
    """Register MODEL (a file, or module:function) with the reference it was judged good on.

    Takes ONNX, XGBoost (.json, .ubj) and LightGBM (.txt) files, scikit-learn pickles with --trust-pickle,
    and Python callables with --trust-python. The first version becomes the champion; later ones wait for
    `rollout`.
    """
    deployment = open_deployment(folder)
    with _open_registry(deployment) as registry:
        version = register_model(
            deployment,
            registry,
            model,
            reference=reference,
            labels=labels,
            time=time_column,
            trust_pickle=trust_pickle,
            trust_python=trust_python,
            clock=SystemClock(),
        )
        if promote and registry.route().champion != version.version:
            registry.promote(version.version, reason="registered with --promote", actor=actor())
        champion = registry.route().champion
    if as_json:
        print_json({"version": version, "champion": champion})
        return
    click.echo(f"Registered version {version.version} of {deployment.name} (sha256 {version.sha256[:12]}).")
    for note in version.notes:
        click.echo(f"  {note}")
    if champion == version.version:
        click.echo(f"It is the champion. Next: holdfast serve{_place(folder)}")
    else:
        click.echo(
            f"The champion is still version {champion}. "
            f"Next: holdfast rollout promote {version.version}{_place(folder)}"
        )


@click.command("versions")
@folder_option
@json_option
def versions_command(folder: Path, *, as_json: bool) -> None:
    """List the registered versions, oldest first."""
    with _open_registry(open_deployment(folder)) as registry:
        versions, route = registry.versions(), registry.route()
    if as_json:
        print_json({"versions": versions, "route": route})
        return
    if not versions:
        click.echo(
            f"No version is registered. Next: holdfast register MODEL --reference FILE{_place(folder)}"
        )
        return
    print_table(
        "",
        ["version", "sha256", "registered (UTC)", ""],
        [_version_row(version, route.champion) for version in versions],
    )


def _version_row(version: ModelVersion, champion: str | None) -> list[str]:
    mark = "champion" if version.version == champion else ""
    return [version.version, version.sha256[:12], iso_utc(version.created_at_us)[:19], mark]


@click.group("rollout")
def rollout_command() -> None:
    """Promote a version, roll back, or show what is routed. Running services follow within a second."""


@rollout_command.command("promote")
@click.argument("version")
@folder_option
@click.option("--reason", default="promoted by hand", show_default=True, help="Stands in the audit for ever.")
@json_option
def promote(version: str, folder: Path, reason: str, *, as_json: bool) -> None:
    """Make VERSION the champion. No request is dropped."""
    with _open_registry(open_deployment(folder)) as registry:
        before = registry.route().champion
        registry.promote(version, reason=reason, actor=actor())
    _print_change(before, version, as_json=as_json)


@rollout_command.command("rollback")
@folder_option
@click.option(
    "--reason", default="rolled back by hand", show_default=True, help="Stands in the audit for ever."
)
@json_option
def rollback(folder: Path, reason: str, *, as_json: bool) -> None:
    """Make the champion before this one the champion again."""
    with _open_registry(open_deployment(folder)) as registry:
        before = registry.route().champion
        after = registry.rollback(reason=reason, actor=actor())
    _print_change(before, after, as_json=as_json)


def _print_change(before: str | None, after: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"champion": after, "before": before})
    else:
        click.echo(f"The champion is version {after} (was {before}).")


@rollout_command.command("status")
@folder_option
@json_option
def status(folder: Path, *, as_json: bool) -> None:
    """Show the champion and every decision that led to it."""
    with _open_registry(open_deployment(folder)) as registry:
        route, decisions = registry.route(), registry.decisions()
    if as_json:
        print_json({"route": route, "decisions": decisions})
        return
    if route.champion is None:
        click.echo(
            f"There is no champion yet. Next: holdfast register MODEL --reference FILE{_place(folder)}"
        )
        return
    click.echo(f"Champion: version {route.champion}.")
    rows = [
        [iso_utc(one.at_us)[:19], one.action, one.version or "", one.actor, one.reason] for one in decisions
    ]
    print_table("", ["when (UTC)", "decision", "version", "by", "reason"], rows)


def _place(folder: Path) -> str:
    """How the next command finds the same deployment."""
    return "" if folder == Path() else f" -C {shlex.quote(str(folder))}"
