"""The store's boundary for certificates that another program has issued with a CA of this server (OPS-7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.events import Event

#: The policy that the inventory names for imported certificates.
IMPORTED_POLICY: Final = "imported"


@dataclass(frozen=True, slots=True)
class ImportedCertificate:
    """A certificate to import.

    :param issuer_id: the generation whose key has signed it.
    :param revoked_at: when it was revoked, or ``None``.
    """

    issuer_id: int
    serial: int
    subject: str
    common_name: str
    key_type: str
    key_id: bytes
    not_before: datetime
    not_after: datetime
    der: bytes
    revoked_at: datetime | None
    reason: RevocationReason | None


class Finding(StrEnum):
    """The kind of a line about a file or certificate that is not imported, or about a profile."""

    FOREIGN = "foreign"
    CONFLICT = "conflict"
    UNREADABLE = "unreadable"
    SKIPPED = "skipped"
    #: Taken over, as a policy or as a certificate template.
    POLICY = "policy"
    TEMPLATE = "template"
    #: What a policy does not have of its profile.
    NOTE = "note"


class ImportOutcome(StrEnum):
    """The outcome for a certificate: ``revoked`` is one that was known and not revoked here."""

    NEW = "new"
    KNOWN = "known"
    REVOKED = "revoked"
    CONFLICT = "conflict"


class IImportStore(Protocol):
    """Certificates of other programs."""

    def compare_imports(self, items: Sequence[ImportedCertificate]) -> Deferred[list[ImportOutcome]]:
        """Return what :meth:`import_certificates` would do with each."""

    def import_certificates(
        self, items: Sequence[ImportedCertificate], event: Event, now: datetime
    ) -> Deferred[list[ImportOutcome]]:
        """Insert what is new, and revoke what is revoked in *items*, in one transaction.

        A serial number that another certificate or an intent has is a conflict, and nothing is written for it.

        :param event: about one certificate; its name, serial number and subject are filled in.
        """

    def raise_crl_number(self, issuer_id: int, number: int) -> Deferred[bool]:
        """Let the next CRL of an issuer have a number above *number*; return whether that changed anything."""
