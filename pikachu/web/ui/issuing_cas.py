"""``/va`` and ``/ca``: revoked certificates and CRLs; the CAs and their generations (VA-1, UI-6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pikachu.auth.permissions import Audience, in_audience
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import MalformedRequest, NotFound, PikachuError, errors_of
from pikachu.core.model.certificates import CertificateRecord, CertificateStatus
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.list_queries import Page as ListPage
from pikachu.core.model.people import Principal
from pikachu.inventory.certificates import CertificateQueries
from pikachu.va.ca_directory import DECODED_ENTRIES, CADirectory, CRLState, Generation
from pikachu.va.revocation_recovery import RevocationRecovery
from pikachu.web.ui.certificates import INFRASTRUCTURE, CertificateRows, utc_text
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.tables import Column, Filter, Table
from pikachu.x509 import der
from pikachu.x509.pem import certificates_pem
from pikachu.x509.text.certificate import certificate_text
from pikachu.x509.text.descriptions import algorithm_text

GENERATION_KINDS: Final = {
    Generation.CURRENT: "good",
    Generation.NEXT: "info",
    Generation.FORMER: "mute",
    Generation.ROOT: "warn",
    Generation.ABOVE: "mute",
}


class RevocationPages(Pages):
    """Revocation pages."""

    def __init__(
        self,
        *,
        inventory: CertificateQueries,
        ca_directory: CADirectory,
        authority: CertificateAuthority,
        issuers: IssuingCAs,
        recovery: RevocationRecovery,
    ) -> None:
        self._inventory = inventory
        self._ca_directory = ca_directory
        self._recovery = recovery
        self._rows = CertificateRows(inventory=inventory, issuers=issuers, authority=authority)
        self._now = authority.now
        self._table: Table[CertificateRecord] = Table(
            "revoked-certificates",
            (
                Column("id", "ID", sort="id", text=lambda row: str(row.record.id)),
                Column("subject", "Subject", sort="common_name", text=lambda row: row.record.subject),
                Column("serial", "Serial", text=lambda row: row.serial),
                Column("date", "Revoked (UTC)", sort="revoked_at", text=lambda row: utc_text(row.record.revoked_at)),
                Column("reason", "Reason", text=lambda row: row.reason),
                Column("issuer", "Issuing CA", text=lambda row: row.issuer),
                Column("user", "User", text=lambda row: row.owner, audience=Audience.STAFF),
                Column("actions", "Actions"),
            ),
            (Filter("issuer", "Issuing CA", tuple((name, name) for name in sorted(issuers.current))), INFRASTRUCTURE),
            default_sort="-revoked_at",
            empty="Nothing is revoked.",
            empty_link=("/certificates", "Certificates"),
            search="Name, subject or serial",
        )

    @page("GET", "/va", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """Show the CRL of each CA, the visible revoked certificates, and the default CA's CRL decoded."""
        states = await self._ca_directory.crls()
        default = next(state for state in states if state.ca.default)
        return await self._table.reply(
            visit,
            lambda query: self._revoked(visit.principal, query),
            "authority/va.html",
            prepare=lambda records: self._rows.of(visit.principal, records),
            crls=states,
            default=default,
            text=await self._text(default),
            now=self._now(),
            decoded=DECODED_ENTRIES,
            recovered=await self._recovery.notice() if in_audience(visit.principal, Audience.AUDITOR) else None,
        )

    async def _revoked(self, actor: Principal, query: ListQuery) -> ListPage[CertificateRecord]:
        filters = {**query.filters, "status": CertificateStatus.REVOKED.value}
        return await self._inventory.certificates(actor, replace(query, filters=filters))

    async def _text(self, state: CRLState) -> str:
        return "" if state.crl is None else await self._ca_directory.crl_text(state.ca.address)

    @page("GET", "/va/crl/<ca>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show one CA's CRL, decoded."""
        return await self._crl(await self._ca_directory.crl(visit.path["ca"]))

    async def _crl(self, state: CRLState, error: PikachuError | None = None) -> HtmlPage:
        context = {
            "state": state,
            "text": await self._text(state),
            "now": self._now(),
            "decoded": DECODED_ENTRIES,
        }
        return HtmlPage.form("authority/crl.html", context, error)

    @page("POST", "/va/crl/<ca>", audience=Audience.ADMIN)
    async def make(self, visit: PageRequest) -> PageReply:
        """Publish a CRL now."""
        address = visit.path["ca"]
        try:
            state = await self._ca_directory.make_crl(visit.principal, address)
        except NotFound:
            raise
        except PikachuError as error:
            return await self._crl(await self._ca_directory.crl(address), error)
        assert state.crl is not None  # noqa: S101 - publishing returns it
        return Redirect(f"/va/crl/{state.ca.address}", f"CRL {state.crl.number} of {state.ca.name} was published.")

    @page("GET", "/va/upload", audience=Audience.ADMIN)
    async def upload_form(self, visit: PageRequest) -> PageReply:
        """Show the form for the CRL of a CA with an offline key."""
        return self._upload_form(visit)

    @page("POST", "/va/upload", audience=Audience.ADMIN)
    async def upload(self, visit: PageRequest) -> PageReply:
        """Upload a CRL, as a file or pasted."""
        data = visit.form.data("file") or visit.form.data("crl").strip()
        try:
            if not data:
                raise MalformedRequest("choose a file, or paste the CRL", field="crl")
            with errors_of("file" if visit.form.data("file") else "crl"):
                state = await self._ca_directory.upload_crl(visit.principal, data)
        except PikachuError as error:
            return self._upload_form(visit, error)
        assert state.crl is not None  # noqa: S101 - uploading returns it
        return Redirect(f"/va/crl/{state.ca.address}", f"CRL {state.crl.number} of {state.ca.subject} was published.")

    def _upload_form(self, visit: PageRequest, error: PikachuError | None = None) -> HtmlPage:
        offline_cas = [ca for ca in self._ca_directory.all() if not ca.makes_crls]
        context = {"above": offline_cas, "pasted": visit.form.values.get("crl", "")}
        return HtmlPage.form("authority/upload.html", context, error)


class AuthorityPages(Pages):
    """CA pages."""

    def __init__(self, *, ca_directory: CADirectory, authority: CertificateAuthority) -> None:
        self._ca_directory = ca_directory
        self._now = authority.now

    @page("GET", "/ca", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List all issuing CAs with their generations, and their parent CAs."""
        states = await self._ca_directory.crls()
        return HtmlPage("authority/ca.html", {"states": states, "kinds": GENERATION_KINDS, "now": self._now()})

    @page("GET", "/ca/<name>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show one CA, decoded."""
        state = await self._ca_directory.crl(visit.path["name"])
        certificate = state.ca.certificate
        context = {
            "state": state,
            "kinds": GENERATION_KINDS,
            "now": self._now(),
            "signature_algorithm": algorithm_text(der.parse(certificate.signature_algorithm_der, der.SEQUENCE)),
            "text": certificate_text(certificate.der),
            "pem": certificates_pem([certificate.der]),
        }
        return HtmlPage("authority/view.html", context)
