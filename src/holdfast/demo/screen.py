"""What a person sees while the demonstration runs. Draws; computes nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

if TYPE_CHECKING:
    from holdfast.demo.report import DemoReport
    from holdfast.monitor import Diagnosis

_BAR_WIDTH = 24
_FULL_BAR = 3.0
"""The strength of evidence, relative to the alarm, at which a bar is full."""
_WINDOWS_SHOWN = 16
_ENDING_S = 10


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far the traffic is."""

    day: int
    """Live days played."""
    days: int
    date: str
    predictions: int
    labels: int
    errors: int
    predictions_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float


class Screen:
    """Told what happens, in the order in which it happens. This one shows nothing, for `--headless`."""

    def phase(self, text: str) -> None:
        """A new phase has begun."""

    def serving(self, address: str) -> None:
        """The service answers, and its dashboard can be looked at, until it is stopped."""

    def standing(self, standing: Standing) -> None:
        """A day has been played."""

    def judged(self, diagnosis: Diagnosis) -> None:
        """The monitor has judged all windows so far."""

    def ending(self) -> None:
        """Everything is judged, and the service is about to be stopped."""

    def finished(self, report: DemoReport, diagnosis: Diagnosis) -> None:
        """All is done and cleaned up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The end, whatever came before it."""


class LiveScreen(Screen):
    """The terminal: progress, speed, and the evidence of drift as it builds, window by window.

    Args:
        console: a `rich.console.Console`; None: standard output.
    """

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._phase = ""
        self._spinner = Spinner("dots")
        self._standing: Standing | None = None
        self._diagnosis: Diagnosis | None = None
        self._console = console or Console()
        self._live = Live(console=self._console, refresh_per_second=8, get_renderable=self._render)

    def phase(self, text: str) -> None:
        """Print the phase that ended above the moving part, and begin the next."""
        if self._phase:
            self._live.console.print(f"[green]✓[/] {self._phase}")
        self._phase = text
        self._spinner.update(text=text)

    def serving(self, address: str) -> None:
        """Print the dashboard's address, and open it where a person sits before a screen."""
        self._live.console.print(f"  Its dashboard, as long as it runs: [bold]{address}[/]")
        if self._console.is_terminal and _has_display():
            import webbrowser

            webbrowser.open(address)

    def standing(self, standing: Standing) -> None:
        """Show the numbers of the day."""
        self._standing = standing

    def judged(self, diagnosis: Diagnosis) -> None:
        """Show the evidence so far."""
        self._diagnosis = diagnosis

    def ending(self) -> None:
        """Leave a person time to read how it ends on the dashboard."""
        if self._console.is_terminal:
            self.phase(f"The end of the story is on the dashboard; the service stops in {_ENDING_S} s")
            time.sleep(_ENDING_S)

    def finished(self, report: DemoReport, diagnosis: Diagnosis) -> None:
        """Print the diagnosis, the truth, and whether they agree."""
        from rich.panel import Panel

        self._console.print(Panel(diagnosis, title="Diagnosis", title_align="left"))
        self._console.print(Panel(_truth_in_words(report), title="Truth", title_align="left"))
        self._console.print(
            "[bold green]They agree.[/]"
            if report.agrees
            else "[bold red]They do not agree:[/] " + "; ".join(report.disagreements) + "."
        )
        lost = (
            "every one of them in the log"
            if report.unaccounted == 0
            else f"{report.unaccounted} not in the log"
        )
        self._console.print(
            f"{report.predictions:,} predictions over HTTP, {lost}; {report.labels:,} labels; "
            f"{report.predictions_per_s:,.0f} predictions/s, p50 {report.latency_p50_ms:.1f} ms, "
            f"p99 {report.latency_p99_ms:.1f} ms; {report.timings_s['total']:.0f} s in all."
        )
        for kind, number in report.errors.items():
            self._console.print(f"[red]{number} requests without a good answer ({kind})[/]")
        if report.folder:
            self._console.print(
                f"The deployment is kept in {report.folder}. Try: holdfast ui -C {report.folder}"
            )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.phase("")
        else:
            self._phase, self._standing, self._diagnosis = "", None, None
        self._live.stop()

    def _render(self) -> Any:
        from rich.console import Group

        parts: list[Any] = [self._spinner] if self._phase else []
        if self._standing is not None:
            parts.append(_standing_line(self._standing))
        if self._diagnosis is not None:
            parts.append(_windows_table(self._diagnosis))
        return Group(*parts)


def _has_display() -> bool:
    """Whether a browser could open a window, rather than take the terminal over."""
    return sys.platform in {"darwin", "win32"} or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _standing_line(now: Standing) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    text = (
        f"day {now.day} of {now.days}, {now.date}   {now.predictions:,} predictions, {now.labels:,} labels   "
        f"{now.predictions_per_s:,.0f}/s   p50 {now.latency_p50_ms:.1f} ms   p99 {now.latency_p99_ms:.1f} ms"
    )
    if now.errors:
        text += f"   {now.errors} errors"
    lines = Table.grid()
    lines.add_row(ProgressBar(total=now.days, completed=now.day, width=60))
    lines.add_row(text)
    return lines


def _windows_table(diagnosis: Diagnosis) -> Any:
    from rich.table import Table

    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=diagnosis.verdict,
        title_justify="left",
        caption="Bars: strength of the evidence; an alarm stands at 1. Quality: area under the ROC curve.",
        caption_justify="left",
    )
    for name in ("window", "rows", "labelled", "data drift", "concept drift", "quality"):
        table.add_column(name, justify="right" if name in ("rows", "labelled", "quality") else "left")
    shown: Sequence[Any] = diagnosis.windows[-_WINDOWS_SHOWN:]
    for window in shown:
        table.add_row(
            str(window.start)[:10],
            f"{window.rows:,}",
            f"{window.labelled:,}",
            _bar(window.log_e_data),
            _bar(window.log_e_concept),
            "" if window.quality is None else f"{window.quality:.3f}",
            style="yellow" if window.alarm else None,
        )
    return table


def _bar(strength: float | None) -> str:
    """Evidence relative to the alarm, which stands at a third of the bar."""
    if strength is None:
        return ""
    filled = round(min(max(strength, 0.0), _FULL_BAR) / _FULL_BAR * _BAR_WIDTH)
    return "█" * filled + "·" * (_BAR_WIDTH - filled) + f" {strength:5.1f}"


def _truth_in_words(report: DemoReport) -> str:
    if report.truth.since is None:
        return "Nothing changed: the same people went on buying as before."
    return (
        f"In the night to {report.truth.since[:10]} six in ten people began to buy mostly online "
        "(data drift). For them a new shop, an odd hour or a high amount online says much less about "
        "fraud than it did (concept drift)."
    )
