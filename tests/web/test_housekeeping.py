"""Housekeeping on its page and in REST (OPS-6): counts first, a typed word, the result in the events."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Role
from pikachu.core.model.times import utc
from pikachu.operations.temporary_files import TemporaryFiles, remove_old
from tests.support.deferreds import result_of
from tests.support.rest import REST, open_rest
from tests.support.stack import build_core
from tests.support.visitor import Pages, make_pages, text_of

DAY = 86400


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    # By the clock of these tests, everything in the machine's folder of temporary files is old.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    stack = build_core(tmp_path / "core", changes={("HOUSEKEEPING", "challenge_passwords_kept"): "1"})
    made = make_pages(stack)
    yield made
    stack.close()


def expired_passwords(rest: REST, count: int) -> None:
    """Create challenge passwords, and let them expire."""
    for _ in range(count):
        rest.good("POST", "/challenge-passwords", {}, who="admin", status=201)
    rest.clock.advance(400 * DAY)


def kinds(document: dict[str, Any]) -> dict[str, int]:
    return {one["kind"]: one["count"] for one in document["kinds"]}


def test_page_and_rest(pages: Pages) -> None:
    """The page counts, asks for the word, removes and records; REST shows the same run."""
    stack, rest = pages.stack, open_rest(pages.stack)
    rest.add("admin", Role.ADMIN)
    assert rest.good("GET", "/housekeeping", who="admin")["state"] == "not-run"
    expired_passwords(rest, 3)
    rest.tokens["admin"] = rest.token("admin")
    counted = rest.good("POST", "/housekeeping", {}, who="admin", status=202)
    assert (counted["removes"], counted["started_by"]) == (False, "admin")
    counted = rest.good("GET", "/housekeeping", who="admin")
    assert (counted["state"], kinds(counted)["challenge passwords"]) == ("done", 3)
    assert len(result_of(stack.app.store.challenges(ListQuery(limit=10), utc(rest.clock.seconds()))).items) == 3
    root = pages.visitor("root")
    page = text_of(root.get("/housekeeping"))
    assert "3 objects can be removed" in page
    assert root.post("/housekeeping/remove", {"confirm": "yes"}).status == 409
    page = text_of(root.follow(root.post("/housekeeping/remove", {"confirm": "remove"})))
    assert "Removed 3 objects" in page
    done = rest.good("GET", "/housekeeping", who="admin")
    assert (done["state"], done["removes"], kinds(done)["challenge passwords"]) == ("done", True, 3)
    events = result_of(stack.app.store.events(ListQuery(filters={"resource_type": "housekeeping"}))).items
    assert [(one.event.actor, one.event.details["challenge passwords"]) for one in events] == [("root", 3)]
    page = text_of(root.follow(root.post("/housekeeping")))
    assert "Nothing is due" in page


#: Names below a folder of the server → whether they are temporary files that a killed process left.
NAMES = {
    ".ca.backup.0123456789abcdef": True,
    ".ec.crl.a1b2c3_4": True,
    ".pikachu-backup-abcdefgh": True,
    "config.ini": False,
    ".hidden": False,
    ".pikachu.settings": False,
    ".ec.crl.new": False,
    "ec.crl": False,
    "backup.0123456789abcdef": False,
}


@pytest.mark.parametrize("name", NAMES)
def test_temporary_files(tmp_path: Path, name: str) -> None:
    """Only old ones with the names of unfinished files go; what is recent or a link stays."""
    folder, outside = tmp_path / "server", tmp_path / "outside"
    for one in (folder, outside):
        one.mkdir()
    (outside / "precious").write_text("x")
    path = folder / name
    if name.startswith(".pikachu-backup"):
        path.mkdir()
        (path / "database").write_text("x")
        (path / "link").symlink_to(outside)
    else:
        path.write_text("x")
    (folder / ".linked.crl.00112233").symlink_to(outside / "precious")
    files = TemporaryFiles((folder, tmp_path / "missing"), tmp_path)
    now = time.time()
    assert remove_old(files, now - DAY, remove=True).count == 0
    for one in (path, *path.rglob("*")):
        os.utime(one, (now - 2 * DAY, now - 2 * DAY), follow_symlinks=False)
    assert remove_old(files, now - DAY, remove=False).count == NAMES[name]
    assert path.exists()
    assert remove_old(files, now - DAY, remove=True).count == NAMES[name]
    assert path.exists() is not NAMES[name]
    assert (outside / "precious").exists()
    assert (folder / ".linked.crl.00112233").is_symlink()
