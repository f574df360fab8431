"""The interfaces of notices: of the store, and of the channels (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.notices import MessageState, Notable, NoticeMessage, NoticeOrder, NoticeRule
from pikachu.core.model.preferences import BackupState


@dataclass(frozen=True, slots=True)
class Window:
    """The ends that get the notice of one step of a rule.

    :param step: days before the end.
    :param after: the notice is of what ends after this time, at the latest at *until*.
    """

    step: int
    after: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rule has been applied.

    :param last: the end and the id of the last object that was looked at; ``None`` after the last one.
    """

    noticed: int
    last: tuple[int, int] | None


class INoticeStore(Protocol):
    """Rules, what they have noticed, and messages."""

    def notice_rules(self, query: ListQuery) -> Deferred[Page[NoticeRule]]:
        """List the rules; filter ``kind``."""

    def active_notice_rules(self) -> Deferred[list[NoticeRule]]:
        """Return the enabled rules."""

    def notice_rule(self, rule_id: int) -> Deferred[NoticeRule]:
        """Return a rule.  Fails with NotFound."""

    def put_notice_rule(
        self, former: NoticeRule | None, order: NoticeOrder, actor: str, event: Event, now: datetime
    ) -> Deferred[int]:
        """Create a rule (without *former*), or change it; return its id.  Fails with Conflict and EditConflict."""

    def delete_notice_rule(self, rule_id: int, event: Event, now: datetime) -> Deferred[None]:
        """Delete a rule.  Fails with NotFound."""

    def notice_certificates(
        self, rule: NoticeRule, window: Window, after: tuple[int, int], now: datetime
    ) -> Deferred[Progress]:
        """Record notices of some certificates that end in *window*, of those after *after*."""

    def notice_devices(self, rule: NoticeRule, after: tuple[int, int], now: datetime) -> Deferred[Progress]:
        """Record notices of some devices that are overdue."""

    def notice_batches(
        self, rule: NoticeRule, window: Window, after: tuple[int, int], now: datetime
    ) -> Deferred[Progress]:
        """Record notices of some batches that end in *window*, and have names that are not enrolled."""

    def record_notices(self, rule: NoticeRule, found: Sequence[Notable], now: datetime) -> Deferred[int]:
        """Record notices of what the rule has not sent one of, and return their number."""

    def close_notices(self, now: datetime) -> Deferred[bool]:
        """Let some messages of the run wait for being sent; return whether others still collect."""

    def claim_messages(self, now: datetime, limit: int) -> Deferred[list[NoticeMessage]]:
        """Return messages that are due, and count an attempt; they are due again after a pause that grows."""

    def finish_message(
        self, message_id: int, state: MessageState, answer: str, event: Event | None, now: datetime
    ) -> Deferred[None]:
        """Record that a message was sent, has failed for good, or (``WAITING``) is tried again."""

    def notice_message(self, message_id: int) -> Deferred[NoticeMessage]:
        """Return a message.  Fails with NotFound."""

    def notice_messages(self, query: ListQuery) -> Deferred[Page[NoticeMessage]]:
        """List messages; filters ``channel`` and ``state``."""

    def forget_notices(self, before: datetime) -> Deferred[bool]:
        """Delete some messages that were done, and what was noticed, before that time; return whether it did."""


class IBackupRecords(Protocol):
    """Times of the backups."""

    def backup_state(self) -> Deferred[BackupState]:
        """Return the last backup, and the first failure since."""


class INoticeSources(INoticeStore, IBackupRecords, Protocol):
    """Part of the store that notices use."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one recipient.

    :param uid: becomes its Message-ID.
    """

    recipient: str
    subject: str
    text: str
    uid: str


class IMailer(Protocol):
    """Sends mail."""

    def send(self, mail: Mail) -> Deferred[str]:
        """Send a mail, and return the server's answer.  Fails with NoticeNotDelivered."""


class IWebhook(Protocol):
    """Calls webhooks."""

    def send(self, url: str, body: bytes, uid: str) -> Deferred[str]:
        """Post a JSON document, and return the answer's status.  Fails with NoticeNotDelivered."""
