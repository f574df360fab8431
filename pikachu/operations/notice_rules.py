"""Rules of notices, and their messages, for administrators and auditors (OPS-5)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from pikachu.accounts.account_fields import checked_email, checked_name
from pikachu.auth.permissions import require_scope
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import Conflict, EditConflict, MalformedRequest, errors_of
from pikachu.core.interfaces import IClock
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.notices import (
    DATED,
    MAX_ADDRESSES,
    MAX_DAYS,
    OWNED,
    Channel,
    MessageState,
    NoticeKind,
    NoticeMessage,
    NoticeOrder,
    NoticeRule,
)
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.times import utc
from pikachu.core.notice_interfaces import INoticeStore
from pikachu.core.number_parsing import parse_number
from pikachu.core.optimistic_locking import Versions
from pikachu.messaging.webhook import origin, parse_target
from pikachu.operations.notice_delivery import NoticeDelivery

_KIND: Final = "notice rule"
_MAX_NAME: Final = 64
MAX_STEPS: Final = 10
_MAX_FILTER: Final = 200
_NOT_CONFIGURED: Final[Mapping[Channel, str]] = {
    Channel.MAIL: "No mail server is configured. Set [SMTP] in config.ini, and restart the server.",
    Channel.WEBHOOK: "Webhooks need a key. Set [NOTICES] webhook_key_file in config.ini, and restart the server.",
    Channel.MQTT: "No MQTT broker is configured. Set [MQTT] in config.ini, and restart the server.",
}


def parse_days(text: str) -> tuple[int, ...]:
    """Return numbers of days, such as ``30, 7, 1``, descending.

    :raises MalformedRequest: when it is something else.
    """
    numbers = {parse_number(part.strip(), MAX_DAYS, minimum=1) for part in text.split(",") if part.strip()}
    if None in numbers or len(numbers) > MAX_STEPS:
        raise MalformedRequest(
            f"Enter at most {MAX_STEPS} numbers of days from 1 to {MAX_DAYS}, such as 30, 7, 1.", field="days"
        )
    return tuple(sorted((one for one in numbers if one is not None), reverse=True))


def shown_recipient(message: NoticeMessage) -> str:
    """Return the recipient of a message without the path of a webhook, which may contain a token."""
    return origin(message.recipient) if message.channel is Channel.WEBHOOK else message.recipient or "MQTT broker"


class Notices:
    """Rules and messages; administrators change them, auditors read them.

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized where role or scope are
    insufficient, and with StoreUnavailable.

    :param configured: the channels that messages can be sent by.
    """

    def __init__(
        self, *, store: INoticeStore, delivery: NoticeDelivery, clock: IClock, configured: frozenset[Channel]
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._clock = clock
        self.configured = configured

    @uncancelled
    async def rules(self, actor: Principal, query: ListQuery) -> Page[NoticeRule]:
        """Return a page of the rules."""
        require_scope(actor, Scope.AUDIT)
        return await self._store.notice_rules(query)

    @uncancelled
    async def rule(self, actor: Principal, rule_id: int) -> NoticeRule:
        """Return a rule.  Fails with NotFound."""
        require_scope(actor, Scope.AUDIT)
        return await self._store.notice_rule(rule_id)

    @uncancelled
    async def create(self, actor: Principal, order: NoticeOrder) -> NoticeRule:
        """Create a rule.  Fails with MalformedRequest and Conflict."""
        require_scope(actor, Scope.ADMIN)
        return await self._put(actor, None, order)

    @uncancelled
    async def change(
        self, actor: Principal, rule_id: int, order: NoticeOrder, versions: Versions | None = None
    ) -> NoticeRule:
        """Replace all choices of a rule.

        :param versions: the version that was loaded; ``None`` for any.

        Fails with NotFound, MalformedRequest, Conflict and EditConflict.
        """
        require_scope(actor, Scope.ADMIN)
        former = await self._store.notice_rule(rule_id)
        if versions is not None and former.version not in versions:
            raise EditConflict.of("rule", former.updated_by, former.updated_at)
        return await self._put(actor, former, order)

    @uncancelled
    async def delete(self, actor: Principal, rule_id: int) -> None:
        """Delete a rule; its messages stay.  Fails with NotFound."""
        require_scope(actor, Scope.ADMIN)
        rule = await self._store.notice_rule(rule_id)
        event = event_by(actor, "delete", _KIND, rule.order.name, None)
        await self._store.delete_notice_rule(rule_id, event, self._now())

    @uncancelled
    async def messages(self, actor: Principal, query: ListQuery) -> Page[NoticeMessage]:
        """Return a page of the messages."""
        require_scope(actor, Scope.AUDIT)
        return await self._store.notice_messages(query)

    @uncancelled
    async def message(self, actor: Principal, message_id: int) -> NoticeMessage:
        """Return a message.  Fails with NotFound."""
        require_scope(actor, Scope.AUDIT)
        return await self._store.notice_message(message_id)

    @uncancelled
    async def test(self, actor: Principal, channel: Channel, recipient: str) -> str:
        """Send one message without notices now, and return the server's answer.

        Fails with MalformedRequest, Conflict (not configured) and NoticeNotDelivered.
        """
        require_scope(actor, Scope.ADMIN)
        with errors_of("recipient"):
            recipient = _checked_recipient(channel, recipient)
        self._require(channel)
        now = self._now()
        message = NoticeMessage(0, str(uuid.uuid4()), channel, recipient, MessageState.WAITING, 0, (), now, 1, None, "")
        return await self._delivery.send(message, now)

    async def _put(self, actor: Principal, former: NoticeRule | None, order: NoticeOrder) -> NoticeRule:
        order = self._checked(order)
        details: dict[str, object] = {"kind": order.kind.value, "enabled": order.enabled}
        if order.days:
            details["days"] = list(order.days)
        if order.webhook:
            details["webhook"] = origin(order.webhook)
        if order.addresses:
            details["addresses"] = list(order.addresses)
        event = event_by(actor, "create" if former is None else "update", _KIND, order.name, None, **details)
        rule_id = await self._store.put_notice_rule(former, order, actor.name, event, self._now())
        return await self._store.notice_rule(rule_id)

    def _checked(self, order: NoticeOrder) -> NoticeOrder:
        """Return the rule with only what matters for its kind.

        :raises MalformedRequest: when something is missing or wrong.
        :raises Conflict: when one of its channels is not configured.
        """
        kind = order.kind
        days = parse_days(",".join(map(str, order.days))) if kind in DATED else ()
        if kind in DATED and not days:
            raise MalformedRequest(
                "Enter the days at which notices are sent: before the end, or since the last backup, such as 30, 7, 1.",
                field="days",
            )
        texts = [one for one in order.addresses if one.strip()]
        addresses = tuple(dict.fromkeys(checked_email(one, "addresses") for one in texts))
        if len(addresses) > MAX_ADDRESSES:
            raise MalformedRequest(
                f"Enter at most {MAX_ADDRESSES} addresses. A mailing list has more.", field="addresses"
            )
        owned = kind in OWNED
        filters = [
            one.strip() if is_used else ""
            for one, is_used in (
                (order.policy, owned),
                (order.device, owned and kind is not NoticeKind.BATCHES),
                (order.owner, owned),
            )
        ]
        if any(len(one) > _MAX_FILTER or not one.isprintable() for one in filters):
            raise MalformedRequest(f"Policy, device and owner are at most {_MAX_FILTER} printable characters.")
        with errors_of("webhook"):
            webhook = _checked_recipient(Channel.WEBHOOK, order.webhook) if order.webhook.strip() else ""
        checked = replace(
            order,
            name=checked_name(order.name, "The name of a rule", _MAX_NAME),
            days=days,
            policy=filters[0],
            device=filters[1],
            owner=filters[2],
            to_owner=order.to_owner and owned,
            addresses=addresses,
            webhook=webhook,
        )
        used = ((checked.sends_mail, Channel.MAIL), (checked.webhook, Channel.WEBHOOK), (checked.mqtt, Channel.MQTT))
        channels = [channel for is_used, channel in used if is_used]
        if not channels:
            raise MalformedRequest("Choose at least one recipient.", field="addresses")
        for channel in channels:
            self._require(channel)
        return checked

    def _require(self, channel: Channel) -> None:
        if channel not in self.configured:
            raise Conflict(_NOT_CONFIGURED[channel])

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _checked_recipient(channel: Channel, recipient: str) -> str:
    recipient = recipient.strip()
    if channel is Channel.MAIL:
        return checked_email(recipient, "recipient")
    if channel is Channel.WEBHOOK:
        parse_target(recipient)
        return recipient
    return ""
