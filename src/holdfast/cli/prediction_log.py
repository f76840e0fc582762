"""`holdfast log`: read the prediction log and prove that it is whole."""

from __future__ import annotations

import os
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from holdfast.cli.app import EXIT_ERROR, EXIT_OK
from holdfast.cli.label_text import label_text_of
from holdfast.cli.large_inputs import chosen_large_input, write_array
from holdfast.cli.options import (
    CommandGroup,
    actor,
    folder_option,
    json_option,
    open_deployment,
    open_registry,
    print_json,
    printable,
)
from holdfast.cli.rows import coverage_of, print_csv, print_rows, print_rows_json
from holdfast.clock import SystemClock
from holdfast.spec import Duration

if TYPE_CHECKING:
    from holdfast.prediction_log import PredictionLog, VerifyReport

_LONGEST_SHOWN = 100
"""Of one value, in characters: a line of people's rows is no place for a thumbnail. `--json` gives all."""


def _open_settled(folder: Path) -> PredictionLog:
    """The log with everything spooled up to now in its tables."""
    from holdfast.prediction_log import PredictionLog, settle

    deployment = open_deployment(folder)
    settle(deployment, clock=SystemClock())
    return PredictionLog(deployment)


def _note_reading(folder: Path, command: str, **detail: object) -> None:
    """Enter the reading of raw rows in the audit, before any is shown. Values in a query are left out."""
    with open_registry(open_deployment(folder)) as registry:
        registry.audit.add(actor=actor(), action="read.rows", target=command, detail=detail)


@click.group("log", cls=CommandGroup)
def log_command() -> None:
    """Read the prediction log and prove that it is whole.

    The log is a Delta table: DuckDB, Polars and Spark read the same folder without holdfast.
    """


@log_command.command("tail")
@folder_option
@click.option(
    "-n", "--rows", default=10, show_default=True, type=click.IntRange(1), help="How many of the newest."
)
@json_option
def tail(folder: Path, rows: int, *, as_json: bool) -> None:
    """Show the newest predictions."""
    log = _open_settled(folder)
    _note_reading(folder, "log tail", rows=rows)
    newest = log.tail(rows)
    if as_json:
        print_json(newest)
        return
    hidden = {"deployment", "replica", "sequence", "arm", "logged_at", "sampling_fraction", "probabilities"}
    names = [name for name in (newest[0] if newest else {}) if name not in hidden]
    filled = [name for name in names if any(row[name] is not None for row in newest)]
    if not newest:
        click.echo("The log is empty.")
    for row in newest:
        click.echo("  ".join(f"{name}={_short(row[name])}" for name in filled))


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = printable(value.isoformat() if isinstance(value, datetime) else str(value))
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


@log_command.command("count")
@folder_option
@json_option
def count(folder: Path, *, as_json: bool) -> None:
    """Count predictions, labels and what joins."""
    log = _open_settled(folder)
    counts, coverage = log.count(), coverage_of(log.ledger())
    if as_json:
        print_json({**msgspec.structs.asdict(counts), "coverage": coverage})
        return
    click.echo(f"{counts.predictions} predictions, {counts.labelled} of them labelled.")
    click.echo(
        f"{counts.labels} labels in {counts.label_revisions} revisions, "
        f"{counts.unknown_labels} of them for unknown predictions."
    )
    click.echo(coverage)


_verbatim_option = click.option(
    "--verbatim",
    is_flag=True,
    help="In CSV, write texts as they are. Without it, one that a spreadsheet would take for a formula gets "
    "a single quote before it.",
)


@log_command.command("query")
@click.argument("sql")
@folder_option
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV: a header, then one line per row; NULL is empty."
)
@click.option(
    "--memory-mb",
    default=1024,
    show_default=True,
    type=click.IntRange(64),
    help="Memory the query may use; beyond it a temporary folder is used.",
)
@_verbatim_option
@json_option
def query(sql: str, folder: Path, memory_mb: int, *, as_csv: bool, verbatim: bool, as_json: bool) -> None:
    """Run one SELECT (DuckDB's SQL) over the views predictions, labels and joined.

    `labels` has every revision of every label, `joined` each prediction with `y` of its last one. The query
    can only read, and only these. How much of what was served the log holds is said beside the rows.
    """
    from holdfast.registry import without_values

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    log = _open_settled(folder)
    _note_reading(folder, "log query", sql=without_values(sql))
    rows = log.query(sql, memory_mb=memory_mb)
    if as_csv:
        print_csv(rows, verbatim=verbatim)
    elif as_json:
        print_rows_json(rows, coverage_of(log.ledger()))
    else:
        print_rows(rows)
        click.echo(coverage_of(log.ledger()), err=True)


@log_command.command("labels")
@folder_option
@click.option(
    "--maturity",
    metavar="DURATION",
    help='Age at which a prediction counts with or without its label, such as "7d", instead of [monitoring] '
    "label_delay.",
)
@json_option
def labels(folder: Path, maturity: str | None, *, as_json: bool) -> None:
    """Show how many labels have come, how late they come, and which never came.

    The curve is the Kaplan-Meier estimate: predictions that still wait count for as long as they have waited.
    """
    from holdfast.prediction_log import label_report, settle

    deployment = open_deployment(folder)
    settle(deployment, clock=SystemClock())
    try:
        maturity_s = None if maturity is None else Duration.parse(maturity).seconds
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--maturity") from error
    report = label_report(deployment, SystemClock(), maturity_s=maturity_s)
    if as_json:
        print_json(report)
    else:
        click.echo(label_text_of(report))


@log_command.command("retain")
@folder_option
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
def retain(folder: Path, *, dry_run: bool, as_json: bool) -> None:
    """Remove now what the checklist no longer keeps, and say what that was.

    The keeper does this by itself once an hour: [logging] retention_days, max_gb and class_retention_days.
    """
    from holdfast.prediction_log import foresee_retention, retain_now, settle

    deployment = open_deployment(folder)
    if dry_run:
        settle(deployment, clock=SystemClock())
        report = foresee_retention(deployment, SystemClock())
    else:
        report = retain_now(deployment, SystemClock())
    if as_json:
        print_json(report)
        return
    reason = f" by {report.reason}" if report.reason else ""
    done = "Would remove" if dry_run else "Removed"
    click.echo(f"{done}{reason}: {report.predictions} predictions, {report.labels} labels.")
    for column, n_values in report.values.items():
        click.echo(f"{done} {n_values} values of {column}.")
    if report.large_inputs:
        click.echo(f"{done} {report.large_inputs} large inputs, {report.large_input_bytes / 1e6:.1f} MB.")
    if dry_run:
        click.echo(f"The tables have {report.bytes_before / 1e6:.1f} MB.")
        return
    click.echo(
        f"The tables had {report.bytes_before / 1e6:.1f} MB and have {report.bytes_after / 1e6:.1f} MB."
    )


@log_command.command("export")
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@folder_option
@_verbatim_option
@json_option
def export(target: Path, folder: Path, *, verbatim: bool, as_json: bool) -> None:
    """Write predictions with their labels to TARGET: .parquet, .csv or .jsonl."""
    formats: dict[str, Literal["parquet", "csv", "jsonl"]] = {
        ".parquet": "parquet",
        ".csv": "csv",
        ".jsonl": "jsonl",
    }
    if target.suffix not in formats:
        raise click.BadParameter(f"{target.name} must end in {', '.join(formats)}", param_hint="TARGET")
    log = _open_settled(folder)
    _note_reading(folder, "log export", format=target.suffix)
    rows = log.export(target, formats[target.suffix], verbatim=verbatim)
    if as_json:
        print_json({"path": str(target), "rows": rows})
    else:
        click.echo(f"Wrote {rows} rows to {target}.")


@log_command.command("large-input")
@click.argument("name", metavar="ID_OR_HASH")
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--input", "of_input", help="Which one, where the prediction has several.")
@folder_option
@json_option
def large_input(name: str, target: Path, of_input: str | None, folder: Path, *, as_json: bool) -> None:
    """Write an image, a sound or an embedding of the log to TARGET, a NumPy .npy file.

    ID_OR_HASH is a prediction's id, or the content hash in its column large_INPUT. A sealed one is opened
    with the master key of the environment. The reading stands in the audit.
    """
    from holdfast.privacy import open_sealer

    if target.suffix != ".npy":
        raise click.BadParameter(f"{target.name} must end in .npy", param_hint="TARGET")
    log = _open_settled(folder)
    one = chosen_large_input(log, name, of_input)
    _note_reading(folder, "log large-input", input=one.input, hash=one.digest)
    deployment = open_deployment(folder)
    privacy = deployment.checklist.privacy
    with open_sealer(privacy, deployment.folder, os.environ, SystemClock()) or nullcontext() as sealer:
        value = log.large_input(one.digest, sealer=sealer, subject=one.subject)
    write_array(target, value)
    what = {"input": one.input, "dtype": value.dtype.name, "shape": list(value.shape)}
    if as_json:
        print_json({"path": str(target), "hash": one.digest, **what})
    else:
        click.echo(f"Wrote {one.input}, {value.dtype.name} {list(value.shape)}, to {target}.")


@log_command.command("verify")
@folder_option
@json_option
def verify(folder: Path, *, as_json: bool) -> int:
    """Prove that served = stored + sampled out + dropped, and that every large input is what it was.

    Exit 1 and name every hole, duplicate, and large input that is missing or changed, if not.
    """
    report = _open_settled(folder).verify()
    if as_json:
        print_json(report)
    else:
        _print_proof(report)
    return EXIT_OK if report.ok else EXIT_ERROR


def _print_proof(report: VerifyReport) -> None:
    ledger = report.ledger
    click.echo("The log is whole." if report.ok else "The log is NOT whole.")
    click.echo(
        f"{ledger.served} served = {ledger.stored} stored + {ledger.sampled_out} sampled out + "
        f"{ledger.dropped} dropped; {ledger.unaccounted} unaccounted."
    )
    for hole in report.holes:
        click.echo(f"  missing: {hole}")
    for hole in report.repeated:
        click.echo(f"  twice: {hole}")
    if report.large_inputs:
        click.echo(f"{report.large_inputs} large inputs are named; {report.large_fault_count} are not whole.")
    for fault in report.large_faults:
        click.echo(f"  large input {fault.fault}: {fault.digest}")
    for name, count in report.duplicate_ids:
        click.echo(f"  the caller gave the id {name} to {count} rows")
    unnamed = report.duplicate_id_count - len(report.duplicate_ids)
    if unnamed:
        click.echo(f"  and {unnamed} more ids, each to several rows")
    if report.torn_records:
        click.echo(f"  {report.torn_records} torn records ({report.torn_bytes} bytes), never acknowledged")
    for segment in report.unreadable:
        click.echo(f"  written by a newer holdfast: {segment}")
