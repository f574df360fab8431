"""Accounts of an OpenID Connect provider: linked by issuer and subject, never by name (ROL-2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from pikachu.config.oidc_section import OIDCSection
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import AuthenticationFailed, Conflict, NotAuthorized, RequestError
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.events import Event
from pikachu.core.model.people import Account, AccountSource, AccountState, NewAccount, Principal, PrincipalKind, Role
from pikachu.core.model.sign_in import ExternalIdentity
from pikachu.core.model.times import utc
from pikachu.core.owners import may_act

_NAME: Final = re.compile("[A-Za-z0-9._@-]{1,64}")
_EMAIL: Final = re.compile(r"[^\s@<>\"]{1,64}@[A-Za-z0-9.-]{1,189}")
_MAXIMUM_GROUPS: Final = 2000


class ProviderAccounts:
    """Finds or creates the account of a person whom the provider has signed in."""

    def __init__(self, *, store: IStore, settings: OIDCSection, clock: IClock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    @uncancelled
    async def record(self, claims: Mapping[str, Any], address: str) -> Account:
        """Return the account of the person with these verified claims, as the provider says it is now.

        Fails with NotAuthorized for a person who may not sign in, with AuthenticationFailed for an account that is not
        active, and with Conflict when another account has the name of a new one; each is recorded.
        """
        identity = ExternalIdentity(str(claims["iss"]), str(claims["sub"]))
        account = await self._store.account_by_identity(identity)
        try:
            return await self._admit(account, claims, identity, address)
        except RequestError as error:
            # The name is recorded only for an account, as it is for wrong passwords.
            name, owner = ("unknown", None) if account is None else (account.username, account.id)
            details = {"ip": address, "by": "single sign-on", "subject": identity.subject, "reason": error.public}
            event = Event("failed login", "user", name, "anonymous", details, owner_id=owner, about_account=True)
            await self._store.add_event(event, self._now())
            raise

    async def _admit(
        self, account: Account | None, claims: Mapping[str, Any], identity: ExternalIdentity, address: str
    ) -> Account:
        role = self._role(_groups(claims.get(self._settings.group_claim)))
        if account is None:
            account = await self._create(claims, identity, role or Role.USER, address)
        account = await self._follow(account, claims, role, address)
        if not may_act(account):
            raise AuthenticationFailed(f"Your account is {account.state}. Ask an administrator.")
        return account

    def _role(self, groups: frozenset[str]) -> Role | None:
        """Return the role that the groups give, or None where administrators choose it here.

        :raises NotAuthorized: the groups may not sign in.
        """
        settings = self._settings
        named = (
            (settings.admin_group, Role.ADMIN),
            (settings.operator_group, Role.OPERATOR),
            (settings.auditor_group, Role.AUDITOR),
        )
        for group, role in named:
            if group and group in groups:
                return role
        if settings.user_group and settings.user_group not in groups:
            raise NotAuthorized("Your groups may not sign in here. Ask an administrator.")
        return Role.USER if any(group for group, _ in named) else None

    async def _create(self, claims: Mapping[str, Any], identity: ExternalIdentity, role: Role, address: str) -> Account:
        username = claims.get(self._settings.username_claim)
        if not isinstance(username, str) or not _NAME.fullmatch(username):
            raise NotAuthorized(
                f"The provider sent no usable user name in {self._settings.username_claim}. Ask an administrator."
            )
        event = _event(address, "add", username, None, role=role.value, state="active", source="oidc")
        new = NewAccount(username, _email(claims) or "", role, AccountState.ACTIVE, None, AccountSource.OIDC)
        try:
            return await self._store.add_external_account(new, identity, event, self._now())
        except Conflict:
            raise Conflict(
                f"Another account here has the name {username}, and is not taken over. Ask an administrator."
            ) from None

    async def _follow(self, account: Account, claims: Mapping[str, Any], role: Role | None, address: str) -> Account:
        def decide(present: Account) -> tuple[Account, Event | None]:
            changed = replace(present, email=_email(claims) or present.email, role=role or present.role)
            changes = {
                name: {"before": str(getattr(present, name)), "after": str(getattr(changed, name))}
                for name in ("email", "role")
                if getattr(present, name) != getattr(changed, name)
            }
            if not changes:
                return present, None
            type_ = "role change" if "role" in changes else "update"
            return changed, _event(address, type_, present.username, present.id, **changes)

        if decide(account)[1] is None:
            return account
        return await self._store.change_account(account.id, decide, self._now(), by_directory=True)

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _groups(value: object) -> frozenset[str]:
    """Return the names of groups: a list of texts, or one text."""
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(name for name in names[:_MAXIMUM_GROUPS] if isinstance(name, str))


def _email(claims: Mapping[str, Any]) -> str | None:
    email = claims.get("email")
    if claims.get("email_verified") is False or not isinstance(email, str) or not _EMAIL.fullmatch(email):
        return None
    return email


def _event(address: str, type_: str, username: str, account_id: int | None, **details: object) -> Event:
    actor = Principal(PrincipalKind.SYSTEM, "OpenID Connect", address=address)
    return replace(event_by(actor, type_, "user", username, account_id, **details), about_account=True)
