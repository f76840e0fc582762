"""`holdfast register` and `versions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.options import (
    actor,
    first_use,
    folder_option,
    json_option,
    open_deployment,
    open_registry,
    place,
    print_json,
    print_table,
)
from holdfast.clock import SystemClock, iso_utc

if TYPE_CHECKING:
    from holdfast.registry import ModelVersion


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
@click.option("--promote", is_flag=True, help="Make it the champion at once, unchecked; the audit says so.")
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
    from holdfast.registry import register_model

    deployment = open_deployment(folder)
    with open_registry(deployment) as registry:
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
            from holdfast.rollout import confirm

            confirm(
                deployment,
                registry,
                version.version,
                reason="at registration",
                waive="registered with --promote",
                actor=actor(),
            )
        champion = registry.route().champion
    if as_json:
        print_json({"version": version, "champion": champion})
        return
    click.echo(f"Registered version {version.version} of {deployment.name} (sha256 {version.sha256[:12]}).")
    for note in version.notes:
        click.echo(f"  {note}")
    if champion == version.version:
        click.echo(f"It is the champion. Next: {first_use(deployment, folder)}")
    else:
        click.echo(
            f"The champion is still version {champion}. "
            f"Next: holdfast rollout start {version.version}{place(folder)}"
        )


@click.command("versions")
@folder_option
@json_option
def versions_command(folder: Path, *, as_json: bool) -> None:
    """List the registered versions, oldest first."""
    with open_registry(open_deployment(folder)) as registry:
        versions, route = registry.versions(), registry.route()
    if as_json:
        print_json({"versions": versions, "route": route})
        return
    if not versions:
        click.echo(f"No version is registered. Next: holdfast register MODEL --reference FILE{place(folder)}")
        return
    print_table(
        "",
        ["version", "sha256", "registered (UTC)", ""],
        [_version_row(version, route.champion) for version in versions],
    )


def _version_row(version: ModelVersion, champion: str | None) -> list[str]:
    mark = "champion" if version.version == champion else ""
    return [version.version, version.sha256[:12], iso_utc(version.created_at_us)[:19], mark]
