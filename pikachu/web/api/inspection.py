"""``/inspect``: decode an uploaded object (UI-7, INT-2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pikachu.core.model.people import Scope
from pikachu.inspection.recognition import Kind
from pikachu.inspection.service import Inspection
from pikachu.web.api.examples import CSR
from pikachu.web.api.routes import Answer, Call, Operation, Routes


@dataclass(frozen=True, slots=True)
class Inspectable:
    """PEM (one or more blocks), or Base64 of DER; the passphrase of a private key or a PKCS#12 file."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"data": CSR}

    data: str
    passphrase: str | None = None


@dataclass(frozen=True, slots=True)
class InspectionResult:
    """The kind of the first object, its fields by name, and its text in the format of openssl."""

    type: Kind
    summary: Mapping[str, object]
    text: str


class InspectionAPI(Routes):
    """Decode what is sent without storing it."""

    def __init__(self, *, inspection: Inspection) -> None:
        self._inspection = inspection

    @Operation(
        "POST",
        "/inspect",
        scope=Scope.READ,
        summary="Decode a certificate, request, CRL, message, key, PKCS#12 file or OCSP message",
        body=Inspectable,
        answer=InspectionResult,
    )
    async def inspect(self, call: Call) -> Answer:
        """Inspect the data (UI-7); the answer never contains private numbers or challenge passwords."""
        body = call.take(Inspectable)
        result = await self._inspection.inspect(call.principal, body.data.encode(), body.passphrase)
        # Secret: the response is not cached, so a repetition is inspected again.
        return Answer(200, InspectionResult(result.kind, dict(result.facts), result.text), secret=True)
