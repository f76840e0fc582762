"""Which artifact answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holdfast.registry import Registry
from holdfast.score.errors import ScoreError
from holdfast.spec import Deployment


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A model version on disk."""

    version: str
    folder: Path


def find_version(deployment: Deployment, registry: Registry, version: str | None) -> FoundVersion:
    """The named version, or the champion.

    Raises:
        RegistryError: there is no such version.
        ScoreError: no version is named and none is champion.
    """
    if version is None:
        version = registry.route().champion
        if version is None:
            raise ScoreError(
                "the deployment has no champion",
                where=str(deployment.folder),
                next_step="Register a model (holdfast register), or promote one (holdfast rollout promote).",
            )
    found = registry.version(version)
    return FoundVersion(found.version, deployment.artifacts_folder / found.sha256[:32])
