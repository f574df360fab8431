"""``/audit-checkpoint`` and proofs of the transparency log (TLG-1)."""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.people import Scope
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.operations.transparency import TransparencyLog
from pikachu.web.api.routes import Answer, Call, Operation, Routes

_TEXT: Final = b"text/plain; charset=utf-8"


class TransparencyAPI(Routes):
    """Checkpoints and proofs, in the formats of docs/transparency.md."""

    def __init__(self, *, transparency: TransparencyLog, inventory: CertificateQueries) -> None:
        self._transparency = transparency
        self._inventory = inventory

    @Operation(
        "GET",
        "/audit-checkpoint",
        scope=Scope.AUDIT,
        summary="The signed size and root hash of the log of all events and certificates, to be kept elsewhere",
        files=(_TEXT.decode(),),
    )
    async def checkpoint(self, call: Call) -> Answer:
        """Return the newest checkpoint."""
        checkpoint = await self._transparency.checkpoint(call.principal)
        return _file(checkpoint.note, f"checkpoint-{checkpoint.size}.txt")

    @Operation(
        "GET",
        "/audit-consistency",
        scope=Scope.AUDIT,
        summary="A proof that the log continues an older checkpoint of that size",
        query=("size",),
        files=(_TEXT.decode(),),
    )
    async def consistency(self, call: Call) -> Answer:
        """Return the consistency proof with the newest checkpoint; the default size is 0."""
        size = parse_number(call.query.get("size", "0"), MAX_ID)
        if size is None:
            raise MalformedRequest("“size” must be the number of entries of an older checkpoint.")
        proof = await self._transparency.consistency_since(call.principal, size)
        return _file(proof, "consistency.proof.txt")

    @Operation(
        "GET",
        "/certificates/<id>/inclusion-proof",
        scope=Scope.READ,
        summary="A proof that the certificate is in the log, which verifies offline",
        files=(_TEXT.decode(),),
    )
    async def inclusion(self, call: Call) -> Answer:
        """Return the inclusion proof with the newest checkpoint."""
        record = await self._inventory.certificate(call.principal, call.id)
        proof = await self._transparency.certificate_proof(record)
        return _file(proof, f"{format_serial(record.serial)}.proof.txt")


def _file(text: str, name: str) -> Answer:
    headers = {b"Content-Disposition": f'attachment; filename="{name}"'.encode("ascii")}
    return Answer(200, text.encode(), _TEXT, headers)
