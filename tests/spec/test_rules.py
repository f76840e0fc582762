"""Rules between keys."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from holdfast.spec import ChecklistError, build_checklist, is_loopback, parse_checklist

HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
KEYS = {"auth": "keys", "api_key_hashes": [HASH]}
TLS = {"tls_certificate": "cert.pem", "tls_key": "key.pem"}


def faults(**sections: Mapping[str, object]) -> list[str]:
    try:
        build_checklist({"model": {"name": "fraud"}, **sections}, source="here")
    except ChecklistError as error:
        return [str(each.where).removeprefix("here: $.") for each in error.each()]
    return []


@pytest.mark.parametrize(
    ("section", "values", "path"),
    [
        ("security", {"tls_certificate": "cert.pem"}, "security.tls_key"),
        ("security", {"tls_key": "key.pem"}, "security.tls_certificate"),
        ("security", {"requests_per_s_per_key": 5}, "security.auth"),
        ("security", {"api_key_hashes": [HASH]}, "security.auth"),
        ("security", {"auth": "keys", "api_key_hashes": [HASH[:-1]]}, "security.api_key_hashes[0]"),
        ("security", {"auth": "keys", "api_key_hashes": [HASH[:-1] + "g"]}, "security.api_key_hashes[0]"),
        ("speed", {"p50_ms": 120}, "speed.p50_ms"),
        ("speed", {"p99_ms": 501}, "speed.deadline_ms"),
        ("rollout", {"ramp": []}, "rollout.ramp"),
        ("stream", {"hop_values": 2}, "stream.hop_values"),
        ("stream", {"window_values": 2, "hop_values": 3}, "stream.hop_values"),
        ("stream", {"state": {"a": "y", "b": "y"}}, "stream.state"),
        ("rollout", {"ramp": [0.5, 0.1, 1]}, "rollout.ramp"),
        ("rollout", {"ramp": [0.5, 0.5, 1]}, "rollout.ramp"),
        ("rollout", {"ramp": [0.1, 0.5]}, "rollout.ramp"),
        ("logging", {"commit_interval": "0s"}, "logging.commit_interval"),
        ("training", {"test": "0d"}, "training.test"),
        ("logging", {"path": "../log"}, "logging.path"),
        ("logging", {"path": "./artifacts"}, "logging.path"),
        ("logging", {"path": "."}, "logging.path"),
        ("logging", {"tables": "s3://key:secret@predictions/fraud"}, "logging.tables"),
        ("logging", {"tables": "https://example.org/fraud"}, "logging.tables"),
        ("logging", {"context_fields": ["shop", "shop"]}, "logging.context_fields[1]"),
        ("logging", {"context_fields": ["prediction_id"]}, "logging.context_fields[0]"),
        ("privacy", {"subject_field": "who", "consent_field": "who"}, "privacy.consent_field"),
        ("alerts", {"webhooks": ["ftp://example.org"]}, "alerts.webhooks[0]"),
        ("alerts", {"channels": ["example.org"]}, "alerts.channels[0]"),
        ("alerts", {"quiet_hours": "22-7"}, "alerts.quiet_hours"),
        ("alerts", {"time_zone": "Europe/Atlantis"}, "alerts.time_zone"),
    ],
)
def test_a_contradiction_names_the_key_to_change(section: str, values: dict[str, object], path: str) -> None:
    assert faults(**{section: values}) == [path]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "example.org", "127.0.0.1.example.org"])
def test_an_address_that_others_reach_needs_keys_and_tls(host: str) -> None:
    target: dict[str, object] = {"host": host}
    assert faults(target=target) == ["target.host", "target.host"]
    assert faults(target=target, security=KEYS) == ["target.host"]
    assert faults(target=target, security=TLS) == ["target.host"]
    assert faults(target=target, security={**KEYS, **TLS}) == []


def test_an_exception_is_a_written_reason() -> None:
    target: dict[str, object] = {"host": "0.0.0.0"}
    reasons: dict[str, object] = {
        "no_auth_reason": "the gateway asks",
        "no_tls_reason": "the ingress ends it",
    }
    assert faults(target=target, security=reasons) == []


@pytest.mark.parametrize(
    ("section", "key"),
    [("security", "no_auth_reason"), ("security", "no_tls_reason"), ("privacy", "weakened_reason")],
)
def test_blanks_are_no_written_reason(section: str, key: str) -> None:
    with pytest.raises(ChecklistError, match="a reason in words"):
        parse_checklist(f'[model]\nname = "ward"\n[{section}]\n{key} = "   "\n', source="test")


def test_a_batch_deployment_listens_nowhere() -> None:
    assert faults(target={"host": "0.0.0.0"}, predictions={"mode": "batch"}) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost"])
def test_loopback_is_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)
    assert faults(target={"host": host}) == []


def test_several_contradictions_are_reported_together() -> None:
    assert faults(speed={"p99_ms": 900}, rollout={"ramp": [0.5]}) == ["speed.deadline_ms", "rollout.ramp"]
