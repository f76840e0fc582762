"""Who acts, where nobody says so."""

from __future__ import annotations

import getpass


def user_of_this_process() -> str:
    """As it stands in decisions and in the audit."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
