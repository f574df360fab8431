"""Setting a key in a configuration file, without changing anything else in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pikachu.core.atomic_files import rewrite_file
from pikachu.core.errors import ConfigError

_HEADER: Final = re.compile(r"\[([^\]]+)\]")


def set_key(path: Path, section: str, key: str, value: str) -> None:
    """Set a key that has no value yet, atomically; the file keeps its mode, its owner and its comments.

    The line of the key, even when it is commented out, is replaced; without one, a line is added to the section.

    :param value: one line.
    :raises ConfigError: the file can't be read or written.
    """
    try:
        # A link stays one.
        target = path.resolve(strict=True)
        rewrite_file(target, _with_key(target.read_text("utf-8"), section, key, value).encode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path}: can't be changed: {reason}; set [{section}] {key} = {value} in it") from None


def _with_key(text: str, section: str, key: str, value: str) -> str:
    lines = text.splitlines(keepends=True)
    header: int | None = None
    active: int | None = None
    commented: int | None = None
    pattern = re.compile(rf"([;#]?)\s*{re.escape(key)}\s*[=:]", re.IGNORECASE)
    current = ""
    for index, line in enumerate(lines):
        if (match := _HEADER.match(line)) is not None:
            current = match[1]
            header = index if current == section else header
        elif current == section and (match := pattern.match(line)) is not None:
            if match[1]:
                commented = index if commented is None else commented
            else:
                active = index
    new = f"{key} = {value}\n"
    place = active if active is not None else commented
    if place is not None:
        lines[place] = new
    elif header is not None:
        lines[header] = lines[header].rstrip("\r\n") + "\n"
        lines.insert(header + 1, new)
    else:
        lines.append(f"\n[{section}]\n{new}")
    return "".join(lines)
