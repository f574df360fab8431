"""``/certificates/ID/renew``: a certificate with the same names and policy (ISS-2)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.core.model.certificates import Method
from pikachu.core.number_parsing import parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.renewals import Renewal, Renewals
from pikachu.ra.enrollment import Pending
from pikachu.ra.preview import Preview
from pikachu.web.ui.forms import Form
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect

NEW, SAME = "new", "same"
_PREVIEW: Final = "certificates/renew_preview.html"


@dataclass(frozen=True, slots=True)
class Draft:
    """The state of the form.

    :ivar key: ``new`` or ``same``.
    :ivar days: text of a number; empty: the policy's validity.
    :ivar once: idempotency key: a form that is submitted twice renews once.
    """

    key: str = NEW
    days: str = ""
    once: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @classmethod
    def of(cls, form: Form) -> Draft:
        """Read the submitted form; what is no text is left out."""
        values = form.values
        return cls(
            SAME if values.get("key") == SAME else NEW,
            values.get("days", "").strip(),
            values.get("once", "")[:64] or secrets.token_urlsafe(16),
        )

    def renewal(self, certificate_id: int) -> Renewal:
        """Return the renewal of a certificate.

        :raises MalformedRequest: the validity is no number.
        """
        days = parse_number(self.days) if self.days else None
        if self.days and days is None:
            raise MalformedRequest("Enter a whole number of days from 1 to 36,500.", field="days")
        return Renewal(certificate_id, self.key == SAME, days)


class RenewalPages(Pages):
    """The form and the renewal."""

    def __init__(self, *, renewals: Renewals, inventory: CertificateQueries) -> None:
        self._renewals = renewals
        self._inventory = inventory

    @page("GET", "/certificates/<id>/renew", audience=Audience.REQUESTER)
    async def form(self, visit: PageRequest) -> PageReply:
        """Show the new certificate, and the choice of its key."""
        return await self._page(visit, Draft())

    @page("POST", "/certificates/<id>/renew", audience=Audience.REQUESTER)
    async def renew(self, visit: PageRequest) -> PageReply:
        """Issue the certificate, or show the preview when JavaScript is off."""
        draft = Draft.of(visit.form)
        if visit.form.text("action") == "preview":
            return await self._page(visit, draft)
        try:
            renewal = draft.renewal(visit.id)
            result = (await self._renewals.renew(visit.principal, renewal, Method.UI, draft.once)).result
        except PikachuError as error:
            return await self._page(visit, draft, error)
        if isinstance(result, Pending):
            return Redirect(
                f"/ra/approvals/{result.request_id}",
                notice="The certificate is renewed as soon as an administrator approves it.",
            )
        return Redirect(
            f"/certificates/{result.record.id}",
            notice="Certificate renewed. This is the new one; the old one stays valid until it expires or is revoked.",
        )

    @page("POST", "/certificates/<id>/renew/preview", audience=Audience.REQUESTER)
    async def preview(self, visit: PageRequest) -> PageReply:
        """Return the preview alone, for the script of the form."""
        preview, wrong = await self._preview(visit, Draft.of(visit.form))
        return HtmlPage(_PREVIEW, {"preview": preview, "wrong": wrong})

    async def _page(self, visit: PageRequest, draft: Draft, error: PikachuError | None = None) -> PageReply:
        record = await self._inventory.certificate(visit.principal, visit.id)
        preview, wrong = await self._preview(visit, draft)
        context = {
            "record": record,
            "draft": draft,
            "key": await self._renewals.stored_key(visit.principal, record),
            "preview": preview,
            "wrong": None if error is not None else wrong,
        }
        return HtmlPage.form("certificates/renew.html", context, error)

    async def _preview(self, visit: PageRequest, draft: Draft) -> tuple[Preview | None, PikachuError | None]:
        try:
            return await self._renewals.preview(visit.principal, draft.renewal(visit.id), Method.UI), None
        except PikachuError as error:
            return None, error
