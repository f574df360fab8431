"""The pages of who operates the server: Config (CFG-11) and Logs (UI-9)."""

from __future__ import annotations

import json
from collections.abc import Iterator

from twisted.internet.defer import succeed

import pytest

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Role
from tests.support.deferreds import result_of
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


def test_files_are_read_again(pages: Pages) -> None:
    """RUN-5: as by SIGHUP; what could not be read is told, and the event is there in both cases."""
    root, problems = pages.visitor("root"), list[str]()
    root.confirm("root")
    assert root.post("/config/reload").status == 409
    pages.stack.app.operation.reload_by(lambda: succeed(problems))
    assert "were read again" in text_of(root.follow(root.post("/config/reload")))
    problems.append("TLS of [HTTPS] stays as it was: the file is missing.")
    refused = root.post("/config/reload")
    assert refused.status == 409
    assert problems[0] in text_of(refused.body.decode())
    events = result_of(pages.stack.app.store.events(ListQuery(filters={"resource_type": "configuration"}))).items
    assert [one.event.details["problems"] for one in events] == [1, 0]


@pytest.mark.parametrize(
    ("query", "present", "absent"),
    [
        ("q=MAX_IDLE", ("max_idle_time",), ("secret_key_file", "[HTTPS]")),
        ("q=https+port", ("trusted_port",), ("max_idle_time",)),
        ("from=file", ("SUBCA_KEY_PATH_EC",), ("max_idle_time", "Set in the file</option></select>default")),
        ("q=qqqq", ("No setting matches.",), ("max_idle_time",)),
        ("q=%3Cscript%3E", ("No setting matches.", "&lt;script&gt;"), ("<script>", "max_idle_time")),
        ("from=zzz", ("max_idle_time",), ()),
    ],
)
def test_config_filter(pages: Pages, query: str, present: tuple[str, ...], absent: tuple[str, ...]) -> None:
    """CFG-11: all words are searched in section, key, value and description."""
    root = pages.visitor("root")
    root.confirm("root")
    _, _, found = root.get(f"/config?{query}").partition("<main")
    for text in present:
        assert text in found
    for text in absent:
        assert text not in found


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
    assert "No lines match" in text_of(root.get("/logs?q=nowhere"))
    assert "something" not in text_of(root.get("/logs?lines=1"))
    root.get("/logs?lines=x", status=400)
    for query in ("level=LOUD", "lines=0", f"q={'x' * 201}"):
        page = root.get(f"/logs?{query}", status=400)
        assert f'id="{query.partition("=")[0]}-error"' in page
    root.get("/logs?lines=5000", status=400)


def test_lines_as_json(pages: Pages) -> None:
    """For the script: texts and levels, to admins only."""
    root = pages.visitor("root")
    response = root.request("GET", "/logs/lines?lines=2&q=")
    assert response.headers["Content-Type"] == "application/json"
    lines = json.loads(response.body)["lines"]
    assert [line["level"] for line in lines] == ["WARNING", "ERROR"]
    assert pages.visitor("alice").request("GET", "/logs/lines").status == 403
    assert pages.visitor().request("GET", "/logs/lines").status == 302


def test_level(pages: Pages) -> None:
    """Only lines of that level and above; the script and the download ask for the same."""
    root = pages.visitor("root")
    page = root.get("/logs?level=warning")
    said = text_of(page)
    assert "2 lines" in said
    assert "alert(1)" not in said
    assert '<option value="WARNING" selected>' in page
    assert 'data-log="/logs/lines?lines=200&amp;level=WARNING"' in page
    assert 'href="/logs/file?level=WARNING"' in page
    lines = json.loads(root.request("GET", "/logs/lines?level=ERROR").body)["lines"]
    assert [line["level"] for line in lines] == ["ERROR"]
    assert "No lines match" in text_of(root.get("/logs?level=CRITICAL"))
    assert "No lines match" in text_of(root.get("/logs?level=ERROR&q=odd"))


def test_download(pages: Pages) -> None:
    """Administrators get the lines that match as a file; auditors are not offered it."""
    response = pages.visitor("root").request("GET", "/logs/file?level=WARNING&q=odd")
    assert response.status == 200
    assert response.headers["Content-Disposition"] == 'attachment; filename="pikachu.log"'
    assert (
        response.body.decode()
        == "2026-03-04T05:06:08.008Z WARNING pikachu.server.composition: something\\x1b[31m odd\n"
    )
    pages.add("audrey", Role.AUDITOR)
    audrey = pages.visitor("audrey")
    assert "/logs/file" not in audrey.get("/logs")
    assert audrey.request("GET", "/logs/file").status == 403
