"""Reads the end of the log backwards in bounded blocks, including rotated files."""

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
    """A line of the log.

    :param text: without control characters, since clients can influence the log.
    :param level: ``INFO`` …, or ``""`` for a continuation of the previous line.
    """

    text: str
    level: str


def last_lines(file: Path, count: int, keyword: str = "", without: str = "") -> list[LogLine]:
    """Return the last *count* lines of the log, oldest first, within its last 16 MiB.

    :param keyword: only lines that contain it, ignoring case.
    :param without: no lines that contain it.
    :raises OSError: when the file can't be read.
    """
    wanted = keyword.casefold()
    lines: list[LogLine] = []
    for line in _backwards(file):
        text = _shown(line)
        if (wanted and wanted not in text.casefold()) or (without and without in text):
            continue
        level = _LEVEL.match(text)
        lines.append(LogLine(text, (level[1] or level[2]) if level else ""))
        if len(lines) == count:
            break
    return lines[::-1]


def _backwards(file: Path) -> Iterator[bytes]:
    """Yield the lines of *file* and ``file.1`` …, last one first."""
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
                # An overlong line: use the part that was read.
                yield rest
                rest = b""
        if rest:
            yield rest
        if left <= 0:
            return


def _pieces(path: Path, most: int) -> Iterator[bytes]:
    """Yield the blocks of a file from its end."""
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
    """Decode a line: expand tabs to four columns and escape other unprintable characters in hexadecimal."""
    text = line[:_MAXIMUM_LINE].decode("utf-8", "replace").rstrip("\r").replace("\t", "    ")
    if not text.isprintable():
        text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return f"{text}…" if len(line) > _MAXIMUM_LINE else text
