"""Delivers the messages of the outbox: each is tried until it was accepted or is too old (OPS-5)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from twisted.internet.defer import DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.core.concurrency import start, uncancelled
from pikachu.core.errors import BrokerUnavailable, NoticeNotDelivered, Overloaded, PikachuError
from pikachu.core.interfaces import IClock
from pikachu.core.metrics import Labels
from pikachu.core.model.events import Event
from pikachu.core.model.notices import Channel, MessageState, NoticeMessage
from pikachu.core.model.times import utc
from pikachu.core.notice_interfaces import IMailer, INoticeStore, IWebhook
from pikachu.core.revocation_message_interfaces import IBroker
from pikachu.messaging.webhook import origin
from pikachu.operations.notice_messages import document_of, mail_of

log = Logger()

#: Messages that are sent at the same time.
GROUP: Final = 4
#: Messages of one call: the others follow in the next.
_AT_ONCE: Final = 200
#: Attempts before a message is given up, however old it seems: the clock may have been set.
_MIN_ATTEMPTS: Final = 5
_OUTCOMES: Final = ("sent", "retried", "failed")


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels of this process; those that are not configured are ``None``.

    :param topic: of messages to the broker.
    :param base_url: where the pages are; empty where that is not known.
    :param give_up: how long a message is tried again.
    """

    mailer: IMailer | None
    webhook: IWebhook | None
    broker: IBroker | None
    topic: str
    base_url: str
    give_up: timedelta


class NoticeDelivery:
    """Sends messages, and counts the outcomes by channel and outcome (``sent``, ``failed``, ``retried``)."""

    def __init__(self, *, store: INoticeStore, channels: Channels, clock: IClock) -> None:
        self._store = store
        self._channels = channels
        self._clock = clock
        self.outcomes: Counter[Labels] = Counter(
            {(channel.value, outcome): 0 for channel in Channel for outcome in _OUTCOMES}
        )

    @uncancelled
    async def deliver(self) -> int:
        """Send messages that are due, and return how many were; fails with StoreUnavailable."""
        sent = 0
        for _ in range(_AT_ONCE // GROUP):
            messages = await self._store.claim_messages(self._now(), GROUP)
            results: list[tuple[bool, bool | Failure]] = await DeferredList(
                [start(self._deliver(one)) for one in messages], consumeErrors=True
            )
            for _, result in results:
                if isinstance(result, Failure):
                    result.raiseException()
                sent += result is True
            if len(messages) < GROUP:
                break
        return sent

    async def _deliver(self, message: NoticeMessage) -> bool:
        now = self._now()
        state, event = MessageState.SENT, None
        try:
            answer = await self.send(message, now)
        except (NoticeNotDelivered, BrokerUnavailable, Overloaded) as error:
            answer = error.public
            is_final = isinstance(error, NoticeNotDelivered) and error.is_final
            is_old = now - message.created_at >= self._channels.give_up and message.attempts + 1 >= _MIN_ATTEMPTS
            state = MessageState.FAILED if is_final or is_old else MessageState.WAITING
            log.warn(
                "Notice {id} by {channel} was not delivered: {error} {detail}",
                id=message.id,
                channel=message.channel.value,
                error=answer,
                detail=error.context.get("error", ""),
            )
            if state is MessageState.FAILED:
                event = _failure(message, answer)
        outcome = {MessageState.SENT: "sent", MessageState.FAILED: "failed"}.get(state, "retried")
        self.outcomes[message.channel.value, outcome] += 1
        await self._store.finish_message(message.id, state, answer, event, self._now())
        return state is MessageState.SENT

    async def send(self, message: NoticeMessage, now: datetime) -> str:
        """Send a message, and return the server's answer.  Fails with NoticeNotDelivered and BrokerUnavailable."""
        channels = self._channels
        try:
            if message.channel is Channel.MAIL and channels.mailer is not None:
                return await channels.mailer.send(mail_of(message, channels.base_url))
            if message.channel is Channel.WEBHOOK and channels.webhook is not None:
                return await channels.webhook.send(message.recipient, document_of(message, now), message.uid)
            if message.channel is Channel.MQTT and channels.broker is not None:
                await channels.broker.publish(channels.topic, document_of(message, now), retain=False)
                return "The broker has confirmed it."
        except PikachuError:
            raise
        except Exception as error:  # a defect in one message is not the others'
            log.failure("Sending notice {id} failed", id=message.id)
            raise NoticeNotDelivered("Internal error. The log has its cause.") from error
        raise NoticeNotDelivered("This process has no such channel: it is not configured, or the server sends it.")

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _failure(message: NoticeMessage, answer: str) -> Event:
    is_url = message.channel is Channel.WEBHOOK
    recipient = origin(message.recipient) if is_url else message.recipient
    details = {"channel": message.channel.value, "recipient": recipient, "notices": message.count, "error": answer}
    return Event("fail", "notice", str(message.id), "system", details)
