"""REST: rules and messages of notices (OPS-5)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pikachu.core.model.people import Role
from tests.support.deferreds import result_of
from tests.support.rest import REST, make_rest
from tests.support.stack import MAIL_SERVER, build_core

SECRET = "https://hooks.example.com/secret-token"
RULE = {
    "name": "pumps",
    "kind": "certificates",
    "days": [7, 30, 7],
    "device": "pump-*",
    "addresses": ["ops@example.com"],
    "webhook": SECRET,
}
DAY = 86400


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[REST]:
    tmp_path = tmp_path_factory.mktemp("notices")
    key = tmp_path / "webhook.key"
    key.write_text("0123456789abcdef0123456789abcdef")
    key.chmod(0o600)
    stack = build_core(tmp_path / "core", changes={**MAIL_SERVER, ("NOTICES", "webhook_key_file"): str(key)})
    made = make_rest(stack)
    made.add("audrey", Role.AUDITOR)
    yield made
    stack.close()


def test_life_of_a_rule(rest: REST) -> None:
    """A rule is created, listed, replaced with its entity tag, and deleted; auditors don't see a webhook's token."""
    created = rest.call("POST", "/notice-rules", RULE, who="root")
    path = created.headers["Location"].removeprefix("/api/v1")
    rule = rest.good("GET", path, who="root")
    assert (rule["days"], rule["webhook"], rule["enabled"], rule["updated_by"]) == ([30, 7], SECRET, True, "root")
    assert rest.good("GET", path, who="audrey")["webhook"] == "https://hooks.example.com/…"
    assert "secret-token" not in str(rest.good("GET", "/events", who="audrey"))
    rest.bad(409, "POST", "/notice-rules", RULE, who="root")
    tag = created.headers["ETag"]
    changed = {**RULE, "webhook": "", "enabled": False}
    assert rest.good("PUT", path, changed, who="root", headers={"If-Match": tag})["enabled"] is False
    rest.bad(412, "PUT", path, changed, who="root", headers={"If-Match": tag})
    listed = rest.good("GET", "/notice-rules?kind=certificates", who="audrey")["items"]
    assert "pumps" in [one["name"] for one in listed]
    assert rest.good("GET", "/notice-rules?kind=crls", who="audrey")["items"] == []
    rest.good("DELETE", path, who="root", status=204)
    rest.bad(404, "GET", path, who="root")


WRONG: dict[str, tuple[int, dict[str, object]]] = {
    "no recipient": (400, {"addresses": [], "webhook": ""}),
    "no days": (400, {"days": []}),
    "day 0": (400, {"days": [0]}),
    "too many steps": (400, {"days": list(range(1, 12))}),
    "header injection": (400, {"addresses": ["a@example.com\r\nBcc: b@example.com"]}),
    "credentials in the URL": (400, {"webhook": "https://user:secret@example.com/"}),
    "no URL": (400, {"webhook": "file:///etc/passwd"}),
    "no broker": (409, {"mqtt": True}),
    "no such kind": (400, {"kind": "pigeons"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rules(rest: REST, case: str) -> None:
    """A rule that could not work is refused."""
    status, members = WRONG[case]
    rest.bad(status, "POST", "/notice-rules", {**RULE, **members}, who="root")


def test_messages(rest: REST) -> None:
    """Messages are listed with their notices; a test says what the mail server answered."""
    rest.good("POST", "/notice-rules", {**RULE, "name": "valves"}, who="root", status=201)
    rest.stack.issue("pump-1", days=30)
    rest.clock.advance(24 * DAY)
    assert result_of(rest.stack.app.notices.runs.apply()) == 1
    items = rest.good("GET", "/notices?state=waiting&sort=channel", who="audrey")["items"]
    assert [(one["channel"], one["recipient"], one["count"]) for one in items] == [
        ("mail", "ops@example.com", 1),
        ("webhook", "https://hooks.example.com/…", 1),
    ]
    message = rest.good("GET", f"/notices/{items[0]['id']}", who="audrey")
    assert message == items[0]
    assert (message["notices"][0]["name"], message["notices"][0]["at"][-1]) == ("pump-1", "Z")
    rest.bad(404, "GET", "/notices/99", who="audrey")
    test = {"channel": "mail", "recipient": "ops@example.com"}
    answer = rest.good("POST", "/notices/test", test, who="root")
    assert (answer["delivered"], "reached" in answer["answer"]) == (False, True)
    rest.bad(409, "POST", "/notices/test", {"channel": "mqtt"}, who="root")
    rest.bad(400, "POST", "/notices/test", {**test, "recipient": "nobody"}, who="root")
