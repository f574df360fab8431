"""``/certificates``: lists, pages and downloads; revocation, release and deletion (CRT-1 to CRT-7)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCAs
from pikachu.ca.restrictions import is_deletable, revocation_obstacle
from pikachu.core.errors import Conflict, MalformedRequest, PikachuError
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.certificates import (
    CertificateRecord,
    CertificateStatus,
    Infrastructure,
    InfrastructureFilter,
    Method,
    RevocationReason,
    StatusFilter,
    format_serial,
)
from pikachu.core.model.jobs import JobAction, JobResource
from pikachu.core.model.people import Principal
from pikachu.core.model.time_ranges import parse_span
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.keys import Keys
from pikachu.web.certificate_files import certificate_file
from pikachu.web.ui.certificate_links import CertificateLinks, usage_of
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import EXPORT, BulkAction, Selection
from pikachu.web.ui.tables import NOBODY, Column, Filter, Table
from pikachu.x509 import der
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.names import read_name
from pikachu.x509.pem import certificates_pem
from pikachu.x509.san_text import unicode_form
from pikachu.x509.text.certificate import certificate_text
from pikachu.x509.text.descriptions import algorithm_text, shown

HOLD: Final = RevocationReason.CERTIFICATE_HOLD

#: Label and meaning of each reason (RFC 5280 section 5.3.1), for the revocation form.
REASONS: Final[tuple[tuple[RevocationReason, str, str], ...]] = tuple(
    (RevocationReason.from_name(name), label, meaning)
    for name, label, meaning in (
        ("unspecified", "Unspecified", "No reason is given; the CRL and OCSP leave it out."),
        ("keyCompromise", "Key compromise", "Somebody else has the private key, or may have it."),
        ("cACompromise", "CA compromise", "The same, for the certificate of a CA."),
        ("affiliationChanged", "Affiliation changed", "A part of the subject is wrong now; the key is safe."),
        ("superseded", "Superseded", "Another certificate has taken its place; the key is safe."),
        ("cessationOfOperation", "Cessation of operation", "It is not needed any more: the device is gone."),
        ("certificateHold", "Hold", "Revoked for now: the only reason that can be taken back."),
        ("privilegeWithdrawn", "Privilege withdrawn", "Something that the certificate grants was withdrawn."),
        ("aACompromise", "AA compromise", "An attribute authority's key is in other hands."),
    )
)
REASON_LABELS: Final = {reason: label for reason, label, _ in REASONS}

STATUS_KINDS: Final = {
    CertificateStatus.VALID: "good",
    CertificateStatus.REVOKED: "bad",
    CertificateStatus.EXPIRED: "mute",
}


#: Shows the CA's own certificates, which lists leave out.
INFRASTRUCTURE: Final = Filter(
    "infrastructure",
    "The CA's own",
    ((InfrastructureFilter.INCLUDE.value, "Included"), (InfrastructureFilter.ONLY.value, "Nothing else")),
    audience=Audience.AUDITOR,
    unset="Left out",
    more=True,
)
_STATUS_FILTER_LABELS: Final = {
    StatusFilter.VALID: "Valid",
    StatusFilter.REVOKED: "Revoked",
    StatusFilter.ON_HOLD: "On hold",
    StatusFilter.EXPIRED: "Expired",
}
STATUS_FILTER: Final = Filter(
    "status", "Status", tuple((one.value, label) for one, label in _STATUS_FILTER_LABELS.items())
)
_KEY_TYPES: Final = ("RSA", "RSA/2048", "RSA/3072", "RSA/4096", "EC", "EC/prime256v1", "EC/secp384r1", "EC/secp521r1")
_OTHER_KEY_TYPES: Final = ("Ed25519", "PQC", "PQC/mldsa44", "PQC/mldsa65", "PQC/mldsa87")
KEY_FILTER: Final = Filter(
    "key",
    "Key type",
    tuple((one, one) for one in (*_KEY_TYPES, *_OTHER_KEY_TYPES)),
    more=True,
    # The store checks what is none of the usual types.
    others=lambda value: "/" in value,
)


def _spans(text: str, *days: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"{one}d", f"{text} {one} days") for one in days)


def _is_span(text: str) -> bool:
    try:
        parse_span(text, "")
    except MalformedRequest:
        return False
    return True


#: Select certificates, or devices by their current one, by the time of expiry.
EXPIRY_FILTERS: Final = (
    Filter("expires", "Expires", _spans("Within", 7, 30, 90), unset="Any time", others=_is_span),
    Filter("expires_from", "Expires from", kind="date", more=True),
    Filter("expires_to", "Expires until", kind="date", more=True),
)
#: Select certificates by the times of their expiry and issuance.
TIME_FILTERS: Final = (
    *EXPIRY_FILTERS,
    Filter("issued", "Issued", _spans("In the last", 1, 7, 30), unset="Any time", more=True, others=_is_span),
    Filter("issued_from", "Issued from", kind="date", more=True),
    Filter("issued_to", "Issued until", kind="date", more=True),
)
INFRASTRUCTURE_LABELS: Final = {
    Infrastructure.ROOT: "Root CA",
    Infrastructure.ISSUING_CA: "Issuing CA",
    Infrastructure.ROLLOVER: "Roll-over certificate",
    Infrastructure.OCSP_RESPONDER: "OCSP responder",
    Infrastructure.SCEP_RA: "SCEP RA",
    Infrastructure.REVOCATION_SIGNER: "Revocation message signer",
    Infrastructure.HTTPS: "HTTPS of this server",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A certificate in lists and pages.

    :ivar name: never empty, and without invisible characters.
    :ivar sans: the subject alternative names, with the Unicode form of A-labels.
    :ivar issuer: name of its issuing CA, where that is in service.
    :ivar owner: the user's name, or NOBODY.
    :ivar revocable: it is valid, or on hold and not expired.
    :ivar can_revoke: this server can revoke it, and it is not revoked for ever.
    :ivar can_delete: it can be deleted.
    """

    record: CertificateRecord
    name: str
    serial: str
    status: CertificateStatus
    issuer: str
    owner: str
    sans: tuple[str, ...]
    revocable: bool
    can_revoke: bool
    can_delete: bool

    @property
    def more_names(self) -> tuple[str, ...]:
        """Return the subject alternative names that the name does not show."""
        return tuple(text for text in self.sans if text.partition(":")[2] != self.name)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 fingerprint of the certificate."""
        return hashlib.sha256(self.record.der).hexdigest()

    @property
    def kind(self) -> str:
        """Return the colour of its status."""
        return "warn" if self.on_hold else STATUS_KINDS[self.status]

    @property
    def label(self) -> str:
        """Return the label of its status."""
        return "On hold" if self.on_hold else self.status.value.capitalize()

    @property
    def on_hold(self) -> bool:
        """Return whether it can be released."""
        return self.record.revoked_at is not None and self.record.reason is HOLD

    @property
    def infrastructure(self) -> str:
        """Return the label of its role among the CA's own certificates, or an empty string."""
        role = self.record.infrastructure
        return "" if role is None else INFRASTRUCTURE_LABELS[role]

    @property
    def reason(self) -> str:
        """Return the label of its revocation reason."""
        return (
            "" if self.record.revoked_at is None else REASON_LABELS[self.record.reason or RevocationReason.UNSPECIFIED]
        )


def shown_name(text: str) -> str:
    """Return a name for pages: without invisible characters, and with the Unicode form of A-labels after it."""
    readable = unicode_form(text)
    return shown(text) if readable == text else f"{shown(text)} ({shown(readable.partition(':')[2])})"


def utc_text(moment: datetime | None) -> str:
    """Format a time for CSV."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


class CertificateRows:
    """Builds rows from records."""

    def __init__(self, *, inventory: CertificateQueries, issuers: IssuingCAs, authority: CertificateAuthority) -> None:
        self._inventory = inventory
        self._issuers = issuers
        self._now = authority.now

    async def of(self, actor: Principal, records: Sequence[CertificateRecord]) -> list[Row]:
        """Return the rows with the names of owners and issuing CAs."""
        names = await self._inventory.owner_names(actor, [record.owner_id for record in records])
        issuers = {issuer.id: issuer.name for issuer in self._issuers.all()}
        now = self._now()
        return [
            Row(
                record,
                shown(record.name),
                format_serial(record.serial),
                record.status(now),
                issuers.get(record.issuer_id, ""),
                names.get(record.owner_id, NOBODY),
                tuple(shown_name(text) for text in record.sans),
                record.is_revocable(now),
                (record.revoked_at is None or record.reason is HOLD)
                and revocation_obstacle(record, self._issuers.by_id) == "",
                is_deletable(record, now),
            )
            for record in records
        ]


class CertificatesPages(Pages):
    """Certificates."""

    def __init__(
        self,
        *,
        inventory: CertificateQueries,
        issuers: IssuingCAs,
        keys: Keys,
        links: CertificateLinks,
        files_pool: IWorkerPool,
        authority: CertificateAuthority,
    ) -> None:
        self._inventory = inventory
        self._issuers = issuers
        self._keys = keys
        self._links = links
        self._pool = files_pool
        self._rows = CertificateRows(inventory=inventory, issuers=issuers, authority=authority)
        issuing = sorted(issuers.current)
        self._table: Table[CertificateRecord] = Table(
            "certificates",
            (
                Column("id", "ID", sort="id", text=lambda row: str(row.record.id)),
                Column("name", "Common name", sort="common_name", text=lambda row: row.name),
                Column("sans", "SANs", text=lambda row: ", ".join(row.record.sans), csv_only=True),
                Column("subject", "Subject", text=lambda row: row.record.subject, csv_only=True),
                Column("serial", "Serial", sort="serial", text=lambda row: row.serial),
                Column("key", "Key", sort="key", text=lambda row: row.record.key_type),
                Column("date", "Issued (UTC)", sort="created_at", text=lambda row: utc_text(row.record.created_at)),
                Column("end", "Expires (UTC)", sort="not_after", text=lambda row: utc_text(row.record.not_after)),
                Column("status", "Status", text=lambda row: row.label),
                Column("revoked", "Revoked (UTC)", text=lambda row: utc_text(row.record.revoked_at), csv_only=True),
                Column("reason", "Reason", text=lambda row: row.reason, csv_only=True),
                Column("method", "Method", sort="method", text=lambda row: row.record.method.value),
                Column("policy", "Policy", text=lambda row: row.record.policy, csv_only=True),
                Column("issuer", "Issuing CA", text=lambda row: row.issuer, csv_only=True),
                Column("fingerprint", "SHA-256 fingerprint", text=lambda row: row.fingerprint, csv_only=True),
                Column("user", "User", text=lambda row: row.owner, audience=Audience.STAFF),
                Column("actions", "Actions"),
            ),
            (
                STATUS_FILTER,
                *TIME_FILTERS,
                Filter("method", "Method", tuple((one.value, one.value) for one in Method)),
                Filter("issuer", "Issuing CA", tuple((name, name) for name in issuing), more=True),
                Filter("policy", "Policy", more=True),
                KEY_FILTER,
                Filter("key_sha256", "SHA-256 of the public key", more=True, hidden=True),
                Filter("device", "ID of the device", more=True, hidden=True),
                Filter("owner", "User", more=True, audience=Audience.STAFF),
                INFRASTRUCTURE,
            ),
            empty="No certificates yet.",
            empty_link=("/ra", "Sign a CSR"),
            search="Name, SAN, serial, key, date, policy or user",
            selection=Selection(
                JobResource.CERTIFICATES,
                (
                    EXPORT,
                    BulkAction(JobAction.RENEW, "Renew", kind=""),
                    BulkAction(JobAction.REVOKE, "Revoke"),
                    BulkAction(JobAction.DELETE, "Delete", kind="plain"),
                ),
                lambda row: (row.record.id, row.name),
            ),
        )

    @page("GET", "/certificates", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List certificates (CRT-1)."""
        actor = visit.principal
        return await self._table.reply(
            visit,
            lambda query: self._inventory.certificates(actor, query),
            "certificates/list.html",
            prepare=lambda records: self._rows.of(actor, records),
        )

    @page("GET", "/certificates/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show a certificate, decoded and as PEM (CRT-2)."""
        row = await self._row(visit)
        record = row.record
        certificate = parse_certificate(record.der)
        text = await self._pool.run(certificate_text, record.der)
        links = await self._links.of(visit.principal, record, row.issuer, row.owner)
        algorithm = algorithm_text(der.parse(certificate.signature_algorithm_der, der.SEQUENCE))
        return HtmlPage(
            "certificates/view.html",
            {
                "row": row,
                "issuer_name": read_name(certificate.issuer_der).text,
                "signature_algorithm": algorithm,
                "text": text,
                "key": await self._keys.of_public(visit.principal, record.key_id),
                "usage": usage_of(certificate),
                "links": links,
                "pem": certificates_pem([record.der]),
            },
        )

    @page("GET", "/certificates/<id>/download", audience=Audience.USER)
    async def download(self, visit: PageRequest) -> PageReply:
        """Download a certificate (CRT-3)."""
        record = await self._inventory.certificate(visit.principal, visit.id)
        issuer = self._issuers.by_id(record.issuer_id)
        parents = () if issuer is None else issuer.chain
        file = certificate_file(record, parents, visit.query.get("format", "pem"))
        return Download(file.body, file.content_type, file.name)

    # --- revoking -------------------------------------------------------------------------

    @page("GET", "/certificates/<id>/revoke", audience=Audience.REQUESTER)
    async def revocation_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences, the reasons and the confirmation word (CRT-5)."""
        return _revoke_form(await self._row(visit), RevocationReason.UNSPECIFIED.wire_name)

    @page("POST", "/certificates/<id>/revoke", audience=Audience.REQUESTER)
    async def revoke(self, visit: PageRequest) -> PageReply:
        """Revoke the certificate, or put it on hold."""
        row = await self._row(visit)
        selected = visit.form.text("reason", RevocationReason.UNSPECIFIED.wire_name)
        try:
            visit.form.require_confirmation("revoke")
            reason = RevocationReason.from_name(selected)
            if row.record.revoked_at is not None and not row.on_hold:
                raise Conflict("this certificate is revoked already")
            # The form says what follows for an issuing CA, and has asked for the word.
            await self._inventory.revoke(visit.principal, row.record.id, reason, confirmed=True)
        except PikachuError as error:
            return _revoke_form(row, selected, error)
        done = "put on hold" if reason is HOLD else "revoked"
        notice = f"The certificate {row.name} was {done}. OCSP and the CRL now reflect this."
        return Redirect(visit.back_to("/certificates", f"/certificates/{row.record.id}"), notice)

    @page("GET", "/certificates/<id>/release", audience=Audience.REQUESTER)
    async def release_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for a release from hold (CRT-5)."""
        return _form("release", await self._row(visit))

    @page("POST", "/certificates/<id>/release", audience=Audience.REQUESTER)
    async def release(self, visit: PageRequest) -> PageReply:
        """Release the certificate from hold."""
        row = await self._row(visit)
        try:
            await self._inventory.release(visit.principal, row.record.id)
        except PikachuError as error:
            return _form("release", row, error)
        notice = f"The certificate {row.name} was released from hold."
        return Redirect(visit.back_to("/certificates", f"/certificates/{row.record.id}"), notice)

    # --- deleting -------------------------------------------------------------------------

    @page("GET", "/certificates/<id>/delete", audience=Audience.REQUESTER)
    async def deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences and the confirmation word (CRT-6)."""
        return _delete_form(await self._row(visit), RevocationReason.UNSPECIFIED.wire_name)

    @page("POST", "/certificates/<id>/delete", audience=Audience.REQUESTER)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete the certificate from the lists, revoking it first where a reason is selected."""
        row = await self._row(visit)
        selected = visit.form.text("revoke")
        try:
            visit.form.require_confirmation("delete")
            reason = RevocationReason.from_name(selected) if selected else None
            await self._inventory.delete(visit.principal, row.record.id, reason)
        except PikachuError as error:
            return _delete_form(row, selected, error)
        done = "revoked and deleted" if selected and row.revocable else "deleted"
        return Redirect(visit.back_to("/certificates"), f"The certificate {row.name} was {done}.")

    # --- shared by pages ------------------------------------------------------------------

    async def _row(self, visit: PageRequest) -> Row:
        record = await self._inventory.certificate(visit.principal, visit.id)
        return (await self._rows.of(visit.principal, [record]))[0]


def _form(name: str, row: Row, error: PikachuError | None = None, **more: object) -> HtmlPage:
    return HtmlPage.form(f"certificates/{name}.html", {"row": row, **more}, error)


def _delete_form(row: Row, chosen: str, error: PikachuError | None = None) -> HtmlPage:
    """Return the deletion form.

    :param chosen: name of the reason with which a revocable certificate is revoked first; empty: it stays as it is.
    """
    reasons = [(reason.wire_name, f"Revoke it: {label.lower()}") for reason, label, _ in REASONS if reason is not HOLD]
    otherwise = ("", "Keep it on hold" if row.on_hold else "Do not revoke it")
    return _form("delete", row, error, reasons=[*reasons, otherwise], chosen=chosen)


def _revoke_form(row: Row, chosen: str, error: PikachuError | None = None) -> HtmlPage:
    """Return the revocation form.

    :param chosen: name of the selected reason.
    """
    reasons = [
        (reason.wire_name, f"{label} ({reason.wire_name})")
        for reason, label, _ in REASONS
        if reason is not HOLD or not row.on_hold
    ]
    meanings = [(label, meaning) for _, label, meaning in REASONS]
    return _form("revoke", row, error, reasons=reasons, meanings=meanings, chosen=chosen)
