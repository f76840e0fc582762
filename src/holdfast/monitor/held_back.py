"""Inputs that the log holds in another form than they were given, as `[privacy]` says.

The reference holds them as they were. What the log makes coarser is made coarser there too before the two are
compared; what it drops, masks or hashes cannot be compared, and would look like a broken pipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import msgspec

from holdfast.artifact import Signature
from holdfast.privacy import field_actions, generaliser, redact_text
from holdfast.spec import Privacy

if TYPE_CHECKING:
    import pyarrow as pa

_AS_GIVEN = ("keep", "encrypt")
"""Actions after which the monitor reads the value as it was; encrypted ones are opened, or missing."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What of a model's inputs the log does not hold as it was given."""

    hidden: Mapping[str, str] = field(default_factory=dict)
    """The action, for each input that cannot be compared."""
    coarser: Mapping[str, Callable[[Any], object]] = field(default_factory=dict)
    """What is made of one value, for each input that can be compared then."""
    digest: str = ""
    """Of what was said about these inputs; empty where the log holds all as they are."""

    @classmethod
    def of(cls, privacy: Privacy, signature: Signature) -> Self:
        """As the checklist says now; rows that were logged under another are not told apart."""
        named, others = field_actions(privacy)
        hidden: dict[str, str] = {}
        coarser: dict[str, Callable[[Any], object]] = {}
        said: dict[str, str] = {}
        for column in signature.columns:
            action = named.get(column.name, others)
            if action in _AS_GIVEN:
                continue
            said[column.name] = f"{action} {privacy.generalise.get(column.name, '')}".strip()
            if action == "generalise" and not column.shape:
                coarser[column.name] = generaliser(privacy.generalise[column.name])
            elif action == "redact" and column.dtype == "string" and not column.shape:
                coarser[column.name] = lambda text: redact_text(text, privacy.phone_regions)
            else:
                hidden[column.name] = action
        digest = hashlib.sha256(msgspec.json.encode(sorted(said.items()))).hexdigest()[:8] if said else ""
        return cls(hidden, coarser, digest)

    @property
    def note(self) -> str:
        """What is not judged, in words; empty where all is."""
        if not self.hidden:
            return ""
        named = ", ".join(f"{name} ({action})" for name, action in self.hidden.items())
        return f"Not judged, as [privacy] keeps what they hold out of the log: {named}."

    def judged(self, signature: Signature) -> Signature:
        """Without the inputs that cannot be compared."""
        kept = tuple(column for column in signature.columns if column.name not in self.hidden)
        return msgspec.structs.replace(signature, columns=kept)

    def as_logged(self, table: pa.Table) -> pa.Table:
        """The reference as the log would hold it."""
        import pyarrow as pa

        for name, coarse in self.coarser.items():
            if name not in table.column_names:
                continue
            values = [
                None if value is None or value != value else coarse(value)  # noqa: PLR0124 - the NaN test
                for value in table.column(name).to_pylist()
            ]
            if any(isinstance(value, str) for value in values):
                values = [None if value is None else str(value) for value in values]
            table = table.set_column(table.column_names.index(name), name, pa.array(values))
        return table
