"""Short names of browsers, for lists of sessions."""

from __future__ import annotations

import re
from typing import Final

# The first match counts: each browser also claims to be the ones below it.
_BROWSERS: Final = (
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/(\d+)")),
    ("Opera", re.compile(r"OPR/(\d+)")),
    ("Samsung Internet", re.compile(r"SamsungBrowser/(\d+)")),
    ("Firefox", re.compile(r"(?:Firefox|FxiOS)/(\d+)")),
    ("Chrome", re.compile(r"(?:Headless)?(?:Chrome|CriOS|Chromium)/(\d+)")),
    ("Safari", re.compile(r"Version/(\d+)[^ ]* (?:Mobile/\w+ )?Safari/")),
    ("curl", re.compile(r"curl/(\d+)")),
)
_SYSTEMS: Final = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(agent: str) -> str:
    """Return a name such as “Firefox 128 on Linux” for a User-Agent, or its beginning if it is not known."""
    if not agent:
        return "unknown"
    browser = next((f"{name} {match[1]}" for name, one in _BROWSERS if (match := one.search(agent))), None)
    system = next((name for mark, name in _SYSTEMS if mark in agent), None)
    if browser is None:
        return agent[:40]
    return browser if system is None else f"{browser} on {system}"
