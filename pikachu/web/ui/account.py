"""The signed-in user's account: e-mail, password, sessions, API tokens, client certificates (USR-3, USR-6)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pikachu.accounts.accounts import Accounts
from pikachu.accounts.passkeys import PasskeyAdministration
from pikachu.accounts.second_factors import SecondFactorAdministration
from pikachu.accounts.sessions import Sessions
from pikachu.accounts.tokens import Tokens
from pikachu.auth.authenticator import ROLE_SCOPES, Authenticator
from pikachu.auth.permissions import Audience
from pikachu.config.configuration import Configuration
from pikachu.core.errors import AuthenticationFailed, MalformedRequest, PikachuError, errors_of
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.model.certificates import CertificateRecord, format_serial
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import AccountSource, Scope, Token
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.inventory.certificates import CertificateQueries
from pikachu.web.browsers import SESSION
from pikachu.web.ui.cookies import cookie
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.passkeys import place_of
from pikachu.web.ui.responses import HtmlPage, PageReply, Redirect
from pikachu.x509.certificate import ANY_EXTENDED_KEY_USAGE, CLIENT_AUTH, decode_certificate_input, parse_certificate

#: Maximum number of API tokens shown, and of certificates offered for binding.
MAX_SHOWN: Final = 100
#: Label of each token scope.
SCOPES: Final = (
    (Scope.READ, "read: look at everything that you may see"),
    (Scope.ENROLL, "enroll: make requests, keys and certificates"),
    (Scope.REVOKE, "revoke: revoke, release and delete certificates"),
    (Scope.OPERATE, "operate: approve, and handle everybody's certificates and CSRs"),
    (Scope.AUDIT, "audit: read everything, without secrets"),
    (Scope.ADMIN, "admin: what only administrators do"),
)


class AccountPages(Pages):
    """``/account``."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        tokens: Tokens,
        authenticator: Authenticator,
        sessions: Sessions,
        second_factors: SecondFactorAdministration,
        passkeys: PasskeyAdministration,
        inventory: CertificateQueries,
        clock: IClock,
        files_pool: IWorkerPool,
        config: Configuration,
    ) -> None:
        self._accounts = accounts
        self._tokens = tokens
        self._authenticator = authenticator
        self._sessions = sessions
        self._second_factors = second_factors
        self._passkeys = passkeys
        self._inventory = inventory
        self._clock = clock
        self._files = files_pool
        self._minimum = config.default.password_min_length

    @page("GET", "/account", audience=Audience.USER)
    async def view(self, visit: PageRequest) -> PageReply:
        """Show the account."""
        return await self._view(visit)

    async def _view(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        account = visit.signed_in()
        context = {
            "local": account.source is AccountSource.LOCAL,
            "email": visit.form.text("email") if error is not None else account.email,
            "has_app": await self._second_factors.has_app(visit.principal),
            "passkey_host": place_of(visit).host,
            **await self.account_objects(visit, account.id),
        }
        return HtmlPage.form("people/account.html", context, error)

    async def account_objects(self, visit: PageRequest, account_id: int) -> Mapping[str, Any]:
        """Return the context of ``people/parts.html``: an account's sessions, tokens, passkeys and certificates."""
        actor = visit.principal
        tokens = await self._tokens.list(actor, ListQuery(limit=MAX_SHOWN, owner_id=account_id))
        return {
            "now": self._clock.seconds(),
            "sessions": await self._sessions.of_account(actor, account_id),
            "tokens": tokens.items,
            "more_tokens": tokens.next_cursor is not None,
            "passkeys": await self._passkeys.of_account(actor, account_id),
            "certificates": await self._sessions.certificates(actor, account_id),
        }

    @page("POST", "/account/email", audience=Audience.USER)
    async def change_email(self, visit: PageRequest) -> PageReply:
        """Change the e-mail address."""
        try:
            await self._accounts.change_email(visit.principal, visit.form.text("email"))
        except PikachuError as error:
            return await self._view(visit, error)
        return Redirect("/account", notice="The e-mail address is changed.")

    # --- the password ---------------------------------------------------------------------

    @page("GET", "/account/password", audience=Audience.USER, restricted=True)
    async def password_form(self, visit: PageRequest) -> PageReply:
        """Show the form for a new password."""
        return self._password_form(visit)

    @page("POST", "/account/password", audience=Audience.USER, keeps_draft=False, restricted=True)
    async def change_password(self, visit: PageRequest) -> PageReply:
        """Change the password after checking the current one; end all other sessions and renew this session's
        secret.
        """
        try:
            password = visit.form.whole_text("password")
            if password != visit.form.whole_text("confirmation"):
                raise MalformedRequest("the two passwords differ; type the same one twice", field="confirmation")
            current = visit.form.whole_text("current")
            with errors_of("current", AuthenticationFailed):
                await self._authenticator.confirm(visit.principal, current)
            if password == current:
                raise MalformedRequest("Choose another password than the current one.", field="password")
            account = await self._accounts.change_password(visit.principal, password)
        except PikachuError as error:
            return self._password_form(visit, error)
        _, secret = await self._sessions.renew(account, visit.address, visit.agent)
        visit.cookies.append(cookie(SESSION, secret))
        return Redirect("/account", notice="The password is changed. All other sessions have ended.")

    def _password_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        local = visit.signed_in().source is AccountSource.LOCAL
        context = {"minimum": self._minimum, "local": local}
        return HtmlPage.form("people/password.html", context, error)

    # --- sessions -------------------------------------------------------------------------

    @page("POST", "/account/sessions/end", audience=Audience.USER)
    async def end_sessions(self, visit: PageRequest) -> PageReply:
        """End the selected sessions, or all but this one."""
        account_id, current = visit.signed_in().id, visit.session
        return await self.end_selected(visit, account_id, "/account", None if current is None else current.id)

    async def end_selected(self, visit: PageRequest, account_id: int, location: str, kept: int | None) -> PageReply:
        """End the sessions selected in the form, or all; return to *location*.

        :param kept: id of a session that stays.
        """
        chosen = {number for one in visit.form.texts("id") if (number := parse_number(one, MAX_ID)) is not None}
        if visit.form.flag("all"):
            chosen = {one.id for one in await self._sessions.of_account(visit.principal, account_id)}
        try:
            ended = await self._sessions.end_selected(visit.principal, account_id, chosen - {kept})
        except MalformedRequest as error:
            return Redirect(location, notice=error.public, notice_kind="warn")
        return Redirect(location, notice="1 session has ended." if ended == 1 else f"{ended} sessions have ended.")

    @page("POST", "/account/sessions/<id>/end", audience=Audience.USER)
    async def end_session(self, visit: PageRequest) -> PageReply:
        """End one session."""
        await self._sessions.end(visit.principal, visit.signed_in().id, visit.id)
        return Redirect("/account", notice="The session has ended.")

    # --- API tokens -----------------------------------------------------------------------

    @page("GET", "/account/tokens/new", audience=Audience.USER)
    async def new_token(self, visit: PageRequest) -> PageReply:
        """Show the form for a token; require a confirmed password now, because the token won't need one."""
        visit.require_confirmation()
        return self._token_form(visit)

    @page("POST", "/account/tokens", audience=Audience.USER)
    async def make_token(self, visit: PageRequest) -> PageReply:
        """Create a token, and show its text once on another page, so that a reload creates no other (USR-6)."""
        if not visit.confirmed:
            return Redirect("/account/tokens/new")
        try:
            selected = visit.form.texts("scope")
            scopes = frozenset(scope for scope in Scope if scope.value in selected)
            if not scopes:
                raise MalformedRequest("choose at least one scope", field="scope")
            days = visit.form.number("days")
            account_id = visit.signed_in().id
            name = visit.form.text("name")
            token, text = await self._tokens.create(visit.principal, account_id, name, scopes, days)
        except PikachuError as error:
            return self._token_form(visit, error)
        return Redirect(f"/account/tokens/{token.id}/created", secret=text)

    @page("GET", "/account/tokens/<id>/created", audience=Audience.USER)
    async def created_token(self, visit: PageRequest) -> PageReply:
        """Show a new token's text, once."""
        token = await self._tokens.get(visit.principal, visit.id)
        context = {"token": token, "text": visit.secret, "host": visit.host or "localhost"}
        return HtmlPage("people/token_made.html", context)

    def _token_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        possible = ROLE_SCOPES[visit.signed_in().role]
        selected = {Scope.READ.value} if error is None else set(visit.form.texts("scope"))
        context = {
            "scopes": [(scope.value, label, scope.value in selected) for scope, label in SCOPES if scope in possible],
            "name": visit.form.values.get("name", "")[:64],
            "days": visit.form.values.get("days", "90")[:9],
        }
        return HtmlPage.form("people/token_new.html", context, error)

    @page("GET", "/account/tokens/<id>/end", audience=Audience.USER)
    async def token_revocation_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for revoking a token."""
        token = await self._tokens.get(visit.principal, visit.id)
        back = _back(visit, token.account_id)
        return HtmlPage("people/token_end.html", {"token": token, "scopes": scopes_text(token), "back": back})

    @page("POST", "/account/tokens/<id>/end", audience=Audience.USER)
    async def end_token(self, visit: PageRequest) -> PageReply:
        """Revoke a token."""
        token = await self._tokens.get(visit.principal, visit.id)
        await self._tokens.revoke(visit.principal, visit.id)
        return Redirect(_back(visit, token.account_id), notice=f"The token {token.name} has ended.")

    # --- client certificates --------------------------------------------------------------

    @page("GET", "/account/certificates/new", audience=Audience.USER)
    async def new_certificate(self, visit: PageRequest) -> PageReply:
        """Show the form with the user's own certificates; like a token, a bound one grants more than a session does."""
        visit.require_confirmation()
        return await self._certificate_form(visit)

    @page("POST", "/account/certificates", audience=Audience.USER)
    async def bind(self, visit: PageRequest) -> PageReply:
        """Bind one of the user's own certificates, or any in PEM."""
        if not visit.confirmed:
            return Redirect("/account/certificates/new")
        try:
            pasted = visit.form.text("pem")
            if pasted:
                with errors_of("pem"):
                    der = decode_certificate_input(pasted.encode())
            elif visit.form.text("certificate"):
                der = (await self._inventory.certificate(visit.principal, visit.form.number("certificate"))).der
            else:
                raise MalformedRequest("choose a certificate, or paste one", field="certificate")
            await self._sessions.bind(visit.principal, visit.signed_in().id, parse_certificate(der))
        except PikachuError as error:
            return await self._certificate_form(visit, error)
        return Redirect("/account", notice="You can now sign in with this certificate on the trusted port and in REST.")

    async def _certificate_form(self, visit: PageRequest, error: PikachuError | None = None) -> PageReply:
        search = (visit.query.get("q", "") or visit.form.text("q")).strip()[:200]
        query = ListQuery(limit=MAX_SHOWN, q=search or None, owner_id=visit.signed_in().id, filters={"status": "valid"})
        own = await self._inventory.certificates(visit.principal, query)
        context = {
            "choices": [("", "Choose a certificate"), *await self._files.run(_for_clients, own.items)],
            "chosen": visit.form.values.get("certificate", ""),
            "pem": visit.form.values.get("pem", "")[:20_000],
            "q": search,
            "more": own.next_cursor is not None,
        }
        return HtmlPage.form("people/certificate_bind.html", context, error)

    @page("GET", "/account/certificates/<id>/unbind", audience=Audience.USER)
    async def unbind_form(self, visit: PageRequest) -> PageReply:
        """Show the confirmation for unbinding a certificate."""
        bound = await self._sessions.certificate(visit.principal, visit.id)
        return HtmlPage("people/certificate_unbind.html", {"bound": bound, "back": _back(visit, bound.account_id)})

    @page("POST", "/account/certificates/<id>/unbind", audience=Audience.USER)
    async def unbind(self, visit: PageRequest) -> PageReply:
        """Unbind a certificate."""
        bound = await self._sessions.certificate(visit.principal, visit.id)
        await self._sessions.unbind(visit.principal, visit.id)
        return Redirect(
            _back(visit, bound.account_id), notice="Certificate unbound. It can no longer be used to sign in."
        )


def scopes_text(token: Token) -> str:
    """Return the scopes of a token, in their order."""
    return ", ".join(scope.value for scope in Scope if scope in token.scopes)


def _back(visit: PageRequest, account_id: int) -> str:
    """Return the path of the page that shows an account."""
    return "/account" if visit.signed_in().id == account_id else f"/users/{account_id}"


def _for_clients(records: Iterable[CertificateRecord]) -> list[tuple[str, str]]:
    """Return the (id, text) of the records that permit client authentication."""
    choices = []
    for record in records:
        purposes = parse_certificate(record.der).extended_key_usage
        if purposes is None or purposes & {CLIENT_AUTH, ANY_EXTENDED_KEY_USAGE}:
            serial = format_serial(record.serial)[:12]
            text = f"{record.name[:60]} ({serial}\u2026), until {record.not_after:%Y-%m-%d}"
            choices.append((str(record.id), text))
    return choices
