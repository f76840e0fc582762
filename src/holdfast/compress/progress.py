"""What a compression that was broken off leaves for the next one: candidates, and what was measured."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Final

import msgspec

from holdfast.compress.candidates import Candidate
from holdfast.compress.report import Measured, Skipped

_MADE: Final = "made.msgpack"


class _Made(msgspec.Struct):
    candidates: list[tuple[str, str, bytes]]
    skipped: list[Skipped]


class Progress:
    """Kept in a folder that is removed when the compression has ended well.

    A file that cannot be read is made anew.

    Args:
        place: where the folder of each compression lies.
        what: everything that decides what is made and measured, in words.
    """

    def __init__(self, place: Path, what: str) -> None:
        self._folder = place / f"compress-{hashlib.sha256(what.encode()).hexdigest()[:16]}"

    def made(self) -> tuple[list[Candidate], list[Skipped]] | None:
        """The candidates of the earlier one; None: there was none."""
        try:
            found = msgspec.msgpack.decode((self._folder / _MADE).read_bytes(), type=_Made)
        except (OSError, msgspec.DecodeError):
            return None
        return [Candidate(*one) for one in found.candidates], found.skipped

    def keep_made(self, candidates: list[Candidate], skipped: list[Skipped]) -> None:
        """Remember what was made."""
        content = _Made([(one.name, one.how, one.model) for one in candidates], skipped)
        self._write(_MADE, msgspec.msgpack.encode(content))

    def measured(self, candidate: Candidate) -> Measured | None:
        """What was found of a candidate; None: nothing yet."""
        try:
            return msgspec.json.decode((self._folder / _name(candidate)).read_bytes(), type=Measured)
        except (OSError, msgspec.DecodeError):
            return None

    def keep(self, candidate: Candidate, measured: Measured) -> None:
        """Remember what was measured."""
        self._write(_name(candidate), msgspec.json.encode(measured))

    def end(self) -> None:
        """Forget everything: it has come to its end."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f"{name}.part"
        part.write_bytes(content)
        part.replace(self._folder / name)


def _name(candidate: Candidate) -> str:
    return hashlib.sha256(candidate.model).hexdigest() + ".json"
