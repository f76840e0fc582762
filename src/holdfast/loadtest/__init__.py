"""An open-loop load over the wire: a black box against `[speed]` and `[compute]`."""

from holdfast.loadtest.arrivals import Pattern, constant_arrivals, poisson_arrivals, replayed_arrivals
from holdfast.loadtest.curve import draw_curve
from holdfast.loadtest.errors import BottleneckError, LoadTestError, UnreachableError
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
    PROTOCOLS,
    Protocol,
    Requests,
    Target,
    made_up_rows,
    make_requests,
    with_reference_run,
)

__all__ = [
    "PROTOCOLS",
    "BottleneckError",
    "Lag",
    "Load",
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
    "log_times",
    "made_up_rows",
    "make_requests",
    "poisson_arrivals",
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
