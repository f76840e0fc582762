"""The windows that a verdict is on: those that came twice left out, and whose labels count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from holdfast.monitor.profiling import WindowProfile
from holdfast.monitor.reference import ReferenceModel
from holdfast.monitor.repeats import emptied, repeated_windows


@dataclass(frozen=True, slots=True)
class JudgedWindows:
    """In order of time."""

    given: Sequence[WindowProfile] = field(repr=False)
    """All, as they came."""
    profiles: Sequence[WindowProfile] = field(repr=False)
    """All; those that came twice are empty, as they would look like drift."""
    repeated: Mapping[int, str]
    """By the number of a window whose rows came twice: of which rows, in words."""
    with_labels: Sequence[int]
    """Numbers of the windows whose labels count."""
    starts: Sequence[str]
    """Of all, as text."""

    @classmethod
    def of(
        cls,
        reference: ReferenceModel,
        windows: Sequence[WindowProfile],
        mature: Callable[[WindowProfile], bool],
        show_time: Callable[[int], str],
    ) -> JudgedWindows:
        """Of some windows.

        Args:
            reference: fitted.
            windows: in order of time.
            mature: whether a window's labels count.
            show_time: a window's bound as text.
        """
        repeated = repeated_windows(reference, windows)
        profiles = [
            emptied(window) if number in repeated else window for number, window in enumerate(windows)
        ]
        with_labels = [
            number
            for number, window in enumerate(profiles)
            if reference.concept is not None and window.labelled and mature(window)
        ]
        return cls(windows, profiles, repeated, with_labels, [show_time(window.start) for window in windows])

    @property
    def labelled(self) -> list[WindowProfile]:
        """Those whose labels count."""
        return self.at(self.with_labels)

    def at(self, numbers: Sequence[int]) -> list[WindowProfile]:
        """Those of these numbers."""
        return [self.profiles[number] for number in numbers]
