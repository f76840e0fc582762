"""`holdfast train` and what belongs to it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.app import EXIT_ERROR, EXIT_OK
from holdfast.cli.options import (
    CommandGroup,
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
from holdfast.cli.training_watch import watch_command
from holdfast.clock import SystemClock, parse_time_us
from holdfast.spec import Deployment

if TYPE_CHECKING:
    from holdfast.train import Comparison, Difference, Secrets, TrainReport


class _Moment(click.ParamType[int]):
    """An ISO 8601 time, as microseconds since the epoch."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_time_us(str(value))
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 time, such as 2026-03-14 or 2026-03-14T12:00Z", param, ctx)


@contextmanager
def _secrets(deployment: Deployment) -> Iterator[Secrets]:
    from holdfast.privacy import PSEUDONYM_KEY_VARIABLE, open_sealer
    from holdfast.train import Secrets

    key = os.environ.get(PSEUDONYM_KEY_VARIABLE)
    privacy = deployment.checklist.privacy
    with open_sealer(privacy, deployment.folder, os.environ, SystemClock()) or nullcontext() as sealer:
        yield Secrets(pseudonym_key=None if key is None else key.encode(), sealer=sealer)


@click.group("train", cls=CommandGroup, invoke_without_command=True)
@folder_option
@click.option("--since", type=_Moment(), help="Learn from rows of this time and later (ISO 8601).")
@click.option("--until", type=_Moment(), help="Leave out rows from this time on.")
@click.option(
    "--trigger",
    type=click.Choice(["due", "alarm", "schedule", "quality", "labels"]),
    help="Train only if this trigger holds; due: any of [training] triggers. Without it: by hand, now.",
)
@click.option("--from-diagnosis", type=int, metavar="ID", help="Do what this diagnosis found best.")
@click.option("--keep-worse", is_flag=True, help="Register a challenger that is surely worse all the same.")
@json_option
@click.pass_context
def train_command(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    folder: Path,
    since: int | None,
    until: int | None,
    trigger: str | None,
    from_diagnosis: int | None,
    *,
    keep_worse: bool,
    as_json: bool,
) -> None:
    """Build the data set, train a challenger, and judge it against the champion on the newest rows.

    The challenger is registered with the comparison as evidence; who answers does not change. One that is
    surely worse is not registered.
    """
    if context.invoked_subcommand is not None:
        return
    from holdfast.train import Asked, due, train_challenger

    # Told to end, it ends its trainer and writes down that it was ended.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))

    deployment = open_deployment(folder)
    clock = SystemClock()
    with open_registry(deployment) as registry:
        words, change_us = "by hand", None
        if trigger is not None:
            plan = due(deployment, registry, clock, None if trigger == "due" else (trigger,))
            if not plan.train:
                if as_json:
                    print_json({"trained": False, "reason": plan.reason})
                else:
                    click.echo(f"Not trained: {plan.reason}.")
                return
            words, change_us = f"{plan.trigger}: {plan.reason}", plan.change_us
        asked = Asked(
            trigger=words,
            change_us=change_us,
            since_us=since,
            until_us=until,
            from_diagnosis=from_diagnosis,
            keep_worse=keep_worse,
        )
        line = _ProgressLine(shown=not as_json and sys.stderr.isatty())
        try:
            with _secrets(deployment) as secrets:
                report = train_challenger(
                    deployment,
                    registry,
                    asked,
                    clock=clock,
                    secrets=secrets,
                    environ=os.environ,
                    actor=actor(),
                    progress=line.move,
                )
        finally:
            line.end()
    if as_json:
        print_json(report)
        return
    _print_report(deployment, report, folder)


@train_command.command("replay")
@folder_option
@json_option
def replay_command(folder: Path, *, as_json: bool) -> None:
    """Play [training] triggers through the log, against never, monthly and at every window.

    Retrained models are small boosted trees that stand in for the trainer, so numbers compare policies, not
    models.
    """
    from holdfast.prediction_log import settle
    from holdfast.train import replay

    deployment = open_deployment(folder)
    clock = SystemClock()
    settle(deployment, clock)
    with open_registry(deployment) as registry:
        found = replay(deployment, registry)
    if as_json:
        print_json(found)
        return
    click.echo(
        f"{found.labelled} of {found.rows} predictions have a label, {found.since[:10]} to "
        f"{found.until[:10]}, "
        f"{found.windows} windows. Never: version {found.version}."
    )
    click.echo(f"Change: {found.change[:10] if found.change else 'none found'}. ", nl=False)
    click.echo("Alarms: " + (", ".join(one[:10] for one in found.alarms) or "none") + ".")
    rows = []
    for one in found.policies:
        late = "" if one.days_late is None else f"{one.days_late:g}"
        quality = "" if one.quality is None else f"{one.quality:.4f}"
        cost = f"{one.error_cost:g} + {one.training_cost:g}"
        rows.append([one.policy, str(len(one.trainings)), late, quality, f"{one.mean_loss:.5g}", cost])
    metric = found.policies[0].metric
    print_table(
        "",
        ["policy", "trainings", "days late", metric, "loss", f"cost: errors + trainings ({found.currency})"],
        rows,
    )
    for at, reason in zip(found.policies[0].trainings, found.policies[0].reasons, strict=True):
        click.echo(f"checklist: trained {at[:10]}: {reason}")
    for note in found.notes:
        click.echo(f"Note: {note}")


@train_command.command("sets")
@folder_option
@json_option
def sets_command(folder: Path, *, as_json: bool) -> None:
    """List the data sets, newest first, with their rows and the versions trained with them."""
    from holdfast.train import read_manifest
    from holdfast.train.manifest import MANIFEST_FILE

    deployment = open_deployment(folder)
    manifests = [read_manifest(path.parent) for path in deployment.datasets_folder.glob(f"*/{MANIFEST_FILE}")]
    manifests.sort(key=lambda one: one.created_at, reverse=True)
    with open_registry(deployment) as registry:
        users: dict[str, list[str]] = {}
        for version in registry.versions():
            users.setdefault(version.metadata.get("data_set", ""), []).append(version.version)
    if as_json:
        print_json([{"manifest": one, "versions": users.get(one.sha256, [])} for one in manifests])
        return
    rows = [
        [
            one.name[:12],
            one.created_at[:19],
            ", ".join(f"{split.rows} {name}" for name, split in one.splits.items()),
            ", ".join(source.name for source in one.sources),
            ", ".join(users.get(one.sha256, [])),
            str(sum(erasure.rows for erasure in one.erasures)),
        ]
        for one in manifests
    ]
    print_table("", ["data set", "built (UTC)", "rows", "sources", "versions", "erased since"], rows)


@train_command.command("rebuild")
@click.argument("name")
@folder_option
@json_option
def rebuild_command(name: str, folder: Path, *, as_json: bool) -> int:
    """Build data set NAME (the beginning of its hash) again from its manifest, and compare the hashes.

    Exit code 1 if they differ: rows were erased, have expired, or lost their consent.
    """
    from holdfast.train import find_manifest, rebuild_data_set

    deployment = open_deployment(folder)
    manifest = find_manifest(deployment.datasets_folder, name)
    with _secrets(deployment) as secrets:
        built = rebuild_data_set(deployment, manifest, clock=SystemClock(), secrets=secrets)
    same = built.manifest.sha256 == manifest.sha256
    if as_json:
        print_json(
            {"same": same, "was": manifest.sha256, "is": built.manifest.sha256, "rows": built.manifest.rows}
        )
    elif same:
        click.echo(f"The same data set: {manifest.sha256}, {manifest.rows} rows.")
    else:
        click.echo(
            f"Another data set: {built.manifest.sha256}, {built.manifest.rows} rows of {manifest.rows}."
        )
    return EXIT_OK if same else EXIT_ERROR


@train_command.command("diagnoses")
@folder_option
@json_option
def diagnoses_command(folder: Path, *, as_json: bool) -> None:
    """List the stored diagnoses, newest first, with the numbers that --from-diagnosis takes."""
    from holdfast.clock import iso_utc

    deployment = open_deployment(folder)
    with open_registry(deployment) as registry:
        found = registry.evidence(kind="diagnosis", limit=50)
    lines = []
    for one in found:
        options = one.payload.get("options") or [{}]
        best = f"{options[0].get('action', '')} {options[0].get('detail', '')}".strip()
        since = (one.payload.get("since") or {}).get("estimate", "")
        lines.append([str(one.id), iso_utc(one.at_us)[:19], one.version, one.payload["verdict"], since, best])
    headings = ["id", "when", "version", "verdict", "since", "best option"]
    if as_json:
        print_json([dict(zip(headings, line, strict=True)) for line in lines])
        return
    print_table("", headings, lines)


train_command.add_command(watch_command)


class _ProgressLine:
    """One line on standard error that is written anew."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._width = 0

    def move(self, seconds: float, said: str) -> None:
        if not self._shown:
            return
        share, _, words = said.partition(" ")
        percent = f"{100 * float(share):3.0f} % " if share.replace(".", "", 1).isdigit() else ""
        text = f"training {seconds:6.1f} s {percent}{words[:60]}"
        click.echo("\r" + text.ljust(self._width), nl=False, err=True)
        self._width = len(text)

    def end(self) -> None:
        if self._width:
            click.echo("\r" + " " * self._width + "\r", nl=False, err=True)


def _print_report(deployment: Deployment, report: TrainReport, folder: Path) -> None:
    rows = ", ".join(f"{count} {name}" for name, count in report.rows.items())
    click.echo(
        f"Registered version {report.version} of {deployment.name}, trained on data set "
        f"{report.data_set[:12]} "
        f"({rows} rows; {report.recipe})."
    )
    for note in report.notes:
        click.echo(f"  {note}")
    _print_comparison(report.comparison)
    if report.champion == report.version or report.champion is None:
        click.echo(f"It is the champion. Next: {first_use(deployment, folder)}")
    elif report.comparison.verdict == "better":
        click.echo(f"Next: holdfast rollout start {report.version}{place(folder)}")
    else:
        click.echo(f"The champion is still version {report.champion}.")


def _print_comparison(comparison: Comparison) -> None:
    against = f"champion {comparison.champion}" if comparison.champion.isdecimal() else "a constant answer"
    test = f"{comparison.test_rows} test rows of {comparison.test_since[:10]} to {comparison.test_until[:10]}"
    if comparison.verdict == "not told apart":
        click.echo(f"On {test} it cannot be told apart from {against}:")
    else:
        click.echo(f"On {test} it is {comparison.verdict} than {against}:")
    if comparison.loss is not None:
        loss = comparison.loss
        click.echo(f"What decides, here and in a rollout: {loss.name} ({loss.words}), since {loss.reason}.")
    table = [[name, *_cells(one)] for name, one in comparison.overall.items()]
    print_table("", ["metric", "champion", "challenger", "difference", "95 % interval", ""], table)
    main = comparison.main_metric
    told = [one for one in comparison.slices if one.metrics[main].verdict != "not told apart"]
    if told:
        table = [[one.name, str(one.rows), *_cells(one.metrics[main])] for one in told]
        print_table(
            main, ["slice", "rows", "champion", "challenger", "difference", "95 % interval", ""], table
        )
    for note in comparison.notes:
        click.echo(f"Note: {note}")


def _cells(one: Difference) -> list[str]:
    interval = "" if one.low is None or one.high is None else f"{one.low:+.4g} to {one.high:+.4g}"
    return [
        f"{one.champion:.5g}",
        f"{one.challenger:.5g}",
        f"{one.difference:+.4g}",
        interval,
        "" if one.verdict == "not told apart" else one.verdict,
    ]
