"""What must hold between keys; limits of a single key stand in its type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from holdfast.spec.checklist import Checklist
from holdfast.spec.errors import ChecklistError

Broken = Iterator[tuple[str, ChecklistError]]
"""The path of the key to change, such as `target.host`, and the fault without its `where`."""

RESERVED_FOLDERS: Final = (
    "artifacts",
    "references",
    "run",
    "monitor",
    "certificates",
    "datasets",
    "training",
)


def broken_rules(checklist: Checklist) -> Broken:
    """Every rule that the checklist breaks."""
    for rule in RULES:
        yield from rule(checklist)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address to listen on."""
    from ipaddress import ip_address

    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _tls_files(checklist: Checklist) -> Broken:
    """`tls_certificate` and `tls_key` are given together or not at all; `tls_client_ca` needs both."""
    security = checklist.security
    if security.tls_certificate and not security.tls_key:
        yield (
            "security.tls_key",
            ChecklistError("missing", expected="the private key file that belongs to tls_certificate"),
        )
    if security.tls_client_ca and not security.tls_certificate:
        yield (
            "security.tls_certificate",
            ChecklistError("missing", expected="a certificate of the service beside tls_client_ca"),
        )
    if security.tls_key and not security.tls_certificate:
        yield (
            "security.tls_certificate",
            ChecklistError("missing", expected="the certificate file that belongs to tls_key"),
        )


def _tokens(checklist: Checklist) -> Broken:
    """`jwt_jwks` needs `auth = "keys"`, `jwt_issuer`, `jwt_audience`, and as a URL https (or loopback)."""
    from urllib.parse import urlsplit

    security = checklist.security
    if not security.jwt_jwks:
        return
    if security.auth != "keys":
        yield "security.auth", ChecklistError("no token would be asked for", expected='"keys"')
    if not security.jwt_issuer:
        yield "security.jwt_issuer", ChecklistError("missing", expected="the `iss` of the provider's tokens")
    if not security.jwt_audience:
        yield (
            "security.jwt_audience",
            ChecklistError("missing", expected="the `aud` of tokens for this service"),
        )
    if "://" in security.jwt_jwks:
        url = urlsplit(security.jwt_jwks)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
            yield (
                "security.jwt_jwks",
                ChecklistError("keys must not be fetched unprotected", expected="a file, or an https URL"),
            )


def _keys(checklist: Checklist) -> Broken:
    """`api_key_hashes` and `requests_per_s_per_key` need `auth = "keys"`."""
    security = checklist.security
    if security.auth == "none" and security.api_key_hashes:
        yield (
            "security.auth",
            ChecklistError(
                "api_key_hashes would never be asked for",
                expected='"keys"',
                received='"none"',
                next_step='Set auth = "keys", or remove api_key_hashes.',
            ),
        )
    if security.auth == "none" and security.requests_per_s_per_key is not None:
        yield (
            "security.auth",
            ChecklistError("requests_per_s_per_key would limit nobody", expected='"keys"', received='"none"'),
        )


def _exposure(checklist: Checklist) -> Broken:
    """Real time on a `host` that other machines reach needs keys and TLS, or a written reason for each."""
    security, host = checklist.security, checklist.target.host
    if checklist.predictions.mode == "batch" or is_loopback(host):
        return
    if security.auth == "none" and not security.tls_client_ca and not security.no_auth_reason:
        yield (
            "target.host",
            ChecklistError(
                "anybody who reaches this address could ask without a key",
                expected='127.0.0.1, or [security] auth = "keys" or tls_client_ca',
                received=f'"{host}"',
                next_step="Where something in front checks callers, say so in [security] no_auth_reason.",
            ),
        )
    if not security.tls_certificate and not security.no_tls_reason:
        yield (
            "target.host",
            ChecklistError(
                "requests to this address would cross the network unencrypted",
                expected="127.0.0.1, or [security] tls_certificate and tls_key",
                received=f'"{host}"',
                next_step="Where something in front ends TLS, say so in [security] no_tls_reason.",
            ),
        )


def _speed(checklist: Checklist) -> Broken:
    """`p50_ms` is at most `p99_ms`, and `p99_ms` at most `deadline_ms`."""
    speed = checklist.speed
    if speed.p50_ms is not None and speed.p50_ms > speed.p99_ms:
        yield (
            "speed.p50_ms",
            ChecklistError(
                "the median cannot exceed the 99th percentile",
                expected=f"at most p99_ms, {speed.p99_ms:g}",
                received=f"{speed.p50_ms:g}",
            ),
        )
    if speed.p99_ms > speed.deadline_ms:
        yield (
            "speed.deadline_ms",
            ChecklistError(
                "requests would be refused before the time that p99_ms promises",
                expected=f"at least p99_ms, {speed.p99_ms:g}",
                received=f"{speed.deadline_ms:g}",
                next_step=f"Set deadline_ms = {speed.p99_ms:g} or more, or promise a smaller p99_ms.",
            ),
        )


def _fields(checklist: Checklist) -> Broken:
    """`id_field`, `time_field`, `subject_field`, `consent_field` and each of `context_fields` all differ."""
    named = {
        "predictions.id_field": checklist.predictions.id_field,
        "predictions.time_field": checklist.predictions.time_field,
        "privacy.subject_field": checklist.privacy.subject_field,
        "privacy.consent_field": checklist.privacy.consent_field,
    }
    taken: dict[str, str] = {}
    named |= {
        f"logging.context_fields[{index}]": name
        for index, name in enumerate(checklist.logging.context_fields)
    }
    for path, name in named.items():
        if name and name in taken:
            yield (
                path,
                ChecklistError(f'the field "{name}" is already {taken[name]}', expected="a field of its own"),
            )
        elif name:
            taken[name] = path


def _log_folder(checklist: Checklist) -> Broken:
    """The log's `path` has no `..` and is none of the deployment folder's own folders."""
    from pathlib import PurePath

    parts = [part for part in PurePath(checklist.logging.path).parts if part != "."]
    if not parts or ".." in parts or parts[0] in RESERVED_FOLDERS:
        yield (
            "logging.path",
            ChecklistError(
                "not a folder of its own",
                expected=f"a folder without .. in it and none of {', '.join(RESERVED_FOLDERS)}",
                received=f'"{checklist.logging.path}"',
            ),
        )


def _privacy(checklist: Checklist) -> Broken:
    """With `sensitivity = "high"`, callers authenticate and no value stays readable, but for a reason."""
    privacy, security = checklist.privacy, checklist.security
    if privacy.sensitivity != "high" or privacy.weakened_reason:
        return
    say_why = "Where it must be so, say why in [privacy] weakened_reason."
    if checklist.predictions.mode == "realtime" and security.auth == "none" and not security.tls_client_ca:
        yield (
            "security.auth",
            ChecklistError(
                'callers must authenticate while sensitivity = "high"',
                expected='"keys", or tls_client_ca',
                received='"none"',
                next_step=say_why,
            ),
        )
    named = {f"privacy.actions.{name}": action for name, action in privacy.actions.items()}
    named |= {f"privacy.field_actions.{name}": action for name, action in privacy.field_actions.items()}
    for path, action in named.items():
        if action in {"keep", "redact"}:
            yield (
                path,
                ChecklistError(
                    'weaker than what sensitivity = "high" asks for',
                    expected='one of "drop", "mask", "hash", "generalise", "encrypt"',
                    received=f'"{action}"',
                    next_step=say_why,
                ),
            )


def _generalised(checklist: Checklist) -> Broken:
    """Every field whose action is generalise says how in `generalise`."""
    privacy = checklist.privacy
    wanted = {name for name, action in privacy.field_actions.items() if action == "generalise"}
    wanted |= {name for name, kind in privacy.fields.items() if privacy.actions.get(kind) == "generalise"}
    for name in sorted(wanted - privacy.generalise.keys()):
        if privacy.field_actions.get(name, "generalise") == "generalise":
            yield (
                "privacy.generalise",
                ChecklistError(
                    f'nothing says how to generalise "{name}"', expected='such as "width 10" or "prefix 3"'
                ),
            )
    if privacy.actions.get("plain") == "generalise":
        yield (
            "privacy.actions.plain",
            ChecklistError("fields without a class have no way to be generalised", expected="another action"),
        )


def _positive_lengths(checklist: Checklist) -> Broken:
    """`commit_interval`, `deadline`, refreshes, intervals and `[training]` lengths are above zero."""
    lengths = {
        "security.jwt_refresh": checklist.security.jwt_refresh,
        "logging.commit_interval": checklist.logging.commit_interval,
        "training.dev": checklist.training.dev,
        "training.test": checklist.training.test,
        "rollout.deadline": checklist.rollout.deadline,
        "rollout.fast_interval": checklist.rollout.fast_interval,
        "rollout.label_interval": checklist.rollout.label_interval,
        "training.timeout": checklist.training.timeout,
        "training.half_life": checklist.training.half_life,
        "training.schedule": checklist.training.schedule,
        "training.watch_interval": checklist.training.watch_interval,
    }
    for path, length in lengths.items():
        if length.microseconds == 0:
            yield path, ChecklistError("not allowed", expected="more than zero", received=f'"{length}"')


def _training(checklist: Checklist) -> Broken:
    """`trainer` and `command` are not both given; `unattended` needs triggers, `quality` `least_quality`."""
    training = checklist.training
    if training.trainer and training.command:
        yield (
            "training.command",
            ChecklistError("there is a trainer already", expected="trainer or command, not both"),
        )
    if training.unattended and not training.triggers:
        yield (
            "training.triggers",
            ChecklistError(
                "missing where [training] unattended is true",
                expected='when to train, such as ["alarm", "schedule"]',
            ),
        )
    if "quality" in training.triggers and training.least_quality is None:
        yield "training.least_quality", ChecklistError("missing", expected="the bound of the trigger quality")
    if training.review_field and training.review_field not in checklist.logging.context_fields:
        yield (
            "training.review_field",
            ChecklistError("the log does not hold it", expected="one of [logging] context_fields"),
        )


def _loss(checklist: Checklist) -> Broken:
    """`loss = "cost"` needs `cost_false_positive` or `cost_false_negative` of `[monitoring]`."""
    monitoring = checklist.monitoring
    if checklist.rollout.loss == "cost" and not (
        monitoring.cost_false_positive or monitoring.cost_false_negative
    ):
        yield (
            "rollout.loss",
            ChecklistError(
                "no error costs anything",
                expected="[monitoring] cost_false_positive or cost_false_negative above 0",
                received='"cost"',
            ),
        )


def _ramp(checklist: Checklist) -> Broken:
    """The shares of `ramp` increase, and the last is 1."""
    ramp = checklist.rollout.ramp
    shown = ", ".join(f"{share:g}" for share in ramp)
    if any(later <= earlier for earlier, later in pairwise(ramp)):
        yield (
            "rollout.ramp",
            ChecklistError("does not increase", expected="shares in increasing order", received=f"[{shown}]"),
        )
    elif ramp[-1] != 1:
        yield (
            "rollout.ramp",
            ChecklistError(
                "the challenger would never get all of the traffic",
                expected="1 as the last share",
                received=f"[{shown}]",
            ),
        )


def _stream(checklist: Checklist) -> Broken:
    """A stream's `hop_values` is at most `window_values`, and each output carries one state."""
    stream = checklist.stream
    if stream.hop_values > stream.window_values:
        yield (
            "stream.hop_values",
            ChecklistError(
                "longer than the window, so values between two windows would be lost",
                expected=f"at most {stream.window_values}",
                received=str(stream.hop_values),
            ),
        )
    if len(set(stream.state.values())) != len(stream.state):
        yield "stream.state", ChecklistError("an output is named twice", expected="one output for each input")


def _time_zone(checklist: Checklist) -> Broken:
    """`[alerts] time_zone` is a zone that this machine knows."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(checklist.alerts.time_zone)
    except (KeyError, ValueError, OSError):  # unknown; not a name of a zone at all; a folder of zones
        yield (
            "alerts.time_zone",
            ChecklistError(
                "no such time zone",
                expected="a name of the IANA database, such as Europe/Berlin",
                received=checklist.alerts.time_zone,
            ),
        )


RULES: Final[tuple[Callable[[Checklist], Broken], ...]] = (
    _tls_files,
    _keys,
    _tokens,
    _exposure,
    _speed,
    _fields,
    _log_folder,
    _privacy,
    _generalised,
    _positive_lengths,
    _training,
    _loss,
    _ramp,
    _stream,
    _time_zone,
)
"""Each rule's docstring is its sentence in the reference page."""
