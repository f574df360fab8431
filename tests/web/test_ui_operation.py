"""The pages of who operates the server: Config (CFG-11) and Logs (UI-9)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.stack import build_core
from tests.support.visitor import Pages, make_pages, text_of

SECRET = "0f6c1d2e9a8b74650f6c1d2e9a8b7465"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    changes = {("LOGGING", "log_file"): "pikachu.log", ("VAULT", "secret_id"): SECRET}
    stack = build_core(tmp_path_factory.mktemp("core"), changes=changes)
    made = make_pages(stack)
    (stack.files.folder / "pikachu.log").write_text(
        "2026-03-04T05:06:07.008Z INFO pikachu.http.request: GET /<script>alert(1)</script>\n"
        "2026-03-04T05:06:08.008Z WARNING pikachu.server.composition: something\x1b[31m odd\n"
        "2026-03-04T05:06:09.008Z INFO pikachu.http.request: GET /logs/lines?q= 200\n"
        "2026-03-04T05:06:10.008Z ERROR pikachu.storage: the last one\n",
        encoding="utf-8",
    )
    yield made
    stack.close()


def test_config_asks_for_the_password(pages: Pages) -> None:
    """CFG-11: first the password, then the page."""
    root = pages.visitor("root")
    pages.clock.advance(301)
    response = root.request("GET", "/config")
    assert response.status == 303
    assert response.headers["Location"] == "/confirm?next=/config"
    root.confirm("root")
    page = root.get("/config")
    said = text_of(page)
    assert str(pages.stack.files.config) in said
    assert "[HTTPS]" in said
    assert "max_idle_time" in said
    assert "********" in said
    assert SECRET not in page


def test_logs(pages: Pages) -> None:
    """UI-9: the last lines, escaped; its own requests are left out."""
    root = pages.visitor("root")
    page = root.get("/logs")
    said = text_of(page)
    assert "the last one" in said
    assert "<script>alert" not in page
    assert "\\x1b[31m odd" in said
    assert "/logs/lines?q= 200" not in said
    assert said.index("something") < said.index("the last one")
    assert '<span class="error">' in page
    assert "3 lines" in said


def test_keyword_and_number(pages: Pages) -> None:
    """Both are in the address; the filter can be cleared."""
    root = pages.visitor("root")
    page = root.get("/logs?q=ODD&lines=50&every=5")
    said = text_of(page)
    assert "something" in said
    assert "the last one" not in said
    assert 'value="ODD"' in page
    assert 'href="/logs?lines=50&amp;every=5"' in page
    assert "No line has this keyword" in text_of(root.get("/logs?q=nowhere"))
    assert "something" not in text_of(root.get("/logs?lines=1"))
    root.get("/logs?lines=x", status=400)
    root.get("/logs?lines=0", status=400)
    root.get("/logs?lines=5000", status=400)
    root.get(f"/logs?q={'x' * 201}", status=400)


def test_lines_as_json(pages: Pages) -> None:
    """For the script: texts and levels, to admins only."""
    root = pages.visitor("root")
    response = root.request("GET", "/logs/lines?lines=2&q=")
    assert response.headers["Content-Type"] == "application/json"
    lines = json.loads(response.body)["lines"]
    assert [line["level"] for line in lines] == ["WARNING", "ERROR"]
    assert pages.visitor("alice").request("GET", "/logs/lines").status == 403
    assert pages.visitor().request("GET", "/logs/lines").status == 302
