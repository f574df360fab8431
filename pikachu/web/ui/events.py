"""The audit log (AUD-1, AUD-2): changes of objects, events of users, and the verification of the hash chain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.core.errors import MalformedRequest, PikachuError, errors_of
from pikachu.core.model.events import ACCOUNT_EVENT_TYPES, OBJECT_EVENT_TYPES, EventRecord
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.list_queries import Page as ListPage
from pikachu.core.model.times import rfc3339
from pikachu.inventory.certificates import CertificateQueries
from pikachu.operations.audit_verification import AuditVerification
from pikachu.operations.transparency import TransparencyLog
from pikachu.web.ui.forms import Form
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply, Redirect
from pikachu.web.ui.tables import Column, Filter, Table
from pikachu.web.ui.transparency import TEXT

#: Resource types with a filter of their own; all others are *Other*.
RESOURCES: Final = (
    ("certificate", "Certificate"),
    ("key", "Key"),
    ("CSR", "CSR"),
    ("template", "Template"),
    ("policy", "Policy"),
    ("challenge password", "Challenge password"),
    ("job", "Job"),
    ("batch", "Batch"),
    ("device", "Device"),
    ("identity list", "Identity list"),
    ("notice rule", "Notice rule"),
    ("notice", "Notice"),
    ("housekeeping", "Housekeeping"),
    ("configuration", "Configuration"),
)
# Events of users are a separate list.  The filters name resource types only, where possible: these are indexed, so that
# a million events cost no more than ten.
_USER: Final = "user"
_OBJECTS: Final = f"!{_USER}"
_OTHER: Final = ",".join((_OBJECTS, *(name for name, _ in RESOURCES)))
_EXCERPT: Final = 160
#: Path of the list of each resource type, which is searched for the name.
_LISTS: Final = {
    "certificate": "/certificates",
    "key": "/keys",
    "CSR": "/csrs",
    "template": "/templates",
    "policy": "/policies",
    "challenge password": "/challenge-passwords",
    "job": "/jobs",
    "batch": "/batches",
    "device": "/devices",
    "identity list": "/identity-lists",
    "notice rule": "/notices",
}


def details_text(details: Mapping[str, object], *, indent: int | None = None) -> str:
    """Return the details of an event as JSON."""
    return json.dumps(dict(details), ensure_ascii=False, sort_keys=True, indent=indent)


def excerpt(record: EventRecord) -> str:
    """Return the beginning of its details."""
    text = details_text(record.event.details)
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "\u2026"


def _time_text(record: EventRecord) -> str:
    return rfc3339(record.at)


def _choices(types: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((one, one) for one in types)


def _any(_: str) -> bool:
    """Return that a value is accepted: the store knows all types that were ever recorded."""
    return True


EVENTS: Final[Table[EventRecord]] = Table(
    "events",
    (
        Column("at", "Time (UTC)", sort="at", text=_time_text),
        Column("actor", "User", text=lambda record: record.event.actor),
        Column("type", "Type", sort="type", text=lambda record: record.event.type),
        Column("resource_type", "Resource", sort="resource_type", text=lambda record: record.event.resource_type),
        Column("resource_name", "Name", text=lambda record: record.event.resource_name),
        Column("details", "Details", text=lambda record: details_text(record.event.details)),
        Column("view", "Actions"),
    ),
    filters=(
        Filter("resource_type", "Resource", (*RESOURCES, ("other", "Other")), others=_any),
        Filter("type", "Type", _choices(OBJECT_EVENT_TYPES), others=_any),
        Filter("resource_name", "Name (exactly)"),
    ),
    default_sort="-at",
    search="Name, user, type, date or details",
    empty="Nothing has happened yet. What is done to certificates, keys, requests and policies is recorded here.",
)


def _user_events(name: str) -> Table[EventRecord]:
    return Table(
        name,
        (
            Column("at", "Time (UTC)", sort="at", text=_time_text),
            Column("user", "User", text=lambda record: record.event.resource_name),
            Column("type", "Type", sort="type", text=lambda record: record.event.type),
            Column("actor", "Actor", text=lambda record: record.event.actor),
            Column("ip", "Address", text=lambda record: _detail(record, "ip")),
            Column("details", "Details", text=lambda record: details_text(record.event.details)),
            Column("view", "Actions"),
        ),
        filters=(Filter("type", "Type", _choices(ACCOUNT_EVENT_TYPES), others=_any),),
        default_sort="-at",
        search="User, actor, type, date or details",
        empty="Nothing has happened yet. Log-ins, changes of accounts and the like are recorded here.",
    )


USER_EVENTS: Final = _user_events("user-events")
ACCOUNT_EVENTS: Final = _user_events("account-events")


def _detail(record: EventRecord, name: str) -> str:
    return str(record.event.details.get(name, ""))


class EventsPages(Pages):
    """``/events``, ``/users/events`` and ``/account/events``."""

    def __init__(
        self, *, inventory: CertificateQueries, verification: AuditVerification, transparency: TransparencyLog
    ) -> None:
        self._inventory = inventory
        self._verification = verification
        self._transparency = transparency

    @page("GET", "/events", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the events of objects; users see those of their own (AUD-1)."""

        async def fetch(query: ListQuery) -> ListPage[EventRecord]:
            selected = query.filters.get("resource_type", _OBJECTS)
            filters = {**query.filters, "resource_type": _OTHER if selected == "other" else selected}
            return await self._inventory.events(visit.principal, replace(query, filters=filters))

        return await EVENTS.reply(visit, fetch, "events/list.html", excerpt=excerpt)

    @page("GET", "/events/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show one event."""
        record = await self._inventory.event(visit.principal, visit.id)
        return HtmlPage(
            "events/view.html",
            {
                "record": record,
                "details": details_text(record.event.details, indent=2),
                "list": _LISTS.get(record.event.resource_type, ""),
            },
        )

    @page("GET", "/users/events", audience=Audience.AUDITOR)
    async def of_users(self, visit: PageRequest) -> PageReply:
        """List the events of accounts and sign-ins (AUD-2)."""

        async def fetch(query: ListQuery) -> ListPage[EventRecord]:
            return await self._inventory.events(visit.principal, _account_events_query(query))

        return await USER_EVENTS.reply(visit, fetch, "events/users.html", detail=_detail, excerpt=excerpt)

    @page("GET", "/account/events", audience=Audience.USER)
    async def of_account(self, visit: PageRequest) -> PageReply:
        """List the events of the signed-in user's account (AUD-2)."""

        async def fetch(query: ListQuery) -> ListPage[EventRecord]:
            account = visit.signed_in()
            own = _account_events_query(query, resource_name=account.username)
            return await self._inventory.events(visit.principal, replace(own, owner_id=account.id))

        return await ACCOUNT_EVENTS.reply(visit, fetch, "events/users.html", detail=_detail, excerpt=excerpt)

    @page("POST", "/events/verification", audience=Audience.AUDITOR)
    async def verify(self, visit: PageRequest) -> PageReply:
        """Start a verification of the hash chain and the log; a running one is joined."""
        try:
            # The form without a checkpoint has no field for one.
            checkpoint = _sent_checkpoint(visit.form) if "checkpoint" in visit.form else b""
            with errors_of("checkpoint", MalformedRequest):
                self._verification.begin(visit.principal, checkpoint)
        except PikachuError as error:
            return self._result(visit, error)
        return Redirect("/events/verification")

    @page("POST", "/events/verification/consistency", audience=Audience.AUDITOR)
    async def consistency(self, visit: PageRequest) -> PageReply:
        """Download the proof that the log continues an older checkpoint, which is sent."""
        try:
            checkpoint = _sent_checkpoint(visit.form)
            with errors_of("checkpoint"):
                proof = await self._transparency.consistency_proof(visit.principal, checkpoint)
        except PikachuError as error:
            return self._result(visit, error)
        return Download(proof.encode(), TEXT, "consistency.proof.txt")

    @page("GET", "/events/verification", audience=Audience.AUDITOR)
    async def verification(self, visit: PageRequest) -> PageReply:
        """Show the result of the last verification (AUD-3)."""
        return self._result(visit)

    def _result(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        context = {
            "look": self._verification.last(visit.principal),
            "origin": self._verification.origin(),
            "checkpoint": visit.form.values.get("checkpoint", ""),
        }
        return HtmlPage.form("events/verification.html", context, error)


def _sent_checkpoint(form: Form) -> bytes:
    """Return the checkpoint of an uploaded file or a text, whose lines browsers end in CRLF.

    :raises MalformedRequest: when there is neither.
    """
    text = form.data("checkpoint").replace(b"\r\n", b"\n").strip()
    checkpoint = form.data("file") or (text and text + b"\n")
    if not checkpoint:
        raise MalformedRequest("Choose a file, or paste the checkpoint.", field="checkpoint")
    return checkpoint


def _account_events_query(query: ListQuery, **filters: str) -> ListQuery:
    return replace(query, filters={**query.filters, **filters, "resource_type": _USER})
