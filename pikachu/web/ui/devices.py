"""``/devices``: names with their certificates over time (DEV-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.core.model.certificates import Method, RevocationReason
from pikachu.core.model.devices import Device, DeviceState
from pikachu.core.model.jobs import JobAction, JobResource
from pikachu.core.model.people import ChallengePassword
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.devices import Devices
from pikachu.web.ui.certificates import EXPIRY_FILTERS, REASON_LABELS, CertificateRows, utc_text
from pikachu.web.ui.challenge_passwords import challenge_status
from pikachu.web.ui.events import excerpt
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import BulkAction, Selection
from pikachu.web.ui.tables import NOBODY, Column, Filter, Table
from pikachu.x509.text.descriptions import shown

# Certificates and challenge passwords on the page of a device: the newest.
_SHOWN: Final = 10
_LABELS: Final = {
    DeviceState.OK: "OK",
    DeviceState.DUE: "Renewal due",
    DeviceState.OVERDUE: "Overdue",
    DeviceState.RETIRED: "Retired",
}
_KINDS: Final = {
    DeviceState.OK: "good",
    DeviceState.DUE: "warn",
    DeviceState.OVERDUE: "bad",
    DeviceState.RETIRED: "mute",
}


#: (name, label, meaning) of each reason for retiring a device; none is selected at first.
RETIREMENT_REASONS: Final = tuple(
    (reason.wire_name, label, meaning)
    for reason, label, meaning in (
        (
            RevocationReason.KEY_COMPROMISE,
            "Key compromise",
            "The device was stolen or lost, or somebody else has its private key, or may have it.",
        ),
        (
            RevocationReason.CESSATION_OF_OPERATION,
            "Cessation of operation",
            "The device is out of use; it is still yours, or its key was destroyed.",
        ),
        (
            RevocationReason.SUPERSEDED,
            "Superseded",
            "Another device has taken its place; the key is safe.",
        ),
        (
            RevocationReason.AFFILIATION_CHANGED,
            "Affiliation changed",
            "The device belongs to another organization now, or has another name.",
        ),
        (
            RevocationReason.PRIVILEGE_WITHDRAWN,
            "Privilege withdrawn",
            "The device may no longer use what its certificates give access to.",
        ),
        (RevocationReason.UNSPECIFIED, "Unspecified", "No reason is given; the CRL and OCSP omit it."),
    )
)


def retirement_reason_of(name: str) -> RevocationReason:
    """Return the reason of a retirement that was selected in a form.

    :raises MalformedRequest: none is selected, or there is none of this name.
    """
    if not name:
        raise MalformedRequest("Choose a reason.", field="reason")
    return RevocationReason.from_name(name)


@dataclass(frozen=True, slots=True)
class Row:
    """A device with its state at one time.

    :ivar name: without invisible characters.
    """

    device: Device
    name: str
    owner: str
    state: DeviceState

    @property
    def label(self) -> str:
        """Return the label of its state."""
        return _LABELS[self.state]

    @property
    def kind(self) -> str:
        """Return the colour of its state."""
        return _KINDS[self.state]

    @property
    def reason(self) -> str:
        """Return the label of the reason for its retirement."""
        reason = self.device.retired_reason
        return "" if reason is None else REASON_LABELS[reason]


@dataclass(frozen=True, slots=True)
class ChallengeRow:
    """A challenge password that is bound to the device, with its status at one time."""

    challenge: ChallengePassword
    status: str


TABLE: Final[Table[Row]] = Table(
    "devices",
    (
        Column("name", "Device", sort="name", text=lambda row: row.name),
        Column("state", "State", text=lambda row: row.state.value),
        Column("due", "Renewal due (UTC)", sort="due_at", text=lambda row: utc_text(row.device.due_at)),
        Column("end", "Expires (UTC)", text=lambda row: utc_text(row.device.not_after)),
        Column(
            "enrolled", "Last enrollment (UTC)", sort="enrolled_at", text=lambda row: utc_text(row.device.enrolled_at)
        ),
        Column("method", "Method", text=lambda row: row.device.method.value),
        Column("policy", "Policy", text=lambda row: row.device.policy),
        Column("address", "Address", text=lambda row: row.device.address, csv_only=True),
        Column("certificates", "Certificates", text=lambda row: str(row.device.certificates)),
        Column(
            "created",
            "First enrollment (UTC)",
            sort="created_at",
            text=lambda row: utc_text(row.device.created_at),
            csv_only=True,
        ),
        Column("user", "User", text=lambda row: row.owner, audience=Audience.STAFF),
    ),
    filters=(
        Filter("state", "State", tuple((one.value, label) for one, label in _LABELS.items())),
        *EXPIRY_FILTERS,
        Filter("policy", "Policy", more=True),
        Filter("method", "Method", tuple((one.value, one.value) for one in Method if one is not Method.CA), more=True),
        Filter("owner", "User", more=True, audience=Audience.STAFF),
    ),
    default_sort="-enrolled_at",
    empty="No devices yet: each name that a certificate is issued for is listed here.",
    empty_link=("/certificates/new", "New certificate"),
    search="Name, SAN, serial or date",
    selection=Selection(
        JobResource.DEVICES,
        (BulkAction(JobAction.RENEW, "Renew", kind=""), BulkAction(JobAction.RETIRE, "Retire")),
        lambda row: (row.device.id, row.name),
    ),
)


class DevicesPages(Pages):
    """Devices."""

    def __init__(
        self,
        *,
        devices: Devices,
        inventory: CertificateQueries,
        issuers: IssuingCAs,
        authority: CertificateAuthority,
    ) -> None:
        self._devices = devices
        self._inventory = inventory
        self._certificates = CertificateRows(inventory=inventory, issuers=issuers, authority=authority)
        self._now = authority.now

    @page("GET", "/devices", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the user's own devices; for administrators all."""
        return await TABLE.reply(
            visit,
            lambda query: self._devices.list(visit.principal, query),
            "devices/list.html",
            prepare=lambda items: self._rows(visit, items),
        )

    @page("GET", "/devices/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show a device with its certificates, challenge passwords and events."""
        return await self._view(visit)

    @page("POST", "/devices/<id>/challenge-passwords", audience=Audience.REQUESTER)
    async def create_challenge(self, visit: PageRequest) -> PageReply:
        """Create a challenge password for the names of the device; the next page shows it."""
        try:
            challenge = await self._devices.create_challenge(visit.principal, visit.id)
        except PikachuError as error:
            return await self._view(visit, error)
        return Redirect(f"/challenge-passwords/{challenge.id}", notice="Challenge password created.")

    @page("GET", "/devices/<id>/retire", audience=Audience.REQUESTER)
    async def retirement_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences, the reasons and the confirmation word."""
        return await self._retire_form(visit, "")

    @page("POST", "/devices/<id>/retire", audience=Audience.REQUESTER)
    async def retire(self, visit: PageRequest) -> PageReply:
        """Retire the device (DEV-2)."""
        chosen = visit.form.text("reason")
        try:
            visit.form.require_confirmation("retire")
            done = await self._devices.retire(visit.principal, visit.id, retirement_reason_of(chosen))
        except PikachuError as error:
            return await self._retire_form(visit, chosen, error)
        notice = f"The device was retired: {_counted(done.certificates, 'certificate')} revoked, "
        notice += f"{_counted(done.challenge_passwords, 'challenge password')} ended."
        return Redirect(f"/devices/{visit.id}", notice=notice)

    @page("GET", "/devices/<id>/reinstate", audience=Audience.REQUESTER)
    async def reinstatement_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences."""
        return HtmlPage.form("devices/reinstate.html", {"row": await self._row(visit)})

    @page("POST", "/devices/<id>/reinstate", audience=Audience.REQUESTER)
    async def reinstate(self, visit: PageRequest) -> PageReply:
        """Put the device back in service."""
        try:
            await self._devices.reinstate(visit.principal, visit.id)
        except PikachuError as error:
            return HtmlPage.form("devices/reinstate.html", {"row": await self._row(visit)}, error)
        return Redirect(f"/devices/{visit.id}", notice="The device is back in service.")

    async def _retire_form(self, visit: PageRequest, chosen: str, error: PikachuError | None = None) -> PageReply:
        context = {"row": await self._row(visit), "reasons": RETIREMENT_REASONS, "chosen": chosen}
        return HtmlPage.form("devices/retire.html", context, error)

    async def _view(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        actor = visit.principal
        row = await self._row(visit)
        certificates = await self._devices.certificates(actor, visit.id, _SHOWN)
        challenges = await self._devices.challenges(actor, visit.id, _SHOWN)
        now = self._now()
        context = {
            "row": row,
            "certificates": await self._certificates.of(actor, certificates),
            "challenges": [ChallengeRow(one, challenge_status(one, now)) for one in challenges],
            "events": await self._devices.timeline(actor, visit.id),
            "excerpt": excerpt,
        }
        return HtmlPage.form("devices/view.html", context, error)

    async def _row(self, visit: PageRequest) -> Row:
        (row,) = await self._rows(visit, [await self._devices.get(visit.principal, visit.id)])
        return row

    async def _rows(self, visit: PageRequest, items: Sequence[Device]) -> Sequence[Row]:
        names = await self._inventory.owner_names(visit.principal, [one.owner_id for one in items])
        now = self._now()
        return [Row(one, shown(one.name), names.get(one.owner_id, NOBODY), one.state(now)) for one in items]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
