"""What can be wrong with a checklist."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.errors import HoldfastError


class ChecklistError(HoldfastError):
    """A checklist cannot be used. A file with several faults gives one error that names them all.

    Args:
        what: see `HoldfastError`, as the four after it.
        where: the file and the path in it, such as `holdfast.toml: $.speed.p99_ms`.
        expected: see `HoldfastError`.
        received: see `HoldfastError`.
        next_step: see `HoldfastError`.
        others: the further faults, in the order of the file.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        received: str | None = None,
        next_step: str | None = None,
        others: Sequence[ChecklistError] = (),
    ) -> None:
        self.others = tuple(others)
        super().__init__(what, where=where, expected=expected, received=received, next_step=next_step)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *map(str, self.others)])

    def at(self, where: str) -> ChecklistError:
        """The same fault with the place where it was found."""
        return ChecklistError(
            self.what,
            where=where,
            expected=self.expected,
            received=self.received,
            next_step=self.next_step,
            others=self.others,
        )

    def each(self) -> list[ChecklistError]:
        """Every fault as an error of its own."""
        first = ChecklistError(
            self.what,
            where=self.where,
            expected=self.expected,
            received=self.received,
            next_step=self.next_step,
        )
        return [first, *(fault for other in self.others for fault in other.each())]


def as_one(faults: Sequence[ChecklistError]) -> ChecklistError:
    """One error that names all of them; at least one must be given."""
    first, *rest = faults
    return ChecklistError(
        first.what,
        where=first.where,
        expected=first.expected,
        received=first.received,
        next_step=first.next_step,
        others=[*first.others, *rest],
    )
