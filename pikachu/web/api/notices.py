"""``/notice-rules`` and ``/notices``: rules of notices, and what was sent (OPS-5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, TypeAlias

from pikachu.auth.permissions import is_admin
from pikachu.core.constraints import Members, Range
from pikachu.core.errors import BrokerUnavailable, NoticeNotDelivered
from pikachu.core.model.notices import (
    MAX_ADDRESSES,
    MAX_DAYS,
    Channel,
    MessageState,
    NoticeKind,
    NoticeMessage,
    NoticeOrder,
    NoticeRule,
)
from pikachu.core.model.people import Principal, Scope
from pikachu.messaging.webhook import origin
from pikachu.operations.notice_messages import entries_of
from pikachu.operations.notice_rules import MAX_STEPS, Notices, shown_recipient
from pikachu.web.api.bodies import extended
from pikachu.web.api.routes import NO_CONTENT, Answer, Call, Operation, Routes, created, listed, tagged

_Days: TypeAlias = Annotated[tuple[Annotated[int, Range(1, MAX_DAYS)], ...], Members(0, MAX_STEPS)]


@dataclass(frozen=True, slots=True)
class NoticeRuleBody:
    """A rule of notices.

    ``days`` are before the end, or for ``backups`` since the last one; ``policy``, ``device`` and ``owner`` restrict
    the rule, and a final ``*`` of ``device`` stands for the rest of a name.  At least one recipient is required.
    """

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "pumps",
        "kind": "certificates",
        "days": [30, 7, 1],
        "device": "pump-*",
        "addresses": ["ops@example.com"],
    }

    name: str
    kind: NoticeKind
    days: _Days = ()
    policy: str = ""
    device: str = ""
    owner: str = ""
    to_owner: bool = False
    to_admins: bool = False
    addresses: Annotated[tuple[str, ...], Members(0, MAX_ADDRESSES)] = ()
    webhook: str = ""
    mqtt: bool = False
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class NoticeRuleDocument:
    """A rule of notices; only administrators see the path of its webhook, which may contain a token."""

    id: int
    name: str
    kind: NoticeKind
    days: tuple[int, ...]
    policy: str
    device: str
    owner: str
    to_owner: bool
    to_admins: bool
    addresses: tuple[str, ...]
    webhook: str
    mqtt: bool
    enabled: bool
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True, slots=True)
class NoticeTest:
    """A channel and its recipient: a mail address, the URL of a webhook, or nothing for MQTT."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"channel": "mail", "recipient": "ops@example.com"}

    channel: Channel
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class NoticeTestResult:
    """Whether the message was accepted, and the answer of the server or the network."""

    delivered: bool
    answer: str


@dataclass(frozen=True, slots=True)
class NoticeDocument:
    """A message: a digest of ``count`` notices, of which ``notices`` has the first 100.

    ``id`` is of this list; receivers know the message by ``uid``.
    """

    id: int
    uid: str
    channel: Channel
    recipient: str
    state: MessageState
    count: int
    notices: tuple[Mapping[str, object], ...]
    created_at: datetime
    attempts: int
    done_at: datetime | None
    answer: str


class NoticesAPI(Routes):
    """Rules of notices, their messages, and tests of the channels."""

    def __init__(self, *, notices: Notices) -> None:
        self._notices = notices

    @Operation(
        "POST",
        "/notice-rules",
        scope=Scope.ADMIN,
        summary="Create a rule of notices",
        body=NoticeRuleBody,
        answer=NoticeRuleDocument,
        statuses=(201,),
        tagged=True,
    )
    async def create(self, call: Call) -> Answer:
        """Create a rule; 409 if its name is taken, or a channel is not configured."""
        rule = await self._notices.create(call.principal, _order(call))
        return created(f"/notice-rules/{rule.id}", _rule(call.principal, rule), version=rule.version)

    @Operation(
        "GET",
        "/notice-rules",
        scope=Scope.AUDIT,
        summary="Rules of notices",
        answer=NoticeRuleDocument,
        listed=True,
        filters={"kind": "kind"},
        choices={"kind": tuple(NoticeKind)},
        sorts=("id", "name", "kind", "enabled", "updated_at"),
    )
    async def list(self, call: Call) -> Answer:
        """List the rules."""
        page = await self._notices.rules(call.principal, call.list_query())
        return listed(page, lambda rule: _rule(call.principal, rule))

    @Operation(
        "GET",
        "/notice-rules/<id>",
        scope=Scope.AUDIT,
        summary="One rule of notices",
        answer=NoticeRuleDocument,
        tagged=True,
    )
    async def get(self, call: Call) -> Answer:
        """Return a rule."""
        rule = await self._notices.rule(call.principal, call.id)
        return tagged(_rule(call.principal, rule), rule.version)

    @Operation(
        "PUT",
        "/notice-rules/<id>",
        scope=Scope.ADMIN,
        summary="Replace a rule of notices",
        body=NoticeRuleBody,
        answer=NoticeRuleDocument,
        tagged=True,
    )
    async def replace(self, call: Call) -> Answer:
        """Replace a rule; omitted members get their defaults."""
        rule = await self._notices.change(call.principal, call.id, _order(call), call.expected)
        return tagged(_rule(call.principal, rule), rule.version)

    @Operation(
        "DELETE",
        "/notice-rules/<id>",
        scope=Scope.ADMIN,
        summary="Delete a rule of notices; its messages stay",
        statuses=(204,),
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a rule."""
        await self._notices.delete(call.principal, call.id)
        return NO_CONTENT

    @Operation(
        "GET",
        "/notices",
        scope=Scope.AUDIT,
        summary="Messages with notices: sent, waiting and failed ones",
        answer=NoticeDocument,
        listed=True,
        filters={"state": "state", "channel": "channel"},
        choices={"state": tuple(MessageState), "channel": tuple(Channel)},
        sorts=("id", "created_at", "done_at", "channel", "recipient", "state", "count"),
    )
    async def messages(self, call: Call) -> Answer:
        """List the messages."""
        return listed(await self._notices.messages(call.principal, call.list_query()), _message)

    @Operation("GET", "/notices/<id>", scope=Scope.AUDIT, summary="One message with notices", answer=NoticeDocument)
    async def message(self, call: Call) -> Answer:
        """Return a message."""
        return Answer(200, _message(await self._notices.message(call.principal, call.id)))

    @Operation(
        "POST",
        "/notices/test",
        scope=Scope.ADMIN,
        summary="Send one message without notices now",
        body=NoticeTest,
        answer=NoticeTestResult,
    )
    async def test(self, call: Call) -> Answer:
        """Send a test; 409 if the channel is not configured."""
        body = call.take(NoticeTest)
        try:
            answer = await self._notices.test(call.principal, body.channel, body.recipient)
        except (NoticeNotDelivered, BrokerUnavailable) as error:
            return Answer(200, NoticeTestResult(False, error.public))
        return Answer(200, NoticeTestResult(True, answer))


def _order(call: Call) -> NoticeOrder:
    return extended(NoticeOrder, call.take(NoticeRuleBody))


def _rule(reader: Principal, rule: NoticeRule) -> NoticeRuleDocument:
    order = rule.order
    return NoticeRuleDocument(
        id=rule.id,
        name=order.name,
        kind=order.kind,
        days=order.days,
        policy=order.policy,
        device=order.device,
        owner=order.owner,
        to_owner=order.to_owner,
        to_admins=order.to_admins,
        addresses=order.addresses,
        webhook=order.webhook if is_admin(reader) else origin(order.webhook),
        mqtt=order.mqtt,
        enabled=order.enabled,
        updated_at=rule.updated_at,
        updated_by=rule.updated_by,
    )


def _message(message: NoticeMessage) -> NoticeDocument:
    return NoticeDocument(
        id=message.id,
        uid=message.uid,
        channel=message.channel,
        recipient=shown_recipient(message),
        state=message.state,
        count=message.count,
        notices=tuple(entries_of(message)),
        created_at=message.created_at,
        attempts=message.attempts,
        done_at=message.done_at,
        answer=message.answer,
    )
