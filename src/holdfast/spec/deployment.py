"""The deployment folder: its checklist and the places in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from holdfast.spec.checklist import Checklist
from holdfast.spec.parse import load_checklist
from holdfast.spec.plain import checklist_hash

CHECKLIST_FILE: Final = "holdfast.toml"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One prediction service on disk. Nothing is created by opening it."""

    folder: Path
    """Absolute."""
    checklist: Checklist
    checklist_hash: str

    @classmethod
    def open(cls, folder: Path, environ: Mapping[str, str]) -> Self:
        """Read the folder's checklist, with overrides from `environ` (pass `os.environ`).

        Raises:
            ChecklistError: there is no checklist in the folder, or it is not valid.
        """
        folder = folder.absolute()
        checklist = load_checklist(folder / CHECKLIST_FILE, environ)
        return cls(folder, checklist, checklist_hash(checklist))

    @property
    def name(self) -> str:
        """The deployment's name, `[model] name`."""
        return self.checklist.model.name

    @property
    def registry_url(self) -> str:
        """SQLAlchemy URL of the registry."""
        return f"sqlite:///{self.folder.as_posix()}/registry.db"

    @property
    def artifacts_folder(self) -> Path:
        """One immutable folder per artifact, named by its hash."""
        return self.folder / "artifacts"

    @property
    def references_folder(self) -> Path:
        """One folder per model version."""
        return self.folder / "references"

    @property
    def log_folder(self) -> Path:
        """`[logging] path`: spool, predictions, labels."""
        return self.folder / self.checklist.logging.path

    @property
    def run_folder(self) -> Path:
        """Files of the running service; safe to delete when it is stopped."""
        return self.folder / "run"

    @property
    def scored_folder(self) -> Path:
        """What was counted of tables scored during rollouts: ROLLOUT/SHARE/, safe to delete when it ended."""
        return self.folder / "scored"

    @property
    def monitor_folder(self) -> Path:
        """Profiles of closed windows."""
        return self.folder / "monitor"

    @property
    def datasets_folder(self) -> Path:
        """One folder per data set, named by its content."""
        return self.folder / "datasets"

    @property
    def training_folder(self) -> Path:
        """One folder per training: what was asked for, what came of it, what the trainer printed."""
        return self.folder / "training"
