"""Programs in Java, which the compiler of Eclipse translates where there is only a JRE."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.interop import missing, require

_JARS: Final = Path("/usr/share/java")
_SOURCES: Final = Path(__file__).parents[1] / "vectors"


def compiled(name: str, folder: Path) -> tuple[str | Path, ...]:
    """Compile a class of ``tests/vectors`` into *folder*; return the command that runs it."""
    require("java")
    # Not by /usr/bin/ecj: Debian 13's lacks one of its jars.
    jars = sorted(_JARS.glob("eclipse-jdt-core*.jar"))
    if not (jars or shutil.which("javac")):
        missing("neither ecj nor javac is installed")
    eclipse = ("java", "-cp", ":".join(map(str, jars)), "org.eclipse.jdt.internal.compiler.batch.Main")
    compiler = (*eclipse, "-17", "-proc:none") if jars else ("javac",)
    done = subprocess.run(
        [*compiler, "-d", str(folder), str(_SOURCES / f"{name}.java")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", folder, name)
