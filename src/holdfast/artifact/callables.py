"""A Python callable by name, imported only once somebody has agreed to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from holdfast.artifact.errors import ArtifactError


def load_callable(target: str) -> Callable[..., Any]:
    """Import `module:function`.

    Raises:
        ArtifactError: there is no such module or function, or it cannot be called.
    """
    module_name, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # code of others can raise anything
        missing = isinstance(error, ImportError)
        raise ArtifactError(
            f"the module {module_name!r} cannot be imported",
            where=target,
            received=str(error) if missing else f"{type(error).__name__}: {error}",
            next_step="Install it where the service runs, or set PYTHONPATH to its folder"
            if missing
            else "Mend what it does when it is imported",
        ) from error
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ArtifactError(
            f"the module has no callable {attribute!r} at its top level",
            where=target,
            next_step="The callable must be importable by name: a lambda or a nested function is not",
        )
    called: Callable[..., Any] = found
    return called
