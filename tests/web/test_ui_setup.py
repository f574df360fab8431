"""The set-up checklist, and what the dashboard tells of dates and space (UI-3)."""

from __future__ import annotations

import hashlib
import re

import pytest

from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.times import utc
from tests.support.deferreds import result_of
from tests.support.visitor import Pages, text_of

STEPS = ("trust", "public-url", "password", "backup", "policy", "certificate")


def done(page: str) -> set[str]:
    """Return the steps that the checklist shows as done."""
    panels = re.findall(r'<section class="panel step" id="([^"]+)".*?</section>', page, re.S)
    assert panels == list(STEPS)
    return set(re.findall(r'id="([^"]+)-title">[^<]*<span class="badge good">done', page))


def events(pages: Pages) -> list[tuple[str, str, object]]:
    """Return type, actor and step of the events of the checklist, oldest first."""
    query = ListQuery(limit=100, sort="id", filters={"resource_type": "configuration"})
    found = result_of(pages.stack.app.store.events(query)).items
    return [(one.event.type, one.event.actor, one.event.details.get("step")) for one in found]


def test_steps_tick_themselves(pages: Pages) -> None:
    """A step is done once the database shows it, without anybody saying so."""
    root = pages.visitor("root")
    assert done(root.get("/setup")) == set()
    assert "0 of 6 steps done" in text_of(root.get("/"))
    pages.stack.issue("device.example.com", owner_id=pages.accounts["alice"].id)
    assert done(root.get("/setup")) == {"certificate"}
    fields = {"name": "lab", "days": "9", "extensions": "[ v3_ext ]\n"}
    assert root.post("/policies/new", fields).status == 303
    assert done(root.get("/setup")) == {"certificate", "policy"}
    new = {"current": "password of root", "password": "another password", "confirmation": "another password"}
    assert root.post("/account/password", new).status == 303
    assert done(root.get("/setup")) == {"certificate", "policy", "password"}
    assert "3 of 6 steps done" in text_of(root.get("/"))


def test_confirmed_steps(pages: Pages) -> None:
    """Steps that nothing here can notice are confirmed by an administrator, and taken back; both are recorded."""
    root = pages.visitor("root")
    for step in ("trust", "backup"):
        assert "Confirmed by root at" in text_of(root.follow(root.post(f"/setup/{step}/confirm")))
    assert done(root.get("/setup")) == {"trust", "backup"}
    # Said twice it is recorded once.
    root.post("/setup/backup/confirm")
    assert done(root.follow(root.post("/setup/trust/withdraw"))) == {"backup"}
    assert events(pages) == [
        ("complete", "root", "trust"),
        ("complete", "root", "backup"),
        ("cancel", "root", "trust"),
    ]
    for step in ("policy", "dismissed", "nothing"):
        assert root.post(f"/setup/{step}/confirm").status == 404
        assert root.post(f"/setup/{step}/withdraw").status == 404


def test_a_backup_that_was_made(pages: Pages) -> None:
    """OPS-3: the step ticks itself, and tells when and by whom the newest one was made."""
    root = pages.visitor("root")
    assert "Last backup" not in root.get("/setup")
    told = Event("back up", "configuration", "pikachu.backup", "cli (root)")
    result_of(pages.stack.app.store.record_backup(told, utc(pages.stack.clock.seconds())))
    page = root.get("/setup")
    assert done(page) == {"backup"}
    assert re.search(r"Last backup: .*, by cli \(root\)", text_of(page))
    assert "I have done this: Back up" not in page


def test_dismissed(pages: Pages) -> None:
    """A dismissed checklist leaves the dashboard for all administrators, and can be put back."""
    root = pages.visitor("root")
    assert "Set up this CA" in root.get("/")
    assert "Set up this CA" not in pages.visitor("alice").get("/")
    page = root.follow(root.post("/setup/dismiss"))
    assert "no longer shown" in text_of(page)
    assert "Set up this CA" not in page
    root.confirm("root")
    assert 'href="/setup"' in root.get("/config")
    root.post("/setup/resume")
    assert "Set up this CA" in root.get("/")
    assert [one[0] for one in events(pages)] == ["cancel", "return"]


def test_the_root_and_its_commands(pages: Pages) -> None:
    """Each system has its commands with this server's address, and the fingerprint to compare."""
    certificate = pages.stack.app.root
    page = text_of(pages.visitor("root").get("/setup"))
    if certificate is not None:
        assert hashlib.sha256(certificate.der).digest().hex(":").upper() in page
        for text in (
            "update-ca-certificates",
            "update-ca-trust",
            "Import-Certificate",
            "add-trusted-cert",
            "certutil -d",
        ):
            assert text in page
        assert re.search(r"curl --fail --output pikachu-root.crt http://ca.example.org(:\d+)?/ca/root.crt", page)
    assert "pikachu init --public-url http://ca.example.org" in page
    assert "Secret key" in page


def test_health_has_dates_and_space(pages: Pages) -> None:
    """UI-3: what ends when; free space and the public URL are for administrators only."""
    result_of(pages.stack.app.publisher.make(pages.stack.issuer()))
    root, alice = (text_of(pages.visitor(name).get("/")) for name in ("root", "alice"))
    for page in (root, alice):
        assert "CA “ec” expires" in page
        assert "Next CRL of “ec”" in page
    assert "Public URL not set" in root
    assert re.search(r"Free disk space \(CRLs.*?\) [\d.]+ \wi?B", root)
    assert "Public URL" not in alice
    assert "Free disk space" not in alice


@pytest.mark.parametrize("name", ["root", "alice"])
def test_an_empty_dashboard(pages: Pages, name: str) -> None:
    """Without certificates there are steps or an empty box, and no charts of nothing."""
    page = pages.visitor(name).get("/")
    assert '<svg class="chart"' not in page
    assert "Health" in page
    assert ("Set up this CA" in page) is (name == "root")
    assert ("There are no certificates yet" in page) is (name == "alice")
    pages.stack.issue("device.example.com", owner_id=pages.accounts["alice"].id)
    pages.clock.advance(2)
    page = pages.visitor(name).get("/")
    assert page.count('<svg class="chart"') == 3
    assert "There are no certificates yet" not in page
