"""Checkpoints of the transparency log, and proofs that certificates are in it, as files (TLG-1)."""

from __future__ import annotations

from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.core.model.certificates import format_serial
from pikachu.inventory.certificates import CertificateQueries
from pikachu.operations.transparency import TransparencyLog
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, PageReply

TEXT: Final = b"text/plain; charset=utf-8"


class TransparencyPages(Pages):
    """``/events/checkpoint`` and ``/certificates/<id>/proof``."""

    def __init__(self, *, transparency: TransparencyLog, inventory: CertificateQueries) -> None:
        self._transparency = transparency
        self._inventory = inventory

    @page("GET", "/events/checkpoint", audience=Audience.AUDITOR)
    async def checkpoint(self, visit: PageRequest) -> PageReply:
        """Download the signed state of the log."""
        checkpoint = await self._transparency.checkpoint(visit.principal)
        return Download(checkpoint.note.encode(), TEXT, f"checkpoint-{checkpoint.size}.txt")

    @page("GET", "/certificates/<id>/proof", audience=Audience.USER)
    async def proof(self, visit: PageRequest) -> PageReply:
        """Download the inclusion proof of a certificate."""
        record = await self._inventory.certificate(visit.principal, visit.id)
        proof = await self._transparency.certificate_proof(record)
        return Download(proof.encode(), TEXT, f"{format_serial(record.serial)}.proof.txt")
