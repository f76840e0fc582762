"""An open-loop load over the wire: a black box against `[speed]` and `[compute]`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.loadtest.arrivals import (
        Pattern,
        constant_arrivals,
        poisson_arrivals,
        rate_of_log,
        replayed_arrivals,
    )
    from holdfast.loadtest.curve import draw_curve
    from holdfast.loadtest.errors import BottleneckError, LoadTestError, UnreachableError
    from holdfast.loadtest.evidence import CURVE_KIND, CurvePoint, LoadCurve, keep_curve, make_curve
    from holdfast.loadtest.report import Lag, LoadReport, Percentile
    from holdfast.loadtest.running import Load, run_load
    from holdfast.loadtest.search import SearchReport, search_rate, shortfall
    from holdfast.loadtest.sources import (
        asked_rows,
        log_times,
        reference_requests,
        request_sizes,
        rows_of_file,
        running_service,
    )
    from holdfast.loadtest.target import (
        Protocol,
        Requests,
        Target,
        made_up_rows,
        make_requests,
        with_reference_run,
    )

_HOMES = {
    "CURVE_KIND": "evidence",
    "BottleneckError": "errors",
    "CurvePoint": "evidence",
    "Lag": "report",
    "Load": "running",
    "LoadCurve": "evidence",
    "LoadReport": "report",
    "LoadTestError": "errors",
    "Pattern": "arrivals",
    "Percentile": "report",
    "Protocol": "target",
    "Requests": "target",
    "SearchReport": "search",
    "Target": "target",
    "UnreachableError": "errors",
    "asked_rows": "sources",
    "constant_arrivals": "arrivals",
    "draw_curve": "curve",
    "keep_curve": "evidence",
    "log_times": "sources",
    "made_up_rows": "target",
    "make_curve": "evidence",
    "make_requests": "target",
    "poisson_arrivals": "arrivals",
    "rate_of_log": "arrivals",
    "reference_requests": "sources",
    "replayed_arrivals": "arrivals",
    "request_sizes": "sources",
    "rows_of_file": "sources",
    "run_load": "running",
    "running_service": "sources",
    "search_rate": "search",
    "shortfall": "search",
    "with_reference_run": "target",
}

__all__ = [
    "CURVE_KIND",
    "BottleneckError",
    "CurvePoint",
    "Lag",
    "Load",
    "LoadCurve",
    "LoadReport",
    "LoadTestError",
    "Pattern",
    "Percentile",
    "Protocol",
    "Requests",
    "SearchReport",
    "Target",
    "UnreachableError",
    "asked_rows",
    "constant_arrivals",
    "draw_curve",
    "keep_curve",
    "log_times",
    "made_up_rows",
    "make_curve",
    "make_requests",
    "poisson_arrivals",
    "rate_of_log",
    "reference_requests",
    "replayed_arrivals",
    "request_sizes",
    "rows_of_file",
    "run_load",
    "running_service",
    "search_rate",
    "shortfall",
    "with_reference_run",
]


def __getattr__(name: str) -> Any:
    # A generating process is of this package, and must start fast: it loads what it needs and no more.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
