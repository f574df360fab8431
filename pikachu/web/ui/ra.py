"""``/ra``: sign CSRs (RA-1 to RA-4)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import MalformedRequest, NotFound, PikachuError, errors_of
from pikachu.core.model.certificates import CertificateRecord, Method
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.list_queries import Page as ListPage
from pikachu.core.model.people import Principal
from pikachu.core.model.requests import StoredCSR
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.csrs import CertificateRequests
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME
from pikachu.ra.enrollment import Pending
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.ra.preview import Preview
from pikachu.ra.registration_authority import RegistrationAuthority
from pikachu.web.ui.certificates import STATUS_FILTER, CertificateRows, Row
from pikachu.web.ui.forms import Form
from pikachu.web.ui.issuance_choices import IssuanceChoices
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.tables import NOBODY, Column, Table
from pikachu.x509.csr import decode_csr_input
from pikachu.x509.pem import pem

_MAXIMUM_PENDING: Final = 100
_PLACEHOLDER: Final = "-----BEGIN CERTIFICATE REQUEST-----\n…"


ISSUED: Final[Table[Row]] = Table(
    "issued",
    (
        Column("id", "ID", sort="id", text=lambda row: str(row.record.id)),
        Column("common_name", "Common name", sort="common_name", text=lambda row: row.name),
        Column("serial", "Serial", sort="serial", text=lambda row: row.serial),
        Column("key", "Key", text=lambda row: row.record.key_type),
        Column("policy", "Policy", text=lambda row: row.record.policy),
        Column("created", "Issued (UTC)", sort="created_at", text=lambda row: row.record.created_at.isoformat()),
        Column("status", "Status", text=lambda row: row.status.value),
        Column("owner", "User", text=lambda row: row.owner, audience=Audience.STAFF),
    ),
    filters=(STATUS_FILTER,),
    parameters=("csr", "pending"),
    empty="Nothing was signed on this page yet.",
    search="Filter what was issued here",
)


@dataclass(frozen=True, slots=True)
class Draft:
    """The state of the signing form.

    :param csr: PEM, or the text as typed.
    :param csr_id: id of the stored CSR that it was loaded from, or empty.
    :param days: text of a number; empty: the policy's validity.
    :param once: idempotency key: a form that is submitted twice signs once.
    """

    csr: str = ""
    csr_id: str = ""
    policy: str = DEFAULT_POLICY_NAME
    days: str = ""
    issuer: str = ""
    once: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @classmethod
    def of(cls, form: Form) -> Draft:
        """Read the submitted form; a file takes precedence over the text."""
        upload = form.data("file")
        csr = form.whole_text("csr")
        if upload:
            with errors_of("file"):
                csr = pem("CERTIFICATE REQUEST", decode_csr_input(upload))
        return cls(
            csr,
            form.text("csr_id"),
            form.text("policy", DEFAULT_POLICY_NAME),
            form.text("days"),
            form.text("issuer"),
            form.text("once")[:64] or secrets.token_urlsafe(16),
        )


class RAPages(Pages):
    """The form, its preview, and the certificates issued here."""

    def __init__(
        self,
        *,
        registration: RegistrationAuthority,
        requests: CertificateRequests,
        policy_administration: PolicyAdministration,
        choices: IssuanceChoices,
        issuers: IssuingCAs,
        inventory: CertificateQueries,
        authority: CertificateAuthority,
    ) -> None:
        self._registration: RegistrationAuthority = registration
        self._requests: CertificateRequests = requests
        self._policies: PolicyAdministration = policy_administration
        self._choices = choices
        self._rows = CertificateRows(inventory=inventory, issuers=issuers, authority=authority)
        self._inventory = inventory

    # --- pages ----------------------------------------------------------------------------

    @page("GET", "/ra", audience=Audience.REQUESTER)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the empty form, or with ``?csr=ID`` a stored CSR."""
        if visit.query.get("format") == "csv":
            return await ISSUED.reply(visit, self._fetch(visit), "ra/sign.html", prepare=self._prepare(visit))
        draft = Draft(days=str(await self._choices.default_days(visit.principal)))
        csr_id = visit.query.get("csr", "")
        if csr_id:
            stored = await self._requests.get(visit.principal, _number(csr_id))
            draft = replace(draft, csr=pem("CERTIFICATE REQUEST", stored.der), csr_id=str(stored.id))
        return await self._page(visit, draft)

    @page("POST", "/ra", audience=Audience.REQUESTER)
    async def check(self, visit: PageRequest) -> PageReply:
        """Show the requested and the resulting certificate without signing."""
        try:
            draft = Draft.of(visit.form)
            preview, draft = await self._checked(visit, draft)
        except PikachuError as error:
            return await self._page(visit, _submitted_draft(visit.form), error=error)
        return await self._page(visit, draft, preview=preview)

    @page("POST", "/ra/sign", audience=Audience.REQUESTER)
    async def sign(self, visit: PageRequest) -> PageReply:
        """Sign the CSR, or show the reason of a refusal."""
        draft = _submitted_draft(visit.form)
        preview = None
        try:
            draft = Draft.of(visit.form)
            # The preview comes first, so that a refusal is shown beside the request.
            preview, draft = await self._checked(visit, draft)
            if preview.refusal is not None:
                raise preview.refusal
            result = await self._registration.sign(
                visit.principal,
                await self._submitted_csr(visit.principal, draft),
                Method.UI,
                policy=draft.policy,
                days=await self._choices.days(visit.principal, draft.policy, draft.days),
                issuer=draft.issuer or None,
                idempotency_key=draft.once,
            )
        except PikachuError as error:
            return await self._page(visit, draft, preview=preview, error=error)
        if isinstance(result, Pending):
            return Redirect(
                f"/ra/approvals/{result.request_id}", notice="The request waits until an admin approves it."
            )
        return Redirect(f"/certificates/{result.record.id}", notice="The certificate was issued.")

    @page("POST", "/ra/validity", audience=Audience.ADMIN)
    async def validity(self, visit: PageRequest) -> PageReply:
        """Set the default validity (RA-4)."""
        try:
            days, expected = visit.form.number("default_days"), visit.form.versions()
            policy = await self._policies.set_default_validity(visit.principal, days, expected=expected)
        except PikachuError as error:
            return await self._page(visit, Draft(), error=error)
        return Redirect("/ra", notice=f"The default validity is {policy.days} days now.")

    @page("GET", "/ra/csrs/<id>/reject", audience=Audience.OPERATOR)
    async def rejection(self, visit: PageRequest) -> PageReply:
        """Show the form for the reason."""
        return await self._rejection(visit)

    @page("POST", "/ra/csrs/<id>/reject", audience=Audience.OPERATOR)
    async def reject(self, visit: PageRequest) -> PageReply:
        """Reject a stored CSR."""
        try:
            stored = await self._registration.reject_csr(visit.principal, visit.id, visit.form.text("reason"))
        except NotFound:
            raise
        except PikachuError as error:
            return await self._rejection(visit, error)
        return Redirect("/ra", notice=f"The request {stored.name} was rejected.")

    # --- views ----------------------------------------------------------------------------

    async def _page(
        self, visit: PageRequest, draft: Draft, *, preview: Preview | None = None, error: PikachuError | None = None
    ) -> PageReply:
        actor = visit.principal
        table = await ISSUED.view(visit, self._fetch(visit), self._prepare(visit))
        stored = await self._stored(actor, draft.csr_id)
        searched = visit.query.get("pending", "").strip()[:200]
        pending, has_more = await self._pending(actor, stored, searched)
        names = await self._inventory.owner_names(actor, [] if stored is None else [stored.owner_id])
        foreign = stored is not None and stored.owner_id != actor.owner_id
        context = {
            "draft": draft,
            "stored": stored,
            "keeper": next(iter(names.values()), "nobody") if foreign else "",
            "preview": preview,
            "pending": pending,
            "has_more": has_more,
            "searched": searched,
            "sources": await self._choices.policies(actor),
            "issuers": self._choices.issuers(),
            "default_policy": await self._policies.default(actor),
            "waiting": await self._inventory.waiting(actor),
            "placeholder": _PLACEHOLDER,
            "table": table,
        }
        found = HtmlPage.form("ra/sign.html", context, error)
        return replace(found, status=table.status) if error is None else found

    async def _rejection(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        stored = await self._requests.get(visit.principal, visit.id)
        return HtmlPage.form("ra/reject_csr.html", {"stored": stored, "form": visit.form}, error)

    def _fetch(self, visit: PageRequest) -> Callable[[ListQuery], Awaitable[ListPage[CertificateRecord]]]:
        return lambda query: self._inventory.certificates(
            visit.principal, replace(query, filters={**query.filters, "method": Method.UI.value})
        )

    def _prepare(self, visit: PageRequest) -> Callable[[Sequence[CertificateRecord]], Awaitable[Sequence[Row]]]:
        return lambda records: self._rows.of(visit.principal, records)

    async def _pending(
        self, actor: Principal, loaded: StoredCSR | None, searched: str
    ) -> tuple[list[tuple[str, str]], bool]:
        """Return the pending CSRs that match a text, newest first, with the loaded one; and whether there are more."""
        query = ListQuery(limit=_MAXIMUM_PENDING, q=searched or None, filters={"state": "pending"})
        found = await self._requests.list(actor, query)
        pending = list(found.items)
        if loaded is not None and loaded.id not in {one.id for one in pending}:
            pending.insert(0, loaded)
        names = await self._inventory.owner_names(actor, [one.owner_id for one in pending])

        def owner(one: StoredCSR) -> str:
            if one.owner_id == actor.owner_id or one.owner_id is None:
                return ""
            return f", {names.get(one.owner_id, NOBODY)}"

        choices = [
            (str(one.id), f"{one.name} ({one.key_type}{owner(one)}), {one.created_at:%Y-%m-%d}") for one in pending
        ]
        return choices, found.next_cursor is not None

    # --- submitted forms ------------------------------------------------------------------

    async def _checked(self, visit: PageRequest, draft: Draft) -> tuple[Preview, Draft]:
        """Return the preview, and the draft with its CSR as PEM."""
        actor = visit.principal
        csr = await self._submitted_csr(actor, draft)
        preview = await self._registration.preview(
            actor,
            csr,
            Method.UI,
            policy=draft.policy,
            days=await self._choices.days(actor, draft.policy, draft.days),
            issuer=draft.issuer or None,
        )
        text = pem("CERTIFICATE REQUEST", decode_csr_input(draft.csr.encode()))
        return preview, replace(draft, csr=text, csr_id=draft.csr_id if isinstance(csr, int) else "")

    async def _submitted_csr(self, actor: Principal, draft: Draft) -> bytes | int:
        """Return the CSR as DER, or the id of the stored one when it is unchanged."""
        if not draft.csr.strip():
            raise MalformedRequest(
                "There is no certificate request: paste one, upload a file, or load one.", field="csr"
            )
        with errors_of("csr"):
            der = decode_csr_input(draft.csr.encode())
        stored = await self._stored(actor, draft.csr_id)
        return stored.id if stored is not None and stored.der == der else der

    async def _stored(self, actor: Principal, csr_id: str) -> StoredCSR | None:
        if not csr_id:
            return None
        try:
            return await self._requests.get(actor, _number(csr_id))
        except NotFound:
            return None


def _submitted_draft(form: Form) -> Draft:
    """Return the form as submitted, for redisplay even when it is invalid."""
    values = form.values
    return Draft(
        values.get("csr", ""),
        values.get("csr_id", ""),
        values.get("policy", DEFAULT_POLICY_NAME),
        values.get("days", ""),
        values.get("issuer", ""),
    )


def _number(text: str) -> int:
    """Parse an id.

    :raises NotFound: when no object can have it.
    """
    number = parse_number(text, MAX_ID)
    if number is None:
        raise NotFound("there is no such certificate signing request")
    return number
