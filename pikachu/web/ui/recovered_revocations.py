"""``/va/recovered``: revocations that only a published CRL had, after an older database was restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import Conflict, NotFound, PikachuError
from pikachu.core.model.certificates import format_serial
from pikachu.core.recovery_interfaces import UNDECIDED, RecoveredRevocation, RecoveryDecision
from pikachu.va.revocation_recovery import RevocationRecovery
from pikachu.web.ui.certificates import REASON_LABELS, utc_text
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.tables import Column, Filter, Table

#: Name of a decision in paths, and the word to type → the decision.
_DECISIONS: Final = {"keep": RecoveryDecision.KEEP, "release": RecoveryDecision.DROP}
_LABELS: Final = {None: "Undecided", RecoveryDecision.KEEP: "Kept revoked", RecoveryDecision.DROP: "Released"}
_LIST: Final = "/va/recovered"


@dataclass(frozen=True, slots=True)
class Row:
    """A recovered revocation with its issuing CA's name; empty when that is not configured any more."""

    recovered: RecoveredRevocation
    issuer: str

    @property
    def serial(self) -> str:
        """Return the serial number in hex."""
        return format_serial(self.recovered.serial)

    @property
    def reason(self) -> str:
        """Return the reason of the revocation."""
        return REASON_LABELS[self.recovered.reason]

    @property
    def decision(self) -> str:
        """Return what was decided."""
        return _LABELS[self.recovered.decision]


class RecoveredRevocationsPages(Pages):
    """Recovered revocations."""

    def __init__(self, *, recovery: RevocationRecovery, issuers: IssuingCAs) -> None:
        self._recovery = recovery
        self._issuers = issuers
        decisions = ((UNDECIDED, None), *((one.value, one) for one in RecoveryDecision))
        self._table: Table[Row] = Table(
            "recovered-revocations",
            (
                Column("id", "ID", sort="id", text=lambda row: str(row.recovered.id)),
                Column("serial", "Serial", text=lambda row: row.serial),
                Column("subject", "Subject", text=lambda row: row.recovered.subject),
                Column("issuer", "Issuing CA", text=lambda row: row.issuer),
                Column("date", "Revoked (UTC)", sort="revoked_at", text=lambda row: utc_text(row.recovered.revoked_at)),
                Column("reason", "Reason", text=lambda row: row.reason),
                Column("recovered", "Recovered (UTC)", text=lambda row: utc_text(row.recovered.recovered_at)),
                Column("decision", "Decision", text=lambda row: row.decision),
                Column("actions", "Actions"),
            ),
            (
                Filter("decision", "Decision", tuple((value, _LABELS[one]) for value, one in decisions)),
                Filter("issuer", "Issuing CA", tuple((name, name) for name in sorted(issuers.current))),
                Filter("reason", "Reason", tuple((one.wire_name, label) for one, label in REASON_LABELS.items())),
            ),
            empty="No revocations were recovered.",
            empty_link=("/va", "VA (CRL)"),
            search="Serial number or subject",
        )

    @page("GET", _LIST, audience=Audience.AUDITOR)
    async def list(self, visit: PageRequest) -> PageReply:
        """List them, with the progress of a decision on all."""
        return await self._table.reply(
            visit,
            lambda query: self._recovery.page(visit.principal, query),
            "recovered/list.html",
            prepare=self._rows,
            waiting=await self._recovery.count(visit.principal),
            run=self._recovery.run,
            keep=RecoveryDecision.KEEP,
        )

    async def _rows(self, items: Sequence[RecoveredRevocation]) -> Sequence[Row]:
        return [self._row(one) for one in items]

    def _row(self, recovered: RecoveredRevocation) -> Row:
        issuer = self._issuers.by_id(recovered.issuer_id)
        return Row(recovered, "" if issuer is None else issuer.name)

    @page("GET", f"{_LIST}/<id>/<name>", audience=Audience.ADMIN)
    async def decision_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences and the confirmation word."""
        _decision(visit)
        return await self._decision_form(visit)

    @page("POST", f"{_LIST}/<id>/<name>", audience=Audience.ADMIN)
    async def decide(self, visit: PageRequest) -> PageReply:
        """Keep the certificate revoked, or release it."""
        decision = _decision(visit)
        try:
            visit.form.require_confirmation(visit.path["name"])
            recovered = await self._recovery.decide_one(visit.principal, visit.id, decision)
        except NotFound:
            raise
        except PikachuError as error:
            return await self._decision_form(visit, error)
        done = "stays revoked" if decision is RecoveryDecision.KEEP else "was released"
        return Redirect(f"{_LIST}?decision={UNDECIDED}", f"Certificate {format_serial(recovered.serial)} {done}.")

    async def _decision_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        row = self._row(await self._recovery.get(visit.principal, visit.id))
        return HtmlPage.form("recovered/decide.html", {"row": row, "word": visit.path["name"]}, error)

    @page("GET", "/va/recovered-all/<name>", audience=Audience.ADMIN)
    async def decision_on_all_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences, and the number to type."""
        _decision(visit)
        return await self._decision_on_all_form(visit)

    @page("POST", "/va/recovered-all/<name>", audience=Audience.ADMIN)
    async def decide_all(self, visit: PageRequest) -> PageReply:
        """Decide on all that wait; a long run continues while the list shows its progress."""
        decision = _decision(visit)
        waiting = await self._recovery.count(visit.principal)
        try:
            # The number instead of a word: what has arrived since the form was shown is not decided unseen.
            visit.form.require_confirmation(str(waiting))
            run = await self._recovery.decide_all(visit.principal, decision, waiting, wait=False)
        except PikachuError as error:
            return await self._decision_on_all_form(visit, error)
        if run.active:
            return Redirect(_LIST)
        certificates = "1 certificate" if run.decided == 1 else f"{run.decided:,} certificates"
        return Redirect(
            _LIST, f"{certificates} kept revoked." if decision is RecoveryDecision.KEEP else f"{certificates} released."
        )

    async def _decision_on_all_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        waiting = await self._recovery.count(visit.principal)
        if not waiting and error is None:
            error = Conflict("No recovered revocation waits for a decision.")
        return HtmlPage.form("recovered/decide_all.html", {"waiting": waiting, "word": visit.path["name"]}, error)


def _decision(visit: PageRequest) -> RecoveryDecision:
    """Return the decision that the path names; NotFound."""
    decision = _DECISIONS.get(visit.path["name"])
    if decision is None:
        raise NotFound("Page not found.")
    return decision
