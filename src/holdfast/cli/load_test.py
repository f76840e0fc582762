"""`holdfast loadtest`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.options import (
    folder_option,
    json_option,
    open_deployment,
    open_registry,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from holdfast.loadtest import LoadReport, Requests, SearchReport
    from holdfast.spec import Deployment, Speed

KEY_VARIABLE = "HOLDFAST_API_KEY"


@click.command("loadtest")
@folder_option
@click.option(
    "--url", help="Another server of the Open Inference Protocol v2; by default the running service."
)
@click.option("--model", help="The model's name there; by default the deployment's.")
@click.option(
    "--protocol",
    type=click.Choice(["json", "binary", "predict"]),
    default="json",
    show_default=True,
    help="Protocol v2 in JSON or with binary tensors, or holdfast's POST /predict.",
)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False),
    help="PEM file of a client certificate, for a service that asks for one.",
)
@click.option(
    "--certificate-key",
    type=click.Path(exists=True, dir_okay=False),
    help="PEM file of its private key; by default in the same file.",
)
@click.option(
    "--rows",
    "rows_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet or CSV with rows to ask; by default the champion's reference, or made-up values.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Requests per second; by default [speed] qps, and for a replay the log's own newest rate.",
)
@click.option("--seconds", type=click.FloatRange(0.5), default=10.0, show_default=True, help="Measured time.")
@click.option(
    "--warmup", type=click.FloatRange(0), default=2.0, show_default=True, help="Seconds cut off first."
)
@click.option(
    "--arrivals",
    type=click.Choice(["poisson", "constant", "replay"]),
    default="poisson",
    show_default=True,
    help="Independent callers, equal distances, or the times and sizes of the prediction log.",
)
@click.option("--rows-per-request", type=click.IntRange(1), default=1, show_default=True)
@click.option("--connections", type=click.IntRange(1), default=256, show_default=True, help="At most.")
@click.option("--processes", type=click.IntRange(1), help="That send; by default as many as the rate needs.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws arrivals and rows.")
@click.option(
    "--search",
    is_flag=True,
    help="Find the highest rate that still meets [speed]; the curve stands on the dashboard.",
)
@click.option(
    "--curve",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --search: draw latency against load into a .svg or .png (needs holdfast[plot]).",
)
@json_option
def loadtest_command(  # noqa: PLR0917 - click passes them by name
    folder: Path,
    url: str | None,
    model: str | None,
    protocol: Any,
    certificate: str | None,
    certificate_key: str | None,
    rows_file: Path | None,
    rate: float | None,
    seconds: float,
    warmup: float,
    arrivals: Any,
    rows_per_request: int,
    connections: int,
    processes: int | None,
    seed: int,
    *,
    search: bool,
    curve: Path | None,
    as_json: bool,
) -> None:
    """Load a service over the wire, open loop, and report its latencies with intervals.

    Latency counts from the moment a request was meant to be sent, so a service that stands still does not
    hide it. Answers are compared with a reference run. Where this machine could not send on schedule, no
    number is reported. An API key is taken from HOLDFAST_API_KEY. The predictions are real: they go into the
    prediction log of the service, so load a service of its own (or use `holdfast check`, which makes one).
    """
    from holdfast.loadtest import (
        BottleneckError,
        Load,
        LoadTestError,
        Target,
        draw_curve,
        log_times,
        rate_of_log,
        request_sizes,
        run_load,
        running_service,
        search_rate,
    )
    from holdfast.spec import Speed

    own = url is None or (folder / "holdfast.toml").exists()
    deployment = open_deployment(folder) if own else None
    if deployment is None and (model is None or rate is None):
        raise LoadTestError(
            "a server without a deployment folder says neither its model nor its rate",
            expected="--model and --rate",
            next_step="Give both, or -C DIR.",
        )
    target = Target(
        url or running_service(_required(deployment)),
        model or _required(deployment).name,
        protocol,
        os.environ.get(KEY_VARIABLE),
        certificate,
        certificate_key,
    )
    speed = deployment.checklist.speed if deployment is not None else Speed()
    times = log_times(_required(deployment)) if arrivals == "replay" else None
    sizes = request_sizes(rows_per_request, times)
    requests = _requests(deployment if url is None else None, target, rows_file, sizes, seed)
    asked = rate or (speed.qps if times is None else rate_of_log(times, warmup + seconds))

    def probe(rate_per_s: float) -> LoadReport:
        load = Load(
            rate_per_s=rate_per_s,
            seconds=seconds,
            warmup_s=warmup,
            arrivals=arrivals,
            connections=connections,
            processes=processes or 0,
            seed=seed,
        )
        return run_load(requests, load, times_us=times)

    if search:
        found = search_rate(probe, speed, start_per_s=asked, said=lambda line: click.echo(line, err=True))
        if curve is not None:
            draw_curve(found.probes, curve, speed)
        if deployment is not None and url is None:
            _keep(deployment, found)
        if as_json:
            print_json(found)
        else:
            _print_search(found)
        return
    report = probe(asked)
    if report.bottleneck is not None:
        raise BottleneckError(
            "the generator was the bottleneck, so there is no latency to report",
            where=target.url,
            received=report.bottleneck,
            next_step="Load from another machine, or at a lower rate.",
        )
    if as_json:
        print_json(report)
    else:
        _print_report(report, speed)


def _keep(deployment: Deployment, found: SearchReport) -> None:
    """As evidence of the champion, for the dashboard."""
    from holdfast.check.running import machine
    from holdfast.clock import SystemClock, iso_utc
    from holdfast.loadtest import keep_curve

    clock = SystemClock()
    with open_registry(deployment) as registry:
        champion = registry.route().champion
        if champion is not None:
            keep_curve(deployment, registry, champion, found, at=iso_utc(clock.now_us()), machine=machine())


def _required(deployment: Any) -> Any:
    if deployment is None:
        raise click.UsageError("this needs a deployment folder (-C DIR)")
    return deployment


def _requests(
    deployment: Any,
    target: Any,
    rows_file: Path | None,
    sizes: tuple[int, ...],
    seed: int,
) -> Requests:
    import numpy as np

    from holdfast.loadtest import (
        made_up_rows,
        make_requests,
        reference_requests,
        rows_of_file,
        with_reference_run,
    )

    if deployment is not None and rows_file is None:
        with open_registry(deployment) as registry:
            champion = registry.route().champion
            if champion is not None:
                version = registry.version(champion)
                requests = reference_requests(deployment, version, target, sizes=sizes, seed=seed)
                return with_reference_run(requests)
    signature = target.signature()
    if rows_file is not None:
        rows = rows_of_file(rows_file, signature)
    else:
        rows = made_up_rows(signature, sum(sizes), np.random.default_rng(seed))
    return with_reference_run(make_requests(target, signature, rows, sizes))


def _print_report(report: LoadReport, speed: Speed) -> None:
    click.echo(
        f"{report.rate_per_s:g} requests/s ({report.arrivals}) for {report.seconds:g} s at {report.url}: "
        f"{report.answered} of {report.requests} answered, {report.answered_per_s:.1f}/s"
    )
    rows = [
        [f"p{one.q * 100:g}", _ms(one.ms), f"{_ms(one.low_ms)} to {_ms(one.high_ms)}"]
        for one in report.percentiles
    ]
    print_table("", ["latency", "ms", "95 % interval"], [*rows, ["longest", _ms(report.max_ms), ""]])
    for kind, count in report.failed.items():
        click.echo(f"{kind}: {count}")
    if report.checked:
        click.echo(f"{report.checked} answers compared with the reference run, {report.wrong} differ")
    lag = report.lag
    click.echo(
        f"the generator's own lag, part of the above: p50 {lag.p50_ms:.3f} ms, p99 {lag.p99_ms:.3f} ms; "
        f"{lag.busy:.0%} of a core; {report.connections} connections, {report.processes} process(es)"
    )
    if report.rounds > 1:
        again = f", {report.repeated} of them again, as the generator was late" if report.repeated else ""
        click.echo(f"{report.rounds} rounds, each begun anew: the intervals hold how they differ{again}")
    from holdfast.loadtest import shortfall

    missing = shortfall(report, speed)
    click.echo(f"[speed] is {'met' if missing is None else 'not met: ' + missing}")


def _print_search(found: SearchReport) -> None:
    rows = []
    for report in found.probes:
        p50, p99 = report.percentile(0.5), report.percentile(0.99)
        note = f"{report.failed_share:.2%}"
        if report.bottleneck:
            note += ", with lag of the generator" if report.offered else ", generator too slow"
        rows.append(
            [
                f"{report.rate_per_s:.0f}",
                _ms(p50.ms),
                _ms(p99.ms),
                f"{_ms(p99.low_ms)} to {_ms(p99.high_ms)}",
                note,
            ]
        )
    print_table("", ["requests/s", "p50 ms", "p99 ms", "95 % interval of p99", "failed"], rows)
    if found.rate_per_s is None:
        click.echo(f"No rate was sustained within [speed]. {found.stopped_by}")
    else:
        click.echo(f"{found.rate_per_s:.0f} requests/s meet [speed], {found.confirmations} times confirmed")
        click.echo(f"above: {found.stopped_by}")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
