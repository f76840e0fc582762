"""The deployments below one folder, as they come and go while they are served.

Only names that somebody put into that folder are ever looked at: nothing that comes over the network says
what is served.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from holdfast.errors import HoldfastError
from holdfast.serve.agreement import check_agreement
from holdfast.serve.errors import ServeError
from holdfast.serve.followed import Served
from holdfast.serve.preflight import check_deployment
from holdfast.spec import Deployment
from holdfast.spec.deployment import CHECKLIST_FILE

LOOK_EVERY_S: Final = 1.0


@dataclass(slots=True)
class Changes:
    """What is different from what is served."""

    added: list[Served] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)
    """Folders whose checklist is no longer there."""
    refused: list[str] = field(default_factory=list)
    """Why others cannot be served, in words; said once for each state of a checklist."""


class Gathering:
    """Every folder directly below one that holds a checklist is a deployment.

    Args:
        folder: that is looked at.
        serve: a deployment with what runs beside it.
    """

    def __init__(self, folder: Path, serve: Callable[[Deployment], Served]) -> None:
        self.folder = folder.absolute()
        self._serve = serve
        self._refused: dict[Path, int] = {}

    def first(self) -> list[Served]:
        """Those that there are at the start, by name of the folder.

        Raises:
            ServeError: there is none.
            HoldfastError: one has a checklist that is not in order.
        """
        found = [self._serve(Deployment.open(folder, os.environ)) for folder in self._folders()]
        if not found:
            raise ServeError(
                "there is no deployment to begin with",
                where=str(self.folder),
                expected=f"folders, each with a {CHECKLIST_FILE}",
                next_step="Put one there: holdfast init",
            )
        return found

    def look(self, served: Sequence[Deployment]) -> Changes:
        """What has come and what has gone since."""
        changes = Changes()
        here = self._folders()
        known = {one.folder: one for one in served}
        changes.gone = [folder for folder in known if folder not in here]
        kept = [one for folder, one in known.items() if folder in here]
        for folder in here:
            if folder in known:
                continue
            stamp = _stamp(folder)
            if self._refused.get(folder) == stamp:
                continue
            try:
                deployment = Deployment.open(folder, os.environ)
                check_deployment(deployment)
                # Names of those that go are free only when they have gone.
                check_agreement([*known.values(), deployment])
            except (HoldfastError, OSError) as error:
                self.refuse(folder)
                changes.refused.append(f"{folder.name} is not taken up: {error}")
            else:
                self._refused.pop(folder, None)
                changes.added.append(self._serve(deployment))
                known[folder] = deployment
        if changes.gone and not (kept or changes.added):
            # A service of nothing is never wanted, and a disk that is not mounted looks the same.
            changes.gone = []
        return changes

    def refuse(self, folder: Path) -> None:
        """Look at it again only when its checklist has changed: it cannot be served as it is."""
        self._refused[folder] = _stamp(folder)

    def _folders(self) -> list[Path]:
        try:
            return sorted(path.parent for path in self.folder.glob(f"*/{CHECKLIST_FILE}"))
        except OSError:
            return []


def _stamp(folder: Path) -> int:
    try:
        return (folder / CHECKLIST_FILE).stat().st_mtime_ns
    except OSError:
        return 0
