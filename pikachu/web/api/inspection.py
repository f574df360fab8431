"""``/inspect``: what an object is (UI-7, INT-2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pikachu.core.model.people import Scope
from pikachu.inspection.recognition import Kind
from pikachu.inspection.service import Inspection
from pikachu.web.api.routes import Answer, Call, Routes, route


@dataclass(frozen=True, slots=True)
class Inspectable:
    """PEM (also several blocks), or base64 of DER; the passphrase of a private key or a PKCS#12 file."""

    data: str
    passphrase: str | None = None


@dataclass(frozen=True, slots=True)
class InspectionResult:
    """What it is, the facts in it by name, and its text in the manner of openssl; of the first object, if several."""

    type: Kind
    summary: Mapping[str, object]
    text: str


class InspectionAPI(Routes):
    """Decodes what is sent; nothing of it is kept."""

    def __init__(self, *, inspection: Inspection) -> None:
        self._inspection = inspection

    @route(
        "POST",
        "/inspect",
        scope=Scope.READ,
        summary="Decode a certificate, request, CRL, message, key, PKCS#12 file or OCSP message",
        body=Inspectable,
        answer=InspectionResult,
    )
    async def inspect(self, call: Call) -> Answer:
        """UI-7: private numbers and challenge passwords are never in the answer."""
        asked = call.take(Inspectable)
        found = await self._inspection.inspect(call.principal, asked.data.encode(), asked.passphrase)
        # Secret: repetitions are inspected anew, so that nothing is kept for them.
        return Answer(200, InspectionResult(found.kind, dict(found.facts), found.text), secret=True)
