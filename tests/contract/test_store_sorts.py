"""Every column of a list that people sort by sorts, page by page, in each database (UI-2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from twisted.internet.defer import Deferred

import pytest

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.account_objects import CertificateTemplate, NewKey
from pikachu.core.model.batches import NewBatch
from pikachu.core.model.certificates import Method
from pikachu.core.model.identity_lists import IdentityList
from pikachu.core.model.jobs import JobAction, JobArguments, JobResource, NewJob
from pikachu.core.model.list_queries import ListQuery, Page, Visible
from pikachu.core.model.people import NewChallengePassword, Scope
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import NewCSR
from pikachu.storage.settings import StoreSettings
from tests.support.databases import NOW, Opened, event, opened, seal
from tests.support.owners import add_owner

HOUR = timedelta(hours=1)
OWNERS = (2, None, 1, 2, None, 3, 1)
# "Owner-10" would be before "owner-2" for a person, too: the folded name counts.
NAMES = {None: "", 1: "owner-1", 2: "owner-2", 3: "owner-3"}
TEXTS = ("RSA/2048", "EC/prime256v1", "Ed25519", "EC/prime256v1", "PQC/mldsa44", "RSA/2048", "a, b")


def fill(db: Opened) -> None:
    """Seven of each object, of which some have the same values."""
    add_owner(db.store, db.get, 3, NOW)
    for number, (owner, text) in enumerate(zip(OWNERS, TEXTS, strict=True)):
        name = f"object {(number * 5) % 7}"
        db.get(db.store.add_key(NewKey(name, text, bytes(32), b"spki", seal, owner), event(), NOW))
        csr = NewCSR(name, b"csr", "CN=x", text, owner, template=text if number % 2 else None)
        db.get(db.store.add_csr(csr, event(), NOW))
        template = CertificateTemplate(0, name, text, "manually", "[ v3_ext ]\n", False, True, owner, NOW, NOW)
        db.get(db.store.add_template(template, event(), NOW))
        policy = Policy(0, name, number % 3 + 1, "[ v3_ext ]\n", system=owner is None, owner_id=owner)
        db.get(db.store.add_policy(policy, event(), NOW))
        batch = NewBatch(name, text, owner, NOW + number * HOUR, number % 3 + 1, "x")
        batch_id = db.get(db.store.add_batch(batch, event(), NOW)).id
        if number in (2, 3):
            db.get(db.store.stop_batch(batch_id, "no room"))
        if number in (3, 5):
            db.get(db.store.end_batch(batch_id, lambda _: event(), NOW))
        challenge = NewChallengePassword(
            bytes([number]), f"{number * 5 % 7:08}", seal, owner, NOW + (number % 3 - 1) * HOUR, name
        )
        db.get(db.store.add_challenge(challenge, event(), NOW - number % 2 * HOUR))
        action = JobAction.REVOKE if number % 2 else JobAction.EXPORT
        job = NewJob(
            action,
            JobResource.CERTIFICATES,
            JobArguments(),
            tuple(range(number % 3 + 1)),
            text,
            owner or 9,
            frozenset(Scope),
            "",
        )
        db.get(db.store.add_job(job, lambda _: event(), NOW))
        entries = IdentityList(0, name, number % 3, NOW, text, number + 1)
        db.get(db.store.put_identity_list(None, entries, event(), NOW + number % 2 * HOUR))
        db.issue(name, owner_id=owner, method=Method.EST, key_type=text)
        values: dict[str, Any] = {"method": Method.SCEP if number % 2 else Method.EST, "policy": name, "key_type": text}
        request = db.request(name, owner_id=owner, principal=text, **values)
        db.get(db.store.begin(request, None, NOW))
    db.get(db.store.add_event(replace(event("revoke"), resource_type="key"), NOW))


def status(one: Any) -> str:
    """The status of a challenge password."""
    return "expired" if one.expires_at <= NOW else "available"


@dataclass(frozen=True)
class List:
    """A list of the store, with the value of each sort field."""

    fetch: Callable[[Opened, ListQuery], Deferred[Page[Any]]]
    values: dict[str, Callable[[Any], Any]]


def owner(one: Any) -> str:
    """The folded name of an owner."""
    return NAMES[one.owner_id]


LISTS = {
    "keys": List(lambda db, query: db.store.keys(query), {"type": lambda one: one.key_type, "user": owner}),
    "csrs": List(lambda db, query: db.store.csrs(query), {"profile": lambda one: one.template or "", "user": owner}),
    "templates": List(lambda db, query: db.store.templates(query), {"user": owner}),
    "policies": List(lambda db, query: db.store.policies(query), {"user": owner, "days": lambda one: one.days}),
    "batches": List(
        lambda db, query: db.store.batches(query, NOW),
        {
            "policy": lambda one: one.policy,
            "total": lambda one: one.total,
            "enrolled": lambda _: 0,
            "state": lambda one: one.state(NOW).value,
            "user": owner,
        },
    ),
    "challenges": List(
        lambda db, query: db.store.challenges(query, NOW),
        {
            "prefix": lambda one: one.prefix,
            "status": status,
            "user": owner,
            "validity": lambda one: one.expires_at - one.created_at,
        },
    ),
    "jobs": List(
        lambda db, query: db.store.jobs(query),
        {
            "action": lambda one: one.action.value,
            "state": lambda one: one.state.value,
            "total": lambda one: one.total,
            "done": lambda one: one.done,
            "failed": lambda one: one.failed,
            "ended_at": lambda _: 0,
            "user": lambda one: one.actor,
        },
    ),
    "identity lists": List(
        lambda db, query: db.store.identity_lists(query),
        {
            "entries": lambda one: one.entries,
            "updated_at": lambda one: one.updated_at,
            "updated_by": lambda one: one.updated_by,
        },
    ),
    "approvals": List(
        lambda db, query: db.store.requests(replace(query, filters={"approval": "true"})),
        {
            "subject": lambda one: one.subject,
            "key": lambda one: one.key_type,
            "policy": lambda one: one.policy,
            "method": lambda one: one.method.value,
            "requested_by": lambda one: one.principal,
            "state": lambda one: one.state.value,
            "user": owner,
        },
    ),
    "certificates": List(lambda db, query: db.store.certificates(query, NOW), {"key": lambda one: one.key_type}),
    "events": List(
        lambda db, query: db.store.events(query),
        {"type": lambda one: one.event.type, "resource_type": lambda one: one.event.resource_type},
    ),
}


def walk(db: Opened, one: List, query: ListQuery) -> list[Any]:
    """All rows of a list, page by page, and the same backwards."""
    pages = [db.get(one.fetch(db, query))]
    while pages[-1].next_cursor is not None:
        pages.append(db.get(one.fetch(db, replace(query, cursor=pages[-1].next_cursor))))
    for page, after in zip(pages[-2::-1], pages[:0:-1], strict=True):
        back = db.get(one.fetch(db, replace(query, cursor=after.previous_cursor)))
        assert back.items == page.items
    return [row for page in pages for row in page.items]


def groups(rows: list[Any], value: Callable[[Any], Any]) -> list[Any]:
    """The values of the rows in their order, without repetitions."""
    values = [value(row) for row in rows]
    return [one for index, one in enumerate(values) if not index or values[index - 1] != one]


def test_every_column(db: Opened) -> None:
    """Each row once, rows of equal values together in the order of their ids, and the other way round."""
    fill(db)
    for name, one in LISTS.items():
        for sort, value in one.values.items():
            query = ListQuery(limit=3, sort=sort, count=True)
            rows = walk(db, one, query)
            total = db.get(one.fetch(db, query)).total
            assert len({row.id for row in rows}) == len(rows) == total, (name, sort)
            assert walk(db, one, replace(query, sort=f"-{sort}")) == rows[::-1], (name, sort)
            values = groups(rows, value)
            assert len(set(values)) == len(values), (name, sort)
            if not any(isinstance(one, str) and "/" in one for one in values):
                # PostgreSQL has another order of texts with other characters than letters and digits.
                assert values == sorted(values), (name, sort)
            by_id = [[row.id for row in rows if value(row) == each] for each in values]
            assert all(ids == sorted(ids) for ids in by_id), (name, sort)


def test_keys_of_many_certificates(database_url: str) -> None:
    """Sorted by key with a filter that selects many: the same as where it selects few."""
    query = ListQuery(limit=2, sort="-key", filters={"method": "EST"}, count=True)
    found = []
    for few in (1, 5000):
        url = database_url if few == 1 else "sqlite://"
        with opened(url, fsync=False, settings=StoreSettings(few_certificates=few)) as db:
            fill(db)
            rows = walk(db, LISTS["certificates"], query)
            assert len(rows) == 7
            found.append(sorted((row.key_type, row.common_name) for row in rows))
            page = db.get(db.store.certificates(replace(query, filters={"status": "valid", "key": "RSA"}), NOW))
            assert [row.key_type for row in page.items] == ["RSA/2048"] * 2
    assert found[0] == found[1]


def test_refused(database_url: str) -> None:
    """Orders in which millions of rows would have to be sorted are refused with what to do instead."""
    with opened(database_url, fsync=False, settings=StoreSettings(few_events=3)) as db:
        fill(db)
        for filters in ({}, {"state": "issued"}):
            with pytest.raises(MalformedRequest, match="Choose another status"):
                db.get(db.store.requests(ListQuery(sort="subject", filters=filters)))
        visible = Visible(1, frozenset({"certificate"}))
        for values in ({"q": "thing"}, {"visible": visible}, {"filters": {"actor": "someone"}}):
            with pytest.raises(MalformedRequest, match="too many to sort"):
                db.get(db.store.events(ListQuery(sort="type", **values)))
        one = db.get(db.store.events(ListQuery(sort="-type", filters={"type": "revoke", "actor": "someone"})))
        assert [row.event.type for row in one.items] == ["revoke"]
        for name in ("status", "user", "policy"):
            with pytest.raises(MalformedRequest, match="can't be sorted"):
                db.get(db.store.certificates(ListQuery(sort=name), NOW))
