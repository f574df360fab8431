"""Chromium on the pages of a real server; nothing that a page asks for may leave that server.

Where there is no Chromium the tests are skipped, and say so; with PIKACHU_REQUIRE_INTEROP=1 they fail.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, sync_playwright

from tests.support.interop import require
from tests.support.server import Server

#: Width and height of a desk's and of a phone's window.
WIDE: Final = (1280, 900)
NARROW: Final = (390, 844)
Theme = Literal["light", "dark"]
_ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


#: Returns the targets that are hard to hit: WCAG 2.2, 2.5.8 (AA) with its exceptions for spacing and for text; charts
#: have the same links in their tables.
_HARD_TARGETS: Final = """() => {
  // Headings that stay in sight would lie over the rows that were scrolled below them.
  const scrolled = scrollY;
  scrollTo({ top: 0, behavior: "instant" });
  const box = (element) => (element.closest("label") ?? element).getBoundingClientRect();
  const inText = (element) => {
    if (getComputedStyle(element).display !== "inline") return false;
    let block = element.parentElement;
    while (getComputedStyle(block).display === "inline") block = block.parentElement;
    return [...block.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  };
  const seen = (one) => one.checkVisibility({ visibilityProperty: true }) && getComputedStyle(one).clipPath === "none";
  // By a dialog or a menu that is open.
  const isCovered = ({ element, box: { left, right, top, bottom } }) => {
    const hit = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    return hit !== null && !hit.contains(element) && !(element.closest("label") ?? element).contains(hit);
  };
  const all = [...document.querySelectorAll("a[href], button, select, summary, textarea, input:not([type=hidden])")]
    .filter((one) => !one.closest("svg") && seen(one))
    .map((element) => ({ element, box: box(element) }))
    .filter((one) => one.box.width > 0 && one.box.height > 0 && one.box.right > 0 && !isCovered(one));
  const small = (one) => Math.min(one.box.width, one.box.height) < 23.5;
  const near = (one, other) => {
    if (one.element.contains(other.element) || other.element.contains(one.element)) return false;
    const center = ({ box }) => [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    const [x, y] = center(one);
    if (small(other)) return Math.hypot(center(other)[0] - x, center(other)[1] - y) < 24;
    const away = (from, to, at) => Math.max(from - at, 0, at - to);
    return Math.hypot(away(other.box.left, other.box.right, x), away(other.box.top, other.box.bottom, y)) < 12;
  };
  const hard = all
    .filter((one) => small(one) && !inText(one.element) && all.some((other) => other !== one && near(one, other)))
    .map(({ element, box }) => `${element.outerHTML.slice(0, 120)}: ${box.width} x ${box.height}`);
  scrollTo({ top: scrolled, behavior: "instant" });
  return hard;
}"""
#: Returns texts with a mark of code that was shown as it is.
_RAW_MARKS: Final = """() => {
  const copy = document.body.cloneNode(true);
  copy.querySelectorAll("pre, code, textarea, script").forEach((one) => one.remove());
  return copy.textContent.match(/.{0,40}`.{0,40}/g) ?? [];
}"""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    require("chromium")
    playwright: Playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """One person's browser window on a server's pages.

    :ivar wrong: errors in the console, and requests to other servers.
    """

    page: Page
    context: BrowserContext
    address: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str, *, status: int = 200) -> None:
        """Go to a page, which must have that status."""
        response = self.page.goto(self.address + path)
        assert response is not None
        assert response.status == status, (path, response.status)

    def sign_in(self, name: str, password: str) -> None:
        """Fill the form of ``/login``."""
        self.open("/login")
        self.page.fill("#username", name)
        self.page.fill("#password", password)
        self.page.click("main button.primary")
        self.page.wait_for_url(re.compile(r"^(?!.*/login)"))

    def confirm(self, password: str) -> None:
        """Fill the form of ``/confirm``, for pages that show secrets."""
        self.open("/confirm")
        self.page.fill("#password", password)
        self.page.click("main button.primary")
        self.page.wait_for_url(re.compile(r"^(?!.*/confirm)"))

    def check(self) -> None:
        """That nothing went wrong, the page fits, its targets can be hit, and axe finds nothing serious (UI-4)."""
        assert self.wrong == []
        fits = self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert fits, f"{self.page.url} is wider than its window"
        hard = self.page.evaluate(_HARD_TARGETS)
        assert hard == [], (self.page.url, hard)
        assert self.page.evaluate(_RAW_MARKS) == [], self.page.url
        found = Axe().run(self.page)
        serious = [
            f"{one['id']}: {node['html'][:200]}"
            for one in found.response["violations"]
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"][:3]
        ]
        assert serious == [], f"{self.page.url}: {serious}"

    def picture(self, path: Path, most: int | None = None) -> None:
        """Save the whole page as a PNG, or its upper part.

        :param most: pixels of height.
        """
        if most is None:
            self.page.screenshot(path=path, full_page=True)
            return
        size = self.page.viewport_size
        assert size is not None
        height = int(self.page.evaluate("document.documentElement.scrollHeight"))
        self.page.set_viewport_size({"width": size["width"], "height": min(height, most)})
        # A machine that is busy takes its time.
        self.page.screenshot(path=path, timeout=90_000)
        self.page.set_viewport_size(size)


@contextlib.contextmanager
def window(
    browser: Browser, server: Server, size: tuple[int, int] = WIDE, theme: Theme = "light", **more: Any
) -> Iterator[Window]:
    """A new window with its own cookies; errors in its console fail the test at the end.

    :param more: of Playwright's ``new_context``.
    """
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, ignore_https_errors=True, **more
    )
    context.set_default_timeout(15_000)
    page = context.new_page()
    found = Window(page, context, f"https://localhost:{server.ports['https']}")

    def console(message: ConsoleMessage) -> None:
        # A status that a test asks for is no fault of the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            found.wrong.append(message.text)

    def requested(request: Request) -> None:
        if not request.url.startswith((found.address, "data:", "blob:")):
            found.wrong.append(f"a request to {request.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: found.wrong.append(str(error)))
    page.on("request", requested)
    try:
        yield found
        assert found.wrong == []
    finally:
        context.close()
