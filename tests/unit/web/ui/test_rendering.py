"""Values as pages show them."""

from __future__ import annotations

import pytest

from pikachu.web.ui.rendering import browser

_MOZILLA = "Mozilla/5.0"
_KHTML = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        (f"{_MOZILLA} (X11; Linux x86_64) {_KHTML} Chrome/126.0.0.0 Safari/537.36", "Chrome 126 on Linux"),
        (f"{_MOZILLA} (X11; Linux x86_64) {_KHTML} HeadlessChrome/156.0.0.0 Safari/537.36", "Chrome 156 on Linux"),
        (f"{_MOZILLA} (Windows NT 10.0) {_KHTML} Chrome/126.0 Safari/537.36 Edg/126.0.2", "Edge 126 on Windows"),
        (f"{_MOZILLA} (Windows NT 10.0) {_KHTML} Chrome/126.0 Safari/537.36 OPR/111.0", "Opera 111 on Windows"),
        (f"{_MOZILLA} (Linux; Android 14) {_KHTML} Chrome/126.0 Mobile Safari/537.36", "Chrome 126 on Android"),
        (
            f"{_MOZILLA} (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0",
            "Firefox 127 on macOS",
        ),
        (
            f"{_MOZILLA} (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 "
            "Safari/604.1",
            "Safari 17 on iOS",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("Firefox/127.0", "Firefox 127"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("", ""),
    ],
)
def test_browsers(agent: str, shown: str) -> None:
    """Browser and system; what is neither is shown as it is."""
    assert browser(agent) == shown
