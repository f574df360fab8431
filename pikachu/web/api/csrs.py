"""``/csrs``: certificate signing requests that people keep here (CSR-1 to CSR-3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.people import Scope
from pikachu.core.model.requests import StoredCSR
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.inventory.csrs import CertificateRequests, RequestSource
from pikachu.ra.authority import RegistrationAuthority
from pikachu.web.api.approvals import Rejection
from pikachu.web.api.bodies import extended
from pikachu.web.api.routes import NO_CONTENT, Answer, Call, Routes, created, listed, route
from pikachu.x509.csr import parse_csr
from pikachu.x509.pem import pem
from pikachu.x509.request_text import RequestAttribute, RequestedExtension, view_request
from pikachu.x509.text.csr import csr_text


@dataclass(frozen=True, slots=True)
class NewCSR:
    """Either ``csr`` (PEM, or base64 of DER), or ``key_id`` of a stored key with ``template_id`` of a stored
    certificate template or the text of one in ``template``.  Without a name it gets its common name.
    """

    csr: str | None = None
    name: str = ""
    key_id: int | None = None
    template_id: int | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class PreviewedCSR:
    """``key_id`` of a stored key with ``template_id`` of a stored certificate template, or the text of one."""

    key_id: int
    template_id: int | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class CSRPreview:
    """What a request says; the value of a challenge password is not shown.

    ``text`` is all of it for people.
    """

    subject: str
    key: str
    signature: str
    attributes: tuple[RequestAttribute, ...]
    extensions: tuple[RequestedExtension, ...]
    text: str


@dataclass(frozen=True, slots=True)
class CSRSummary:
    """A stored request in a list; ``status`` is pending, rejected, or signed with ``certificate_id``.

    ``key_id`` and ``template`` tell of which stored key and certificate template it was made.
    """

    id: int
    name: str
    subject: str
    key: str
    status: str
    certificate_id: int | None
    owner: str | None
    created_at: datetime
    key_id: int | None
    template: str | None


@dataclass(frozen=True, slots=True)
class CSRDocument(CSRSummary):
    """A stored request, and what it asks for."""

    pem: str
    attributes: tuple[RequestAttribute, ...]
    extensions: tuple[RequestedExtension, ...]
    text: str


class CSRsAPI(Routes):
    """Stored requests."""

    def __init__(
        self, *, registration: RegistrationAuthority, requests: CertificateRequests, inventory: CertificateQueries
    ) -> None:
        self._registration: RegistrationAuthority = registration
        self._requests: CertificateRequests = requests
        self._inventory = inventory

    @route(
        "POST",
        "/csrs",
        scope=Scope.ENROLL,
        summary="Keep a certificate request that was made elsewhere, or make one of a stored key and a template",
        body=NewCSR,
        answer=CSRDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """CSR-1."""
        asked = call.take(NewCSR)
        if (asked.csr is None) == (asked.key_id is None):
            raise MalformedRequest("send csr, or key_id with template_id or template")
        if asked.key_id is not None:
            source = RequestSource(asked.key_id, asked.template_id, asked.template)
            stored = await self._requests.generate(call.principal, asked.name, source)
        elif asked.template_id is not None or asked.template is not None:
            raise MalformedRequest("a template is for a request that is made here: send key_id instead of csr")
        else:
            stored = await self._requests.store(call.principal, asked.name, (asked.csr or "").encode())
        return created(f"/csrs/{stored.id}", await self._document(call, stored))

    @route(
        "POST",
        "/csrs/preview",
        scope=Scope.READ,
        summary="What a request of a stored key and a template would say; nothing is signed or kept",
        body=PreviewedCSR,
        answer=CSRPreview,
    )
    async def preview(self, call: Call) -> Answer:
        """CSR-1."""
        asked = call.take(PreviewedCSR)
        source = RequestSource(asked.key_id, asked.template_id, asked.template)
        found = await self._requests.preview(call.principal, source)
        view = found.view
        return Answer(
            200, CSRPreview(view.subject, view.key, view.signature, view.attributes, view.extensions, found.text)
        )

    @route(
        "GET",
        "/csrs",
        scope=Scope.READ,
        summary="Stored certificate requests: one's own, or for admins all",
        answer=CSRSummary,
        listed=True,
        filters={"status": "state"},
        owner="owner_id",
        sorts=("id", "created_at", "name"),
    )
    async def list(self, call: Call) -> Answer:
        """CSR-2."""
        page = await self._requests.list(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [stored.owner_id for stored in page.items])
        return listed(page, lambda stored: _summary(stored, names))

    @route("GET", "/csrs/<id>", scope=Scope.READ, summary="One stored certificate request", answer=CSRDocument)
    async def get(self, call: Call) -> Answer:
        """With its PEM."""
        return Answer(200, await self._document(call, await self._requests.get(call.principal, call.id)))

    @route("DELETE", "/csrs/<id>", scope=Scope.ENROLL, summary="Delete a stored certificate request", statuses=(204,))
    async def delete(self, call: Call) -> Answer:
        """What was signed from it stays."""
        await self._requests.delete(call.principal, call.id)
        return NO_CONTENT

    @route(
        "POST",
        "/csrs/<id>/rejection",
        scope=Scope.ADMIN,
        summary="Turn a stored certificate request down",
        body=Rejection,
        answer=CSRDocument,
    )
    async def reject(self, call: Call) -> Answer:
        """409 when it was signed or rejected before."""
        stored = await self._registration.reject_csr(call.principal, call.id, call.take(Rejection).reason)
        return Answer(200, await self._document(call, stored))

    @route(
        "GET",
        "//requests/<id>/download",
        scope=Scope.READ,
        summary="A stored certificate request as a PEM file",
        browsers=True,
    )
    async def download(self, call: Call) -> Answer:
        """CSR-3: for its owner and admins."""
        stored = await self._requests.get(call.principal, call.id)
        name = f'attachment; filename="request-{stored.id}.csr"'
        body = pem("CERTIFICATE REQUEST", stored.der).encode("ascii")
        return Answer(200, body, b"application/x-pem-file", {b"Content-Disposition": name.encode("ascii")})

    async def _document(self, call: Call, stored: StoredCSR) -> CSRDocument:
        names = await self._inventory.owner_names(call.principal, [stored.owner_id])
        view = view_request(parse_csr(stored.der))
        return extended(
            CSRDocument,
            _summary(stored, names),
            pem=pem("CERTIFICATE REQUEST", stored.der),
            attributes=view.attributes,
            extensions=view.extensions,
            text=csr_text(stored.der),
        )


def _summary(stored: StoredCSR, names: OwnerNames) -> CSRSummary:
    return CSRSummary(
        id=stored.id,
        name=stored.name,
        subject=stored.subject,
        key=stored.key_type,
        status=stored.state,
        certificate_id=stored.certificate_id,
        owner=names.get(stored.owner_id),
        created_at=stored.created_at,
        key_id=stored.key_id,
        template=stored.template,
    )
