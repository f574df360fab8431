"""Notices (OPS-5): once each, to whom they concern, and delivered whatever happens meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

import pytest

from pikachu.core.errors import Conflict, MalformedRequest, NotAuthorized, NoticeNotDelivered
from pikachu.core.model.batches import NewBatch
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.notices import (
    MAX_ENTRIES,
    Channel,
    MessageState,
    NoticeKind,
    NoticeMessage,
    NoticeOrder,
)
from pikachu.core.model.people import SYSTEM, Principal, PrincipalKind, Role, Scope
from pikachu.core.model.times import utc
from pikachu.core.notice_interfaces import Mail
from pikachu.operations.notice_delivery import Channels, NoticeDelivery
from pikachu.operations.notice_rules import parse_days, shown_recipient
from tests.support.broker import FakeBroker
from tests.support.databases import execute
from tests.support.deferreds import result_of
from tests.support.stack import Stack, build_core

DAY = 86400
TOLD = Event("create", "batch", "thing", "somebody")
KEY = "0123456789abcdef0123456789abcdef"
RULE = NoticeOrder("devices", NoticeKind.CERTIFICATES, days=(7, 1), addresses=("ops@example.com",))


class Outlet:
    """A mail server and a receiver of webhooks in memory."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.posts: list[tuple[str, bytes, str]] = []
        self.error: NoticeNotDelivered | None = None

    def mail(self, mail: Mail) -> Deferred[str]:
        """Take a mail."""
        if self.error is not None:
            return fail(self.error)
        self.mails.append(mail)
        return succeed("250 taken")

    def post(self, url: str, body: bytes, uid: str) -> Deferred[str]:
        """Take a call."""
        if self.error is not None:
            return fail(self.error)
        self.posts.append((url, body, uid))
        return succeed("HTTP status 200")


class Sender:
    """A channel that calls a function."""

    def __init__(self, send: Callable[..., Deferred[str]]) -> None:
        self.send = send


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    key = tmp_path / "webhook.key"
    key.write_text(KEY)
    key.chmod(0o600)
    made = build_core(
        tmp_path / "core",
        changes={
            ("SMTP", "enabled"): "true",
            ("SMTP", "host"): "mail.example.com",
            ("SMTP", "sender"): "pikachu@example.com",
            ("NOTICES", "webhook_key_file"): str(key),
        },
    )
    yield made
    made.close()


@pytest.fixture
def outlet() -> Outlet:
    return Outlet()


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker(is_connected=True, problem="")


@pytest.fixture
def delivery(stack: Stack, outlet: Outlet, broker: FakeBroker) -> NoticeDelivery:
    mailer: Any = Sender(outlet.mail)
    webhook: Any = Sender(outlet.post)
    channels = Channels(mailer, webhook, broker, "pikachu/v1/notices", "https://ca.example.com", timedelta(days=3))
    return NoticeDelivery(store=stack.app.store, channels=channels, clock=stack.clock)


def apply(stack: Stack) -> int:
    return result_of(stack.app.notices.runs.apply())


def create(stack: Stack, order: NoticeOrder = RULE) -> int:
    return result_of(stack.app.notices.rules.create(SYSTEM, order)).id


def messages(stack: Stack) -> list[NoticeMessage]:
    return list(result_of(stack.app.notices.rules.messages(SYSTEM, ListQuery(sort="id", limit=1000))).items)


def names(stack: Stack) -> list[str]:
    return [str(one["name"]) for message in messages(stack) for one in message.entries]


def test_once_at_each_step(stack: Stack, outlet: Outlet, delivery: NoticeDelivery) -> None:
    """A notice at each step, once, whatever the clock does, in one message a run; after a restart too."""
    create(stack)
    stack.issue("pump-1", days=30)
    assert apply(stack) == 0
    stack.clock.advance(24 * DAY)
    assert (apply(stack), apply(stack)) == (1, 0)
    stack.clock.advance(5.5 * DAY)
    assert (apply(stack), apply(stack)) == (1, 0)
    # Set back by ten days: the step at seven days was done, and the one at one day too.
    stack.clock.advance(-10 * DAY)
    assert apply(stack) == 0
    stack.clock.advance(8 * DAY)
    assert apply(stack) == 0
    assert [message.count for message in messages(stack)] == [1, 1]
    stack.clock.advance(2 * DAY)
    assert result_of(delivery.deliver()) == 2
    assert result_of(delivery.deliver()) == 0
    assert [mail.recipient for mail in outlet.mails] == ["ops@example.com"] * 2
    assert "- pump-1: expires" in outlet.mails[0].text
    assert "https://ca.example.com/expiry" in outlet.mails[0].text
    assert len({mail.uid for mail in outlet.mails}) == 2


def test_skips_steps_that_are_over(stack: Stack) -> None:
    """A server that was down sends the notice of the nearest step only."""
    create(stack)
    stack.issue("pump-1", days=30)
    stack.clock.advance(29.5 * DAY)
    assert (apply(stack), apply(stack)) == (1, 0)


def renew(stack: Stack, leaf: Any) -> None:
    stack.issue("pump-1", days=90)


def hold(stack: Stack, leaf: Any) -> None:
    stack.revoke(leaf, RevocationReason.CERTIFICATE_HOLD)


def retire(stack: Stack, leaf: Any) -> None:
    execute(str(stack.app.store.database.url), "UPDATE devices SET retired_at = 1")


#: What happens to a certificate before its notice → the number of notices.
MEANWHILE: dict[str, tuple[Callable[[Stack, Any], object], int]] = {
    "nothing": (lambda stack, leaf: None, 1),
    "renewed": (renew, 0),
    "revoked": (lambda stack, leaf: stack.revoke(leaf), 0),
    "on hold": (hold, 0),
    "deleted": (lambda stack, leaf: stack.delete(leaf), 0),
    "device retired": (retire, 0),
    "expired": (lambda stack, leaf: stack.clock.advance(10 * DAY), 0),
}


@pytest.mark.parametrize("case", MEANWHILE)
def test_meanwhile(stack: Stack, case: str) -> None:
    """Certificates that have expired or were renewed need no notice."""
    act, expected = MEANWHILE[case]
    create(stack)
    leaf = stack.issue("pump-1", days=30)
    stack.clock.advance(24 * DAY)
    act(stack, leaf)
    assert apply(stack) == expected


def test_released_from_hold(stack: Stack) -> None:
    """A certificate on hold has its notice when it is valid again."""
    create(stack)
    leaf = stack.issue("pump-1", days=30)
    hold(stack, leaf)
    stack.clock.advance(24 * DAY)
    assert apply(stack) == 0
    stack.release(leaf)
    assert apply(stack) == 1


def test_short_lived(stack: Stack) -> None:
    """A certificate that was issued for no longer than a step has no notice of that step."""
    create(stack)
    stack.issue("pump-1", days=5)
    assert apply(stack) == 0
    stack.clock.advance(4.5 * DAY)
    assert apply(stack) == 1


FILTERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "device": ({"device": "PUMP-1"}, ["pump-1"]),
    "devices": ({"device": "pump-*"}, ["pump-1", "pump-2"]),
    "no policy": ({"policy": "other"}, []),
    "no owner": ({"owner": "nobody-has-this"}, []),
}


@pytest.mark.parametrize("case", FILTERS)
def test_filters(stack: Stack, case: str) -> None:
    """A rule is about the certificates of a policy, device and owner."""
    chosen, expected = FILTERS[case]
    create(stack, replace(RULE, **chosen))
    for name in ("pump-1", "pump-2", "valve"):
        stack.issue(name, days=30)
    stack.clock.advance(24 * DAY)
    apply(stack)
    assert sorted(names(stack)) == expected


def test_owner(stack: Stack) -> None:
    """The owner gets mail; without an active one, the administrators do."""
    url = str(stack.app.store.database.url)
    create(stack, replace(RULE, addresses=(), to_owner=True))
    for number, name in enumerate(("pump-1", "pump-2"), 7):
        stack.issue(name, days=30, owner_id=number)
    stack.issue("pump-3", days=30)
    execute(
        url,
        "UPDATE accounts SET email = 'owner-' || id || '@example.com'",
        "UPDATE accounts SET state = 'deleted' WHERE id = 8",
        "INSERT INTO accounts (id, username, name_key, email, role, source, state, created_at) VALUES "
        "(99, 'root', 'root', 'root@example.com', 'admin', 'local', 'active', 1)",
    )
    stack.clock.advance(24 * DAY)
    assert apply(stack) == 3
    assert {one.recipient: [entry["name"] for entry in one.entries] for one in messages(stack)} == {
        "owner-7@example.com": ["pump-1"],
        "root@example.com": ["pump-2", "pump-3"],
    }


def test_many_at_once(stack: Stack, outlet: Outlet, delivery: NoticeDelivery) -> None:
    """Thousands are one mail, which names some and counts the others."""
    create(stack)
    stack.issue("pump-0", days=30)
    url = str(stack.app.store.database.url)
    columns = (
        "issuer_id, subject, common_name, name_key, key_type, key_id, not_before, not_after, method, owner_id, policy, "
        "created_at, sans, search_text, der"
    )
    execute(
        url,
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO certificates "
        f"(serial, {columns}) SELECT 'f' || i, {columns} FROM certificates, n WHERE common_name = 'pump-0'",
    )
    stack.clock.advance(24 * DAY)
    assert (apply(stack), apply(stack)) == (3001, 0)
    (message,) = messages(stack)
    assert (message.count, len(message.entries)) == (3001, MAX_ENTRIES)
    assert result_of(delivery.deliver()) == 1
    assert outlet.mails[0].subject == "Pikachu CA: 3,001 notices"
    assert "and 2,901 more." in outlet.mails[0].text


def test_own_certificates(stack: Stack) -> None:
    """The root, the issuing CAs and HTTPS certificates have notices too."""
    create(stack, NoticeOrder("own", NoticeKind.AUTHORITY, days=(30,), addresses=("ops@example.com",)))
    assert apply(stack) == 0
    ends = [date.at.timestamp() for date in result_of(Deferred.fromCoroutine(stack.app.server_dates.dates()))]
    stack.clock.advance(max(ends) - stack.clock.seconds() - DAY)
    assert apply(stack) > 0
    assert apply(stack) == 0
    assert {"Root CA", "CA “ec”", "HTTPS certificate"} >= set(names(stack)) != set()


def test_batches(stack: Stack) -> None:
    """A batch with names that are not enrolled has a reminder at each step, an ended or complete one none."""
    store, now = stack.app.store, utc(stack.clock.seconds())
    create(stack, NoticeOrder("rest", NoticeKind.BATCHES, days=(7, 1), addresses=("ops@example.com",)))
    batch_ids = [
        result_of(store.add_batch(NewBatch(label, "System", None, now + timedelta(days=30), 3, "a"), TOLD, now)).id
        for label in ("pumps", "valves", "gates")
    ]
    result_of(store.end_batch(batch_ids[1], lambda _: TOLD, now))
    execute(str(store.database.url), f"UPDATE batches SET enrolled = 3 WHERE id = {batch_ids[2]}")
    assert apply(stack) == 0
    counts = []
    for days in (24, 1, 4.5, 1):
        stack.clock.advance(days * DAY)
        counts.append((apply(stack), apply(stack)))
    assert counts == [(1, 0), (0, 0), (1, 0), (0, 0)]
    (entry,) = messages(stack)[0].entries
    assert (entry["name"], entry["not_enrolled"]) == ("pumps", "3 of 3")


def test_overdue_devices(stack: Stack) -> None:
    """A device that has not renewed in time has one notice; after a renewal, it can have another one."""
    create(stack, NoticeOrder("late", NoticeKind.DEVICES, device="pump-*", addresses=("ops@example.com",)))
    for name in ("pump-1", "valve"):
        stack.issue(name, days=30)
        stack.issue(name, days=30)
    url = str(stack.app.store.database.url)
    assert apply(stack) == 0
    execute(url, f"UPDATE devices SET overdue_at = {int(stack.clock.seconds()) - 1}")
    assert (apply(stack), apply(stack)) == (1, 0)
    assert names(stack) == ["pump-1"]
    stack.clock.advance(DAY)
    execute(url, f"UPDATE devices SET overdue_at = {int(stack.clock.seconds()) - 1}")
    assert apply(stack) == 1
    execute(url, "UPDATE devices SET retired_at = 1, overdue_at = overdue_at - 1")
    assert apply(stack) == 0


def test_backups(stack: Stack) -> None:
    """An overdue backup and the first failure have one notice each, which a backup ends."""
    store = stack.app.store
    create(stack, NoticeOrder("backups", NoticeKind.BACKUPS, days=(2, 7), addresses=("ops@example.com",)))
    assert apply(stack) == 0
    counts = []
    for days in (2, 1, 4, 1):
        stack.clock.advance(days * DAY)
        counts.append((apply(stack), apply(stack)))
    assert counts == [(1, 0), (0, 0), (1, 0), (0, 0)]
    result_of(store.record_backup(TOLD, utc(stack.clock.seconds())))
    assert apply(stack) == 0
    for _ in range(3):
        stack.clock.advance(3600)
        result_of(store.record_failed_backup(TOLD, utc(stack.clock.seconds())))
    assert (apply(stack), apply(stack)) == (1, 0)
    result_of(store.record_backup(TOLD, utc(stack.clock.seconds())))
    assert apply(stack) == 0
    assert names(stack) == ["No backup for 2 days", "No backup for 7 days", "Backups fail"]
    with pytest.raises(MalformedRequest):
        create(stack, NoticeOrder("none", NoticeKind.BACKUPS, addresses=("ops@example.com",)))


def test_an_old_crl(stack: Stack) -> None:
    """A CRL that was not replaced in time has a notice before it expires, and only one."""
    create(stack, NoticeOrder("crls", NoticeKind.CRLS, addresses=("ops@example.com",)))
    crl = result_of(stack.app.publisher.make(stack.issuer()))
    stack.app.publisher.stop()
    stack.clock.advance((crl.next_update - crl.this_update).total_seconds() * 0.78)
    assert apply(stack) == 0
    stack.clock.advance((crl.next_update - crl.this_update).total_seconds() * 0.04)
    assert utc(stack.clock.seconds()) < crl.next_update
    assert (apply(stack), apply(stack)) == (1, 0)
    assert names(stack) == ["Next CRL of “ec”"]


def test_mqtt(stack: Stack, broker: FakeBroker, delivery: NoticeDelivery) -> None:
    """The broker gets the document of webhooks; while it is away, the message waits."""
    order = replace(RULE, addresses=(), mqtt=True)
    result_of(stack.app.store.put_notice_rule(None, order, "root", TOLD, utc(stack.clock.seconds())))
    stack.issue("pump-1", days=30)
    stack.clock.advance(24 * DAY)
    assert apply(stack) == 1
    broker.is_connected = False
    assert result_of(delivery.deliver()) == 0
    assert [one.state for one in messages(stack)] == [MessageState.WAITING]
    broker.is_connected = True
    stack.clock.advance(121)
    assert result_of(delivery.deliver()) == 1
    ((topic, payload),) = broker.messages
    document = json.loads(payload)
    assert (topic, document["count"], document["notices"][0]["name"]) == ("pikachu/v1/notices", 1, "pump-1")
    assert broker.retained == {}
    assert delivery.outcomes["mqtt", "retried"] == delivery.outcomes["mqtt", "sent"] == 1


def test_outage(stack: Stack, outlet: Outlet, delivery: NoticeDelivery) -> None:
    """A message is tried again with growing pauses, under one id, and given up with an event."""
    create(stack, replace(RULE, webhook="https://hooks.example.com/secret-token"))
    stack.issue("pump-1", days=30)
    stack.clock.advance(24 * DAY)
    apply(stack)
    outlet.error = NoticeNotDelivered("down")
    assert result_of(delivery.deliver()) == 0
    assert result_of(delivery.deliver()) == 0
    assert [(one.state, one.attempts, one.answer) for one in messages(stack)] == [(MessageState.WAITING, 1, "down")] * 2
    stack.clock.advance(121)
    outlet.error = None
    assert result_of(delivery.deliver()) == 2
    ((url, body, uid),) = outlet.posts
    document = json.loads(body)
    assert (url, document["id"]) == ("https://hooks.example.com/secret-token", uid)
    assert document["notices"][0]["name"] == "pump-1"
    assert {shown_recipient(one) for one in messages(stack)} == {"ops@example.com", "https://hooks.example.com/…"}
    stack.clock.advance(5.5 * DAY)
    apply(stack)
    outlet.error = NoticeNotDelivered("down")
    for _ in range(10):
        result_of(delivery.deliver())
        stack.clock.advance(DAY)
    assert [one.state for one in messages(stack)][2:] == [MessageState.FAILED] * 2
    assert delivery.outcomes["mail", "failed"] == 1
    events = result_of(stack.app.store.events(ListQuery(filters={"resource_type": "notice"}))).items
    assert len(events) == 2
    assert "secret-token" not in repr(events)


def test_refused_mailbox(stack: Stack, outlet: Outlet, delivery: NoticeDelivery) -> None:
    """A message that can't be delivered is not tried again."""
    create(stack)
    stack.issue("pump-1", days=30)
    stack.clock.advance(24 * DAY)
    apply(stack)
    outlet.error = NoticeNotDelivered("550 no such mailbox", is_final=True)
    result_of(delivery.deliver())
    assert [one.state for one in messages(stack)] == [MessageState.FAILED]


def test_clock_set_back(stack: Stack, outlet: Outlet, delivery: NoticeDelivery) -> None:
    """A message that was put off before the clock was set back does not wait for the former time."""
    create(stack)
    stack.issue("pump-1", days=30)
    stack.clock.advance(24 * DAY)
    apply(stack)
    outlet.error = NoticeNotDelivered("down")
    result_of(delivery.deliver())
    stack.clock.advance(-5 * DAY)
    outlet.error = None
    assert result_of(delivery.deliver()) == 1


WRONG: dict[str, NoticeOrder] = {
    "no recipient": replace(RULE, addresses=()),
    "no days": replace(RULE, days=()),
    "too many days": replace(RULE, days=(366,)),
    "header injection": replace(RULE, addresses=("a@example.com\r\nBcc: b@example.com",)),
    "no address": replace(RULE, addresses=("nobody",)),
    "name": replace(RULE, name="a\nb"),
    "no URL": replace(RULE, webhook="ftp://example.com/"),
    "credentials": replace(RULE, webhook="https://user:secret@example.com/"),
    "split request": replace(RULE, webhook="https://example.com/\r\nX: y"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_rules(stack: Stack, case: str) -> None:
    """A rule that could not work is refused."""
    with pytest.raises(MalformedRequest):
        create(stack, WRONG[case])


def test_unconfigured_channel(stack: Stack) -> None:
    """A rule by a channel that is not configured is refused, and names the setting."""
    with pytest.raises(Conflict, match=r"\[MQTT\]"):
        create(stack, replace(RULE, mqtt=True))
    with pytest.raises(Conflict, match=r"\[MQTT\]"):
        result_of(stack.app.notices.rules.test(SYSTEM, Channel.MQTT, ""))


def test_life_of_a_rule(stack: Stack) -> None:
    """Names are unique; a disabled rule finds nothing; an edit of what has changed is refused."""
    rules = stack.app.notices.rules
    rule_id = create(stack)
    with pytest.raises(Conflict):
        create(stack)
    changed = result_of(rules.change(SYSTEM, rule_id, replace(RULE, enabled=False), frozenset({1})))
    assert (changed.version, changed.order.enabled) == (2, False)
    with pytest.raises(Conflict):
        result_of(rules.change(SYSTEM, rule_id, RULE, frozenset({1})))
    stack.issue("pump-1", days=30)
    stack.clock.advance(24 * DAY)
    assert apply(stack) == 0
    result_of(rules.delete(SYSTEM, rule_id))
    assert result_of(rules.rules(SYSTEM, ListQuery())).items == ()


def test_roles(stack: Stack) -> None:
    """Administrators change, auditors read, others do neither."""
    rules = stack.app.notices.rules
    user = Principal(PrincipalKind.ACCOUNT, "alice", 1, Role.USER, frozenset({Scope.READ}))
    auditor = replace(user, role=Role.AUDITOR, scopes=frozenset({Scope.READ, Scope.AUDIT}))
    result_of(rules.rules(auditor, ListQuery()))
    result_of(rules.messages(auditor, ListQuery()))
    for actor in (user, auditor):
        with pytest.raises(NotAuthorized):
            result_of(rules.create(actor, RULE))
        with pytest.raises(NotAuthorized):
            result_of(rules.test(actor, Channel.MAIL, "ops@example.com"))
    with pytest.raises(NotAuthorized):
        result_of(rules.messages(user, ListQuery()))


@pytest.mark.parametrize(("text", "expected"), [("30, 7,1", (30, 7, 1)), ("1,30,30", (30, 1)), ("", ())])
def test_days(text: str, expected: tuple[int, ...]) -> None:
    """Days are sorted, once each."""
    assert parse_days(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "366", "a", "٣", ",".join(map(str, range(1, 12)))])
def test_wrong_days(text: str) -> None:
    """Days are whole numbers in ASCII digits."""
    with pytest.raises(MalformedRequest):
        parse_days(text)
