"""A copy of the deployment to run under load: the same checklist and version, its own log and registry.

It lies inside the deployment's own folder, so that it writes to the same disk, and is removed afterwards. Its
predictions never enter the deployment's log.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from holdfast.check.client_authority import ClientAuthority, make_client_authority
from holdfast.clock import Clock
from holdfast.registry import ModelVersion, Registry
from holdfast.spec import Alerts, Checklist, Deployment, render_document


@dataclass(frozen=True, slots=True)
class Scratch:
    """The copy."""

    deployment: Deployment
    version: ModelVersion
    """As the copy's registry has it."""
    key: str | None = field(repr=False)
    """An API key for it, where it asks for one."""
    authority: ClientAuthority | None
    """Of client certificates, where the deployment asks for them."""
    changed: tuple[str, ...]
    """Where it differs from the deployment, in words."""


@contextmanager
def scratch_copy(
    deployment: Deployment, version: ModelVersion, environ: Mapping[str, str], clock: Clock
) -> Iterator[Scratch]:
    """Make the copy, and remove it at the end.

    Args:
        deployment: of which.
        version: the champion of the copy.
        environ: of the process that will serve it, without overrides of the checklist.
        clock: the time of what is stored.
    """
    deployment.run_folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="check-", dir=deployment.run_folder))
    try:
        authority = None
        if deployment.checklist.security.tls_client_ca:
            asked = deployment.checklist.security.tls_client_ca
            authority = make_client_authority(folder, deployment.folder / asked, asked)
        checklist, changed = _changed(deployment, authority)
        (folder / "holdfast.toml").write_text(render_document(checklist), encoding="utf-8")
        copy = Deployment.open(folder, environ)
        copy.artifacts_folder.mkdir()
        (copy.artifacts_folder / version.artifact_folder).symlink_to(
            deployment.artifacts_folder / version.artifact_folder, target_is_directory=True
        )
        key = None
        with Registry.open(copy.registry_url, clock) as registry:
            added = registry.add_version(
                name=version.name,
                sha256=version.sha256,
                created_at_us=version.created_at_us,
                created_by="holdfast check",
                metadata=version.metadata,
            )
            registry.promote(added.version, reason="under check", actor="holdfast check")
            if checklist.security.auth == "keys":
                key = registry.api_keys.create(
                    name="holdfast check",
                    scopes=["predict", "read"],
                    actor="holdfast check",
                    requests_per_s=1e9,
                ).key
        reference = deployment.references_folder / version.version
        if reference.is_dir():
            copy.references_folder.mkdir()
            (copy.references_folder / added.version).symlink_to(reference, target_is_directory=True)
        yield Scratch(copy, added, key, authority, changed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _changed(deployment: Deployment, authority: ClientAuthority | None) -> tuple[Checklist, tuple[str, ...]]:
    """The checklist of the copy: on loopback and any port, writing to and telling nobody else.

    Files are named by their absolute paths.
    """
    checklist, folder = deployment.checklist, deployment.folder
    security, privacy = checklist.security, checklist.privacy
    said = ["on a free port of 127.0.0.1"]

    def absolute(name: str) -> str:
        return str(folder / name) if name and "://" not in name else name

    if security.tls_certificate:
        said.append("with TLS, whose certificate is not verified by the load")
    if authority is not None:
        said.append("with a made-up authority of client certificates")
    if checklist.logging.tables:
        said.append("with the log's tables beside it instead of in the bucket")
    replace = msgspec.structs.replace
    changed = replace(
        checklist,
        target=replace(checklist.target, host="127.0.0.1", port=0, grpc_port=None),
        alerts=Alerts(),
        logging=replace(checklist.logging, tables=""),
        training=replace(checklist.training, triggers=()),
        security=replace(
            security,
            api_key_hashes=(),
            tls_certificate=absolute(security.tls_certificate),
            tls_key=absolute(security.tls_key),
            tls_client_ca="" if authority is None else str(authority.authority),
            jwt_jwks=absolute(security.jwt_jwks),
        ),
        privacy=replace(
            privacy,
            master_key_file=absolute(privacy.master_key_file),
        ),
    )
    return changed, tuple(said)
