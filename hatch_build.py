"""Compiles `counting.c` and `distinct.c` when the package is built or installed from source (docs/adr/0050).

Without a C compiler nothing is compiled, and the package counts with numpy, slower and with the same results.
"""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATS = Path("src/holdfast/stats")
SOURCES = [STATS / "counting.c", STATS / "distinct.c"]
LIBRARY = STATS / "counting.compiled"
FLAGS = ["-O3", "-std=c11", "-ffp-contract=fast", "-fPIC", "-shared"]


class CompileCounting(BuildHookInterface):
    """What hatchling calls."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel is made, or an editable installation."""
        del version
        if self.target_name != "wheel":
            return
        library = Path(self.root) / LIBRARY
        library.unlink(missing_ok=True)
        if not self._compiled(library):
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"].append(LIBRARY.as_posix())

    def _compiled(self, library: Path) -> bool:
        compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
        # Elsewhere the calling convention or the arithmetic of doubles is another one.
        if sys.platform == "win32" or struct.calcsize("P") != 8 or shutil.which(compiler[0]) is None:
            self.app.display_warning("No C compiler: holdfast will count with numpy.")
            return False
        # Whoever has the old library open keeps it: the new one is put in its place as a whole.
        made = library.with_suffix(f".{os.getpid()}")
        command = [
            *compiler,
            *FLAGS,
            "-o",
            str(made),
            *(str(Path(self.root) / one) for one in SOURCES),
            "-lm",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            made.unlink(missing_ok=True)
            self.app.display_warning(
                f"The C of holdfast.stats did not compile, holdfast will count with numpy: {done.stderr}"
            )
            return False
        made.replace(library)
        return True
