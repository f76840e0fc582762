"""Overrides of single keys by environment variables, `HOLDFAST_<SECTION>__<KEY>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from holdfast.spec.errors import ChecklistError
from holdfast.spec.keys import Key, keys
from holdfast.spec.suggest import hint_for_variable
from holdfast.spec.values import check_value, from_text

PREFIX: Final = "HOLDFAST_"


def read_overrides(environ: Mapping[str, str], faults: list[ChecklistError]) -> dict[str, tuple[Key, Any]]:
    """The checked value of each overridden key, by its path, such as `speed.p99_ms`.

    Only names with two underscores between section and key are overrides: `HOLDFAST_PSEUDONYM_KEY` and its
    like are something else and are passed over.

    Args:
        environ: such as `os.environ`.
        faults: receives one error for each variable that names no key or has a value that is not allowed.
    """
    by_variable = {key.variable: key for of_section in keys().values() for key in of_section.values()}
    found: dict[str, tuple[Key, Any]] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or "__" not in variable.removeprefix(PREFIX):
            continue
        where = f"environment variable {variable}"
        key = by_variable.get(variable)
        if key is None:
            faults.append(
                ChecklistError(
                    "names no key of the checklist",
                    where=where,
                    expected="HOLDFAST_<SECTION>__<KEY>, such as HOLDFAST_SPEED__P99_MS",
                    next_step=hint_for_variable(variable),
                )
            )
            continue
        before = len(faults)

        def report(path: str, fault: ChecklistError, where: str = where) -> None:
            faults.append(fault.at(f"{where}{': $' + path if path else ''}"))

        value = check_value(from_text(environ[variable], key.type), key.type, report, secret=key.secret)
        if len(faults) == before:
            found[key.path] = (key, value)
    return found
