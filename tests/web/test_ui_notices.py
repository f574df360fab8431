"""Pages of notices (OPS-5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import SYSTEM
from tests.support.deferreds import result_of
from tests.support.stack import MAIL_SERVER, build_core
from tests.support.visitor import Pages, make_pages

FORM = {
    "name": "pumps",
    "kind": "certificates",
    "days": "7, 30",
    "addresses": "ops@example.com\r\n",
    "to_admins": "1",
    "enabled": "1",
}


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    stack = build_core(tmp_path / "core", changes=MAIL_SERVER)
    yield make_pages(stack)
    stack.close()


def test_life_of_a_rule(pages: Pages) -> None:
    """An administrator creates, edits and deletes a rule; what is wrong is said, and what was entered stays."""
    root = pages.visitor("root")
    assert "No rules yet" in root.get("/notices")
    refused = root.post("/notices", {**FORM, "days": "soon"})
    assert refused.status == 400
    assert "soon" in refused.body.decode()
    assert root.post("/notices", FORM).headers["Location"] == "/notices"
    (rule,) = result_of(pages.stack.app.notices.rules.rules(SYSTEM, ListQuery())).items
    assert (rule.order.days, rule.order.addresses, rule.order.to_admins) == ((30, 7), ("ops@example.com",), True)
    assert "30, 7" in root.get("/notices")
    path = f"/notices/{rule.id}"
    assert "ops@example.com" in root.get(path)
    assert root.post(path, {**FORM, "version": "1", "name": "valves"}).status == 303
    assert root.post(path, {**FORM, "version": "1"}).status == 409
    assert "valves" in root.get("/notices?format=csv")
    assert root.post(f"{path}/delete", {"confirm": "delete"}).status == 303
    assert "No rules yet" in root.get("/notices")


def test_send_a_test(pages: Pages) -> None:
    """A test says why it failed, and is refused for a channel that is not configured."""
    root = pages.visitor("root")
    failed = root.post("/notices/test", {"channel": "mail", "recipient": "ops@example.com"})
    assert "can&#39;t be reached" in failed.body.decode()
    assert root.post("/notices/test", {"channel": "webhook", "recipient": "https://example.com/"}).status == 409
    assert root.post("/notices/test", {"channel": "pigeon"}).status == 400


def test_messages(pages: Pages) -> None:
    """The list of messages filters and sorts."""
    root = pages.visitor("root")
    assert "Nothing was sent yet" in root.get("/notices/messages")
    assert root.get("/notices/messages?state=failed&channel=mail&sort=-count")
