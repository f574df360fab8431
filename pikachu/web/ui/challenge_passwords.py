"""``/challenge-passwords``: one-time passwords for devices (CHP-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pikachu.accounts.challenge_passwords import MAX_VALIDITY, ChallengePasswords, Purpose
from pikachu.auth.permissions import Audience, in_audience
from pikachu.ca.issuance import CertificateAuthority
from pikachu.config.configuration import Configuration
from pikachu.config.setting_types import duration
from pikachu.core.errors import MalformedRequest, NotFound, PikachuError
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.jobs import JobResource
from pikachu.core.model.people import ChallengePassword
from pikachu.core.model.times import rfc3339
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import export_or_deletion
from pikachu.web.ui.tables import NOBODY, Column, Filter, Table

#: Stands for an empty subject, which a password may be bound to.
NO_SUBJECT: Final = "/"
#: Texts of lifetimes in forms, such as ``60m``.
LIFETIME: Final = duration("m", maximum=int(MAX_VALIDITY.total_seconds()))


@dataclass(frozen=True, slots=True)
class Row:
    """A challenge password without its text, with its status at one time.

    :param status: ``Available``, ``Consumed`` or ``Expired``; a reserved one counts as consumed.
    :param is_own: whether it belongs to the user of the page.
    """

    challenge: ChallengePassword
    owner: str
    status: str
    is_own: bool

    @property
    def subject(self) -> str:
        """Return the subject that it is bound to; empty where it is bound to none."""
        names = self.challenge.names
        return "" if names is None else names.subject or NO_SUBJECT

    @property
    def sans(self) -> tuple[str, ...]:
        """Return the subject alternative names that it is bound to."""
        return () if self.challenge.names is None else self.challenge.names.sans

    @property
    def validity(self) -> timedelta:
        """Return its lifetime."""
        return self.challenge.expires_at - self.challenge.created_at

    @property
    def serial(self) -> str:
        """Return the serial of the certificate that was issued for it; empty where there is none."""
        serial = self.challenge.consumed_serial
        return "" if serial is None else format_serial(serial)


TABLE: Final[Table[Row]] = Table(
    "challenge-passwords",
    (
        Column("prefix", "Password", sort="prefix", text=lambda row: f"{row.challenge.prefix}…"),
        Column("label", "Label", sort="label", text=lambda row: row.challenge.label),
        Column("subject", "For", text=lambda row: row.subject),
        Column("sans", "Subject alternative names", text=lambda row: ", ".join(row.sans), csv_only=True),
        Column("status", "Status", sort="status", text=lambda row: row.status),
        Column("user", "User", sort="user", text=lambda row: row.owner),
        Column("created", "Created (UTC)", sort="created_at", text=lambda row: rfc3339(row.challenge.created_at)),
        Column("validity", "Validity", sort="validity", text=lambda row: str(int(row.validity.total_seconds()))),
        Column("expires", "Expires (UTC)", sort="expires_at", text=lambda row: rfc3339(row.challenge.expires_at)),
        Column("actions", "Actions"),
    ),
    filters=(
        Filter("status", "Status", (("available", "Available"), ("consumed", "Consumed"), ("expired", "Expired"))),
        Filter("label", "Label"),
    ),
    empty="No challenge passwords yet: a device needs one to enroll by SCEP, or by EST without an account.",
    search="First digits, ID, label, name or date",
    selection=export_or_deletion(JobResource.CHALLENGE_PASSWORDS, lambda row: (row.challenge.id, row.challenge.prefix)),
)


class ChallengePasswordsPages(Pages):
    """One-time passwords."""

    def __init__(
        self,
        *,
        challenge_passwords: ChallengePasswords,
        authority: CertificateAuthority,
        inventory: CertificateQueries,
        config: Configuration,
    ) -> None:
        self._challenge_passwords = challenge_passwords
        self._authority = authority
        self._inventory = inventory
        self._validity = timedelta(seconds=config.scep.challenge_password_validity)

    @page("GET", "/challenge-passwords", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the user's own challenge passwords; for administrators all."""
        return await TABLE.reply(
            visit,
            lambda query: self._challenge_passwords.list(visit.principal, query),
            "challenges/list.html",
            prepare=lambda items: self._rows(visit, items),
            validity=self._validity,
        )

    @page("GET", "/challenge-passwords/new", audience=Audience.REQUESTER)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form: empty, or with ``?copy=ID`` filled like another one."""
        values = {"validity": LIFETIME.show(int(self._validity.total_seconds()))}
        challenge_id = parse_number(visit.query.get("copy", ""), MAX_ID)
        if challenge_id is not None:
            row = await self._row(visit, challenge_id)
            values = {
                "label": row.challenge.label,
                "subject": row.subject,
                "sans": "\n".join(row.sans),
                "validity": LIFETIME.show(int(row.validity.total_seconds())),
            }
        return HtmlPage.form("challenges/new.html", {"values": values})

    @page("POST", "/challenge-passwords", audience=Audience.REQUESTER)
    async def create(self, visit: PageRequest) -> PageReply:
        """Create one for the user; the next page shows it, and reloading that page creates no other one."""
        form = visit.form
        try:
            sans = form.whole_text("sans").splitlines()
            purpose = Purpose(form.text("label"), form.text("subject") or None, sans)
            validity = lifetime_of(form.text("validity"))
            challenge, _ = await self._challenge_passwords.create(visit.principal, None, validity, purpose)
        except PikachuError as error:
            return HtmlPage.form("challenges/new.html", {"values": form.values}, error)
        return Redirect(f"/challenge-passwords/{challenge.id}", notice="Challenge password created.")

    @page("GET", "/challenge-passwords/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show it; the text of another user's one is revealed by a click only, which is recorded."""
        row = await self._row(visit, visit.id)
        # One of a former user may be an auditor's, who may not see its text.
        shown = row.is_own and in_audience(visit.principal, Audience.REQUESTER)
        text = await self._challenge_passwords.reveal(visit.principal, visit.id) if shown else ""
        return HtmlPage("challenges/view.html", {"row": row, "text": text})

    @page("GET", "/challenge-passwords/<id>/text", audience=Audience.REQUESTER)
    async def text(self, visit: PageRequest) -> PageReply:
        """Return the text of the user's own one, which a script copies from the list."""
        if not (await self._row(visit, visit.id)).is_own:
            raise NotFound("there is no such challenge password")
        text = await self._challenge_passwords.reveal(visit.principal, visit.id)
        return Download(text.encode("ascii"), b"text/plain; charset=utf-8", "challenge-password.txt")

    @page("POST", "/challenge-passwords/<id>/reveal", audience=Audience.REQUESTER)
    async def reveal(self, visit: PageRequest) -> PageReply:
        """Reveal the text, for administrators also of other users' ones."""
        text = await self._challenge_passwords.reveal(visit.principal, visit.id)
        return HtmlPage("challenges/view.html", {"row": await self._row(visit, visit.id), "text": text})

    @page("GET", "/challenge-passwords/<id>/delete", audience=Audience.REQUESTER)
    async def deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences and the confirmation word."""
        return await self._delete_form(visit)

    @page("POST", "/challenge-passwords/<id>/delete", audience=Audience.REQUESTER)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete it."""
        try:
            visit.form.require_confirmation("delete")
            await self._challenge_passwords.delete(visit.principal, visit.id)
        except PikachuError as error:
            return await self._delete_form(visit, error)
        return Redirect(visit.back_to("/challenge-passwords"), notice="The challenge password was deleted.")

    async def _delete_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        return HtmlPage.form("challenges/delete.html", {"row": await self._row(visit, visit.id)}, error)

    @page("GET", "/challenge-passwords/delete-expired", audience=Audience.REQUESTER)
    async def expired_deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for deleting all expired ones of the user."""
        return HtmlPage("challenges/delete_expired.html", {"everybody": False})

    @page("POST", "/challenge-passwords/delete-expired", audience=Audience.REQUESTER)
    async def delete_expired(self, visit: PageRequest) -> PageReply:
        """Delete all expired ones of the user."""
        return await self._delete_expired(visit, everybody=False)

    @page("GET", "/challenge-passwords/delete-expired-system", audience=Audience.ADMIN)
    async def system_deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for deleting all expired ones of all users."""
        return HtmlPage("challenges/delete_expired.html", {"everybody": True})

    @page("POST", "/challenge-passwords/delete-expired-system", audience=Audience.ADMIN)
    async def delete_expired_system(self, visit: PageRequest) -> PageReply:
        """Delete all expired ones of all users."""
        return await self._delete_expired(visit, everybody=True)

    async def _delete_expired(self, visit: PageRequest, *, everybody: bool) -> PageReply:
        try:
            visit.form.require_confirmation("delete")
        except PikachuError as error:
            return HtmlPage.form("challenges/delete_expired.html", {"everybody": everybody}, error)
        count = await self._challenge_passwords.delete_expired(visit.principal, everybody=everybody)
        noun = "challenge password was" if count == 1 else "challenge passwords were"
        return Redirect(visit.back_to("/challenge-passwords"), notice=f"{count} expired {noun} deleted.")

    async def _row(self, visit: PageRequest, challenge_id: int) -> Row:
        (row,) = await self._rows(visit, [await self._challenge_passwords.get(visit.principal, challenge_id)])
        return row

    async def _rows(self, visit: PageRequest, items: Sequence[ChallengePassword]) -> Sequence[Row]:
        names = await self._inventory.owner_names(visit.principal, [one.owner_id for one in items])
        now = self._authority.now()
        own = visit.principal.owner_id
        return [
            Row(
                one,
                names.get(one.owner_id, NOBODY),
                challenge_status(one, now),
                one.owner_id is not None and one.owner_id == own,
            )
            for one in items
        ]


def lifetime_of(text: str) -> timedelta | None:
    """Return the lifetime that was entered; ``None``: the configured one.

    :raises MalformedRequest: it is none, or too long.
    """
    if not text:
        return None
    try:
        return timedelta(seconds=LIFETIME.parse(text, Path()))
    except ValueError:
        raise MalformedRequest(
            "Enter a validity such as 60m, 10h or 4d, of at most 366 days.", field="validity"
        ) from None


def challenge_status(challenge: ChallengePassword, now: datetime) -> str:
    """Return the label of its status at a time; a reserved one counts as consumed."""
    if challenge.consumed_at is not None or challenge.reserved_by is not None:
        return "Consumed"
    return "Available" if challenge.expires_at > now else "Expired"
