"""Devices on pages and over REST (DEV-1)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from pikachu.core.model.certificates import RevocationReason
from tests.support.stack import Stack, build_core
from tests.support.visitor import Pages, make_pages, text_of

DAY = 86400


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = build_core(tmp_path / "core")
    yield made
    made.close()


@pytest.fixture
def pages(stack: Stack) -> Pages:
    return make_pages(stack)


def test_pages(stack: Stack, pages: Pages) -> None:
    """From the list to a device with its certificates, and to a challenge password for its names."""
    alice, root, bob = (pages.visitor(name) for name in ("alice", "root", "bob"))
    owner = pages.accounts["alice"].id
    assert "No devices yet" in alice.get("/devices")
    leaf = stack.issue("pump-1.example.com", owner_id=owner, days=9)
    stack.issue("PUMP-1.example.com", owner_id=owner, days=9)
    stack.issue("pump-2.example.com", owner_id=owner, days=900)
    stack.issue("other.example.com", owner_id=pages.accounts["bob"].id)
    page = text_of(alice.get("/devices?sort=name"))
    assert "PUMP-1.example.com" in page
    assert "pump-2.example.com" in page
    assert "other.example.com" not in page
    assert "other.example.com" in root.get("/devices")
    path = f"/devices/{leaf.record.device_id}"
    page = text_of(alice.get(path))
    assert "PUMP-1.example.com" in page
    assert page.count("current") == 1
    assert f'href="{path}"' in alice.get(f"/certificates/{leaf.record.id}")
    assert "Showing 1\u20132 of 2" in text_of(alice.get(f"/certificates?device={leaf.record.device_id}"))
    assert bob.request("GET", path).status == 404
    reply = alice.post(f"{path}/challenge-passwords", {})
    assert "CN=PUMP-1.example.com" in text_of(alice.get(reply.headers["Location"]))
    page = text_of(alice.get(path))
    assert "Available" in page
    assert "challenge password" in page.partition("Timeline")[2]
    for days, state in ((0, "OK"), (7, "Renewal due"), (1, "Overdue")):
        stack.clock.advance(days * DAY)
        alice = pages.visitor("alice")
        assert state in text_of(alice.get(f"/devices?q=pump-1&state={state.split()[-1].lower()}"))
    rows = list(
        csv.DictReader(line for line in alice.get("/devices?format=csv&sort=name").split("\r\n") if "," in line)
    )
    assert [(row["Device"], row["State"], row["Certificates"]) for row in rows] == [
        ("PUMP-1.example.com", "overdue", "2"),
        ("pump-2.example.com", "ok", "1"),
    ]
    assert "Unknown state" in alice.get("/devices?state=lost", status=400)
    assert "has no filter" in alice.get("/devices?owner=bob", status=400)


def test_challenge_passwords_need_a_certificate(stack: Stack, pages: Pages) -> None:
    """Without one, the page says what to do."""
    alice = pages.visitor("alice")
    leaf = stack.issue("pump", owner_id=pages.accounts["alice"].id)
    stack.revoke(leaf, RevocationReason.SUPERSEDED)
    assert alice.post(f"/devices/{leaf.record.device_id}/challenge-passwords", {}).status == 303
    stack.delete(leaf)
    reply = alice.post(f"/devices/{leaf.record.device_id}/challenge-passwords", {})
    assert reply.status == 409
    assert "were deleted" in text_of(reply.body.decode())
    assert "No devices yet" in alice.get("/devices")
