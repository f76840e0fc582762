"""The dashboard: pages that read what is stored, forms that call what the command line calls, reports."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.ui.app import make_dashboard
    from holdfast.ui.errors import ReportError, UiError
    from holdfast.ui.report import Report, make_report, write_report
    from holdfast.ui.server import serve_dashboard

_HOMES = {
    "Report": "report",
    "ReportError": "errors",
    "UiError": "errors",
    "make_dashboard": "app",
    "make_report": "report",
    "serve_dashboard": "server",
    "write_report": "report",
}

__all__ = [
    "Report",
    "ReportError",
    "UiError",
    "make_dashboard",
    "make_report",
    "serve_dashboard",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast.ui' has no attribute {name!r}")
    return getattr(import_module(f"holdfast.ui.{_HOMES[name]}"), name)
