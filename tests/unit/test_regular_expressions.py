"""Every regular expression of the program takes linear time, whatever it is given."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pikachu
from tests.support.reference_work import signature_seconds

SIZE = 500
# Four times the input may cost four times as much and some more, but not sixteen times.
FACTOR = 4
_SEARCHED = re.compile(r"\b(\w+)\.(?:search|findall|finditer|sub|split)\b")
_UNITS = (" ", "\t", "\n", "a", "A", "0", "a.", "a ", " a", ";", ",", "=", '"', "'", "-", "{#", "://", "@", "é")


def _expressions() -> Iterator[Any]:
    for module_info in pkgutil.walk_packages(pikachu.__path__, "pikachu."):
        # What the operator writes into the configuration is no stranger's.
        if module_info.name.startswith(("pikachu.config", "pikachu.storage.migrations")) or module_info.name.endswith(
            "__main__"
        ):
            continue
        module = importlib.import_module(module_info.name)
        source = inspect.getsource(module)
        # Where it is searched for, every place of the text is a beginning.
        searched = set(_SEARCHED.findall(source))
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern) and f"\n{name}" in source:
                yield pytest.param(value, name in searched, id=f"{module_info.name}.{name}")
            elif isinstance(value, tuple):
                for index, one in enumerate(value):
                    pattern = one[0] if isinstance(one, tuple) and one else one
                    if isinstance(pattern, re.Pattern) and f"\n{name}" in source:
                        yield pytest.param(pattern, True, id=f"{module_info.name}.{name}[{index}]")


def _beginnings(pattern: str) -> list[str]:
    """Texts that lead far into the expression: its literal parts, one after the other."""
    plain = re.sub(
        r"\(\?[a-zA-Z]+\)|\(\?[:=!<>P][^)]{0,3}|\\[bBsSdDwWZA]|[\\^$()?*+|]|\[[^\]]*\]|\{[0-9,]*\}", " ", pattern
    )
    words = [word for word in plain.split() if len(word) < 30][:6]
    return list(
        dict.fromkeys(
            ["", *words, "".join(words), " ".join(words), *(f"{word} " for word in words), *(f"\n{w}" for w in words)]
        )
    )


@pytest.mark.parametrize(("expression", "searched"), list(_expressions()))
def test_time_is_linear(expression: re.Pattern[Any], searched: bool) -> None:
    """``[ \\t]*([^\\r]*?)[ \\t]*\\r`` took 9 ms for two thousand spaces in a header."""
    use = expression.search if searched else expression.match
    is_text = isinstance(expression.pattern, str)
    source = expression.pattern if is_text else expression.pattern.decode("latin-1")
    reference = signature_seconds()
    slow = []
    for beginning in _beginnings(source):
        for unit in dict.fromkeys((*_UNITS, beginning or "a")):
            for end in ("\0", "\x01\r\n", "b\r"):
                small, large = (beginning + unit * (size // len(unit)) + end for size in (SIZE, FACTOR * SIZE))
                # Most take no time at all.
                if _seconds(use, large, is_text) < reference:
                    continue
                ratio = min(_seconds(use, large, is_text) / _seconds(use, small, is_text) for _ in range(5))
                if ratio > 2.5 * FACTOR:
                    slow.append((beginning, unit, end, ratio))
    assert not slow


def _seconds(use: Callable[[Any], object], text: str, is_text: bool) -> float:
    given: Any = text if is_text else text.encode("utf-8")
    start = time.thread_time()
    use(given)
    return time.thread_time() - start
