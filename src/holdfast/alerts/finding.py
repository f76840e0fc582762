"""What stands, as whoever raises it says it."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["critical", "warning", "good news"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody should know, in words that may leave the machine: never a value of a row."""

    source: str
    """Who raises it, such as `drift` or `log`; of each source one alarm stands at most."""
    topics: tuple[str, ...]
    """Of what kinds it is, as in `[alerts] kinds`, each perhaps with a column behind a colon."""
    since: str
    """Likeliest beginning; of a standing alarm the first one given counts."""
    severity: Severity
    title: str
    """The verdict, in a few words."""
    sentence: str
    columns: tuple[str, ...] = ()
    """Where it is seen; empty where it is seen in no column by itself."""
    cost: str = ""
    advice: tuple[str, ...] = ()
    version: str | None = None
    """Of the model."""
    page: str = ""
    """Of the dashboard, below its address."""
