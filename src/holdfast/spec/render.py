"""A commented `holdfast.toml` from answers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.spec.checklist import Checklist
from holdfast.spec.keys import Key, bare, find_key, keys, sections
from holdfast.spec.parse import build_checklist
from holdfast.spec.plain import as_document, plain_value
from holdfast.spec.values import from_text

_HEAD_FULL = """\
# The checklist of one deployment: every design question, answered in one file.
# A key behind a bare # shows its default; remove the # to answer otherwise.
# An environment variable overrides a key: HOLDFAST_SPEED__P99_MS=50 for p99_ms of [speed].
"""
_HEAD_SHORT = """\
# The checklist of one deployment. What is not answered here has its default.
"""


def render_checklist(answers: Mapping[str, Any], *, full: bool) -> str:
    """The file's text, which parses back to what the answers say.

    Args:
        answers: values by path, such as `{"model.name": "fraud", "speed.p99_ms": 50}`: as TOML would hold
            them, or one line of text as typed. None stands for the default.
        full: every section with every key, the unanswered ones commented out with their defaults; otherwise
            only the answers. Either way each key stands under its description.

    Raises:
        ChecklistError: the answers are not a valid checklist.
    """
    document: dict[str, dict[str, Any]] = {}
    for path, value in answers.items():
        section, _, name = path.partition(".")
        if value is not None:
            document.setdefault(section, {})[name] = _as_value(path, value)
    checked = as_document(build_checklist(document, source="the answers"))
    parts = [_HEAD_FULL if full else _HEAD_SHORT]
    for section, of_section in keys().items():
        answered = {name: checked[section][name] for name in document.get(section, {})}
        shown = [key for name, key in of_section.items() if full or answered.get(name) is not None]
        if shown:
            parts.append(_heading(section))
            parts.extend(_key_lines(key, answered.get(key.name)) for key in shown)
    return "\n".join(parts)


def render_document(checklist: Checklist) -> str:
    """Every key of a checklist with its value and no comment; it parses back to the same checklist."""
    parts = []
    for section, values in as_document(checklist).items():
        lines = [f"{name} = {toml_value(value)}" for name, value in values.items() if value is not None]
        parts.append("\n".join([f"[{section}]", *lines, ""]))
    return "\n".join(parts)


def toml_value(value: Any) -> str:
    """One value in TOML, on one line; whole numbers without a fraction, which TOML reads back the same."""
    if isinstance(value, Mapping):
        pairs = [f"{_toml_name(name)} = {toml_value(each)}" for name, each in value.items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(each) for each in value)}]"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    # JSON writes text and booleans as TOML does, except that TOML wants DEL escaped.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _toml_name(name: str) -> str:
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else toml_value(name)


def _as_value(path: str, value: Any) -> Any:
    key = find_key(path)
    if key is None or not isinstance(value, str) or bare(key.type) is str:
        return value
    return from_text(value, key.type)


def _heading(section: str) -> str:
    return f"\n# {(sections()[section].__doc__ or '').strip()}\n[{section}]\n"


def _key_lines(key: Key, answer: Any) -> str:
    lines = textwrap.wrap(key.description, 100, initial_indent="# ", subsequent_indent="# ")
    if answer is not None:
        lines.append(f"{key.name} = {toml_value(answer)}")
    elif key.default is None or key.default is msgspec.NODEFAULT:
        lines.append(f"#{key.name} =")
    else:
        lines.append(f"#{key.name} = {toml_value(plain_value(key.default))}")
    return "\n".join([*lines, ""])
