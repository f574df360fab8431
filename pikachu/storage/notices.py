"""Marks of what rules have noticed, and the outbox of messages (OPS-5; docs/adr/0050).

What was noticed and the message of it are written in one transaction, so each notice is in one message exactly.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    delete,
    exists,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from pikachu.core.errors import NotFound
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.notices import (
    MAX_ENTRIES,
    Channel,
    MessageState,
    Notable,
    NoticeMessage,
    NoticeRule,
)
from pikachu.core.notice_interfaces import Progress, Window
from pikachu.storage.audit import write_event
from pikachu.storage.batch_schema import batches
from pikachu.storage.database import Row, Transaction
from pikachu.storage.device_schema import devices
from pikachu.storage.notice_schema import notice_messages, noticed
from pikachu.storage.pagination import ListSource, begins_with, checked, matching, one_of, page
from pikachu.storage.schema import accounts, certificates, leases
from pikachu.storage.transactions import (
    StoreSection,
    insert_into,
    maybe_moment,
    moment,
    point_read,
    read_transaction,
    row_id,
    storable,
    write_transaction,
)
from pikachu.x509.device_names import device_key

_c: Final = certificates.c
_d: Final = devices.c
_b: Final = batches.c
_a: Final = accounts.c
_n: Final = noticed.c
_m: Final = notice_messages.c
#: Objects per transaction, so that issuance waits for one no longer than for a signature.
CHUNK: Final = 200
_FORGOTTEN: Final = 500
#: Seconds until a message that was not sent is tried again: doubled each time.
FIRST_PAUSE: Final = 120
LONGEST_PAUSE: Final = 3600
_LOCK: Final = "notices"
_NAME: Final = 200

_lock: Final = update(leases).where(leases.c.name == bindparam("b_name")).values(terms=leases.c.terms + 1)
_add_lock: Final = insert_into(leases, "name", "holder", "until", "terms", returning_id=False)
_marked: Final = select(_n.step).where(
    _n.rule_id == bindparam("b_rule"),
    _n.object_id == bindparam("b_object"),
    _n.ends_at == bindparam("b_end"),
    _n.step <= bindparam("b_step"),
)
_mark: Final = insert_into(noticed, "rule_id", "object_id", "ends_at", "step", "at", returning_id=False)
_active: Final = _a.state == literal_column("'active'")
_admins: Final = (
    select(_a.email)
    .where(_a.role == literal_column("'admin'"), _active, _a.email != literal_column("''"))
    .order_by(_a.id)
)
_email: Final = select(_a.email).where(_a.id == bindparam("b_id"), _active)
_account: Final = select(_a.id).where(_a.name_key == bindparam("b_name"))

_MESSAGE_COLUMNS: Final = list(notice_messages.columns)
_message: Final = select(*_MESSAGE_COLUMNS).where(_m.id == bindparam("b_id"))
_open: Final = select(_m.id, _m.count, _m.entries).where(
    _m.channel == bindparam("b_channel"),
    _m.recipient == bindparam("b_recipient"),
    _m.state == literal_column("'collecting'"),
)
_add_message: Final = insert_into(notice_messages, *(column.name for column in _MESSAGE_COLUMNS[1:]))
_extend: Final = (
    update(notice_messages)
    .where(_m.id == bindparam("b_id"))
    .values(count=bindparam("v_count"), entries=bindparam("v_entries"))
)
_some_open: Final = (
    select(_m.id).where(_m.state == literal_column("'collecting'")).limit(literal_column(str(_FORGOTTEN)))
)
_close: Final = (
    update(notice_messages)
    .where(_m.id == bindparam("b_id"))
    .values(state=MessageState.WAITING.value, due_at=bindparam("v_due"))
)
# One whose time is far away was put off before the clock was set back.
_due: Final = (
    select(*_MESSAGE_COLUMNS)
    .where(
        _m.state == literal_column("'waiting'"),
        or_(_m.due_at <= bindparam("b_now"), _m.due_at > bindparam("b_never")),
    )
    .order_by(_m.due_at, _m.id)
    .limit(bindparam("b_limit"))
)
_claim: Final = (
    update(notice_messages)
    .where(_m.id == bindparam("b_id"))
    .values(attempts=_m.attempts + 1, due_at=bindparam("v_due"))
)
_finish: Final = (
    update(notice_messages)
    .where(_m.id == bindparam("b_id"), _m.state == literal_column("'waiting'"))
    .values(state=bindparam("v_state"), answer=bindparam("v_answer"), done_at=bindparam("v_done"))
)
_some_done: Final = (
    select(_m.id)
    .where(_m.done_at > literal_column("0"), _m.done_at < bindparam("b_before"))
    .limit(literal_column(str(_FORGOTTEN)))
)
_delete_message: Final = delete(notice_messages).where(_m.id == bindparam("b_id"))
_some_marks: Final = (
    select(_n.rule_id, _n.object_id, _n.ends_at, _n.step)
    .where(_n.at < bindparam("b_before"))
    .limit(literal_column(str(_FORGOTTEN)))
)
_delete_mark: Final = delete(noticed).where(
    _n.rule_id == bindparam("b_rule"),
    _n.object_id == bindparam("b_object"),
    _n.ends_at == bindparam("b_end"),
    _n.step == bindparam("b_step"),
)


def pause(attempts: int) -> int:
    """Return the seconds until the next attempt after *attempts*."""
    return int(min(FIRST_PAUSE * 2 ** min(attempts, 16), LONGEST_PAUSE))


def _read_message(row: Row) -> NoticeMessage:
    identity, uid, channel, recipient, state, count, entries, created_at, attempts, _, done_at, answer = row
    return NoticeMessage(
        identity,
        uid,
        Channel(channel),
        recipient,
        MessageState(state),
        count,
        tuple(json.loads(entries)),
        moment(created_at),
        attempts,
        maybe_moment(done_at or None),
        answer,
    )


class _Recipients:
    """The recipients of a rule's notices, read once a transaction."""

    def __init__(self, tx: Transaction, rule: NoticeRule) -> None:
        self._tx = tx
        self._order = rule.order
        self._admins: list[str] | None = None

    def of(self, found: Notable) -> list[tuple[Channel, str]]:
        """Return the recipients of a notice, each once, in the order in which their messages are sent.

        What belongs to nobody with an active account goes to the administrators instead.
        """
        order = self._order
        mails = [*order.addresses]
        owner = self._owner(found.owner_id) if order.to_owner else ""
        if owner:
            mails.append(owner)
        if order.to_admins or (order.to_owner and not owner):
            mails += self._of_admins()
        recipients = [(Channel.MAIL, mail) for mail in dict.fromkeys(mails)]
        if order.webhook:
            recipients.append((Channel.WEBHOOK, order.webhook))
        if order.mqtt:
            recipients.append((Channel.MQTT, ""))
        return recipients

    def _owner(self, owner_id: int | None) -> str:
        row = None if owner_id is None else self._tx.row(_email, {"b_id": owner_id})
        return "" if row is None else str(row[0])

    def _of_admins(self) -> list[str]:
        if self._admins is None:
            self._admins = [row[0] for row in self._tx.rows(_admins)]
        return self._admins


def _record(tx: Transaction, rule: NoticeRule, found: Iterable[Notable], now: datetime) -> int:
    """Record notices of what has none of this step or a later one, and add them to messages; return their number."""
    # Another process that applies the rules waits here.
    if not tx.write(_lock, {"b_name": _LOCK}):
        tx.write(_add_lock, {"name": _LOCK, "holder": "", "until": 0, "terms": 1})
    recipients = _Recipients(tx, rule)
    digests: dict[tuple[Channel, str], list[Notable]] = {}
    count = 0
    for one in found:
        end = int(one.at.timestamp())
        key = {"b_rule": rule.id, "b_object": one.object_id, "b_end": end, "b_step": one.step}
        if tx.row(_marked, key) is not None:
            continue
        count += 1
        values = {"rule_id": rule.id, "object_id": one.object_id, "ends_at": end, "step": one.step}
        tx.write(_mark, {**values, "at": int(now.timestamp())})
        for recipient in recipients.of(one):
            digests.setdefault(recipient, []).append(one)
    for recipient, notices in digests.items():
        _collect(tx, rule, recipient, notices, now)
    return count


def _collect(
    tx: Transaction, rule: NoticeRule, to: tuple[Channel, str], notices: Sequence[Notable], now: datetime
) -> None:
    channel, recipient = to
    row = tx.row(_open, {"b_channel": channel.value, "b_recipient": recipient})
    count, entries = (0, []) if row is None else (row[1], json.loads(row[2]))
    entries += [_entry(rule, one) for one in notices[: max(0, MAX_ENTRIES - len(entries))]]
    text = json.dumps(entries)
    if row is not None:
        tx.write(_extend, {"b_id": row[0], "v_count": count + len(notices), "v_entries": text})
        return
    values = {
        "uid": str(uuid.uuid4()),
        "channel": channel.value,
        "recipient": recipient,
        "state": MessageState.COLLECTING.value,
        "count": len(notices),
        "entries": text,
        "created_at": int(now.timestamp()),
    }
    tx.insert(_add_message, {**values, "attempts": 0, "due_at": 0, "done_at": 0, "answer": ""})


def _entry(rule: NoticeRule, one: Notable) -> dict[str, object]:
    """Return a notice as JSON."""
    facts = {name: value[:_NAME] for name, value in one.facts.items() if value}
    return {
        "kind": rule.order.kind.value,
        "rule": rule.order.name,
        "name": one.name[:_NAME],
        "at": int(one.at.timestamp()),
        **facts,
    }


def _owner_condition(tx: Transaction, rule: NoticeRule, owner: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    """Return the condition of a rule for the objects of one account; of none where that does not exist."""
    if not rule.order.owner:
        return []
    row = tx.row(_account, {"b_name": rule.order.owner.casefold()})
    return [owner == (0 if row is None else row[0])]


def _device_condition(rule: NoticeRule) -> list[ColumnElement[bool]]:
    text = rule.order.device
    if not text:
        return []
    key = device_key(text.rstrip("*"))
    return [begins_with(_d.name_key, key) if text.endswith("*") else _d.name_key == key]


def _not_noticed(
    rule: NoticeRule, identity: ColumnElement[Any], end: ColumnElement[Any], step: int
) -> ColumnElement[bool]:
    return ~exists().where(_n.rule_id == rule.id, _n.object_id == identity, _n.ends_at == end, _n.step <= step)


def _progress(
    tx: Transaction, rule: NoticeRule, rows: Sequence[Row], build: Callable[[Row], Notable], now: datetime
) -> Progress:
    """Record notices of *rows*, which begin with id and end."""
    count = _record(tx, rule, map(build, rows), now) if rows else 0
    return Progress(count, (rows[-1][1], rows[-1][0]) if len(rows) == CHUNK else None)


class NoticeStore(StoreSection):
    """See :class:`pikachu.core.notice_interfaces.INoticeStore`."""

    @write_transaction
    def notice_certificates(
        self, tx: Transaction, rule: NoticeRule, window: Window, after: tuple[int, int], now: datetime
    ) -> Progress:
        """Record notices of some certificates that end in *window*, of those after *after*.

        Left out are revoked, suspended and deleted ones, those of retired devices, those that the device has a later
        one of, and those that were issued for no longer than the step.
        """
        newer = certificates.alias()
        successor = exists().where(
            newer.c.device_id == _c.device_id,
            newer.c.id != _c.id,
            newer.c.not_after > _c.not_after,
            newer.c.revoked_at.is_(None),
            newer.c.deleted_at.is_(None),
        )
        end = _c.not_after
        conditions = [
            end > int(window.after.timestamp()),
            end <= int(window.until.timestamp()),
            tuple_(end, _c.id) > after,
            _c.revoked_at.is_(None),
            _c.deleted_at.is_(None),
            _c.infrastructure.is_(None),
            _c.not_before < end - window.step * 86400,
            or_(_d.id.is_(None), and_(_d.retired_at.is_(None), ~successor)),
            _not_noticed(rule, _c.id, end, window.step),
            *_owner_condition(tx, rule, _c.owner_id),
            *_device_condition(rule),
            *([_c.policy == rule.order.policy] if rule.order.policy else ()),
        ]
        rows = tx.query(
            select(_c.id, end, _c.common_name, _c.subject, _c.owner_id, _c.serial, _c.policy, _d.name)
            .select_from(certificates.outerjoin(devices, _d.id == _c.device_id))
            .where(*conditions)
            .order_by(end, _c.id)
            .limit(CHUNK)
        )

        def build(row: Row) -> Notable:
            identity, at, common_name, subject, owner_id, serial, policy, device = row
            name = common_name or subject or device or serial
            return Notable(identity, moment(at), window.step, name, owner_id, {"serial": serial, "policy": policy})

        return _progress(tx, rule, rows, build, now)

    @write_transaction
    def notice_devices(self, tx: Transaction, rule: NoticeRule, after: tuple[int, int], now: datetime) -> Progress:
        """Record notices of some devices that are overdue."""
        conditions = [
            _d.overdue_at > 0,
            _d.overdue_at <= int(now.timestamp()),
            _d.retired_at.is_(None),
            tuple_(_d.overdue_at, _d.id) > after,
            _not_noticed(rule, _d.id, _d.overdue_at, 0),
            *_owner_condition(tx, rule, _d.owner_id),
            *_device_condition(rule),
            *([_d.policy == rule.order.policy] if rule.order.policy else ()),
        ]
        rows = tx.query(
            select(_d.id, _d.overdue_at, _d.name, _d.owner_id, _d.policy)
            .where(*conditions)
            .order_by(_d.overdue_at, _d.id)
            .limit(CHUNK)
        )

        def build(row: Row) -> Notable:
            identity, at, name, owner_id, policy = row
            return Notable(identity, moment(at), 0, name, owner_id or None, {"policy": policy})

        return _progress(tx, rule, rows, build, now)

    @write_transaction
    def notice_batches(
        self, tx: Transaction, rule: NoticeRule, window: Window, after: tuple[int, int], now: datetime
    ) -> Progress:
        """Record notices of some batches that end in *window*, and have names that are not enrolled."""
        end = _b.expires_at
        conditions = [
            end > int(window.after.timestamp()),
            end <= int(window.until.timestamp()),
            tuple_(end, _b.id) > after,
            _b.ended_at.is_(None),
            _b.enrolled < _b.total,
            _b.created_at < end - window.step * 86400,
            _not_noticed(rule, _b.id, end, window.step),
            *_owner_condition(tx, rule, _b.owner_id),
            *([_b.policy == rule.order.policy] if rule.order.policy else ()),
        ]
        rows = tx.query(
            select(_b.id, end, _b.label, _b.owner_id, _b.policy, _b.enrolled, _b.total)
            .where(*conditions)
            .order_by(end, _b.id)
            .limit(CHUNK)
        )

        def build(row: Row) -> Notable:
            identity, at, label, owner_id, policy, enrolled, total = row
            missing = f"{total - enrolled} of {total}"
            return Notable(
                identity, moment(at), window.step, label, owner_id, {"policy": policy, "not_enrolled": missing}
            )

        return _progress(tx, rule, rows, build, now)

    @write_transaction
    def record_notices(self, tx: Transaction, rule: NoticeRule, found: Sequence[Notable], now: datetime) -> int:
        """Record notices of what the rule has not sent one of, and return their number."""
        return _record(tx, rule, found, now)

    @write_transaction
    def close_notices(self, tx: Transaction, now: datetime) -> bool:
        """Let some messages of the run wait for being sent; return whether others still collect."""
        rows = tx.rows(_some_open)
        for row in rows:
            tx.write(_close, {"b_id": row[0], "v_due": int(now.timestamp())})
        return len(rows) == _FORGOTTEN

    @write_transaction
    def claim_messages(self, tx: Transaction, now: datetime, limit: int) -> list[NoticeMessage]:
        """Return messages that are due, and count an attempt; they are due again after a pause that grows."""
        time = int(now.timestamp())
        rows = tx.rows(_due, {"b_now": time, "b_never": time + 2 * LONGEST_PAUSE, "b_limit": limit})
        messages = [_read_message(row) for row in rows]
        for one in messages:
            tx.write(_claim, {"b_id": one.id, "v_due": time + pause(one.attempts)})
        return messages

    @write_transaction
    def finish_message(
        self,
        tx: Transaction,
        message_id: int,
        state: MessageState,
        answer: str,
        event: Event | None,
        now: datetime,
    ) -> None:
        """Record that a message was sent, has failed for good, or (``WAITING``) is tried again."""
        done_at = 0 if state is MessageState.WAITING else int(now.timestamp())
        values = {"v_state": state.value, "v_answer": storable(answer), "v_done": done_at}
        if tx.write(_finish, {"b_id": message_id, **values}) and event is not None:
            write_event(tx, event, now)

    @point_read
    def notice_message(self, tx: Transaction, message_id: int) -> NoticeMessage:
        """Return a message; NotFound."""
        row = tx.row(_message, {"b_id": row_id(message_id)})
        if row is None:
            raise NotFound("There is no such message.")
        return _read_message(row)

    @read_transaction
    def notice_messages(self, tx: Transaction, query: ListQuery) -> Page[NoticeMessage]:
        """List messages; filters ``channel`` and ``state``."""
        query = checked(query, ("channel", "state"))
        filters = {
            _m.channel: one_of(query, "channel", [*Channel]),
            _m.state: one_of(query, "state", [*MessageState]),
        }
        conditions = [column == value for column, value in filters.items() if value is not None]
        conditions += matching(tx, query, (_m.id, _m.recipient, _m.answer), conditions)
        sorts = {
            "id": _m.id,
            "recipient": _m.recipient,
            "channel": _m.channel,
            "state": _m.state,
            "count": _m.count,
            "created_at": _m.created_at,
            "done_at": _m.done_at,
        }
        return page(tx, query, ListSource(_MESSAGE_COLUMNS, sorts, _read_message), conditions)

    @write_transaction
    def forget_notices(self, tx: Transaction, before: datetime) -> bool:
        """Delete some messages that were done, and what was noticed, before that time; return whether it did."""
        done = tx.rows(_some_done, {"b_before": int(before.timestamp())})
        for row in done:
            tx.write(_delete_message, {"b_id": row[0]})
        # A mark outlives the longest time before an end that a rule can have.
        marks = tx.rows(_some_marks, {"b_before": int((before - timedelta(days=400)).timestamp())})
        for row in marks:
            tx.write(_delete_mark, dict(zip(("b_rule", "b_object", "b_end", "b_step"), row, strict=True)))
        return bool(done or marks)
