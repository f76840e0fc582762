"""Whether this installation has its hot path compiled (docs/adr/0032)."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path


def hot_path_is_compiled() -> bool:
    """Whether requests are answered by machine code made of the same sources. Costs microseconds."""
    folder = Path(__file__).parent / "infer"
    return any((folder / f"turns{suffix}").exists() for suffix in EXTENSION_SUFFIXES)
