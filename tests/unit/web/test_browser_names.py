"""Names of browsers in lists of sessions."""

from __future__ import annotations

import pytest

from pikachu.web.ui.browser_names import browser_name

_MOZILLA = "Mozilla/5.0"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (f"{_MOZILLA} (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox 128 on Linux"),
        (
            f"{_MOZILLA} (Windows NT 10.0; Win64; x64) Chrome/126.0.0.0 Safari/537.36",
            "Chrome 126 on Windows",
        ),
        (
            f"{_MOZILLA} (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36 Edg/126.0.1",
            "Edge 126 on Windows",
        ),
        (
            f"{_MOZILLA} (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile/15E148 Safari/604.1",
            "Safari 17 on iPhone",
        ),
        (
            f"{_MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.4.1 Safari/605.1.15",
            "Safari 17 on macOS",
        ),
        (f"{_MOZILLA} (Linux; Android 14) Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome 126 on Android"),
        ("curl/8.5.0", "curl 8"),
        ("<script>alert(1)</script>" * 9, ("<script>alert(1)</script>" * 9)[:40]),
        ("", "unknown"),
    ],
)
def test_names(agent: str, name: str) -> None:
    assert browser_name(agent) == name
