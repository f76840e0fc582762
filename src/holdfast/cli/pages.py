"""`holdfast ui` and `holdfast report`."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from holdfast.cli.options import folder_option, json_option, open_deployment, open_registry, print_json
from holdfast.clock import SystemClock


@click.command("ui")
@folder_option
@click.option(
    "--port",
    default=8090,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port on loopback; 0 takes a free one.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open it in the browser.")
@click.option("--socket", "descriptor", type=int, hidden=True)
@click.option("--below", default="", hidden=True)
def ui_command(folder: Path, port: int, descriptor: int | None, below: str, *, open_browser: bool) -> None:
    """Show the dashboard of a deployment folder, read-only, until Ctrl-C.

    A running service has it at its own address, where decisions can be made too.
    """
    # A sixth of the start is spent looking for garbage among modules, which are none.
    gc.disable()
    try:
        from holdfast.ui import serve_dashboard
        from holdfast.ui.server import IDLE_S, inherited_socket, own_group_ignores_interrupt
    finally:
        gc.enable()

    deployment = open_deployment(folder)
    if descriptor is not None:
        own_group_ignores_interrupt()
        serve_dashboard(
            deployment,
            SystemClock(),
            listening=inherited_socket(descriptor),
            read_only=False,
            below=below,
            idle_s=IDLE_S,
            on_ready=gc.freeze,
        )
        return
    from holdfast.serve.sockets import open_sockets

    (listening,), found = open_sockets("127.0.0.1", port, 1)
    listening.listen()
    address = f"http://127.0.0.1:{found}/ui/"

    def ready() -> None:
        gc.freeze()
        click.echo(f"holdfast: the dashboard of {deployment.name} at {address}, read-only; Ctrl-C stops it")
        if open_browser:
            click.launch(address)

    serve_dashboard(deployment, SystemClock(), listening=listening, read_only=True, on_ready=ready)


@click.command("report")
@click.argument("targets", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@folder_option
@click.option(
    "--slice",
    "sliced",
    metavar="COLUMN=VALUE",
    help="Tell the drift of this slice, of an input that [monitoring] slices names.",
)
@json_option
def report_command(targets: tuple[Path, ...], folder: Path, sliced: str | None, *, as_json: bool) -> None:
    """Write the diagnosis to TARGETS: .html is one self-contained page, .pdf needs holdfast[pdf].

    --json prints everything that the dashboard's pages say, raw rows and live traffic apart.
    """
    from holdfast.ui import make_report, write_report
    from holdfast.ui.facts import Facts

    if not targets and not as_json:
        raise click.UsageError("Name a file that ends in .html or .pdf, or ask for --json.")
    column, equals, value = (sliced or "").partition("=")
    if sliced is not None and not (column.strip() and equals):
        raise click.UsageError("--slice takes a column and its value, such as --slice country=home.")
    deployment = open_deployment(folder)
    clock = SystemClock()
    with open_registry(deployment) as registry:
        report = make_report(Facts(deployment, registry, clock), (column.strip(), value.strip()))
    for target in targets:
        write_report(report, target)
        if not as_json:
            click.echo(f"Wrote {target}.")
    if as_json:
        print_json(report)
