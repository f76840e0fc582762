"""What a mistyped or misplaced name most likely meant."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.spec.keys import keys


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name most like it, or None where nothing is near."""
    import difflib

    by_folded = {option.lower().replace("-", "_"): option for option in valid}
    folded = name.lower().replace("-", "_")
    found = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.55)
    if not found:
        found = [option for option in by_folded if len(folded) > 2 and option.startswith(folded)]
    return by_folded[found[0]] if found else None


def homes(name: str) -> list[str]:
    """The sections that have a key of exactly this name."""
    return [section for section, of_section in keys().items() if name in of_section]


def hint_for_key(name: str, section: str) -> str | None:
    """A sentence that helps where `section` has no key `name`."""
    sentences = []
    near = nearest(name, keys()[section])
    if near is not None:
        sentences.append(f'Did you mean "{near}"?')
    if homes(name):
        sentences.append(_home(name))
    return " ".join(sentences) or _hint_elsewhere(name)


def hint_for_section(name: str, inside: Iterable[str] = ()) -> str | None:
    """A sentence that helps where there is no section `name`.

    Args:
        name: as written.
        inside: the keys that were written in it.
    """
    near = nearest(name, keys())
    if near is not None:
        return f"Did you mean [{near}]?"
    known = [_home(key) for key in (name, *inside) if homes(key)]
    return " ".join(known) or _hint_elsewhere(name)


def hint_for_variable(variable: str) -> str | None:
    """A sentence that helps where an environment variable names no key."""
    near = nearest(variable, [key.variable for of_section in keys().values() for key in of_section.values()])
    return f"Did you mean {near}?" if near is not None else None


def _home(name: str) -> str:
    return " ".join(f'"{name}" belongs to [{section}].' for section in homes(name))


def _hint_elsewhere(name: str) -> str | None:
    near = nearest(name, [key for of_section in keys().values() for key in of_section])
    return f'Did you mean "{near}" of [{homes(near)[0]}]?' if near is not None else None
