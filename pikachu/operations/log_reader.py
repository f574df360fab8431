"""Reading the end of the log: from behind, in bounded pieces, on into the files that were set aside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PIECE: Final = 64 * 1024
_MAXIMUM_READ: Final = 16 * 1024 * 1024
_MAXIMUM_LINE: Final = 4_000
_MAXIMUM_FILES: Final = 100
_LEVEL: Final = re.compile(r"\S+ (TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL) |\{.{0,80}?\"level\":\"([A-Z]{4,8})\"")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line.

    :param text: without what would change how it is shown; the log is written by strangers too.
    :param level: ``INFO`` …, or ``""`` for what belongs to the line before.
    """

    text: str
    level: str


def last_lines(file: Path, count: int, keyword: str = "", without: str = "") -> list[LogLine]:
    """The last *count* lines of the log, the oldest first; at most 16 MiB of it are looked at.

    :param keyword: only lines that hold it, in whatever case.
    :param without: no lines that hold this.
    :raises OSError: the file can't be read.
    """
    wanted = keyword.casefold()
    found: list[LogLine] = []
    for line in _backwards(file):
        text = _shown(line)
        if (wanted and wanted not in text.casefold()) or (without and without in text):
            continue
        level = _LEVEL.match(text)
        found.append(LogLine(text, (level[1] or level[2]) if level else ""))
        if len(found) == count:
            break
    return found[::-1]


def _backwards(file: Path) -> Iterator[bytes]:
    """The lines of *file* and of ``file.1`` …, the last one first."""
    left = _MAXIMUM_READ
    for number in range(_MAXIMUM_FILES):
        path = file.with_name(f"{file.name}.{number}") if number else file
        if number and not path.exists():
            return
        rest = b""
        for piece in _pieces(path, left):
            left -= len(piece)
            lines = (piece + rest).split(b"\n")
            rest = lines[0]
            yield from (line for line in reversed(lines[1:]) if line)
            if len(rest) > _PIECE:
                # A line without end: what was read of it counts.
                yield rest
                rest = b""
        if rest:
            yield rest
        if left <= 0:
            return


def _pieces(path: Path, most: int) -> Iterator[bytes]:
    """The file from its end to its beginning."""
    with path.open("rb") as opened:
        position = opened.seek(0, 2)
        while position > 0 and most > 0:
            size = min(_PIECE, position, most)
            position -= size
            opened.seek(position)
            piece = opened.read(size)
            most -= size
            yield piece


def _shown(line: bytes) -> str:
    """A line as text: tabs are four columns, other characters that can't be seen are written in hexadecimal digits."""
    text = line[:_MAXIMUM_LINE].decode("utf-8", "replace").rstrip("\r").replace("\t", "    ")
    if not text.isprintable():
        text = "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
    return f"{text}…" if len(line) > _MAXIMUM_LINE else text
