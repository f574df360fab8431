"""``/batches``: challenge passwords for a list of names (ENR-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pikachu.accounts.batch_names import MAX_NAMES
from pikachu.accounts.batches import DEFAULT_VALIDITY, BatchOrder, BatchPassword, EnrollmentBatches, PasswordPages
from pikachu.auth.permissions import Audience
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.batches import BatchState, EnrollmentBatch
from pikachu.core.model.certificates import format_serial
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import ChallengePassword
from pikachu.core.model.times import rfc3339
from pikachu.core.number_parsing import parse_number
from pikachu.documents.labels import LabelLayout
from pikachu.inventory.certificates import CertificateQueries
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME
from pikachu.ra.policies import NO_EXTENSIONS_POLICY, usable_by
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.web.batch_labels import PDF, labels_filename, labels_of, labels_pdf, parts_of
from pikachu.web.ui.challenge_passwords import LIFETIME, lifetime_of
from pikachu.web.ui.enrollment_scripts import Device, scripts_zip
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply, Redirect
from pikachu.web.ui.server_location import ServerLocations
from pikachu.web.ui.tables import NOBODY, Column, CSVResource, Filter, Table
from pikachu.x509.pem import certificates_pem

_ROWS: Final = 250
_MAXIMUM_POLICIES: Final = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """A batch with its state at one time."""

    batch: EnrollmentBatch
    owner: str
    state: BatchState

    @property
    def progress(self) -> str:
        """Return *37 of 50 enrolled*."""
        return f"{self.batch.enrolled:,} of {self.batch.total:,} enrolled"


TABLE: Final[Table[Row]] = Table(
    "batches",
    (
        Column("label", "Label", sort="label", text=lambda row: row.batch.label),
        Column("state", "State", sort="state", text=lambda row: row.state.value),
        Column("progress", "Progress", sort="enrolled", text=lambda row: row.progress),
        Column("policy", "Policy", sort="policy", text=lambda row: row.batch.policy),
        Column("user", "User", sort="user", text=lambda row: row.owner),
        Column("created", "Created (UTC)", sort="created_at", text=lambda row: rfc3339(row.batch.created_at)),
        Column("expires", "Expires (UTC)", sort="expires_at", text=lambda row: rfc3339(row.batch.expires_at)),
        Column("actions", "Actions"),
    ),
    filters=(
        Filter("state", "State", tuple((one.value, one.value.capitalize()) for one in BatchState)),
        Filter("policy", "Policy"),
    ),
    empty="No batches yet: a batch creates a challenge password for each of a list of devices.",
    empty_link=("/batches/new", "Create batch"),
    search="ID, label, policy, date or user",
)


def _subject(one: BatchPassword) -> str:
    return "" if one.challenge.names is None else one.challenge.names.subject


def _sans(one: BatchPassword) -> str:
    return " ".join(() if one.challenge.names is None else one.challenge.names.sans)


def _serial(one: BatchPassword) -> str:
    serial = one.challenge.consumed_serial
    return "" if serial is None else format_serial(serial)


PASSWORDS: Final[Table[BatchPassword]] = Table(
    "challenge-passwords",
    (
        Column("subject", "Subject", text=_subject),
        Column("sans", "Subject alternative names", text=_sans),
        Column("password", "Challenge password", text=lambda one: one.text),
        Column("label", "Label", text=lambda one: one.challenge.label),
        Column("policy", "Policy", text=lambda one: one.challenge.policy or ""),
        Column("expires", "Expires (UTC)", text=lambda one: rfc3339(one.challenge.expires_at)),
        Column("serial", "Certificate", text=_serial),
    ),
)


@dataclass(frozen=True, slots=True)
class NameRow:
    """A name of a batch with the state of its challenge password at one time."""

    challenge: ChallengePassword
    state: str

    @property
    def subject(self) -> str:
        """Return the subject."""
        return "" if self.challenge.names is None else self.challenge.names.subject

    @property
    def sans(self) -> tuple[str, ...]:
        """Return the subject alternative names."""
        return () if self.challenge.names is None else self.challenge.names.sans

    @property
    def serial(self) -> str:
        """Return the serial number of its certificate; empty where there is none."""
        serial = self.challenge.consumed_serial
        return "" if serial is None else format_serial(serial)


NAMES: Final[Table[NameRow]] = Table(
    "batch-names",
    (
        Column("subject", "Subject", text=lambda row: row.subject),
        Column("sans", "Subject alternative names", text=lambda row: ", ".join(row.sans)),
        Column("state", "State", text=lambda row: row.state),
        Column("serial", "Certificate", text=lambda row: row.serial),
    ),
    filters=(Filter("enrolled", "Enrolled", (("false", "Not enrolled"), ("true", "Enrolled"))),),
    default_sort="id",
    empty="The challenge passwords are being created.",
    search="Name",
)
#: Layouts of labels, for the form.
LAYOUTS: Final = (
    (LabelLayout.A4.value, "A4, 24 labels of 70 by 37 mm"),
    (LabelLayout.SINGLE.value, "100 by 50 mm each"),
)


class BatchesPages(Pages):
    """Enrollment batches.

    :param files_pool: builds archives.
    """

    def __init__(
        self,
        *,
        batches: EnrollmentBatches,
        policy_administration: PolicyAdministration,
        authority: CertificateAuthority,
        issuers: IssuingCAs,
        inventory: CertificateQueries,
        locations: ServerLocations,
        files_pool: IWorkerPool,
    ) -> None:
        self._batches = batches
        self._policies = policy_administration
        self._authority = authority
        self._issuers = issuers
        self._inventory = inventory
        self._locations = locations
        self._files = files_pool

    @page("GET", "/batches", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the user's own batches; for administrators all."""
        return await TABLE.reply(
            visit,
            lambda query: self._batches.list(visit.principal, query),
            "batches/list.html",
            prepare=lambda items: self._rows(visit, items),
        )

    @page("GET", "/batches/new", audience=Audience.REQUESTER)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form."""
        values = {"validity": LIFETIME.show(int(DEFAULT_VALIDITY.total_seconds())), "policy": DEFAULT_POLICY_NAME}
        return await self._form(visit, values)

    @page("POST", "/batches", audience=Audience.REQUESTER)
    async def create(self, visit: PageRequest) -> PageReply:
        """Create a batch; its challenge passwords are created in the background."""
        form = visit.form
        try:
            names = form.whole_text("file") or form.whole_text("names")
            validity = lifetime_of(form.text("validity")) or DEFAULT_VALIDITY
            policy, attributes = form.text("policy", DEFAULT_POLICY_NAME), form.text("attributes")
            order = BatchOrder(form.text("label"), policy, names, attributes, validity=validity)
            batch = await self._batches.create(visit.principal, order)
        except PikachuError as error:
            return await self._form(visit, form.values, error)
        return Redirect(f"/batches/{batch.id}", notice="Batch created.")

    @page("GET", "/batches/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show a batch with its progress and its names."""
        row = await self._row(visit)
        now = self._authority.now()

        async def rows(items: Sequence[ChallengePassword]) -> Sequence[NameRow]:
            return [NameRow(one, _state(one, now)) for one in items]

        return await NAMES.reply(
            visit,
            lambda query: self._batches.names(visit.principal, row.batch.id, query),
            "batches/view.html",
            prepare=rows,
            row=row,
            layouts=LAYOUTS,
            part_count=parts_of(row.batch),
        )

    @page("GET", "/batches/<id>/passwords", audience=Audience.REQUESTER)
    async def passwords(self, visit: PageRequest) -> PageReply:
        """Return the challenge passwords as CSV; that an administrator looked at another's is recorded."""
        fetch = await self._batches.passwords(visit.principal, visit.id)

        async def pages(query: ListQuery) -> Any:
            return await fetch(query)

        return CSVResource(PASSWORDS, visit, ListQuery(limit=_ROWS, sort="id"), pages, None)

    @page("GET", "/batches/<id>/labels", audience=Audience.REQUESTER)
    async def labels(self, visit: PageRequest) -> PageReply:
        """Return a PDF with labels for the names that can still be enrolled; recorded like the challenge passwords."""
        try:
            layout = LabelLayout(visit.query.get("layout", LabelLayout.A4))
        except ValueError:
            raise MalformedRequest(f"Choose a layout: {', '.join(LabelLayout)}.") from None
        batch = await self._batches.get(visit.principal, visit.id)
        part = parse_number(visit.query.get("part", "1"), parts_of(batch), minimum=1)
        if part is None:
            raise MalformedRequest(f"Choose a part from 1 to {parts_of(batch)}.")
        labels = await labels_of(await self._batches.passwords(visit.principal, visit.id), part)
        location = self._locations.of(visit)
        url = f"{location.https}/.well-known/est" if location.est else f"{location.scep}/scep"
        body = await self._files.run(labels_pdf, batch, url, labels, layout)
        return Download(body, PDF, labels_filename(batch, part))

    @page("GET", "/batches/<id>/scripts", audience=Audience.REQUESTER)
    async def scripts(self, visit: PageRequest) -> PageReply:
        """Return a zip with scripts for the names that can still be enrolled; recorded like the challenge passwords."""
        batch = await self._batches.get(visit.principal, visit.id)
        devices = await _devices(await self._batches.passwords(visit.principal, visit.id))
        url = self._locations.of(visit).https
        root = certificates_pem(self._issuers.default.chain[-1:]).encode("ascii")
        body = await self._files.run(scripts_zip, batch.label, rfc3339(batch.expires_at), url, root, devices)
        return Download(body, b"application/zip", f"batch-{batch.id}.zip")

    @page("GET", "/batches/<id>/end", audience=Audience.REQUESTER)
    async def end_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences and the confirmation word."""
        return HtmlPage.form("batches/end.html", {"row": await self._row(visit)})

    @page("POST", "/batches/<id>/end", audience=Audience.REQUESTER)
    async def end(self, visit: PageRequest) -> PageReply:
        """Let the unused challenge passwords expire."""
        try:
            visit.form.require_confirmation("end")
            await self._batches.end(visit.principal, visit.id)
        except PikachuError as error:
            return HtmlPage.form("batches/end.html", {"row": await self._row(visit)}, error)
        return Redirect(f"/batches/{visit.id}", notice="The batch was ended.")

    @page("POST", "/batches/<id>/resume", audience=Audience.REQUESTER)
    async def resume(self, visit: PageRequest) -> PageReply:
        """Create the missing challenge passwords of a stopped batch."""
        await self._batches.resume(visit.principal, visit.id)
        return Redirect(f"/batches/{visit.id}")

    async def _form(self, visit: PageRequest, values: dict[str, str], error: PikachuError | None = None) -> PageReply:
        query = ListQuery(limit=_MAXIMUM_POLICIES, sort="name")
        policies = usable_by(visit.principal, (await self._policies.list(visit.principal, query)).items)
        built_in = usable_by(visit.principal, [await self._policies.default(visit.principal)])
        own = visit.principal.owner_id
        names = [one.name for one in policies if one.system or (one.owner_id is not None and one.owner_id == own)]
        choices = (*(one.name for one in built_in), *([NO_EXTENSIONS_POLICY] if built_in else []), *names)
        context = {"values": values, "policies": [(name, name) for name in choices], "maximum": MAX_NAMES}
        return HtmlPage.form("batches/new.html", context, error)

    async def _row(self, visit: PageRequest) -> Row:
        (row,) = await self._rows(visit, [await self._batches.get(visit.principal, visit.id)])
        return row

    async def _rows(self, visit: PageRequest, items: Sequence[EnrollmentBatch]) -> Sequence[Row]:
        names = await self._inventory.owner_names(visit.principal, [one.owner_id for one in items])
        now = self._authority.now()
        return [Row(one, names.get(one.owner_id, NOBODY), one.state(now)) for one in items]


def _state(challenge: ChallengePassword, now: datetime) -> str:
    """Return the label of the state of a challenge password."""
    if challenge.consumed_at is not None:
        return "Enrolled"
    if challenge.reserved_by is not None:
        return "Pending"
    return "Available" if challenge.expires_at > now else "Expired"


async def _devices(fetch: PasswordPages) -> list[Device]:
    """Return the devices that can still be enrolled."""
    devices: list[Device] = []
    query = ListQuery(limit=_ROWS, sort="id")
    while True:
        found = await fetch(query)
        devices += [
            Device(one.challenge.names, one.text) for one in found.items if one.text and one.challenge.names is not None
        ]
        if found.next_cursor is None:
            return devices
        query = replace(query, cursor=found.next_cursor)
