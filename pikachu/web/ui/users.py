"""User administration (USR-4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pikachu.accounts.account_certificates import BATCH
from pikachu.accounts.account_fields import version_of
from pikachu.accounts.accounts import Accounts
from pikachu.accounts.password_resets import VALIDITIES, PasswordResets
from pikachu.accounts.sessions import Sessions
from pikachu.accounts.sign_in_locks import SignInLocks
from pikachu.auth.permissions import Audience
from pikachu.config.configuration import Configuration
from pikachu.core.errors import EditConflict, MalformedRequest, NotFound, PikachuError
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.jobs import JobAction, JobResource
from pikachu.core.model.people import Account, AccountSource, AccountState, Principal, Role
from pikachu.web.ui.account import AccountPages
from pikachu.web.ui.certificates import REASON_LABELS
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.rendering import duration
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.web.ui.selection import EXPORT, BulkAction, Selection
from pikachu.web.ui.tables import Column, Filter, Table

SOURCES: Final = {AccountSource.LOCAL: "Local", AccountSource.LDAP: "LDAP", AccountSource.OIDC: "OIDC"}
ROLES: Final = tuple((role.value, role.value.title()) for role in (Role.USER, Role.AUDITOR, Role.OPERATOR, Role.ADMIN))
#: Choices for the certificates of an account that is suspended or deleted.
REVOCATIONS: Final = (
    ("", "Leave them valid"),
    *((reason.wire_name, f"Revoke them: {label}") for reason, label in REASON_LABELS.items()),
)


@dataclass(frozen=True, slots=True)
class Row:
    """An account in the list.

    :param idle: time since the last activity of a signed-in user; ``None``: signed out.
    """

    account: Account
    idle: timedelta | None


USERS: Final[Table[Account]] = Table(
    "users",
    (
        Column("id", "ID", sort="id", text=lambda row: str(row.account.id)),
        Column("username", "Username", sort="username", text=lambda row: row.account.username),
        Column("email", "E-mail", sort="email", text=lambda row: row.account.email),
        Column("idle", "Idle", sort="idle", text=lambda row: duration(row.idle)),
        Column("role", "Role", sort="role", text=lambda row: row.account.role.value),
        Column("source", "Source", sort="source", text=lambda row: row.account.source.value),
        Column("state", "State", sort="state", text=lambda row: row.account.state.value),
        Column("signed_in", "Session", text=lambda row: "signed out" if row.idle is None else "signed in"),
        Column("actions", "Actions"),
    ),
    filters=(
        Filter("state", "State", tuple((one.value, one.value.title()) for one in AccountState)),
        Filter("role", "Role", tuple((one.value, one.value.title()) for one in Role)),
        Filter("source", "Source", tuple((one.value, SOURCES[one]) for one in AccountSource)),
    ),
    default_sort="id",
    search="ID, name, e-mail, role, source, state or date",
    empty="No users yet.",
    empty_link=("/users/new", "Add user"),
    selection=Selection(
        JobResource.USERS,
        (
            EXPORT,
            BulkAction(JobAction.ACTIVATE, "Activate", kind="", audience=Audience.ADMIN),
            BulkAction(JobAction.SUSPEND, "Suspend", audience=Audience.ADMIN),
        ),
        lambda row: (row.account.id, row.account.username),
    ),
)


@dataclass(frozen=True, slots=True)
class Action:
    """A change of an account's state with a confirmation.

    :param states: states of an account in which it is offered.
    :param oneself: whether administrators may apply it to themselves.
    :param revocable: whether the account's certificates can be revoked with it.
    :param revokes: whether nothing but the revocation is done, so that a reason is required.
    :param done: text of the notice afterwards.
    """

    label: str
    kind: str
    question: str
    done: str
    work: Callable[[Accounts, Sessions, Principal, int, RevocationReason | None], Awaitable[object]]
    states: frozenset[AccountState]
    oneself: bool = False
    revocable: bool = False
    revokes: bool = False


_PENDING, _ACTIVE, _SUSPENDED = (
    frozenset({state}) for state in (AccountState.PENDING, AccountState.ACTIVE, AccountState.SUSPENDED)
)
ACTIONS: Final[dict[str, Action]] = {
    "approve": Action(
        "Approve",
        "primary",
        "The account becomes active: its user can sign in, enroll and make API tokens.",
        "is approved",
        lambda accounts, _, actor, one, revoke: accounts.approve(actor, one),
        _PENDING,
    ),
    "activate": Action(
        "Activate",
        "primary",
        "The account becomes active again. Sessions and API tokens that it had before stay ended.",
        "is active again",
        lambda accounts, _, actor, one, revoke: accounts.activate(actor, one),
        _SUSPENDED,
    ),
    "suspend": Action(
        "Suspend",
        "danger",
        "Nobody can sign in or enroll with this account any more: its sessions and API tokens end at once, and its "
        "certificates and challenge passwords are refused here until it is activated again. Its certificates stay "
        "valid elsewhere.",
        "is suspended",
        lambda accounts, _, actor, one, revoke: accounts.suspend(actor, one, revoke),
        _PENDING | _ACTIVE,
        revocable=True,
    ),
    "deactivate": Action(
        "Deactivate",
        "danger",
        "The account waits for approval again. Its sessions and API tokens end at once, and its certificates and "
        "challenge passwords are refused here until it is approved.",
        "waits for approval again",
        lambda accounts, _, actor, one, revoke: accounts.deactivate(actor, one),
        _ACTIVE | _SUSPENDED,
    ),
    "revoke": Action(
        "Revoke certificates",
        "danger",
        "The account's certificates are refused everywhere as soon as OCSP and the CRL are checked.",
        "keeps its state",
        lambda accounts, _, actor, one, revoke: accounts.revoke_certificates(actor, one, _required(revoke)),
        _PENDING | _SUSPENDED | frozenset({AccountState.DELETED}),
        revocable=True,
        revokes=True,
    ),
    "logout": Action(
        "Force logout",
        "danger",
        "All sessions of this account end at once. Its API tokens stay.",
        "is signed out everywhere",
        lambda _, sessions, actor, one, revoke: sessions.force_logout(actor, one),
        _ACTIVE,
        oneself=True,
    ),
}


class UsersPages(Pages):
    """``/users``."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        sessions: Sessions,
        password_resets: PasswordResets,
        sign_in_locks: SignInLocks,
        config: Configuration,
        account_pages: AccountPages,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._resets = password_resets
        self._locks = sign_in_locks
        self._account_pages = account_pages
        self._minimum = config.default.password_min_length

    @page("GET", "/users", audience=Audience.AUDITOR)
    async def list(self, visit: PageRequest) -> PageReply:
        """List the accounts."""

        async def prepare(accounts: Sequence[Account]) -> Sequence[Row]:
            idle = await self._sessions.idle(visit.principal, [one.id for one in accounts])
            return [Row(one, idle.get(one.id)) for one in accounts]

        return await USERS.reply(
            visit,
            lambda query: self._accounts.list_accounts(visit.principal, query),
            "users/list.html",
            prepare=prepare,
            maximum_idle=self._sessions.maximum_idle,
        )

    # --- adding ---------------------------------------------------------------------------

    @page("GET", "/users/new", audience=Audience.ADMIN)
    async def new(self, visit: PageRequest) -> PageReply:
        """Show the form for a new account."""
        return self._form(visit)

    @page("POST", "/users", audience=Audience.ADMIN)
    async def add(self, visit: PageRequest) -> PageReply:
        """Add a local account in the state pending."""
        try:
            password = self._repeated_password(visit)
            account = await self._accounts.add_user(
                visit.principal,
                visit.form.text("username"),
                visit.form.text("email"),
                _role(visit),
                AccountState.PENDING,
                password,
                must_change_password=visit.form.flag("must_change_password"),
            )
        except PikachuError as error:
            return self._form(visit, error)
        notice = f"The user {account.username} was added and can sign in once approved."
        return Redirect(f"/users/{account.id}", notice=notice)

    def _form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        values = visit.form.values
        context = {
            "username": values.get("username", "")[:64],
            "email": values.get("email", "")[:254],
            "role": values.get("role", "user"),
            "roles": ROLES,
            "minimum": self._minimum,
            "must_change_password": error is None or visit.form.flag("must_change_password"),
        }
        return HtmlPage.form("users/new.html", context, error)

    @staticmethod
    def _repeated_password(visit: PageRequest) -> str:
        password = visit.form.whole_text("password")
        if password != visit.form.whole_text("confirmation"):
            raise MalformedRequest("the two passwords differ; type the same one twice", field="confirmation")
        return password

    # --- one user -------------------------------------------------------------------------

    @page("GET", "/users/<id>", audience=Audience.AUDITOR)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show an account and the available actions."""
        account = await self._accounts.account(visit.principal, visit.id)
        idle = await self._sessions.idle(visit.principal, [account.id])
        own = account.id == visit.signed_in().id
        deleted = account.state is AccountState.DELETED
        context = {
            "account": account,
            "row": Row(account, idle.get(account.id)),
            "own": own,
            "deleted": deleted,
            "local": account.source is AccountSource.LOCAL,
            "actions": [
                (name, one) for name, one in ACTIONS.items() if account.state in one.states and (one.oneself or not own)
            ],
            "maximum_idle": self._sessions.maximum_idle,
            "lock": None if deleted else await self._locks.lock(visit.principal, account.id),
            **await self._account_pages.account_objects(visit, account.id),
        }
        return HtmlPage("users/view.html", context)

    async def _account(self, visit: PageRequest, action: Action | None = None) -> Account:
        """Return the account to change.

        Fails with NotFound, also for a deleted one, unless *action* is offered for it.
        """
        account = await self._accounts.account(visit.principal, visit.id)
        if account.state is AccountState.DELETED and (action is None or account.state not in action.states):
            raise NotFound("This account is deleted.")
        return account

    @page("GET", "/users/<id>/edit", audience=Audience.ADMIN)
    async def edit_form(self, visit: PageRequest) -> PageReply:
        """Show the form for e-mail and role."""
        account = await self._account(visit)
        return self._edit(account, account.email, account.role.value, str(version_of(account)))

    @page("POST", "/users/<id>/edit", audience=Audience.ADMIN)
    async def edit(self, visit: PageRequest) -> PageReply:
        """Change both together; another role takes effect at once."""
        account = await self._account(visit)
        local = account.source is AccountSource.LOCAL
        email = visit.form.text("email") if local else account.email
        try:
            expected = visit.form.versions()
            await self._accounts.update(
                visit.principal, account.id, email=email if local else None, role=_role(visit), expected=expected
            )
        except EditConflict as error:
            account = await self._accounts.account(visit.principal, visit.id)
            return self._edit(account, email, visit.form.text("role"), str(version_of(account)), error)
        except PikachuError as error:
            values = visit.form.values
            return self._edit(account, email, values.get("role", ""), values.get("version", ""), error)
        if account.id == visit.signed_in().id:
            # Former administrators may not see the list of users.
            return Redirect("/account", notice="Your account is changed.")
        return Redirect(f"/users/{account.id}", notice=f"The account of {account.username} is changed.")

    @staticmethod
    def _edit(account: Account, email: str, role: str, version: str, error: PikachuError | None = None) -> PageReply:
        saved = None
        if isinstance(error, EditConflict):
            saved = [("E-mail", account.email), ("Role", account.role.value), ("State", account.state.value)]
        context = {
            "account": account,
            "local": account.source is AccountSource.LOCAL,
            "version": version,
            "saved": saved,
            "email": email[:254],
            "role": role,
            "roles": ROLES,
        }
        return HtmlPage.form("users/edit.html", context, error)

    @page("GET", "/users/<id>/password", audience=Audience.ADMIN)
    async def password_form(self, visit: PageRequest) -> PageReply:
        """Show the form for a one-time code."""
        return self._password(visit, await self._account(visit))

    @page("POST", "/users/<id>/password", audience=Audience.ADMIN)
    async def reset_password(self, visit: PageRequest) -> PageReply:
        """Create a one-time code with which the user sets a new password, and show it once."""
        account = await self._account(visit)
        try:
            hours, block = visit.form.number("hours"), visit.form.flag("block")
            code, _ = await self._resets.create(visit.principal, account.id, hours, block=block)
        except PikachuError as error:
            return self._password(visit, account, error)
        return Redirect(f"/users/{account.id}/password-code", secret=code)

    @page("GET", "/users/<id>/password-code", audience=Audience.ADMIN)
    async def password_code(self, visit: PageRequest) -> PageReply:
        """Show a new one-time code, once."""
        context = {
            "account": await self._account(visit),
            "code": visit.secret,
            "address": f"https://{visit.host or 'localhost'}/reset",
        }
        return HtmlPage("users/password_code.html", context)

    @staticmethod
    def _password(visit: PageRequest, account: Account, error: PikachuError | None = None) -> PageReply:
        context = {
            "account": account,
            "local": account.source is AccountSource.LOCAL,
            "hours": [(hours, duration(timedelta(hours=hours))) for hours in VALIDITIES],
            "chosen": visit.form.text("hours") or str(VALIDITIES[1]),
            "block": visit.form.flag("block"),
        }
        return HtmlPage.form("users/password.html", context, error)

    @page("POST", "/users/<id>/unlock", audience=Audience.ADMIN)
    async def unlock(self, visit: PageRequest) -> PageReply:
        """End the locks after wrong passwords."""
        account = await self._account(visit)
        await self._locks.unlock(visit.principal, account.id)
        return Redirect(f"/users/{account.id}", notice=f"{account.username} can try to sign in again.")

    @page("GET", "/users/<id>/delete", audience=Audience.ADMIN)
    async def delete_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for deleting."""
        return await self._delete(visit, await self._account(visit))

    @page("POST", "/users/<id>/delete", audience=Audience.ADMIN)
    async def delete(self, visit: PageRequest) -> PageReply:
        """Delete the account after the confirmation."""
        account = await self._account(visit)
        try:
            visit.form.require_confirmation("delete")
            revoke = _revocation(visit)
            valid = await self._accounts.valid_certificates(visit.principal, account.id)
            await self._accounts.delete(visit.principal, account.id, revoke)
        except PikachuError as error:
            return await self._delete(visit, account, error)
        return Redirect(
            visit.back_to("/users"), notice=f"The user {account.username} is deleted.{_revoked(revoke, valid)}"
        )

    async def _delete(self, visit: PageRequest, account: Account, error: PikachuError | None = None) -> PageReply:
        return HtmlPage.form(
            "users/delete.html", {"account": account, **await self._revocation_context(visit, account)}, error
        )

    async def _revocation_context(self, visit: PageRequest, account: Account) -> dict[str, object]:
        valid = await self._accounts.valid_certificates(visit.principal, account.id)
        return {
            "valid": valid,
            "valid_text": _count(valid),
            "reasons": REVOCATIONS,
            "chosen": visit.form.text("revoke"),
        }

    @page("GET", "/users/<id>/<name>", audience=Audience.ADMIN)
    async def action_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation of an action: approve, activate, suspend, deactivate, logout."""
        action = _action(visit)
        return await self._confirmation(visit, await self._account(visit, action), action)

    @page("POST", "/users/<id>/<name>", audience=Audience.ADMIN)
    async def act(self, visit: PageRequest) -> PageReply:
        """Apply the action."""
        action = _action(visit)
        account = await self._account(visit, action)
        try:
            revoke = _revocation(visit) if action.revocable else None
            if action.revokes:
                _required(revoke)
            if revoke is not None:
                visit.form.require_confirmation("revoke")
            valid = 0 if revoke is None else await self._accounts.valid_certificates(visit.principal, account.id)
            await action.work(self._accounts, self._sessions, visit.principal, account.id, revoke)
        except PikachuError as error:
            return await self._confirmation(visit, account, action, error)
        notice = f"{account.username} {action.done}.{_revoked(revoke, valid)}"
        return Redirect(visit.back_to("/users", f"/users/{account.id}"), notice)

    async def _confirmation(
        self, visit: PageRequest, account: Account, action: Action, error: PikachuError | None = None
    ) -> PageReply:
        certificates = await self._revocation_context(visit, account) if action.revocable else {"valid": 0}
        return HtmlPage.form("users/act.html", {"account": account, "action": action, **certificates}, error)

    @page("POST", "/users/<id>/sessions/end", audience=Audience.ADMIN)
    async def end_sessions(self, visit: PageRequest) -> PageReply:
        """End the selected sessions of the account, or all; one's own current one stays."""
        current = visit.session
        return await self._account_pages.end_selected(
            visit, visit.id, f"/users/{visit.id}", None if current is None else current.id
        )

    @page("POST", "/users/<id>/sessions/<number>/end", audience=Audience.ADMIN)
    async def end_session(self, visit: PageRequest) -> PageReply:
        """End one session of the account."""
        await self._sessions.end(visit.principal, visit.id, visit.number("number"))
        return Redirect(f"/users/{visit.id}", notice="The session has ended.")


def _revocation(visit: PageRequest) -> RevocationReason | None:
    """Return the reason with which to revoke the account's certificates; ``None``: leave them valid."""
    name = visit.form.text("revoke")
    try:
        return RevocationReason.from_name(name) if name else None
    except MalformedRequest as error:
        raise MalformedRequest(error.public, field="revoke") from None


def _required(reason: RevocationReason | None) -> RevocationReason:
    if reason is None:
        raise MalformedRequest("Choose the reason of the revocation.", field="revoke")
    return reason


def _count(valid: int) -> str:
    return (
        "1 valid certificate" if valid == 1 else f"{'10,000+' if valid > 10_000 else f'{valid:,}'} valid certificates"
    )


def _revoked(reason: RevocationReason | None, valid: int) -> str:
    """Return the part of a notice about the account's certificates."""
    if reason is None or not valid:
        return ""
    return f" Revoked {_count(valid)}." if valid <= BATCH else f" Revoking {_count(valid)} in the background."


def _role(visit: PageRequest) -> Role:
    text = visit.form.text("role")
    if text not in set(Role):
        raise MalformedRequest(f"Choose one of the roles {', '.join(Role)}.", field="role")
    return Role(text)


def _action(visit: PageRequest) -> Action:
    action = ACTIONS.get(visit.path["name"])
    if action is None:
        raise NotFound("there is nothing at this address")
    return action
