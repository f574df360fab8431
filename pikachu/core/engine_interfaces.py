"""The interfaces of certificate engines: services that build certificates themselves (see docs/adr/0002, 0030).

An engine picks the serial number, so a certificate may exist that no row has: it is found again by its intent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from pikachu.core.interfaces import ToBeSigned


class ICertificateEngine(Protocol):
    """Builds, signs, lists and revokes the certificates of one issuing CA.

    Every method that waits fails with SignerUnavailable, whose ``may_have_signed`` counts for :meth:`issue`.
    """

    def builds(self, to_be_signed: ToBeSigned) -> bool:
        """Return whether the engine makes this certificate; others are signed with the CA's key."""

    def issue(self, to_be_signed: ToBeSigned) -> Deferred[bytes]:
        """Return a DER certificate, which the caller compares with what was asked for.

        Fails with PolicyViolation when the engine can't make it as asked for; then nothing was signed.
        """

    def serials(self, after: int | None) -> Deferred[Sequence[int]]:
        """Return the next page of the serial numbers of its certificates, in the engine's own order; empty at the end.

        :param after: the last one of the previous page; ``None`` begins.
        """

    def certificate(self, serial: int) -> Deferred[bytes | None]:
        """Return one of its certificates in DER, or ``None``."""

    def revoked_serials(self) -> Deferred[frozenset[int]]:
        """Return the serial numbers that the engine has as revoked."""

    def check(self) -> Deferred[None]:
        """Fail unless the engine signs as this issuing CA."""

    def revoke(self, certificate: bytes) -> Deferred[bool]:
        """Revoke a certificate for good; return whether the engine takes it for one of its own."""


class IEngineStore(Protocol):
    """The store's part of issuance by engines."""

    def known_serials(self, serials: Collection[int]) -> Deferred[frozenset[int]]:
        """Return those of some hundred serial numbers that certificates have, deleted ones too."""

    def intended(self, request_ids: Collection[int]) -> Deferred[Mapping[int, bytes]]:
        """Return the TBSCertificates of those of these requests that are being issued."""

    def record_signed(self, request_id: int, serial: int, tbs: bytes, not_before: datetime) -> Deferred[None]:
        """Put the certificate that an engine has built into the place of the intent of a request being issued.

        Fails with IssuanceFailed: the request is not being issued, or the serial number was given before; and with
        Conflict: the serial number of the intent was revoked.
        """
