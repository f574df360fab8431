"""``/cas``, ``/status`` and ``/events``: the CAs, certificate status, and the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from pikachu.core.constraints import OneOf
from pikachu.core.model.certificates import REASON_NAMES, CertificateStatus, format_serial, parse_serial
from pikachu.core.model.events import EventRecord
from pikachu.core.model.people import Scope
from pikachu.core.model.times import rfc3339
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.va.ca_directory import CA, CADirectory, Generation
from pikachu.va.ocsp import CertificateStatusReader
from pikachu.web.api.routes import FLAGS, Access, Answer, Call, Listed, Operation, Routes, listed
from pikachu.x509.pem import certificates_pem
from pikachu.x509.text.certificate import certificate_text

_NOT_FOUND: Final = "not found"


@dataclass(frozen=True, slots=True)
class IssuingCADocument:
    """A CA's key and its certificate; ``chain_pem`` begins with itself and ends with the root.

    ``address`` names it in paths: the name for the current key of an issuing CA and for the root, else the key
    identifier.  ``work`` says what the key signs now; ``switch_at`` is when a next generation becomes the current one.
    """

    name: str
    address: str
    default: bool
    generation: Generation
    subject: str
    issuer: str
    serial: str
    key: str
    key_identifier: str
    not_before: datetime
    not_after: datetime
    switch_at: datetime | None
    work: tuple[str, ...]
    pem: str
    chain_pem: str
    text: str


@dataclass(frozen=True, slots=True)
class Status:
    """Certificate status: valid, revoked, expired or ``not found``; with time and reason when revoked."""

    serial: str
    status: Annotated[str, OneOf((*CertificateStatus, _NOT_FOUND))]
    revoked_at: datetime | None = None
    reason: Annotated[str, REASON_NAMES] | None = None


@dataclass(frozen=True, slots=True)
class EventDocument:
    """An audit event; ``hash`` covers it and the previous event."""

    id: int
    at: datetime
    type: str
    resource_type: str
    resource_name: str
    actor: str
    details: Mapping[str, object]
    owner: str | None
    about_account: bool
    hash: str


class AuthorityAPI(Routes):
    """Public information about the CAs and certificate status."""

    def __init__(self, *, ca_directory: CADirectory, statuses: CertificateStatusReader) -> None:
        self._ca_directory: CADirectory = ca_directory
        self._statuses: CertificateStatusReader = statuses

    @Operation(
        "GET",
        "/cas",
        scope=Access.ANYONE,
        summary="The issuing CAs with their chains",
        answer=IssuingCADocument,
        listed=True,
        sorts=(),
        query=("generation",),
        choices={"generation": (*Generation, "all")},
    )
    async def list(self, call: Call) -> Answer:
        """List the CAs on one page.  ``generation`` is ``current`` (the default), ``next``, ``former``, ``root``,
        ``above`` or ``all``.
        """
        generation = call.query.get("generation", Generation.CURRENT)
        cas = [ca for ca in self._ca_directory.all() if generation in (ca.generation, "all")]
        return Answer(200, Listed(tuple(_ca(ca) for ca in cas), None))

    @Operation("GET", "/cas/<name>", scope=Access.ANYONE, summary="One CA with its chain", answer=IssuingCADocument)
    async def get(self, call: Call) -> Answer:
        """Return a CA by name (ec, rsa, mldsa, root) or by the key identifier of one of its generations, in hex."""
        return Answer(200, _ca(self._ca_directory.one(call.path["name"])))

    @Operation("GET", "/status/<serial>", scope=Access.ANYONE, summary="What a certificate is worth", answer=Status)
    async def status(self, call: Call) -> Answer:
        """Return the status of a serial (CRT-8), in hexadecimal with or without 0x; an unknown serial gives 200 too."""
        serial = parse_serial(call.path["serial"][:100])
        status = await self._statuses.status(serial)
        body: dict[str, object] = {
            "serial": format_serial(serial),
            "status": _NOT_FOUND if status.status is None else status.status.value,
        }
        if status.record is not None and status.record.revoked_at is not None:
            body["revoked_at"] = rfc3339(status.record.revoked_at)
            body["reason"] = "unspecified" if status.record.reason is None else status.record.reason.wire_name
        return Answer(200, body)


def _ca(ca: CA) -> IssuingCADocument:
    certificate = ca.certificate
    return IssuingCADocument(
        name=ca.name,
        address=ca.address,
        default=ca.default,
        generation=ca.generation,
        subject=ca.subject,
        issuer=ca.issuer,
        serial=format_serial(certificate.serial),
        key=ca.key,
        key_identifier=ca.key_identifier,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        switch_at=ca.switch_at,
        work=ca.work,
        pem=certificates_pem([certificate.der]),
        chain_pem=certificates_pem(ca.chain),
        text=certificate_text(certificate.der),
    )


class EventsAPI(Routes):
    """The audit log."""

    def __init__(self, *, inventory: CertificateQueries) -> None:
        self._inventory = inventory

    @Operation(
        "GET",
        "/events",
        scope=Scope.READ,
        summary="Audit events: those about one's own, or for admins all",
        answer=EventDocument,
        listed=True,
        filters={
            "type": "type",
            "resource_type": "resource_type",
            "resource_name": "resource_name",
            "actor": "actor",
            "about_account": "about_account",
        },
        choices={"about_account": FLAGS},
        owner="owner_id",
        sorts=("id", "at", "type", "resource_type"),
    )
    async def list(self, call: Call) -> Answer:
        """List events; ``resource_type=!a,b`` excludes a and b; ``about_account=true`` selects the events of users."""
        page = await self._inventory.events(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [record.event.owner_id for record in page.items])
        return listed(page, lambda record: _event(record, names))

    @Operation("GET", "/events/<id>", scope=Scope.READ, summary="One audit event", answer=EventDocument)
    async def get(self, call: Call) -> Answer:
        """Return one event."""
        record = await self._inventory.event(call.principal, call.id)
        return Answer(200, _event(record, await self._inventory.owner_names(call.principal, [record.event.owner_id])))


def _event(record: EventRecord, names: OwnerNames) -> EventDocument:
    event = record.event
    return EventDocument(
        record.id,
        record.at,
        event.type,
        event.resource_type,
        event.resource_name,
        event.actor,
        event.details,
        names.get(event.owner_id),
        event.about_account,
        record.hash.hex(),
    )
