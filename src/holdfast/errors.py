"""The root of every error that holdfast raises on purpose.

A room draws its own small hierarchy at the top of its own file, each class under `HoldfastError`.
These errors know nothing of HTTP or exit codes: each transport maps them itself.
"""

from __future__ import annotations

from typing import Self


class HoldfastError(Exception):
    """An error a user can act on: what, where, expected, received, next step.

    Args:
        what: one clause that says what is wrong, without a full stop.
        where: the path to the fault, such as `$.inputs[0].shape` or a file name.
        expected: what would have been right.
        received: what was found; never a secret and, for private data, never a value.
        next_step: what the reader can do now.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        received: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.received = received
        self.next_step = next_step
        super().__init__(str(self))

    @classmethod
    def of(cls, other: HoldfastError, *, what: str | None = None, where: str | None = None) -> Self:
        """What another room's error says, as an error of this room.

        Args:
            other: raised there; it stays the cause.
            what: in the words of this room; None: as there.
            where: as this room calls the place; None: as there.
        """
        return cls(
            what or other.what,
            where=where or other.where,
            expected=other.expected,
            received=other.received,
            next_step=other.next_step,
        )

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.received is not None:
            text += f"; received {self.received}"
        if self.next_step is not None:
            text += f". {self.next_step}"
        return text

    def as_dict(self) -> dict[str, str]:
        """The parts that are present, for `--json` output and HTTP bodies."""
        parts = {
            "error": str(self),
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "received": self.received,
            "next_step": self.next_step,
        }
        return {key: value for key, value in parts.items() if value is not None}


class MissingExtraError(HoldfastError):
    """An optional library is needed and not installed; the next step names the extra."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"the library {library!r} is not installed",
            next_step=f"Install it with: pip install 'holdfast[{extra}]'",
        )
