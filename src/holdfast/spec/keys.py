"""The catalogue of sections and keys, read once from the structs."""

from __future__ import annotations

import functools
import types
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec

from holdfast.spec.checklist import Checklist, Section

SECRET_PATHS: Final = frozenset(
    {"security.api_key_hashes", "alerts.webhooks", "alerts.channels", "alerts.pagers"}
)
"""Keys whose text is never repeated in an error: people paste keys there, and a channel's URL is one."""


class Key(msgspec.Struct, frozen=True):
    """One key of one section."""

    section: str
    name: str
    type: Any
    """As annotated, with its limits in `Meta`."""
    default: Any
    """`msgspec.NODEFAULT` where the key is required."""

    @property
    def path(self) -> str:
        """Section and key with a dot between, such as `speed.p99_ms`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"HOLDFAST_{self.section.upper()}__{self.name.upper()}"

    @property
    def required(self) -> bool:
        """Whether the file (or the environment) must give it."""
        return self.default is msgspec.NODEFAULT

    @property
    def description(self) -> str:
        """What it is, in which unit, and the reason for its default."""
        return str(limit(self.type, "description"))

    @property
    def secret(self) -> bool:
        """Whether an error may not show its text."""
        return self.path in SECRET_PATHS


def bare(annotated: Any) -> Any:
    """The type without its metadata and without `| None`."""
    while True:
        if get_origin(annotated) is Annotated:
            annotated = get_args(annotated)[0]
        elif get_origin(annotated) in (Union, types.UnionType):
            annotated = next(option for option in get_args(annotated) if option is not type(None))
        else:
            return annotated


def is_optional(annotated: Any) -> bool:
    """Whether the key may be unset, which TOML writes by leaving it out."""
    if get_origin(annotated) is Annotated:
        return is_optional(get_args(annotated)[0])
    return get_origin(annotated) in (Union, types.UnionType)


def limit(annotated: Any, name: str) -> Any:
    """The value of one attribute of the type's `Meta` (`ge`, `pattern`, ...), or None."""
    while True:
        if get_origin(annotated) is Annotated:
            annotated, *metas = get_args(annotated)
            for meta in metas:
                if isinstance(meta, msgspec.Meta) and getattr(meta, name) is not None:
                    return getattr(meta, name)
        elif get_origin(annotated) in (Union, types.UnionType):
            annotated = next(option for option in get_args(annotated) if option is not type(None))
        else:
            return None


@functools.cache
def sections() -> dict[str, type[Section]]:
    """The struct of each section by its name, in the order of the file."""
    return {info.name: bare(info.type) for info in msgspec.structs.fields(Checklist)}


@functools.cache
def keys() -> dict[str, dict[str, Key]]:
    """The keys of each section by their names, in the order of the file."""
    return {
        section: {info.name: _key(section, info) for info in msgspec.structs.fields(struct)}
        for section, struct in sections().items()
    }


def find_key(path: str) -> Key | None:
    """The key of a path such as `speed.p99_ms`."""
    section, _, name = path.partition(".")
    return keys().get(section, {}).get(name)


def _key(section: str, info: msgspec.structs.FieldInfo) -> Key:
    default = info.default
    if info.default_factory is not msgspec.NODEFAULT:
        default = info.default_factory()
    return Key(section, info.name, info.type, default)
