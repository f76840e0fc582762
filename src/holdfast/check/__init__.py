"""The checklist proved line by line, before release; and what `init` proposes and warns of."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.check.conflicts import Conflict, Facts, find_conflicts
    from holdfast.check.errors import CheckError
    from holdfast.check.lines import CheckReport, LastRelease, Line, Verdict
    from holdfast.check.live import Effort
    from holdfast.check.proposals import Proposal, Suggested, memory_proposal, suggest
    from holdfast.check.running import EVIDENCE_KIND, check_deployment, check_invalid

_HOMES = {
    "EVIDENCE_KIND": "running",
    "CheckError": "errors",
    "CheckReport": "lines",
    "Conflict": "conflicts",
    "Effort": "live",
    "Facts": "conflicts",
    "LastRelease": "lines",
    "Line": "lines",
    "Proposal": "proposals",
    "Suggested": "proposals",
    "Verdict": "lines",
    "check_deployment": "running",
    "check_invalid": "running",
    "find_conflicts": "conflicts",
    "memory_proposal": "proposals",
    "suggest": "proposals",
}

__all__ = [
    "EVIDENCE_KIND",
    "CheckError",
    "CheckReport",
    "Conflict",
    "Effort",
    "Facts",
    "LastRelease",
    "Line",
    "Proposal",
    "Suggested",
    "Verdict",
    "check_deployment",
    "check_invalid",
    "find_conflicts",
    "memory_proposal",
    "suggest",
]


def __getattr__(name: str) -> Any:
    # `init` asks for conflicts alone, and need not load what measures.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
