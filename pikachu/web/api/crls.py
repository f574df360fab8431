"""``/crls``: the CRLs of the CAs, created here or uploaded for an offline root (VA-1, VA-2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from pikachu.core.model.people import Scope
from pikachu.va.ca_directory import CADirectory, CRLState, Generation
from pikachu.va.crl_files import DELTA, PublishedCRL
from pikachu.web.api.bodies import extended
from pikachu.web.api.routes import Access, Answer, Call, Listed, Operation, Routes

# A longer one is streamed by /crl/<ca>.pem.
_MAXIMUM_PEM: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class PartialCRL:
    """A delta CRL, or the CRL of one shard."""

    der_path: str
    pem_path: str
    number: int
    this_update: datetime
    next_update: datetime
    entries: int
    size: int


@dataclass(frozen=True, slots=True)
class CRLSummary:
    """A CA and its newest CRLs; without a full one, the members from ``number`` to ``size`` are null.

    ``ca`` names the CA's key in paths: ``ec``, ``rsa``, ``mldsa`` or ``root``, else its key identifier. ``delta`` is
    null without a delta CRL, and ``shards`` empty where certificates are not divided.
    """

    ca: str
    issuer: str
    key_identifier: str
    generation: Generation
    made_here: bool
    der_path: str
    pem_path: str
    number: int | None
    this_update: datetime | None
    next_update: datetime | None
    entries: int | None
    size: int | None
    delta: PartialCRL | None
    shards: tuple[PartialCRL, ...]


@dataclass(frozen=True, slots=True)
class CRLDocument(CRLSummary):
    """A CRL with its content; ``pem`` is null above 4 MiB: ``pem_path`` serves any size."""

    pem: str | None


@dataclass(frozen=True, slots=True)
class CRLUpload:
    """The CRL of a CA with an offline key, in PEM; without it, the CA's key here signs a new one."""

    EXAMPLE: ClassVar[dict[str, Any]] = {}

    crl: str | None = None


class CRLAPI(Routes):
    """Certificate revocation lists."""

    def __init__(self, *, ca_directory: CADirectory) -> None:
        self._ca_directory: CADirectory = ca_directory

    @Operation(
        "GET",
        "/crls",
        scope=Access.ANYONE,
        summary="The newest CRL of each CA",
        answer=CRLSummary,
        listed=True,
        sorts=(),
    )
    async def list(self, call: Call) -> Answer:
        """List the newest CRL of each CA on one page."""
        states = await self._ca_directory.crls()
        return Answer(200, Listed(tuple(_summary(state) for state in states), None))

    @Operation("GET", "/crls/<ca>", scope=Access.ANYONE, summary="The newest CRL of one CA", answer=CRLDocument)
    async def get(self, call: Call) -> Answer:
        """Return the CRL of a CA, by name or key identifier; 404 when none is published."""
        return Answer(200, await self._document(await self._ca_directory.crl(call.path["ca"])))

    @Operation(
        "POST",
        "/crls/<ca>",
        scope=Scope.ADMIN,
        summary="Have a CA publish a CRL now, or bring the one that an offline root has made",
        body=CRLUpload,
        answer=CRLDocument,
        statuses=(201,),
    )
    async def create(self, call: Call) -> Answer:
        """Publish a CRL; 409 when the CA's key is offline and no CRL is sent, or when it is online and one is sent."""
        text = call.take(CRLUpload).crl
        address = call.path["ca"]
        if text is None:
            state = await self._ca_directory.make_crl(call.principal, address)
        else:
            state = await self._ca_directory.upload_crl(call.principal, text.encode(), address)
        return Answer(201, await self._document(state))

    async def _document(self, state: CRLState) -> CRLDocument:
        pem = await self._ca_directory.crl_pem(state, _MAXIMUM_PEM)
        return extended(CRLDocument, _summary(state), pem=pem)


def _part(state: CRLState, part: str, crl: PublishedCRL) -> PartialCRL:
    path = f"/crl/{state.ca.key_identifier}-{part}"
    return PartialCRL(
        der_path=f"{path}.crl",
        pem_path=f"{path}.pem",
        number=crl.number,
        this_update=crl.this_update,
        next_update=crl.next_update,
        entries=crl.entries,
        size=crl.size,
    )


def _summary(state: CRLState) -> CRLSummary:
    ca, crl = state.ca, state.crl
    return CRLSummary(
        ca=ca.address,
        issuer=ca.subject,
        key_identifier=ca.key_identifier,
        generation=ca.generation,
        made_here=ca.makes_crls,
        der_path=f"/crl/{ca.address}.crl",
        pem_path=f"/crl/{ca.address}.pem",
        number=None if crl is None else crl.number,
        this_update=None if crl is None else crl.this_update,
        next_update=None if crl is None else crl.next_update,
        entries=None if crl is None else crl.entries,
        size=None if crl is None else crl.size,
        delta=None if state.delta is None else _part(state, DELTA, state.delta),
        shards=tuple(_part(state, part, one) for part, one in state.shards.items()),
    )
