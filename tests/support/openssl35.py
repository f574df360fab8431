"""OpenSSL 3.5 and a curl that uses it: programs of others that know ML-DSA.

They are the machine's own where those are new enough, else what ``script/openssl35`` has unpacked.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.interop import missing

_VERSION: Final = re.compile(r"OpenSSL[ /](\d+)\.(\d+)")


@dataclass(frozen=True)
class OpenSSL35:
    """Paths of the two programs."""

    openssl: str
    curl: str


def openssl35() -> OpenSSL35:
    """The programs; without them the test is skipped, or fails where they are required."""
    programs = _find()
    if programs is None:
        missing("neither openssl and curl nor those of script/openssl35 are of OpenSSL 3.5 or newer")
    return programs


@functools.cache
def _find() -> OpenSSL35 | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pikachu" / "openssl35"
    folder = Path(os.environ.get("PIKACHU_OPENSSL35") or cache)
    for openssl, curl in (
        (shutil.which("openssl"), shutil.which("curl")),
        (str(folder / "bin" / "openssl"), str(folder / "bin" / "curl")),
    ):
        if openssl and curl and _is_new(openssl, "version") and _is_new(curl, "--version"):
            return OpenSSL35(openssl, curl)
    return None


def _is_new(program: str, argument: str) -> bool:
    if not os.access(program, os.X_OK):
        return False
    said = subprocess.run([program, argument], capture_output=True, text=True, timeout=30, check=False)
    match = _VERSION.search(said.stdout.partition("\n")[0])
    return match is not None and (int(match[1]), int(match[2])) >= (3, 5)
