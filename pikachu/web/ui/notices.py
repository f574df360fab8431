"""``/notices``: rules of notices, and what was sent (OPS-5)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from pikachu.auth.permissions import Audience, is_admin
from pikachu.core.errors import MalformedRequest, PikachuError
from pikachu.core.model.notices import Channel, MessageState, NoticeKind, NoticeMessage, NoticeOrder, NoticeRule
from pikachu.core.model.times import rfc3339
from pikachu.operations.notice_rules import Notices, parse_days, shown_recipient
from pikachu.web.ui.forms import Form
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.tables import Column, Filter, Table

KINDS: Final = {
    NoticeKind.CERTIFICATES: "Certificates that expire",
    NoticeKind.AUTHORITY: "The CA's own certificates that expire",
    NoticeKind.CRLS: "CRLs and OCSP responders that were not renewed",
    NoticeKind.DEVICES: "Overdue devices",
    NoticeKind.BATCHES: "Batches with names that are not enrolled",
    NoticeKind.BACKUPS: "Backups that fail or are overdue",
}
CHANNELS: Final = {Channel.MAIL: "Mail", Channel.WEBHOOK: "Webhook", Channel.MQTT: "MQTT"}
STATES: Final = {
    MessageState.COLLECTING: ("Collecting", "mute"),
    MessageState.WAITING: ("Waiting", "warn"),
    MessageState.SENT: ("Sent", "good"),
    MessageState.FAILED: ("Failed", "bad"),
}
RULES: Final[Table[NoticeRule]] = Table(
    "notice-rules",
    (
        Column("name", "Name", sort="name", text=lambda row: row.order.name),
        Column("state", "State", sort="enabled", text=lambda row: "On" if row.order.enabled else "Off"),
        Column("kind", "About", sort="kind", text=lambda row: KINDS[row.order.kind]),
        Column("days", "Days", text=lambda row: ", ".join(map(str, row.order.days))),
        Column("recipients", "Recipients", text=lambda row: ", ".join(recipients_of(row.order))),
        Column("actions", "Actions", audience=Audience.ADMIN),
    ),
    filters=(Filter("kind", "About", tuple((one.value, label) for one, label in KINDS.items())),),
    default_sort="name",
    empty="No rules yet. A rule sends a notice of what expires.",
    search="Name",
)
MESSAGES: Final[Table[NoticeMessage]] = Table(
    "notice-messages",
    (
        Column("created", "Created (UTC)", sort="created_at", text=lambda row: rfc3339(row.created_at)),
        Column("state", "State", sort="state", text=lambda row: STATES[row.state][0]),
        Column("channel", "Channel", sort="channel", text=lambda row: CHANNELS[row.channel]),
        Column("recipient", "Recipient", sort="recipient", text=shown_recipient),
        Column("count", "Notices", sort="count", text=lambda row: str(row.count)),
        Column("attempts", "Attempts", text=lambda row: str(row.attempts)),
        Column("answer", "Answer", text=lambda row: row.answer),
    ),
    filters=(
        Filter("state", "State", tuple((one.value, label) for one, (label, _) in STATES.items())),
        Filter("channel", "Channel", tuple((one.value, label) for one, label in CHANNELS.items())),
    ),
    default_sort="-created_at",
    empty="Nothing was sent yet.",
    search="Recipient or answer",
)


def recipients_of(order: NoticeOrder) -> list[str]:
    """Return the recipients of a rule, for lists, which don't show the paths of webhooks."""
    texts = [text for is_set, text in ((order.to_owner, "owner"), (order.to_admins, "administrators")) if is_set]
    texts += order.addresses
    texts += [text for is_set, text in ((order.webhook, "webhook"), (order.mqtt, "MQTT broker")) if is_set]
    return texts


class NoticesPages(Pages):
    """Rules and messages of notices."""

    def __init__(self, *, notices: Notices) -> None:
        self._notices = notices

    @page("GET", "/notices", audience=Audience.AUDITOR)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the rules."""
        return await RULES.reply(
            visit,
            lambda query: self._notices.rules(visit.principal, query),
            "notices/list.html",
            kinds=KINDS,
            recipients=recipients_of,
            changes=is_admin(visit.principal),
        )

    @page("GET", "/notices/messages", audience=Audience.AUDITOR)
    async def messages(self, visit: PageRequest) -> PageReply:
        """List what was sent, what waits and what has failed."""
        return await MESSAGES.reply(
            visit,
            lambda query: self._notices.messages(visit.principal, query),
            "notices/messages.html",
            channels=CHANNELS,
            states=STATES,
            recipient=shown_recipient,
        )

    @page("GET", "/notices/new", audience=Audience.ADMIN)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form."""
        return self._form(None, {"kind": NoticeKind.CERTIFICATES.value, "days": "30, 7, 1", "enabled": "1"})

    @page("POST", "/notices", audience=Audience.ADMIN)
    async def create(self, visit: PageRequest) -> PageReply:
        """Create a rule."""
        try:
            await self._notices.create(visit.principal, _order(visit.form))
        except PikachuError as error:
            return self._form(None, visit.form.values, error)
        return Redirect("/notices", notice="Rule created.")

    @page("GET", "/notices/<id>", audience=Audience.ADMIN)
    async def edit(self, visit: PageRequest) -> PageReply:
        """Show the form of a rule."""
        rule = await self._notices.rule(visit.principal, visit.id)
        return self._form(rule, _values(rule.order))

    @page("POST", "/notices/<id>", audience=Audience.ADMIN)
    async def change(self, visit: PageRequest) -> PageReply:
        """Change a rule."""
        try:
            await self._notices.change(visit.principal, visit.id, _order(visit.form), visit.form.versions())
        except PikachuError as error:
            return self._form(await self._notices.rule(visit.principal, visit.id), visit.form.values, error)
        return Redirect("/notices", notice="Rule saved.")

    @page("GET", "/notices/<id>/delete", audience=Audience.ADMIN)
    async def deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences and the confirmation word."""
        return HtmlPage.form("notices/delete.html", {"rule": await self._notices.rule(visit.principal, visit.id)})

    @page("POST", "/notices/<id>/delete", audience=Audience.ADMIN)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete a rule."""
        try:
            visit.form.require_confirmation("delete")
            await self._notices.delete(visit.principal, visit.id)
        except PikachuError as error:
            rule = await self._notices.rule(visit.principal, visit.id)
            return HtmlPage.form("notices/delete.html", {"rule": rule}, error)
        return Redirect("/notices", notice="The rule was deleted.")

    @page("GET", "/notices/test", audience=Audience.ADMIN)
    async def test_form(self, visit: PageRequest) -> PageReply:
        """Show the form of a test."""
        return self._test({}, None)

    @page("POST", "/notices/test", audience=Audience.ADMIN)
    async def test(self, visit: PageRequest) -> PageReply:
        """Send one message now, and show the server's answer."""
        try:
            channel = _choice(visit.form, "channel", Channel)
            answer = await self._notices.test(visit.principal, channel, visit.form.text("recipient"))
        except PikachuError as error:
            return self._test(visit.form.values, None, error)
        return self._test(visit.form.values, answer)

    def _test(self, values: dict[str, str], answer: str | None, error: PikachuError | None = None) -> PageReply:
        channels = [(one.value, label) for one, label in CHANNELS.items() if one in self._notices.configured]
        context = {"values": values, "answer": answer, "channels": channels}
        return HtmlPage.form("notices/test.html", context, error)

    def _form(self, rule: NoticeRule | None, values: dict[str, str], error: PikachuError | None = None) -> PageReply:
        context = {
            "rule": rule,
            "values": values,
            "kinds": [(one.value, label) for one, label in KINDS.items()],
            "configured": {one.value for one in self._notices.configured},
        }
        return HtmlPage.form("notices/form.html", context, error)


def _choice(form: Form, name: str, kind: Any) -> Any:
    try:
        return kind(form.text(name))
    except ValueError:
        raise MalformedRequest("Choose one of the list.", field=name) from None


def _order(form: Form) -> NoticeOrder:
    return NoticeOrder(
        name=form.text("name"),
        kind=_choice(form, "kind", NoticeKind),
        days=parse_days(form.text("days")),
        policy=form.text("policy"),
        device=form.text("device"),
        owner=form.text("owner"),
        to_owner=form.flag("to_owner"),
        to_admins=form.flag("to_admins"),
        addresses=tuple(form.whole_text("addresses").replace(",", "\n").split("\n")),
        webhook=form.text("webhook"),
        mqtt=form.flag("mqtt"),
        enabled=form.flag("enabled"),
    )


def _values(order: NoticeOrder) -> dict[str, str]:
    """Return the choices as the form has them."""
    values = {name: "1" if value is True else str(value or "") for name, value in asdict(order).items()}
    return values | {"days": ", ".join(map(str, order.days)), "addresses": "\n".join(order.addresses)}
