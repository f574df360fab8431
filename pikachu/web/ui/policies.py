"""``/policies``: enrollment policies, the default one first (POL-1, POL-2, POL-4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pikachu.auth.permissions import Audience, can_change, in_audience
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.errors import EditConflict, LintFailed, MalformedRequest, Overloaded, PikachuError
from pikachu.core.model.certificates import Method
from pikachu.core.model.jobs import JobResource
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.list_queries import Page as ListPage
from pikachu.core.model.people import Role
from pikachu.core.model.policies import LABEL_PROTOCOLS, POLICY_ROLES, Approval, NextDefaults, Policy, PolicyLimits
from pikachu.core.model.times import rfc3339
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.templates import CertificateTemplates
from pikachu.ra.policy_administration import KEY_LIMITS, PolicyAdministration
from pikachu.web.ui.forms import Form
from pikachu.web.ui.numbered_lines import numbered
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import deletion
from pikachu.web.ui.server_location import ServerLocations
from pikachu.web.ui.tables import NOBODY, Column, Filter, Table
from pikachu.x509.requested_san import OTHER_NAMES
from pikachu.x509.template.defaults import DEFAULT_SERVER_EXTENSIONS

_EXCERPT: Final = 90
_RSA_SIZES: Final = ("RSA/2048", "RSA/3072", "RSA/4096")
#: Key types in the form: families first.
KEY_CHOICES: Final = ("RSA", *_RSA_SIZES, *(one for one in KEY_LIMITS if one != "RSA"))
_FAMILIES: Final = ("RSA", "EC", "PQC")
_MAX_TEMPLATE_CHOICES: Final = 200
_LABELS: Final = {
    "approval": "Approval",
    "name": "Name",
    "days": "Validity (days)",
    "issuer": "Issuing CA",
    "subject": "Allowed subject",
    "max_days": "Maximum validity (days)",
    "other_names": "Copied types of otherName",
}
_OTHER_NAMES: Final = {oid: name for name, oid in OTHER_NAMES.items()}
#: The boxes of the roles that may use a policy, and their labels.
_ROLE_LABELS: Final = {Role.USER: "Users", Role.OPERATOR: "Operators", Role.ADMIN: "Administrators"}
_ROLE_FIELDS: Final = {f"role_{role}": role for role in POLICY_ROLES}
_APPROVALS: Final = {
    Approval.AUTOMATIC.value: "none: enrollments are issued at once",
    Approval.MANUAL.value: "by one person",
    Approval.FOUR_EYES.value: "by two people (four eyes)",
}
_NEXT_DEFAULTS: Final = {Method.EST: "next_default_est", Method.SCEP: "next_default_scep"}
_FLAG_LABELS: Final = {
    "use_for_est": "Use for EST",
    "use_for_scep": "Use for SCEP",
    "default_for_est": "Default for EST",
    "default_for_scep": "Default for SCEP",
    "system": "System policy",
    "honour_names": "Copy subjectAltName from the CSR",
    "same_key": "Allow key reuse on renewal",
    "own_subject": "Own subject only",
    "linked": "Linked to the TLS connection",
    "exact_names": "Refuse wrongly tagged names",
    "other_countries": "Allow other country codes",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A policy as the user sees it.

    :param excerpt: the beginning of its extensions, without comments and section names.
    :param may_change: whether the user owns it or is an administrator.
    """

    policy: Policy
    owner: str
    excerpt: str
    may_change: bool

    @property
    def uses(self) -> tuple[str, ...]:
        """Return the names of its badges."""
        policy = self.policy
        flags = (
            ("EST", policy.use_for_est),
            ("EST default", policy.default_for_est),
            ("SCEP", policy.use_for_scep),
            ("SCEP default", policy.default_for_scep),
            ("System", policy.system),
            ("Manual", policy.approval is Approval.MANUAL),
            ("Four-eyes", policy.approval is Approval.FOUR_EYES),
            ("Lint override", policy.lint_override is not None),
        )
        return tuple(name for name, is_set in flags if is_set)

    @property
    def may_delete(self) -> bool:
        """Return whether it can be deleted; the default policy can't."""
        return self.may_change and self.policy.id != 0


@dataclass(frozen=True, slots=True)
class NextDefault:
    """The choice of the policy that becomes the default for a protocol when this one no longer is.

    :param choices: values and labels of the field.
    """

    protocol: str
    field: str
    choices: Sequence[tuple[str, str]]


TABLE: Final[Table[Row]] = Table(
    "policies",
    (
        Column("name", "Name", sort="name", text=lambda row: row.policy.name),
        Column("uses", "Uses", text=lambda row: " ".join(row.uses)),
        Column("user", "User", sort="user", text=lambda row: row.owner),
        Column("validity", "Validity", sort="days", text=lambda row: str(row.policy.days)),
        Column("created", "Created (updated), UTC", sort="created_at", text=lambda row: _times(row.policy)),
        Column("extensions", "Extensions", text=lambda row: row.excerpt),
        Column("actions", "Actions"),
    ),
    filters=(Filter("system", "Whose", (("true", "System"), ("false", "Users'"))),),
    search="ID, name, user, date or extensions",
    empty="No enrollment policies yet.",
    empty_link=("/policies/new", "New enrollment policy"),
    selection=deletion(JobResource.POLICIES, lambda row: (row.policy.id, row.policy.name)),
)


class PoliciesPages(Pages):
    """Enrollment policies."""

    def __init__(
        self,
        *,
        policy_administration: PolicyAdministration,
        templates: CertificateTemplates,
        issuers: IssuingCAs,
        inventory: CertificateQueries,
        locations: ServerLocations,
    ) -> None:
        self._locations = locations
        self._policies = policy_administration
        self._templates = templates
        self._issuers = issuers
        self._inventory = inventory

    @page("GET", "/policies", audience=Audience.USER)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the user's own policies and the system's; for administrators all."""

        async def fetch(query: ListQuery) -> ListPage[Policy]:
            if query.q or query.filters:
                return await self._policies.list(visit.principal, query)
            # The default policy is one of the rows of the first page.
            limit = query.limit - 1 if query.cursor is None else query.limit
            page = await self._policies.list(visit.principal, replace(query, limit=limit))
            total = None if page.total is None else page.total + 1
            first = () if page.previous_cursor else (await self._policies.default(visit.principal),)
            return replace(page, items=(*first, *page.items), total=total)

        return await TABLE.reply(visit, fetch, "policies/list.html", prepare=lambda items: self._rows(visit, items))

    @page("GET", "/policies/new", audience=Audience.REQUESTER)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form; ``?template=ID`` fills in the extensions of a certificate template."""
        default = await self._policies.default(visit.principal)
        policy = Policy(0, "", default.days, DEFAULT_SERVER_EXTENSIONS)
        values, names, keys = _values(policy)
        try:
            await self._load(visit, values, visit.query.get("template", ""))
        except PikachuError as error:
            return await self._form(visit, values, names, keys, error)
        return await self._form(visit, values, names, keys)

    @page("POST", "/policies/new", audience=Audience.REQUESTER)
    async def create(self, visit: PageRequest) -> PageReply:
        """Create a policy, or only load a template into the form."""
        if visit.form.text("action") == "load":
            return await self._loaded(visit, None)
        try:
            policy = await self._policies.add(
                visit.principal, _policy(visit.form, Policy(0, "", 0, "")), override=visit.form.text("override") or None
            )
        except PikachuError as error:
            return await self._redisplayed(visit, error, None)
        return Redirect(f"/policies/{policy.id}", notice=f"The policy {policy.name} was created.")

    @page("GET", "/policies/<id>", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show a policy."""
        row = await self._row(visit)
        try:
            report = await self._policies.lint(row.policy)
        except Overloaded:
            report = None
        context = {"row": row, "report": report, "location": self._locations.of(visit), "approvals": _APPROVALS}
        return HtmlPage("policies/view.html", context)

    @page("GET", "/policies/<id>/edit", audience=Audience.REQUESTER)
    async def edit(self, visit: PageRequest) -> PageReply:
        """Show the form with the current values; for the default policy, validity and extensions."""
        row = await self._row(visit)
        return await self._form(visit, *_values(row.policy), row=row)

    @page("POST", "/policies/<id>/edit", audience=Audience.REQUESTER)
    async def update(self, visit: PageRequest) -> PageReply:
        """Update a policy, or only load a template into the form."""
        row = await self._row(visit)
        if visit.form.text("action") == "load":
            return await self._loaded(visit, row)
        try:
            if visit.id == 0:
                days, extensions = visit.form.number("days"), visit.form.whole_text("extensions")
                roles = _roles(visit.form, row.policy)
                policy = replace(row.policy, days=days, extensions=extensions, roles=roles)
            else:
                policy = _policy(visit.form, row.policy)
                if not visit.principal.is_admin:
                    policy = replace(policy, system=row.policy.system)
            changed = await self._policies.update(
                visit.principal,
                policy,
                expected=visit.form.versions(),
                override=visit.form.text("override") or None,
                next_defaults=_next_defaults(
                    visit.form,
                    [one for one in LABEL_PROTOCOLS if not (policy.is_used_for(one) and policy.is_default_for(one))],
                ),
            )
        except EditConflict as error:
            return await self._redisplayed(visit, error, await self._row(visit))
        except PikachuError as error:
            return await self._redisplayed(visit, error, row)
        return Redirect(f"/policies/{changed.id}", notice=f"The policy {changed.name} was saved.")

    @page("GET", "/policies/<id>/delete", audience=Audience.REQUESTER)
    async def deletion_form(self, visit: PageRequest) -> PageReply:
        """Show the consequences and the confirmation word."""
        return await self._delete_form(visit)

    @page("POST", "/policies/<id>/delete", audience=Audience.REQUESTER)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete it."""
        try:
            visit.form.require_confirmation("delete")
            await self._policies.delete(
                visit.principal,
                visit.id,
                expected=visit.form.versions(),
                next_defaults=_next_defaults(visit.form, LABEL_PROTOCOLS),
            )
        except PikachuError as error:
            return await self._delete_form(visit, error)
        return Redirect(visit.back_to("/policies"), notice="The policy was deleted.")

    async def _delete_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        row = await self._row(visit)
        choices = await self._next_defaults(visit, row)
        context = {"row": row, "next_defaults": choices, "values": visit.form.values}
        return HtmlPage.form("policies/delete.html", context, error)

    # --- the form -----------------------------------------------------------------------

    async def _load(self, visit: PageRequest, values: dict[str, str], template_id: str) -> None:
        """Put the text of an ``ext`` template into *values*; an empty id changes nothing."""
        if not template_id:
            return
        number = parse_number(template_id, MAX_ID)
        if number is None:
            raise MalformedRequest("choose a certificate template to load", field="template")
        template = await self._templates.get(visit.principal, number)
        if not template.for_extensions:
            raise MalformedRequest(f"{template.name} says nothing about certificates: it has no section [ v3_ext ]")
        values["extensions"] = template.content
        values["template"] = str(template.id)

    async def _loaded(self, visit: PageRequest, row: Row | None) -> PageReply:
        values = _submitted_values(visit.form)
        names, keys = visit.form.whole_text("names"), visit.form.texts("keys")
        try:
            if not visit.form.text("template"):
                raise MalformedRequest("choose a certificate template to load", field="template")
            await self._load(visit, values, visit.form.text("template"))
        except PikachuError as error:
            return await self._form(visit, values, names, keys, error, row=row)
        return await self._form(visit, values, names, keys, row=row)

    async def _redisplayed(self, visit: PageRequest, error: PikachuError, row: Row | None) -> PageReply:
        values = _submitted_values(visit.form)
        if row is not None and isinstance(error, EditConflict):
            # Submitted again, the form replaces the version that is shown beside it.
            values["version"] = str(row.policy.version)
        return await self._form(visit, values, values.get("names", ""), visit.form.texts("keys"), error, row=row)

    async def _form(
        self,
        visit: PageRequest,
        values: Mapping[str, str],
        names: str,
        keys: Sequence[str],
        error: PikachuError | None = None,
        *,
        row: Row | None = None,
    ) -> PageReply:
        query = ListQuery(limit=_MAX_TEMPLATE_CHOICES, sort="name", filters={"usage": "ext"})
        templates = (await self._templates.list(visit.principal, query)).items
        issuers = [(name, name.upper()) for name in self._issuers.current]
        conflict = row is not None and isinstance(error, EditConflict)
        context = {
            "row": row,
            "next_defaults": await self._next_defaults(visit, row),
            "saved": _differences(row.policy, values, names, keys) if row is not None and conflict else None,
            "findings": error.findings if isinstance(error, LintFailed) else (),
            "values": values,
            "names": names,
            "keys": keys,
            "lines": numbered(values.get("extensions", "").replace("\r\n", "\n"), error),
            "templates": [("", "choose one"), *((one.id, f"{one.name} ({one.profile_type})") for one in templates)],
            "approvals": tuple(_APPROVALS.items()),
            "issuers": [("", "Default for the protocol"), *issuers],
            "key_choices": [*KEY_CHOICES, *(key for key in keys if key not in KEY_CHOICES)],
            "families": _FAMILIES,
            "roles": [(name, _ROLE_LABELS[role]) for name, role in _ROLE_FIELDS.items()],
        }
        return HtmlPage.form("policies/form.html", context, error)

    async def _next_defaults(self, visit: PageRequest, row: Row | None) -> Sequence[NextDefault]:
        """Return the choices of next defaults, for each protocol that the policy is the default for."""
        if row is None:
            return ()
        choices = await self._policies.next_default_choices(visit.principal, row.policy.id)
        otherwise = "the policy System" if row.policy.system else "the system's default"
        return [
            NextDefault(
                protocol.value,
                _NEXT_DEFAULTS[protocol],
                [("", f"none: {otherwise} applies"), *((str(one.id), one.name) for one in policies)],
            )
            for protocol, policies in choices.items()
        ]

    # --- rows ---------------------------------------------------------------------------

    async def _row(self, visit: PageRequest) -> Row:
        (row,) = await self._rows(visit, [await self._policies.get(visit.principal, visit.id)])
        return row

    async def _rows(self, visit: PageRequest, items: Sequence[Policy]) -> Sequence[Row]:
        actor = visit.principal
        names = await self._inventory.owner_names(actor, [one.owner_id for one in items])
        return [
            Row(
                one,
                names.get(one.owner_id, NOBODY),
                _excerpt(one.extensions),
                in_audience(actor, Audience.REQUESTER) and can_change(actor, None if one.system else one.owner_id),
            )
            for one in items
        ]


def _excerpt(text: str) -> str:
    """Return the beginning of the significant lines, joined to one: the purposes of certificates first."""
    lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith(("#", "["))]
    excerpt = "; ".join(sorted(lines, key=lambda line: not line.startswith("extendedKeyUsage")))
    return excerpt if len(excerpt) <= _EXCERPT else f"{excerpt[: _EXCERPT - 1]}…"


def _times(policy: Policy) -> str:
    created, updated = policy.created_at, policy.updated_at
    if created is None or updated is None:
        return ""
    return rfc3339(created) if created == updated else f"{rfc3339(created)} ({rfc3339(updated)})"


def _values(policy: Policy) -> tuple[dict[str, str], str, tuple[str, ...]]:
    """Return the form's single fields, name patterns and allowed keys."""
    limits = policy.limits
    flags = {
        "system": policy.system,
        "use_for_est": policy.use_for_est,
        "use_for_scep": policy.use_for_scep,
        "default_for_est": policy.default_for_est,
        "default_for_scep": policy.default_for_scep,
        "honour_names": limits.honour_names,
        "own_subject": limits.own_subject,
        "linked": limits.linked,
        "same_key": limits.same_key,
        "exact_names": limits.exact_names,
        "other_countries": limits.other_countries,
        **{name: role in policy.roles for name, role in _ROLE_FIELDS.items()},
    }
    values = {
        "name": policy.name,
        "days": str(policy.days),
        "extensions": policy.extensions,
        "issuer": policy.issuer or "",
        "approval": policy.approval.value,
        "subject": limits.subject or "",
        "identities": limits.identities or "",
        "max_days": "" if limits.max_days is None else str(limits.max_days),
        "other_names": " ".join(_OTHER_NAMES.get(oid, oid) for oid in limits.other_names),
        "version": str(policy.version),
        **{name: "1" for name, is_set in flags.items() if is_set},
    }
    return values, "\n".join(limits.names), limits.keys


def _differences(
    saved: Policy, values: Mapping[str, str], names: str, keys: Sequence[str]
) -> Sequence[tuple[str, str]]:
    """Return label and value of each saved field, apart from the text, that differs from the form."""
    saved_values, saved_names, saved_keys = _values(saved)
    fields = [
        (label, saved_values.get(name, ""))
        for name, label in _LABELS.items()
        if name in values and saved_values.get(name, "") != values[name].strip()
    ]
    if saved.id != 0:
        flags = [(label, name in saved_values, bool(values.get(name))) for name, label in _FLAG_LABELS.items()]
        fields += [(label, "Yes" if flag else "No") for label, flag, submitted in flags if flag != submitted]
        if saved_names.split() != names.split():
            fields.append(("Allowed names", saved_names.replace("\n", ", ")))
        if set(saved_keys) != set(keys):
            fields.append(("Allowed keys", ", ".join(saved_keys)))
    if values.get("roles") and any((name in saved_values) != bool(values.get(name)) for name in _ROLE_FIELDS):
        fields.append(("Roles", ", ".join(_ROLE_LABELS[role] for role in saved.roles)))
    return [(label, value or "none") for label, value in fields]


def _next_defaults(form: Form, protocols: Iterable[Method]) -> NextDefaults:
    """Return the chosen next defaults.

    :param protocols: those that the policy gives up, if it was the default.
    :raises MalformedRequest: naming the field.
    """
    return {
        protocol: form.number(_NEXT_DEFAULTS[protocol]) for protocol in protocols if form.text(_NEXT_DEFAULTS[protocol])
    }


def _approval(form: Form, current: Policy) -> Approval:
    """Return the chosen approval; that of *current* when the form has no choice.

    :raises MalformedRequest: naming the field.
    """
    try:
        return Approval(form.text("approval", current.approval.value))
    except ValueError:
        raise MalformedRequest(f"approval is one of {', '.join(Approval)}", field="approval") from None


def _roles(form: Form, current: Policy) -> tuple[Role, ...]:
    """Return the ticked roles; those of *current* when the form has no boxes for them."""
    if not form.flag("roles"):
        return current.roles
    return tuple(role for name, role in _ROLE_FIELDS.items() if form.flag(name))


def _submitted_values(form: Form) -> dict[str, str]:
    """Return the single fields as submitted."""
    return {name: value for name, value in form.values.items() if name not in ("csrf", "keys")}


def _policy(form: Form, current: Policy) -> Policy:
    """Return the policy with the values of the form.

    :raises MalformedRequest: naming the field.
    """
    names = tuple(name for line in form.whole_text("names").split("\n") if (name := line.strip()))
    return replace(
        current,
        name=form.text("name"),
        days=form.number("days"),
        extensions=form.whole_text("extensions"),
        system=form.flag("system"),
        use_for_est=form.flag("use_for_est"),
        use_for_scep=form.flag("use_for_scep"),
        default_for_est=form.flag("default_for_est"),
        default_for_scep=form.flag("default_for_scep"),
        issuer=form.text("issuer") or None,
        approval=_approval(form, current),
        roles=_roles(form, current),
        limits=PolicyLimits(
            keys=form.texts("keys"),
            subject=form.text("subject") or None,
            identities=form.text("identities") or None,
            names=names,
            honour_names=form.flag("honour_names"),
            max_days=form.number("max_days") if form.text("max_days") else None,
            own_subject=form.flag("own_subject"),
            linked=form.flag("linked"),
            same_key=form.flag("same_key"),
            exact_names=form.flag("exact_names"),
            other_countries=form.flag("other_countries"),
            other_names=tuple(form.text("other_names").replace(",", " ").split()),
        ),
    )
