"""Line-by-line text of bounded size, for any input."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_MAXIMUM_TEXT: Final = 256 * 1024
_MAXIMUM_LINE: Final = 2_000
_MAXIMUM_BYTES: Final = 8 * 1024
_BYTES_IN_LINE: Final = 18


class Lines:
    """Lines of text, indented by four columns for each step of depth.

    Long lines and long byte strings are truncated; when the text gets too long, the rest is omitted and a last line
    says so.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._room = _MAXIMUM_TEXT

    def add(self, depth: int, text: str) -> None:
        """Write a line."""
        if self._room <= 0:
            return
        line = f"{' ' * 4 * depth}{text}"
        if len(line) > _MAXIMUM_LINE:
            line = f"{line[:_MAXIMUM_LINE]}…"
        self._lines.append(line.rstrip())
        self._room -= len(line) + 1

    def extend(self, depth: int, lines: Iterable[str]) -> None:
        """Write several lines at the same depth."""
        for line in lines:
            self.add(depth, line)

    def hexadecimal(self, depth: int, content: bytes) -> None:
        """Write *content* in hexadecimal."""
        shown = content[:_MAXIMUM_BYTES]
        for start in range(0, len(shown), _BYTES_IN_LINE):
            more = ":" if start + _BYTES_IN_LINE < len(shown) else ""
            self.add(depth, shown[start : start + _BYTES_IN_LINE].hex(":") + more)
        if len(content) > len(shown):
            self.add(depth, f"… and {len(content) - len(shown):,} more octets")

    @property
    def text(self) -> str:
        """The complete text; each line ends with LF."""
        lines = self._lines if self._room > 0 else [*self._lines, "… the rest is left out"]
        return "".join(f"{line}\n" for line in lines)
