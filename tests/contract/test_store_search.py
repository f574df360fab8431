# ruff: noqa: RUF001 - texts in many scripts
"""Free text in each list and database: any script, any case, several words (UI-2, CRT-1)."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

import pytest

from pikachu.core.concurrency import ImmediatePool
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.account_objects import CertificateTemplate, NewKey
from pikachu.core.model.batches import NewBatch
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import AccountState, NewAccount, NewChallengePassword, NewToken, Role, Scope
from pikachu.core.model.policies import Policy, PolicyLimits
from pikachu.core.model.requests import NewCSR
from pikachu.operations.search_indexing import SearchIndexing
from pikachu.storage.backfills import texts_of
from pikachu.storage.settings import StoreSettings
from pikachu.storage.store import open_store
from pikachu.x509 import der
from tests.support.databases import AS_0009, NOW, Opened, event, execute, opened

#: Stored text → texts that must find it.
SCRIPTS = {
    "Ärzte GmbH": ("ärzte", "ÄRZTE", "A\u0308rzte", "gmbh ärz", "är", "ä"),
    "Übergabe": ("übergabe", "ÜBER", "u\u0308bergabe"),
    "E\u0301clair": ("éclair", "ÉCL"),
    "Große Straße": ("STRASSE", "strasse", "straße", "grosse STRASSE"),
    "ΟΔΥΣΣΕΥΣ": ("οδυσσευς", "ΟΔΥΣ", "οδυσσευσ", "Σ"),
    "Сервер Ёлка": ("сервер", "СЕРВЕР", "ёлка сер", "Ёл", "в"),
    "İSTANBUL": ("istanbul", "İstanbul", "ıstanbul", "ISTANBUL"),
    "Diyarbakır": ("diyarbakir", "DİYARBAKIR", "ır"),
    "서울 서버": ("서울", "서", unicodedata.normalize("NFD", "서울"), "버 서울"),
    "北京服务器": ("北京", "北", "京服", "务器", "服务器", "北京 器"),
    "ﾃｽﾄサーバー": ("テスト", "サーバ", "テス"),
    "خادم": ("خادم", "خا", "د", "\u200fخادم"),
    "שרת": ("שרת", "רת", "ש"),
    "🚀 ❤\ufe0f": ("🚀", "❤", "❤\ufe0f 🚀"),
    "Ｆｕｌｌ Ｗｉｄｔｈ": ("full width", "FULL"),
    "50% \\_x": ("50%", "%", "\\_", "50% \\_X"),
}
NOT_FOUND = ("aerzte", "北服", "器务", "сёрвер", "ärzte übergabe", "50_", "שר qqq", "🚁", "nothing")


def _certificate(db: Opened, text: str) -> None:
    db.issue("device", subject=f"CN=device,O={text}")


def _approval(db: Opened, text: str) -> None:
    db.get(db.store.begin(db.request(subject=f"CN={text}"), None, NOW))


def _csr(db: Opened, text: str) -> None:
    db.get(db.store.add_csr(NewCSR(text, b"der", "CN=x", "RSA/2048", None), event(), NOW))


def _key(db: Opened, text: str) -> None:
    db.get(db.store.add_key(NewKey(text, "RSA/2048", bytes(32), b"spki", lambda _: b"sealed", None), event(), NOW))


def _template(db: Opened, text: str) -> None:
    template = CertificateTemplate(0, text, "TLS server", "manually", "[ v3_ext ]\n", False, True, None, NOW, NOW)
    db.get(db.store.add_template(template, event(), NOW))


def _policy(db: Opened, text: str) -> None:
    db.get(db.store.add_policy(Policy(0, text, 30, "[ v3_ext ]\n", limits=PolicyLimits()), event(), NOW))


def _account(db: Opened, text: str) -> None:
    db.get(db.store.add_account(NewAccount(text, "a@example.com", Role.USER, AccountState.ACTIVE, None), event(), NOW))


def _token(db: Opened, text: str) -> None:
    if not db.get(db.store.accounts(ListQuery())).items:
        _account(db, "owner")
    scopes = frozenset({Scope.READ})
    db.get(db.store.add_token(NewToken(1, text, text.encode(), scopes, None), event(), NOW))


def _event(db: Opened, text: str) -> None:
    db.get(db.store.add_event(replace(event(), details={"note": text}), NOW))


def _challenge(db: Opened, text: str) -> None:
    end = NOW + timedelta(days=9)
    new = NewChallengePassword(hashlib.sha256(text.encode()).digest(), "FFFFFFFF", lambda _: b"sealed", None, end, text)
    db.get(db.store.add_challenge(new, event(), NOW))


def _batch(db: Opened, text: str) -> None:
    new = NewBatch(text, "System", None, NOW + timedelta(days=9), 1, "device.example.com")
    db.get(db.store.add_batch(new, event(), NOW))


#: List → (adds an object with a text, queries the list).
LISTS: dict[str, tuple[Callable[[Opened, str], None], Callable[[Opened, ListQuery], Deferred[Any]]]] = {
    "certificates": (_certificate, lambda db, query: db.store.certificates(query, NOW)),
    "approvals": (_approval, lambda db, query: db.store.requests(query)),
    "csrs": (_csr, lambda db, query: db.store.csrs(query)),
    "keys": (_key, lambda db, query: db.store.keys(query)),
    "templates": (_template, lambda db, query: db.store.templates(query)),
    "policies": (_policy, lambda db, query: db.store.policies(query)),
    "accounts": (_account, lambda db, query: db.store.accounts(query)),
    "tokens": (_token, lambda db, query: db.store.tokens(query)),
    "events": (_event, lambda db, query: db.store.events(query)),
    "challenge passwords": (_challenge, lambda db, query: db.store.challenges(query, NOW)),
    "batches": (_batch, lambda db, query: db.store.batches(query, NOW)),
}


def _matches(db: Opened, name: str, q: str) -> list[int]:
    page = db.get(LISTS[name][1](db, ListQuery(limit=100, q=q, sort="id", count=True)))
    assert page.total == len(page.items)
    return [one.id for one in page.items]


@pytest.mark.parametrize("name", LISTS)
def test_scripts_and_case(name: str, database_url: str) -> None:
    """UI-2: every form of a text finds it, in each list, and nothing else."""
    with opened(database_url, fsync=False) as db:
        ids = {}
        for text in SCRIPTS:
            before = set(_matches(db, name, ""))
            LISTS[name][0](db, text)
            (ids[text],) = set(_matches(db, name, "")) - before
        for text, queries in SCRIPTS.items():
            for q in queries:
                assert ids[text] in _matches(db, name, q), (text, q)
        for q in NOT_FOUND:
            assert _matches(db, name, q) == [], q
        assert _matches(db, name, "北京服务器") == [ids["北京服务器"]]


def _with_sans(*names: tuple[int, bytes]) -> bytes:
    """A certificate with these names, of which the other fields are not read."""
    san = der.sequence(*(der.tlv(tag, content) for tag, content in names))
    extension = der.sequence(der.oid("2.5.29.17"), der.octet_string(san))
    return der.sequence(der.sequence(der.integer(1), der.explicit(3, der.sequence(extension))))


SANS = _with_sans((0x82, b"xn--bcher-kva.example"), (0x87, bytes([192, 0, 2, 7])), (0x81, b"Jo@Example.com"))


def test_sans(db: Opened) -> None:
    """CRT-1: subject alternative names are stored and found, A-labels also as U-labels; one gives the name."""
    db.issue("other")
    record = db.complete(db.begin("", intent={"common_name": ""}, subject="")[0], SANS)
    assert record.sans == ("DNS:xn--bcher-kva.example", "IP:192.0.2.7", "email:Jo@Example.com")
    assert record.name == "xn--bcher-kva.example"
    assert db.get(db.store.certificate(record.id)) == record
    for q in ("bücher", "BÜCHER.example", "xn--BCHER", "dns:xn--bcher", "192.0.2.7", "jo@example", "jo bücher"):
        assert _matches(db, "certificates", q) == [record.id], q
    nameless = db.issue("", intent={"common_name": ""}, subject="O=Acme")
    assert nameless.name == f"{nameless.serial:x}"
    by_name = db.get(db.store.certificates(ListQuery(sort="common_name"), NOW)).items
    assert sorted(by_name, key=lambda one: one.name) == list(by_name)


def test_other_columns(db: Opened) -> None:
    """UI-2: keys, methods, serial numbers, ids and users, together with other words."""
    first = db.issue("one", key_type="RSA/2048", owner_id=1)
    second = db.issue("two", key_type="EC/prime256v1")
    assert _matches(db, "certificates", "rsa/2048") == [first.id]
    assert _matches(db, "certificates", "est prime256") == [second.id]
    assert _matches(db, "certificates", "owner-1 one") == [first.id]
    assert _matches(db, "certificates", "owner-1 two") == []
    assert _matches(db, "certificates", f"two {second.serial:x}"[:20]) == [second.id]
    assert second.id in _matches(db, "certificates", f"{second.id}")
    # A policy by the words of its name, and a day (UTC) on which something was issued or ends.
    third = db.issue("three", policy="TLS Server 京都", intent={"not_after": NOW + timedelta(days=400)})
    assert _matches(db, "certificates", "server tls") == [third.id]
    assert _matches(db, "certificates", "京都") == [third.id]
    assert _matches(db, "certificates", "serve") == []
    end = (NOW + timedelta(days=400)).date()
    assert _matches(db, "certificates", f"{end}") == [third.id]
    assert _matches(db, "certificates", f"{end} tls") == [third.id]
    assert _matches(db, "certificates", f"{end} two") == []
    assert _matches(db, "certificates", f"{end + timedelta(days=1)}") == []
    assert _matches(db, "certificates", f"{NOW:%Y-%m-%d}") == [first.id, second.id, third.id]
    assert _matches(db, "certificates", f"{NOW:%Y-%m-%d} rsa") == [first.id]
    for text in ("2026-13-45", "0000-00-00", "9999-12-31", "0001-01-01", "2026-02-30"):
        assert _matches(db, "certificates", text) == [], text
    # A user's own list has no column of users.
    assert db.get(db.store.certificates(ListQuery(q="owner-1", owner_id=1), NOW)).items == ()


#: The lists that are searched by day and ID.
DATED = ("approvals", "csrs", "keys", "events", "templates", "policies", "accounts", "challenge passwords", "batches")


@pytest.mark.parametrize("name", ["challenge passwords", "batches"])
def test_days_of_expiry(name: str, db: Opened) -> None:
    """UI-2: what expires on a day (UTC)."""
    LISTS[name][0](db, "first")
    [only] = _matches(db, name, "")
    assert _matches(db, name, f"{NOW + timedelta(days=9):%Y-%m-%d}") == [only]
    assert _matches(db, name, f"{NOW + timedelta(days=8):%Y-%m-%d}") == []


@pytest.mark.parametrize("name", DATED)
def test_days_and_ids(name: str, db: Opened) -> None:
    """UI-2: what was made on a day (UTC), and what has an id; no part of either is enough."""
    for text in ("first", "second"):
        LISTS[name][0](db, text)
    both = _matches(db, name, "")
    day = f"{NOW:%Y-%m-%d}"
    assert set(_matches(db, name, day)) == set(both)
    assert _matches(db, name, f"second {day}") == [both[-1]]
    assert both[-1] in _matches(db, name, f"{both[-1]}")
    for text in (day[:-1], f"{NOW - timedelta(days=1):%Y-%m-%d}", "9999-99-99", f"{day} nothing", "98765"):
        assert _matches(db, name, text) == [], text


@pytest.mark.parametrize("few", [0, 2, 5000])
def test_words_that_many_have(few: int, database_url: str) -> None:
    """The newest matches are listed, with the same rows and conditions as where few match."""
    with opened(database_url, fsync=False, settings=StoreSettings(few_certificates=few, common_names=few)) as db:
        for index in range(6):
            db.issue(f"tor-{index}", subject=f"CN=tor-{index},O=北京 Ärzte")
        expected = [6, 5] if few == 2 else [6, 5, 4, 3, 2, 1] if few else []
        for q in ("北京", "ärzte tor", "京 är"):
            assert sorted(_matches(db, "certificates", q), reverse=True) == expected, q
        assert _matches(db, "certificates", "tor") == [1, 2, 3, 4, 5, 6]


class _Counting:
    """A pool that counts."""

    def __init__(self) -> None:
        self.calls = 0

    def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.calls += 1
        return ImmediatePool().run(work, *args, **kwargs)


@pytest.fixture
def former(database_url: str) -> tuple[str, list[int]]:
    """A database of the former version with seven certificates, and their ids."""
    with opened(database_url, fsync=False) as db:
        ids = [db.complete(db.begin(f"Ä{index}")[0], SANS).id for index in range(7)]
    execute(database_url, *AS_0009)
    return database_url, ids


def _indexing(db: Opened, pool: IWorkerPool | None = None) -> SearchIndexing:
    return SearchIndexing(db.store, pool or ImmediatePool(), batch=2)


def test_backfill(former: tuple[str, list[int]]) -> None:
    """Certificates of the former version are found after the backfill, the newest first; new ones at once."""
    url, ids = former
    with opened(url, fsync=False) as db:
        page = db.get(db.store.certificates(ListQuery(q="bücher"), NOW))
        assert (page.items, page.unindexed) == ((), 7)
        assert db.get(db.store.certificates(ListQuery(), NOW)).items[0].sans[0] == "DNS:xn--bcher-kva.example"
        new = db.complete(db.begin("Ä new")[0], SANS)
        indexing = _indexing(db)
        db.get(indexing.step())
        page = db.get(db.store.certificates(ListQuery(q="bücher"), NOW))
        assert [one.id for one in page.items] == [new.id, ids[6], ids[5]]
        assert page.unindexed == 5
        assert db.get(db.store.certificates(ListQuery(), NOW)).unindexed == 0
        while not indexing.is_complete:
            db.get(indexing.step())
        page = db.get(db.store.certificates(ListQuery(q="bücher", limit=100), NOW))
        assert (len(page.items), page.unindexed) == (8, 0)
        digest = hashlib.sha256(SANS).hexdigest()
        assert len(db.get(db.store.certificates(ListQuery(q=digest), NOW)).items) == 8
        assert [one.id for one in db.get(db.store.certificates(ListQuery(q="ä3"), NOW)).items] == [ids[3]]
    # A start after the end has nothing to do.
    with opened(url, fsync=False) as db:
        pool = _Counting()
        indexing = _indexing(db, pool)
        db.get(indexing.step())
        assert indexing.is_complete
        assert pool.calls == 0


def test_backfill_by_two_processes(former: tuple[str, list[int]]) -> None:
    """Two processes share it: nothing is written twice, and one that stops in between loses nothing."""
    url, _ = former
    with opened(url, fsync=False) as db, closing(open_store(url, fsync=False)) as other:
        rows = db.get(db.store.unindexed(10**9, 2))
        backlog = db.get(db.store.search_backlog())
        assert backlog is not None
        again = partial(SearchIndexing, batch=2)
        first, second = again(db.store, ImmediatePool()), again(other, ImmediatePool())
        db.get(first.step())
        # A process that has read the same rows before comes too late.
        assert db.get(other.index_certificates(backlog.before, texts_of(rows))) is False
        while not (first.is_complete and second.is_complete):
            db.get(second.step())
            db.get(first.step())
        assert len(db.get(db.store.certificates(ListQuery(q="bücher"), NOW)).items) == 7
