"""``/csrs``: stored certificate signing requests (CSR-1 to CSR-3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final

from pikachu.core.constraints import Length, OneOf, Variant, Variants
from pikachu.core.model.people import Scope
from pikachu.core.model.requests import CSR_STATES, StoredCSR
from pikachu.inventory.certificates import CertificateQueries, OwnerNames
from pikachu.inventory.csrs import CertificateRequests, RequestSource
from pikachu.inventory.keys import MAXIMUM_NAME
from pikachu.inventory.new_certificates import CertificateNames
from pikachu.ra.registration_authority import RegistrationAuthority
from pikachu.web.api.approvals import Rejection
from pikachu.web.api.bodies import extended
from pikachu.web.api.examples import CSR, TEMPLATE
from pikachu.web.api.routes import NO_CONTENT, Answer, Call, Operation, Routes, created, listed
from pikachu.x509.csr import parse_csr
from pikachu.x509.pem import pem
from pikachu.x509.request_text import RequestAttribute, RequestedExtension, view_request
from pikachu.x509.text.csr import csr_text

_STATUS: Final = OneOf(CSR_STATES)


@dataclass(frozen=True, slots=True)
class NewCSR:
    """Either ``csr`` (PEM, or Base64 of DER), or ``key_id`` of a stored key with ``subject`` (RFC 4514), ``sans``
    (``DNS:…``, ``IP:…``, ``email:…`` or ``URI:…``), or both.

    ``template_id`` of a stored certificate template, or its text in ``template``, adds further extensions and
    attributes; without ``subject`` and ``sans``, its names are used.  The name defaults to the common name.
    """

    VARIANTS: ClassVar = Variants(
        (
            Variant(("csr",)),
            Variant(("key_id", "template_id"), ("subject", "sans")),
            Variant(("key_id", "template"), ("subject", "sans")),
            Variant(("key_id", "subject"), ("sans",)),
            Variant(("key_id", "sans")),
        )
    )
    EXAMPLE: ClassVar[dict[str, Any]] = {"csr": CSR, "name": "pump-001"}

    csr: str | None = None
    name: Annotated[str, Length(0, MAXIMUM_NAME)] = ""
    key_id: int | None = None
    subject: str | None = None
    sans: tuple[str, ...] | None = None
    template_id: int | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class PreviewedCSR:
    """``key_id`` of a stored key, with names or a certificate template as for a new CSR."""

    VARIANTS: ClassVar = Variants(
        (
            Variant(("template_id",), ("subject", "sans")),
            Variant(("template",), ("subject", "sans")),
            Variant(("subject",), ("sans",)),
            Variant(("sans",)),
        )
    )
    EXAMPLE: ClassVar[dict[str, Any]] = {"key_id": 1, "template": TEMPLATE}

    key_id: int
    subject: str | None = None
    sans: tuple[str, ...] | None = None
    template_id: int | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class CSRPreview:
    """The decoded CSR; the value of a challenge password is masked.

    ``text`` is the full description for people.
    """

    subject: str
    key: str
    signature: str
    attributes: tuple[RequestAttribute, ...]
    extensions: tuple[RequestedExtension, ...]
    text: str


@dataclass(frozen=True, slots=True)
class CSRSummary:
    """A stored CSR in a list; ``status`` is pending, rejected, or signed with ``certificate_id``.

    ``key_id`` and ``template`` name the stored key and certificate template that it was created from.
    """

    id: int
    name: str
    subject: str
    key: str
    status: Annotated[str, _STATUS]
    certificate_id: int | None
    owner: str | None
    created_at: datetime
    key_id: int | None
    template: str | None


@dataclass(frozen=True, slots=True)
class CSRDocument(CSRSummary):
    """A stored CSR with its requested attributes."""

    pem: str
    attributes: tuple[RequestAttribute, ...]
    extensions: tuple[RequestedExtension, ...]
    text: str


class CSRAPI(Routes):
    """Stored CSRs."""

    def __init__(
        self, *, registration: RegistrationAuthority, requests: CertificateRequests, inventory: CertificateQueries
    ) -> None:
        self._registration: RegistrationAuthority = registration
        self._requests: CertificateRequests = requests
        self._inventory = inventory

    @Operation(
        "POST",
        "/csrs",
        scope=Scope.ENROLL,
        summary="Store a CSR that was created elsewhere, or create one with a stored key",
        body=NewCSR,
        answer=CSRDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Store an uploaded CSR, or create one (CSR-1)."""
        body = call.take(NewCSR)
        if body.key_id is not None:
            stored = await self._requests.generate(call.principal, body.name, _source(body.key_id, body))
        else:
            stored = await self._requests.store(call.principal, body.name, (body.csr or "").encode())
        return created(f"/csrs/{stored.id}", await self._document(call, stored))

    @Operation(
        "POST",
        "/csrs/preview",
        scope=Scope.READ,
        summary="The content of a CSR with a stored key; nothing is signed or stored",
        body=PreviewedCSR,
        answer=CSRPreview,
    )
    async def preview(self, call: Call) -> Answer:
        """Preview a CSR without storing it (CSR-1)."""
        body = call.take(PreviewedCSR)
        preview = await self._requests.preview(call.principal, _source(body.key_id, body))
        view = preview.view
        return Answer(
            200, CSRPreview(view.subject, view.key, view.signature, view.attributes, view.extensions, preview.text)
        )

    @Operation(
        "GET",
        "/csrs",
        scope=Scope.READ,
        summary="Stored certificate requests: one's own, or for admins all",
        answer=CSRSummary,
        listed=True,
        filters={"status": "state"},
        choices={"status": _STATUS.choices},
        owner="owner_id",
        sorts=("id", "created_at", "name", "key", "status", "profile", "user"),
    )
    async def list(self, call: Call) -> Answer:
        """List stored CSRs (CSR-2)."""
        page = await self._requests.list(call.principal, call.list_query())
        names = await self._inventory.owner_names(call.principal, [stored.owner_id for stored in page.items])
        return listed(page, lambda stored: _summary(stored, names))

    @Operation("GET", "/csrs/<id>", scope=Scope.READ, summary="One stored certificate request", answer=CSRDocument)
    async def get(self, call: Call) -> Answer:
        """Return a CSR with its PEM."""
        return Answer(200, await self._document(call, await self._requests.get(call.principal, call.id)))

    @Operation(
        "DELETE", "/csrs/<id>", scope=Scope.ENROLL, summary="Delete a stored certificate request", statuses=(204,)
    )
    async def delete(self, call: Call) -> Answer:
        """Delete a CSR; the certificates issued from it are kept."""
        await self._requests.delete(call.principal, call.id)
        return NO_CONTENT

    @Operation(
        "POST",
        "/csrs/<id>/rejection",
        scope=Scope.OPERATE,
        summary="Turn a stored certificate request down",
        body=Rejection,
        answer=CSRDocument,
    )
    async def reject(self, call: Call) -> Answer:
        """Reject a CSR; 409 when it is already signed or rejected."""
        stored = await self._registration.reject_csr(call.principal, call.id, call.take(Rejection).reason)
        return Answer(200, await self._document(call, stored))

    @Operation(
        "GET",
        "/requests/<id>/download",
        base="",
        scope=Scope.READ,
        summary="A stored certificate request as a PEM file",
        browsers=True,
        files=("application/x-pem-file",),
    )
    async def download(self, call: Call) -> Answer:
        """Download a CSR, for its owner and administrators (CSR-3)."""
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


def _source(key_id: int, body: NewCSR | PreviewedCSR) -> RequestSource:
    """Return the key, the template and the names of a CSR to create.

    :raises MalformedRequest: for wrong names, with a message for each.
    """
    names = None
    if body.subject is not None or body.sans is not None:
        names = CertificateNames.of(body.subject or "", body.sans or ())
    return RequestSource(key_id, body.template_id, body.template, names)


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
