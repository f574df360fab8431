"""Programs in Java, which the compiler of Eclipse translates where there is only a JRE."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.interop import missing, require

_SOURCES: Final = Path(__file__).parents[1] / "vectors"


def compiled(name: str, folder: Path) -> tuple[str | Path, ...]:
    """Compile a class of ``tests/vectors`` into *folder*; return the command that runs it."""
    require("java")
    compiler = next((program for program in ("ecj", "javac") if shutil.which(program)), None)
    if compiler is None:
        missing("neither ecj nor javac is installed")
    options = ("-17", "-proc:none") if compiler == "ecj" else ()
    done = subprocess.run(
        [compiler, *options, "-d", str(folder), str(_SOURCES / f"{name}.java")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", folder, name)
