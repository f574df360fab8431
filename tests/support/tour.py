"""Every page of a CA that has been in use, one after the other; as a command it takes their pictures.

python -m tests.support.tour build/pictures
"""

from __future__ import annotations

import argparse
import contextlib
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser

from pikachu.server.pages import ui_tree
from pikachu.server.rest import api_routes
from tests.support.browser import NARROW, WIDE, Theme, Window, chromium, window
from tests.support.demo import PASSWORD, Demo, fill
from tests.support.server import Server, running_server

#: Events that go on as long as somebody listens, and the part of a page that is fetched when one comes.
NO_PAGES = ("/live", "/live/panels", "/search/results", "/jobs/<id>/progress")
# Pixels that the guide shows of a page.
_GUIDE_HEIGHT = 1200


@dataclass(frozen=True)
class Tour:
    """A server in use, and what there is to see on it."""

    server: Server
    demo: Demo
    routes: tuple[str, ...]

    def path(self, route: str) -> str | None:
        """The address of a page, about one of the objects where it is about one; ``None``: the demo has none."""
        names = re.findall(r"<(\w+)>", route)
        if not names:
            return route
        # What lies nearest to the page's own address says what it is about.
        parts = route.strip("/").split("/")
        known: dict[str, str] = {}
        for length in range(1, len(parts)):
            kind = "/".join(parts[:length])
            known.update(self.demo.names.get(kind, {}))
            if kind in self.demo.ids:
                known["id"] = str(self.demo.ids[kind])
        if not set(names) <= known.keys():
            return None
        return re.sub(r"<(\w+)>", lambda found: known[found[1]], route)

    def pages(self, one: Window) -> Iterator[tuple[str, str]]:
        """(route, path) of all that is a page when the signed-in person of *one* asks for it."""
        for route in self.routes:
            path = self.path(route)
            assert path is not None, f"the demo has nothing for {route}"
            # A PDF takes long on a machine that is busy.
            answer = one.context.request.get(one.address + path, max_redirects=0, timeout=90_000)
            kind = answer.headers.get("content-type", "")
            if answer.status == 200 and kind.startswith("text/html"):
                yield route, path


@contextlib.contextmanager
def tour(folder: Path) -> Iterator[Tour]:
    """A server that runs, in use."""
    with running_server(folder, ("p256", "rsa2048", "mldsa44")) as server, server.application() as app:
        demo = fill(app)
        resource, _ = ui_tree(app, api_routes(app))
        routes = [page.path for page in resource.pages if page.method == "GET" and page.path not in NO_PAGES]
        yield Tour(server, demo, tuple(dict.fromkeys(routes)))


def picture_name(route: str) -> str:
    """The beginning of the names of a page's pictures."""
    return re.sub(r"[^a-z0-9]+", "-", route.lower()).strip("-") or "dashboard"


def take_pictures(browser: Browser, found: Tour, folder: Path, wide_only: bool = False) -> None:
    """Save a picture of each page as an administrator sees it: wide and light, narrow and dark.

    :param wide_only: wide and light only, and of long pages the upper part, as in the guide.
    """
    folder.mkdir(parents=True, exist_ok=True)
    looks: tuple[tuple[tuple[int, int], Theme], ...] = ((WIDE, "light"), (NARROW, "dark"))
    most = _GUIDE_HEIGHT if wide_only else None
    for size, theme in looks[:1] if wide_only else looks:
        with window(browser, found.server, size, theme) as one:
            for public in ("login", "register"):
                one.open(f"/{public}")
                one.picture(folder / f"{public}-{size[0]}-{theme}.png", most)
            one.open("/login")
            one.sign_in("administrator", PASSWORD)
            one.open("/confirm")
            one.picture(folder / f"confirm-{size[0]}-{theme}.png", most)
            one.confirm(PASSWORD)
            for route, path in found.pages(one):
                one.open(path)
                name = picture_name(route)
                one.picture(folder / f"{name}-{size[0]}-{theme}.png", most)
                print(name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.support.tour", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/pictures"))
    parser.add_argument("--wide", action="store_true", help="wide and light only, as in the guide")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, chromium() as running, tour(Path(place)) as all_pages:
        take_pictures(running, all_pages, options.folder, options.wide)
