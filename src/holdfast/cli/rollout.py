"""`holdfast rollout`: from a challenger to a champion, by evidence or by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.options import (
    Command,
    CommandGroup,
    actor,
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
    from holdfast.registry import Registry, Rollout
    from holdfast.rollout import Contract


def _reason_option(default: str) -> Callable[[Command], Command]:
    return click.option("--reason", default=default, show_default=True, help="Stands in the audit for ever.")


_waive_option = click.option(
    "--waive",
    default="",
    metavar="REASON",
    help="Go on without a passed check, or beyond the update contract; the reason stays in the audit.",
)


@click.group("rollout", cls=CommandGroup)
def rollout_command() -> None:
    """Make a challenger the champion by evidence, or by hand. Running services follow within a second."""


@rollout_command.command("start")
@click.argument("version")
@folder_option
@_reason_option("started by hand")
@_waive_option
@click.option(
    "--baseline",
    default="",
    metavar="WHAT",
    help="First deployment: what is in place today, constant:ANSWER or answers:FILE (CSV).",
)
@click.option(
    "--supersede",
    is_flag=True,
    help="Put it in the place of the challenger whose rollout is open; that one ends.",
)
@json_option
def start(
    version: str, folder: Path, reason: str, waive: str, baseline: str, *, supersede: bool, as_json: bool
) -> None:
    """Start the rollout of VERSION: update contract, shadow, ramp, and a decision by labels.

    Needs a passed `holdfast check` of the version. Says the earliest date of a decision before anything
    changes for a caller. `serve` runs the policy; without it, `holdfast rollout run`.
    """
    from holdfast.rollout import start_rollout

    deployment = open_deployment(folder)
    with open_registry(deployment) as registry:
        rollout, contract = start_rollout(
            deployment,
            registry,
            version,
            clock=SystemClock(),
            actor=actor(),
            reason=reason,
            waive=waive,
            baseline=baseline,
            supersede=supersede,
        )
    if as_json:
        print_json({"rollout": rollout, "contract": contract})
        return
    if contract is not None:
        _print_contract(contract)
    settings = deployment.checklist.rollout
    if rollout.kind == "first":
        what = (
            "the answers of the file"
            if "file" in rollout.baseline
            else f"always {rollout.baseline['answer']}"
        )
        click.echo(
            f"Rollout {rollout.number}: version {version} answers, and is judged against {what}. "
            "Whether anybody acts on its answers is the caller's choice until a person confirms it."
        )
    else:
        click.echo(
            f"Rollout {rollout.number}: version {version} answers copies for {settings.shadow}, then "
            f"{', '.join(f'{share:.3g}' for share in settings.ramp)} of the requests."
        )
    click.echo(f"Earliest decision: {iso_utc(rollout.earliest_decision_us)[:16]} UTC.")
    click.echo(f"Without one it ends at {iso_utc(rollout.deadline_us)[:16]} UTC, and does not ship.")


def _print_contract(contract: Contract) -> None:
    if contract.loss is not None:
        click.echo(f"What labels decide by: {contract.loss.words}, since {contract.loss.reason}.")
    if not contract.rows:
        click.echo("Update contract: same records, same answers; no reference to compare answers on.")
        return
    volume = contract.volume or 0.0
    change = "" if contract.score_change is None else f", scores moved by {contract.score_change:.3f}"
    click.echo(
        f"Update contract, on {contract.rows} reference rows: {contract.volume_of} {volume:+.3f}{change}."
    )
    rows = [[one.slice, str(one.rows), f"{one.share:.1%}"] for one in contract.flips]
    print_table("", ["answers that change", "rows", "share"], rows)
    for one in contract.beyond:
        click.echo(f"  waived: {one}")


@rollout_command.command("run")
@folder_option
@click.option("--once", is_flag=True, help="Look once, act, and stop.")
@click.option("--quiet", is_flag=True, help="Print only acts.")
@json_option
def run(folder: Path, *, once: bool, quiet: bool, as_json: bool) -> None:
    """Follow the open rollout until it ends: look, decide, act. `serve` runs this by itself."""
    from holdfast.cli.service import stop_on_signal
    from holdfast.rollout import RolloutLoop

    deployment = open_deployment(folder)
    clock = SystemClock()
    with open_registry(deployment) as registry:
        loop = RolloutLoop(deployment, registry, clock)
        if once:
            if deployment.checklist.logging.enabled:
                from holdfast.prediction_log import settle

                settle(deployment, clock=clock)
            found = loop.run_once()
            if as_json:
                print_json(None if found is None else {"rollout": found[0], "report": found[1]})
            elif found is None:
                click.echo("No rollout is open.")
            else:
                click.echo(f"{found[1].plan.act}: {found[1].plan.reason}")
            return
        for rollout, report in loop.follow(stop_on_signal()):
            about = f"rollout {rollout.number}, version {rollout.challenger}"
            click.echo(f"{about}: {report.plan.act}: {report.plan.reason}")
    if not quiet:
        click.echo("No rollout is open.")


@rollout_command.command("replay")
@click.argument("number", type=click.IntRange(1))
@folder_option
@click.option("--looks", default=100, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@json_option
def replay(number: int, folder: Path, looks: int, *, as_json: bool) -> None:
    """Say what the policy would have done in rollout NUMBER under today's checklist. Nothing is changed.

    Errors and latencies of then are not in the log, so this is about margin, alpha, label delay and slices.
    """
    from holdfast.rollout import replay_rollout

    deployment = open_deployment(folder)
    with open_registry(deployment) as registry:
        found = replay_rollout(deployment, registry, number, clock=SystemClock(), looks=looks)
    if as_json:
        print_json({"plans": found})
        return
    if not found:
        click.echo("It would have waited until now.")
    for one in found:
        click.echo(f"{iso_utc(one.at_us)[:19]}  {one.plan.act}: {one.plan.reason}")


@rollout_command.command("hold")
@folder_option
@_reason_option("held by hand")
@json_option
def hold(folder: Path, reason: str, *, as_json: bool) -> None:
    """Let the open rollout move no further; the share stays. It can still go back."""
    _change(folder, "hold", reason, as_json=as_json)


@rollout_command.command("resume")
@folder_option
@_reason_option("resumed by hand")
@json_option
def resume(folder: Path, reason: str, *, as_json: bool) -> None:
    """Let a held rollout go on; what it was held for holds it no more."""
    _change(folder, "resume", reason, as_json=as_json)


def _change(folder: Path, what: str, reason: str, *, as_json: bool) -> None:
    with open_registry(open_deployment(folder)) as registry:
        rollout = _must_be_open(registry)
        act = registry.rollouts.hold if what == "hold" else registry.rollouts.resume
        after = act(rollout.number, reason=reason, actor=actor())
    if as_json:
        print_json({"rollout": after})
    else:
        click.echo(f"Rollout {after.number} is {'held' if after.held else 'going on'} at {after.share:g}.")


def _must_be_open(registry: Registry) -> Rollout:
    from holdfast.rollout import RolloutError

    rollout = registry.rollouts.open()
    if rollout is None:
        raise RolloutError("no rollout is open", next_step="holdfast rollout start VERSION")
    return rollout


@rollout_command.command("promote")
@click.argument("version")
@folder_option
@_reason_option("promoted by hand")
@_waive_option
@json_option
def promote(version: str, folder: Path, reason: str, waive: str, *, as_json: bool) -> None:
    """Make VERSION the champion by hand, at once. No request is dropped.

    Needs a passed `holdfast check` of the version under the checklist in force, or --waive with a reason.
    """
    from holdfast.rollout import confirm

    deployment = open_deployment(folder)
    with open_registry(deployment) as registry:
        before = registry.route().champion
        confirm(deployment, registry, version, reason=reason, waive=waive, actor=actor())
    _print_change(before, version, as_json=as_json)


@rollout_command.command("rollback")
@folder_option
@_reason_option("rolled back by hand")
@json_option
def rollback(folder: Path, reason: str, *, as_json: bool) -> None:
    """Take the challenger of the open rollout away; without one, go back to the champion before."""
    from holdfast.registry import roll_back

    url = open_deployment(folder).registry_url
    done = roll_back(url, SystemClock(), reason=reason, actor=actor())
    if done.challenger is not None and not as_json:
        click.echo(f"Version {done.challenger} is taken away. The champion is still version {done.after}.")
        return
    _print_change(done.before, done.after, as_json=as_json)


def _print_change(before: str | None, after: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"champion": after, "before": before})
    else:
        was = "confirmed" if after == before else f"was {before}"
        click.echo(f"The champion is version {after} ({was}).")


@rollout_command.command("status")
@folder_option
@json_option
def status(folder: Path, *, as_json: bool) -> None:
    """Show the champion, the open rollout, and every decision that led here."""
    with open_registry(open_deployment(folder)) as registry:
        route, decisions = registry.route(), registry.decisions()
        rollouts = registry.rollouts.all()
        last = rollouts[-1] if rollouts else None
        steps = [] if last is None else registry.rollouts.steps(last.number)
    if as_json:
        challenger = route.challenger
        shown = {
            "champion": route.champion,
            "generation": route.generation,
            "changed_at_us": route.changed_at_us,
            "challenger": None
            if challenger is None
            else {"version": challenger.version, "mode": challenger.mode, "share": challenger.share},
        }
        print_json({"route": shown, "decisions": decisions, "rollout": last, "steps": steps})
        return
    if route.champion is None:
        click.echo(f"There is no champion yet. Next: holdfast register MODEL --reference FILE{place(folder)}")
        return
    click.echo(f"Champion: version {route.champion}.")
    if last is not None:
        _print_rollout(last)
        print_table(
            "",
            ["when (UTC)", "step", "share", "by", "reason"],
            [[iso_utc(one.at_us)[:19], one.action, f"{one.share:g}", one.actor, one.reason] for one in steps],
        )
    rows = [
        [iso_utc(one.at_us)[:19], one.action, one.version or "", one.actor, one.reason] for one in decisions
    ]
    print_table("", ["when (UTC)", "decision", "version", "by", "reason"], rows)


def _print_rollout(rollout: Rollout) -> None:
    against = (
        f"version {rollout.champion}" if rollout.champion else f"{rollout.baseline.get('kind')} baseline"
    )
    state = f"{rollout.phase}{', held' if rollout.held and rollout.ended_at_us is None else ''}"
    share = f" at {rollout.share:g} of the requests" if rollout.phase == "canary" else ""
    click.echo(f"Rollout {rollout.number}: version {rollout.challenger} against {against}: {state}{share}.")
    plan = rollout.report.get("plan")
    if plan and rollout.ended_at_us is None:
        click.echo(f"  now: {plan['reason']}")
    quality = rollout.report.get("evidence", {}).get("quality")
    if quality:
        click.echo(
            f"  difference of losses: {quality['lower']:+.4f} to {quality['upper']:+.4f} over "
            f"{quality['n']} labelled rows"
        )
    if rollout.ended_at_us is None:
        click.echo(f"  earliest decision: {iso_utc(rollout.earliest_decision_us)[:16]} UTC")
