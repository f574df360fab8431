"""Reads the end of the log backwards in bounded blocks, including rotated files."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

_PIECE: Final = 64 * 1024
_MAXIMUM_READ: Final = 16 * 1024 * 1024
_MAXIMUM_LINE: Final = 4_000
_MAXIMUM_FILES: Final = 100
# Lines of one event after its first.
_MAXIMUM_CONTINUATIONS: Final = 2_000
#: Names of the levels, lowest first.
LEVELS: Final = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LEVEL: Final = re.compile(r"\S+ (TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL) |\{.{0,80}?\"level\":\"([A-Z]{4,8})\"")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log.

    :param text: without control characters, since clients can influence the log.
    :param level: ``INFO`` …, or ``""`` for a continuation of the previous line.
    """

    text: str
    level: str


@dataclass(frozen=True, slots=True)
class LogFilter:
    """The wanted lines.

    :param keyword: only lines that contain it, ignoring case.
    :param level: only lines of events of this level or a higher one; empty: of all.
    :param without: no lines that contain it.
    """

    keyword: str = ""
    level: str = ""
    without: str = ""


ALL_LINES: Final = LogFilter()


def last_lines(file: Path, count: int, wanted: LogFilter = ALL_LINES) -> list[LogLine]:
    """Return the last *count* lines of the log, oldest first, within its last 16 MiB.

    :raises OSError: when the file can't be read.
    """
    return list(islice(_matching(file, wanted), count))[::-1]


def last_octets(file: Path, maximum: int, wanted: LogFilter = ALL_LINES) -> bytes:
    """Return the last lines of the log as UTF-8, oldest first, of at most *maximum* octets together.

    :raises OSError: when the file can't be read.
    """
    lines: list[bytes] = []
    for line in _matching(file, wanted):
        encoded = f"{line.text}\n".encode()
        maximum -= len(encoded)
        if maximum < 0:
            break
        lines.append(encoded)
    return b"".join(reversed(lines))


def _matching(file: Path, wanted: LogFilter) -> Iterator[LogLine]:
    """Yield the wanted lines, last one first."""
    keyword, without = wanted.keyword.casefold(), wanted.without
    levels = frozenset(LEVELS[LEVELS.index(wanted.level) :]) if wanted.level else frozenset()
    # Lines that continue an event come before the one with its level.
    continuations: deque[LogLine] = deque(maxlen=_MAXIMUM_CONTINUATIONS)
    for line in _backwards(file):
        text = _shown(line)
        found = _LEVEL.match(text)
        level = (found[1] or found[2]) if found else ""
        is_wanted = (not keyword or keyword in text.casefold()) and not (without and without in text)
        if not levels:
            if is_wanted:
                yield LogLine(text, level)
        elif not level:
            if is_wanted:
                continuations.append(LogLine(text, level))
        else:
            if level in levels:
                yield from continuations
                if is_wanted:
                    yield LogLine(text, level)
            continuations.clear()


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
