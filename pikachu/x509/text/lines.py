"""Text that is written line by line and stays bounded, whatever is put into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_MAXIMUM_TEXT: Final = 256 * 1024
_MAXIMUM_LINE: Final = 2_000
_MAXIMUM_OCTETS: Final = 8 * 1024
_OCTETS_IN_LINE: Final = 18


class Lines:
    """Lines of text, indented by four columns for each step of depth.

    Long lines and long runs of octets are cut; when the whole gets too long, what follows is left out and a last
    line says so.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._room = _MAXIMUM_TEXT

    def add(self, depth: int, text: str) -> None:
        """One line."""
        if self._room <= 0:
            return
        line = f"{' ' * 4 * depth}{text}"
        if len(line) > _MAXIMUM_LINE:
            line = f"{line[:_MAXIMUM_LINE]}…"
        self._lines.append(line.rstrip())
        self._room -= len(line) + 1

    def extend(self, depth: int, lines: Iterable[str]) -> None:
        """Several lines of one depth."""
        for line in lines:
            self.add(depth, line)

    def octets(self, depth: int, content: bytes) -> None:
        """*content* in hexadecimal digits."""
        shown = content[:_MAXIMUM_OCTETS]
        for start in range(0, len(shown), _OCTETS_IN_LINE):
            more = ":" if start + _OCTETS_IN_LINE < len(shown) else ""
            self.add(depth, shown[start : start + _OCTETS_IN_LINE].hex(":") + more)
        if len(content) > len(shown):
            self.add(depth, f"… and {len(content) - len(shown):,} more octets")

    @property
    def text(self) -> str:
        """All of it, each line with its end."""
        lines = self._lines if self._room > 0 else [*self._lines, "… the rest is left out"]
        return "".join(f"{line}\n" for line in lines)
