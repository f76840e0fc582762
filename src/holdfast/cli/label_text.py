"""The report on labels as text, with its curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from holdfast.prediction_log import LabelReport

_BAR_WIDTH: Final = 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_UNITS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))


def label_text_of(report: LabelReport) -> str:
    """Some lines of counts, then the share of labels that has come by each delay."""
    age = _delay(report.maturity_s)
    lines = [
        f"{report.labelled} of {report.predictions} predictions are labelled ({report.label_coverage:.1%}).",
        f"Of {report.mature} that are {age} old or older, {report.labelled_in_time} were labelled by then",
        f"({report.mature_coverage:.1%}), {report.late} later, {report.censored} never.",
        f"{report.waiting} are younger and wait.",
        f"{report.revisions} labels came; {report.corrected} were corrected, {report.taken_back} taken back.",
        f"{report.unknown} labels are for unknown predictions, {report.refused} for erased ones.",
    ]
    if report.labelled:
        known = [
            f"{float(share):.0%} within {_delay(delay)}"
            for share, delay in report.quantiles_s.items()
            if delay is not None
        ]
        lines += ["", f"Labels come: {', '.join(known) or 'too few to say'}.", ""]
        for point in report.curve:
            interval = (
                "" if point.low is None or point.high is None else f"  {point.low:.1%} to {point.high:.1%}"
            )
            lines.append(f"{_delay(point.delay_s):>7} {_bar(point.share)} {point.share:>6.1%}{interval}")
    return "\n".join(lines)


def _delay(seconds: float) -> str:
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _bar(share: float) -> str:
    eighths = round(share * _BAR_WIDTH * 8)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return bar.ljust(_BAR_WIDTH)
