"""The reference page of the checklist, made from the structs.

`uv run python -m holdfast.spec.reference > docs/reference/checklist.md` writes it anew.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec

from holdfast.spec.keys import Key, keys, sections
from holdfast.spec.plain import plain_value
from holdfast.spec.render import toml_value
from holdfast.spec.rules import RULES
from holdfast.spec.values import in_words

_INTRODUCTION: Final = """\
# The checklist

<!-- Made from the code by `python -m holdfast.spec.reference`; do not edit. -->

`holdfast.toml` answers every design question of one deployment. Everything but the name has a default, so
this is a whole checklist:

```toml
[model]
name = "fraud"
[speed]
p99_ms = 50
qps = 1000
```

- `holdfast init` writes a commented file by asking; `holdfast schema` prints the JSON Schema for editors.
- An unknown section or key is an error that names its path and the nearest valid one. A file with several
  faults gets one error that lists them all.
- An environment variable overrides a key: `HOLDFAST_<SECTION>__<KEY>`, such as `HOLDFAST_SPEED__P99_MS=50`.
  Lists are JSON or separated by commas, tables are JSON or `name=class` separated by commas. A variable with
  two underscores that names no key is an error; `HOLDFAST_PSEUDONYM_KEY` and its like are no overrides.
- The hash that stands with every decision covers all keys, defaults and overrides included, but no comment
  and no order.
"""


def reference_page() -> str:
    """The whole page, in Markdown."""
    parts = [_INTRODUCTION]
    for section, of_section in keys().items():
        parts.append(f"## [{section}]\n\n{(sections()[section].__doc__ or '').strip()}\n")
        parts.append("| key | value | default | meaning |\n| --- | --- | --- | --- |")
        parts.extend(_row(key) for key in of_section.values())
        parts.append("")
    parts.append("## Rules between keys\n")
    parts.extend(f"- {(rule.__doc__ or '').strip()}" for rule in RULES)
    return "\n".join(parts) + "\n"


def _row(key: Key) -> str:
    cells = [f"`{key.name}`", in_words(key.type), _default(key.default), key.description]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _default(default: Any) -> str:
    if default is msgspec.NODEFAULT:
        return "required"
    return "unset" if default is None else f"`{toml_value(plain_value(default))}`"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
