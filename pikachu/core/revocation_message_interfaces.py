"""Interfaces of the publication of revocations: the store and the broker (MQT-2; docs/adr/0044)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.revocation_messages import RevocationMessage


class IRevocationMessageStore(Protocol):
    """Numbered revocations that no broker has confirmed yet, and where retained messages stand."""

    def number_revocations(self) -> Deferred[int]:
        """Number the next status changes, in commit order; return how many were looked at.

        The first call only remembers the newest change: earlier ones are on a CRL.  Fails with StoreUnavailable.
        """

    def outstanding_revocations(self, issuer_id: int, limit: int) -> Deferred[list[RevocationMessage]]:
        """Return the oldest messages of an issuing CA that were not confirmed, by their numbers."""

    def confirm_revocations(self, issuer_id: int, seq: int) -> Deferred[None]:
        """Forget the messages of an issuing CA up to *seq*."""

    def count_outstanding_revocations(self) -> Deferred[int]:
        """Return how many messages were not confirmed, of all issuing CAs."""

    def retained_topics(self) -> Deferred[dict[int, str]]:
        """Return, by the issuing CA's row id, the topic below which the broker retains messages."""

    def set_retained_topic(self, issuer_id: int, topic: str) -> Deferred[None]:
        """Store the topic below which the broker retains messages; an empty one for none."""

    def has_unexpired(self, issuer_id: int, now: int) -> Deferred[bool]:
        """Return whether subscribers of an issuing CA have certificates that have not expired at *now*.

        :param now: in seconds since 1970.
        """


class IBroker(Protocol):
    """A connection with an MQTT broker, which is made again when it is lost.

    :ivar is_connected: whether the broker has accepted it.
    :ivar problem: why it is not connected, for people; empty while it is.
    :ivar connections: how many the broker has accepted.
    """

    is_connected: bool
    problem: str
    connections: int

    def start(self, connected: Callable[[], None]) -> None:
        """Connect, unless that is done already.

        :param connected: called after each connection that the broker has accepted.
        """

    def stop(self) -> Deferred[None]:
        """Disconnect; never fails."""

    def max_payload(self, topic: str) -> int:
        """Return how many bytes a message on a topic may have for the broker that is connected."""

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> Deferred[None]:
        """Publish a message, and wait until the broker has confirmed it.

        Fails with BrokerUnavailable when it has not, or has refused it; it may have been published all the same.  A
        message that is larger than :meth:`max_payload` is not sent.
        """
