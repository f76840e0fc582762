"""The checklist's questions in plain words, as `holdfast init` asks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from holdfast.spec.errors import ChecklistError, as_one
from holdfast.spec.keys import Key, bare, find_key, keys
from holdfast.spec.parse import build_checklist
from holdfast.spec.plain import plain_value
from holdfast.spec.suggest import hint_for_key, hint_for_section
from holdfast.spec.values import check_value, from_text

_REALTIME: Final = ("predictions.mode", "realtime")

_ASKED: Final[tuple[tuple[str, str, str, tuple[str, str] | None], ...]] = (
    (
        "model.name",
        "What is this service called?",
        "It stands in URLs, logs and metrics: fraud, triage, prices.",
        None,
    ),
    (
        "predictions.mode",
        "Is each query answered at once, or is a table scored now and then?",
        "realtime: speech, card fraud. batch: a hospital scores last night's records, one batch a night.",
        None,
    ),
    (
        "predictions.time_field",
        "Which field of a record says when it happened?",
        "Empty: the time it arrives. Name it to replay history, or for devices that store while offline.",
        None,
    ),
    (
        "target.where",
        "Where are the answers computed?",
        "cloud: a web shop. edge: a factory's line that must not stop offline, a car. browser: in the page.",
        None,
    ),
    (
        "compute.cores",
        "How many CPU cores may it use?",
        "One worker process each. Production machines are often smaller than the one that trained the model.",
        None,
    ),
    (
        "compute.memory_mb",
        "How much memory may it use, in MB?",
        "For the whole service. A small cloud instance has 2048; a device in a car perhaps 512.",
        None,
    ),
    (
        "compute.accelerator",
        "Does anything but the processor run the model?",
        "none is right for trees and small networks; cuda or tensorrt for images and speech on a server.",
        None,
    ),
    (
        "speed.deadline_ms",
        "After how many ms is an answer worth nothing?",
        "What would come later is refused at once. Speech: 500 ms in all, of which the model may spend 300.",
        _REALTIME,
    ),
    (
        "speed.p99_ms",
        "Within how many ms must 99 of 100 queries be answered?",
        "Speech: 300, the rest of the 500 is the network's. Card fraud: 50, before the terminal beeps.",
        _REALTIME,
    ),
    (
        "speed.qps",
        "How many queries per second must it sustain, at the busiest?",
        "A large web shop: 1000. A camera over a factory's line: 5. Add the growth until you look again.",
        _REALTIME,
    ),
    (
        "logging.sampling_fraction",
        "Which share of the predictions is logged?",
        "1 finds the row of every label: fraud is rare. 0.1 may do for a million photographs a day.",
        None,
    ),
    (
        "logging.durability",
        "What must a logged prediction survive?",
        "process: any crash of a program, costs nothing. synced: power loss too, costs ms for each answer.",
        None,
    ),
    (
        "logging.retention_days",
        "For how many days is a prediction kept?",
        "Long enough for late labels, a year's seasons and training; as short as your rules demand.",
        None,
    ),
    (
        "privacy.sensitivity",
        "How sensitive are the data?",
        "high: patient records; no value ever stands in an error or a metric. low: photographs of parts.",
        None,
    ),
    (
        "privacy.actions",
        "What is logged of the inputs?",
        "Empty: as they are, or encrypted if sensitivity is high. plain=drop: no fields without a class.",
        None,
    ),
    (
        "privacy.subject_field",
        "Which field names the person a record is about?",
        "Stored as a pseudonym, so that a person's rows can be found and erased. Empty: not about people.",
        None,
    ),
    (
        "privacy.consent_field",
        "Do the rules that apply ask for consent? Which field holds it?",
        "GDPR, HIPAA: rows without consent are kept out of training. Empty: they ask for none, or not here.",
        None,
    ),
    (
        "monitoring.window",
        "How long is one window of monitoring?",
        "1d holds a full daily cycle of most businesses; a busy service can look every 1h; or 1000 rows.",
        None,
    ),
    (
        "monitoring.label_delay",
        "After how long is the true answer usually known?",
        "Card fraud: 14d, when the holder complains. House prices: 90d. Inspection by hand: 8h.",
        None,
    ),
    (
        "monitoring.false_alarms",
        "How many false alarms do you accept?",
        "All features and measures together. 1 per 1000 windows: with windows of a day, one in 3 years.",
        None,
    ),
    (
        "monitoring.cost_false_positive",
        "What does it cost to act on a wrong positive, in EUR?",
        "A card blocked for nothing: 5. A good phone thrown away: 80. 0: you would rather not say.",
        None,
    ),
    (
        "monitoring.cost_false_negative",
        "What does it cost to miss a positive, in EUR?",
        "A fraud not seen: 120. A scratched phone delivered: 200. 0: you would rather not say.",
        None,
    ),
)


class Question(msgspec.Struct, frozen=True):
    """One question of the checklist."""

    path: str
    """The key it answers, such as `speed.p99_ms`."""
    text: str
    explanation: str
    """One line with an example."""
    choices: tuple[str, ...]
    """The only valid answers, or empty."""
    default: Any
    """As TOML writes it; its `str()` is a valid answer. None where an answer is required."""
    only_if: tuple[str, str] | None = None
    """Path and answer of an earlier question without which this one need not be asked."""

    def applies(self, answers: Mapping[str, Any]) -> bool:
        """Whether it needs asking after these answers (by path; a missing one has its default)."""
        if self.only_if is None:
            return True
        path, wanted = self.only_if
        return bool(answers.get(path, plain_value(_known(path).default)) == wanted)


def questions() -> list[Question]:
    """What `holdfast init` asks, in order."""
    found = []
    for path, text, explanation, only_if in _ASKED:
        key = _known(path)
        kind = bare(key.type)
        choices = tuple(get_args(kind)) if get_origin(kind) is Literal else ()
        default = None if key.required else _short(plain_value(key.default))
        found.append(Question(path, text, explanation, choices, default, only_if))
    return found


def validate_answer(question: Question | str, text: str, answers: Mapping[str, Any] | None = None) -> Any:
    """The answer as TOML writes it.

    Args:
        question: one of `questions()`, or the path of any key, such as `speed.p99_ms`.
        text: one line, as typed.
        answers: earlier answers by path, which this one must not contradict.

    Raises:
        ChecklistError: there is no such key, or this answer is not allowed.
    """
    key = _known(question if isinstance(question, str) else question.path)
    faults: list[ChecklistError] = []

    def report(inner: str, fault: ChecklistError) -> None:
        faults.append(fault.at(key.path + inner))

    value = check_value(from_text(text, key.type), key.type, report, secret=key.secret)
    if not faults and answers is not None:
        before = _contradictions(answers)
        after = _contradictions({**answers, key.path: plain_value(value)})
        faults = [fault for where, fault in after.items() if where not in before]
    if faults:
        raise as_one(faults)
    return plain_value(value)


def _contradictions(answers: Mapping[str, Any]) -> dict[str | None, ChecklistError]:
    document: dict[str, dict[str, Any]] = {"model": {"name": "unnamed"}}
    for path, value in answers.items():
        section, _, name = path.partition(".")
        document.setdefault(section, {})[name] = value
    try:
        build_checklist(document, source="the answers")
    except ChecklistError as error:
        return {fault.where: fault for fault in error.each()}
    return {}


def _short(value: Any) -> Any:
    """500 rather than 500.0, as a person would type it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _known(path: str) -> Key:
    key = find_key(path)
    if key is None:
        section, _, name = path.partition(".")
        hint = hint_for_key(name, section) if section in keys() else hint_for_section(section, [name])
        raise ChecklistError(
            "unknown key",
            where=path,
            expected="SECTION.KEY of the checklist, such as speed.p99_ms",
            next_step=hint,
        )
    return key
