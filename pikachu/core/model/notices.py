"""Notices of what expires: rules, and the messages that they cause (OPS-5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

#: Notices that a message names; it counts the others.
MAX_ENTRIES: Final = 100
MAX_DAYS: Final = 365
MAX_ADDRESSES: Final = 20


class NoticeKind(StrEnum):
    """The subject of a rule.

    *certificates* are those of devices, *authority* the CA's own, *CRLs* those that were not renewed in time, *devices*
    those that have not renewed in time, *batches* those with names that are not enrolled, and *backups* the
    failure of one, or that none was made for some days.
    """

    CERTIFICATES = "certificates"
    AUTHORITY = "authority"
    CRLS = "crls"
    DEVICES = "devices"
    BATCHES = "batches"
    BACKUPS = "backups"


#: The kinds whose rules have days: before the end, or since the last backup.
DATED: Final = frozenset({NoticeKind.CERTIFICATES, NoticeKind.AUTHORITY, NoticeKind.BATCHES, NoticeKind.BACKUPS})
#: The kinds whose objects have an owner and a policy.
OWNED: Final = frozenset({NoticeKind.CERTIFICATES, NoticeKind.DEVICES, NoticeKind.BATCHES})


class Channel(StrEnum):
    """The way of a message."""

    MAIL = "mail"
    WEBHOOK = "webhook"
    MQTT = "mqtt"


class MessageState(StrEnum):
    """The state of a message: it collects notices during a run, then waits until it is sent or given up."""

    COLLECTING = "collecting"
    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NoticeOrder:
    """The fields of a rule that a person chooses.

    :param days: before the end, or since the last backup, descending; one notice is sent at each, empty for kinds
        without.
    :param policy: only of that policy; empty: all.
    :param device: only of that device, or of those whose names begin with what is before a final ``*``.
    :param owner: only of the account of that name.
    :param addresses: mail addresses.
    :param webhook: a URL; empty: none.
    :param mqtt: whether the MQTT broker gets it.
    """

    name: str
    kind: NoticeKind
    days: tuple[int, ...] = ()
    policy: str = ""
    device: str = ""
    owner: str = ""
    to_owner: bool = False
    to_admins: bool = False
    addresses: tuple[str, ...] = ()
    webhook: str = ""
    mqtt: bool = False
    enabled: bool = True

    @property
    def sends_mail(self) -> bool:
        """Whether some recipient gets mail."""
        return self.to_owner or self.to_admins or bool(self.addresses)


@dataclass(frozen=True, slots=True)
class NoticeRule:
    """A rule.

    :param version: rises with each change.
    """

    id: int
    order: NoticeOrder
    version: int
    updated_at: datetime
    updated_by: str


@dataclass(frozen=True, slots=True)
class Notable:
    """Something that a rule may send a notice of.

    :param object_id: with *at* and *step*, identifies the notice, which is sent once.
    :param at: when it ends, ended or was due.
    :param step: the days before the end, of the rule; 0 without.
    :param owner_id: the account that owns it.
    :param facts: more about it, such as its serial number.
    """

    object_id: int
    at: datetime
    step: int
    name: str
    owner_id: int | None = None
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """A message to one recipient: a digest of the notices of one run.

    :param uid: unique; receivers recognize a repeated message by it.
    :param count: the number of its notices, of which *entries* names the first :data:`MAX_ENTRIES`.
    :param entries: JSON objects.
    :param attempts: how often sending was begun.
    :param answer: what the server or the network said last.
    """

    id: int
    uid: str
    channel: Channel
    recipient: str
    state: MessageState
    count: int
    entries: tuple[dict[str, object], ...]
    created_at: datetime
    attempts: int
    done_at: datetime | None
    answer: str
