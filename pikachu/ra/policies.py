"""Enrollment policies: which one applies (POL-3), who may use it, what it allows (POL-4), and its extensions.

Approval by a person, where a policy asks for it, is decided in :mod:`pikachu.ra.enrollment`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.permissions import is_admin
from pikachu.core.cache import BoundedCache
from pikachu.core.concurrency import SingleFlight, uncancelled
from pikachu.core.errors import (
    BadTemplate,
    ConfigError,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    Overloaded,
    PolicyViolation,
)
from pikachu.core.interfaces import IClock, IStore, IWorkerPool
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import Principal, Role
from pikachu.core.model.policies import POLICY_ROLES, Policy, PolicyLimits, SystemPolicySettings
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME, DefaultPolicyFiles, default_version
from pikachu.x509.csr import CertificationRequest
from pikachu.x509.name_patterns import Budget, GlobPattern, glob_pattern
from pikachu.x509.requested_name import require_country_codes
from pikachu.x509.requested_san import RequestedNames
from pikachu.x509.spki import KeyDescription
from pikachu.x509.template import ProfileTemplate, parse

log = Logger()
T = TypeVar("T")

#: The name of the built-in policy without extensions: its certificates have those that the CA always adds, and the
#: requested names.
NO_EXTENSIONS_POLICY: Final = "None"
POLICY_NAME: Final = re.compile(r"[A-Za-z0-9._ -]{1,64}")
#: The greatest length of a name in characters, also of one that an earlier version accepted.
_MAX_NAME: Final = 256
_MAX_TEXTS: Final = 256
_MAX_CACHED: Final = 1000
_CACHE_SECONDS: Final = 1
_ESCAPE: Final = re.compile(r'\\([,+"\\<>; #])')


class PolicyTexts:
    """A bounded cache of the compiled extensions of policies.

    A long text is compiled in the pool, so that it does not block the reactor.  Only the reactor's thread uses the
    cache.

    :param pool: the pool for compiling.
    """

    def __init__(self, pool: IWorkerPool) -> None:
        self._pool = pool
        self._cached: BoundedCache[str, ProfileTemplate | BadTemplate] = BoundedCache(_MAX_TEXTS)
        # When many devices enroll under a new policy at the same time, it is compiled once.  They go on one after the
        # other: a lock that each hands on to the next would nest all their enrollments in one another.
        self._compiling: SingleFlight[None] = SingleFlight()

    def get(self, text: str) -> ProfileTemplate:
        """Return the compiled text; if it was not prepared, compile it in this thread.

        :raises BadTemplate: with the line that is wrong.
        """
        compiled = self._cached.get(text)
        if compiled is None:
            compiled = _parsed(text)
            self._cached.put(text, compiled)
        if isinstance(compiled, BadTemplate):
            raise compiled.with_traceback(None)
        return compiled

    def is_ready(self, text: str, variables: Mapping[str, str]) -> bool:
        """Return whether the text is compiled for these variables, or known to be invalid."""
        compiled = self._cached.get(text)
        return compiled is not None and (isinstance(compiled, BadTemplate) or compiled.is_compiled(variables))

    async def prepare(self, text: str, variables: Mapping[str, str]) -> None:
        """Compile the text in the pool, unless it is ready; :meth:`get` raises its errors.

        Fails with Overloaded.
        """
        if not self.is_ready(text, variables):
            key = (text, tuple(sorted(variables.items())))
            await self._compiling.run(key, lambda: self._compile(text, variables))

    async def _compile(self, text: str, variables: Mapping[str, str]) -> None:
        self._cached.put(text, await self._pool.run(_prepared, text, self._cached.get(text), variables))

    def check(self, text: str, check: Callable[[ProfileTemplate], None]) -> Deferred[None]:
        """Compile a submitted text and call *check* with it, both in the pool.

        Fails with BadTemplate, with the errors of *check*, and with Overloaded.
        """
        return self._pool.run(lambda: check(parse(text)))


class PolicyResolver:
    """Chooses the policy of an enrollment, with a cache of one second.

    Changes made by this process apply at once (:meth:`forget`), those of other processes after a second.

    :param pool: the pool for reading files and compiling extensions.
    """

    def __init__(self, store: IStore, files: DefaultPolicyFiles, clock: IClock, pool: IWorkerPool) -> None:
        self._store = store
        self.files = files
        self.texts = PolicyTexts(pool)
        self._clock = clock
        self._pool = pool
        self._stamp = files.stamp()
        self._default = files.read()
        self._reading = False
        self._checked_at = clock.seconds()
        self._cached: dict[tuple[object, ...], tuple[float, Any]] = {}
        # The last default policy in files, what is stored beside them, and the policy with both.
        self._complete: tuple[Policy, SystemPolicySettings, Policy] | None = None

    @property
    def default(self) -> Policy:
        """The default policy as its files have it, for all roles.

        Changes of its files apply within two seconds; while the files are invalid, the last valid policy applies.
        """
        now = self._clock.seconds()
        if not 0 <= now - self._checked_at < _CACHE_SECONDS and not self._reading:
            self._checked_at = now
            self._reading = True
            self._pool.run(self._read_changed, self._stamp).addCallbacks(self._use, self._ignore).addErrback(_failed)
        return self._default

    def _read_changed(self, stamp: tuple[int, ...]) -> tuple[tuple[int, ...], Policy | None]:
        """Return the stamp of the files, and the policy in them if the stamp differs; called in the pool."""
        # The stamp is taken before the files are read, so that a change in between is read again.
        now = self.files.stamp()
        if now == stamp:
            return now, None
        try:
            return now, self.files.read()
        except (OSError, ConfigError):
            return now, None

    def _use(self, result: tuple[tuple[int, ...], Policy | None]) -> None:
        self._reading = False
        self._stamp, policy = result
        if policy is not None:
            self._default = policy

    def _ignore(self, failure: Failure) -> None:
        """Keep the last valid policy while the pool is overloaded."""
        self._reading = False
        failure.trap(Overloaded)

    @uncancelled
    async def reload_default(self) -> None:
        """Read the files of the default policy.  Fails with ConfigError; the last valid policy then stays in use."""
        stamp, policy = await self._pool.run(lambda: (self.files.stamp(), self.files.read()))
        self._use((stamp, policy))
        self.forget()

    @uncancelled
    async def fresh_default(self) -> Policy:
        """Return the default policy in its files, or the last valid one, with its roles.  Fails with Overloaded."""
        self._use(await self._pool.run(self._read_changed, self._stamp))
        return self._with_settings(self._default, await self._store.system_settings())

    @uncancelled
    async def default_with_roles(self) -> Policy:
        """Return the default policy with the roles that may use it."""
        return await self._default_with_roles()

    async def _default_with_roles(self) -> Policy:
        settings = await self._read_cached(("system settings",), self._store.system_settings)
        return self._with_settings(self.default, settings)

    def _with_settings(self, default: Policy, settings: SystemPolicySettings) -> Policy:
        """Return the default policy with what is stored beside its files, and the version that includes its roles."""
        known = self._complete
        if known is None or known[0] is not default or known[1] != settings:
            roles, override = settings.roles, settings.lint_override
            version = default_version(default.days, default.extensions, roles)
            policy = replace(default, roles=roles, version=version, lint_override=override)
            known = self._complete = (default, settings, policy)
        return known[2]

    @uncancelled
    async def change_default(self, decide: Callable[[Policy | None], tuple[int, str]]) -> Policy:
        """Change the files of the default policy, as :meth:`DefaultPolicyFiles.change` does.

        :param decide: called in the pool.

        Fails like that method, and with Overloaded.
        """
        self._default = await self._pool.run(self.files.change, decide)
        # The stamp stays outdated, so that the files are read again: another process may have changed them since.
        self.forget()
        return await self.default_with_roles()

    async def _without_extensions(self) -> Policy:
        """Return the built-in policy without extensions, with validity and roles of the default one."""
        default = await self._default_with_roles()
        return Policy(
            id=-1,
            name=NO_EXTENSIONS_POLICY,
            days=default.days,
            extensions="[ v3_ext ]\n",
            system=True,
            roles=default.roles,
        )

    def forget(self) -> None:
        """Clear the cache after a change of policies."""
        self._cached = {}
        self._checked_at = 0

    async def choose(
        self, protocol: Method, label: str | None, principal: Principal, named: str | None = None
    ) -> Policy:
        """Return the policy that applies to an enrollment (POL-3).

        :param label: the label in the EST or SCEP path.
        :param named: the name of a policy, chosen by an API, CLI or page user; without, that of the challenge password.
        :raises NotFound: when there is no such label or policy that this principal may use.
        :raises NotAuthorized: when the challenge password is for another policy than that of the label, or the role of
            an account that it comes from can't use the policy (ROL-1).
        """
        policy = await self._applying(protocol, label, principal, named)
        for role in await self._roles_of(principal):
            require_role(policy, role)
        return policy

    async def _roles_of(self, principal: Principal) -> Sequence[Role | None]:
        """Return the roles of the accounts whose credentials the requester has.

        Certificates and challenge passwords have the role that their owner has now, or had a second ago.
        """
        if principal.role is None:
            owners = {principal.owner_id, principal.authenticated_id} - {None}
            return [await self._role_of(owner) for owner in owners] or [None]
        if principal.authenticated_id is None:
            # Who renews for another account needs the role, and that account does not.
            return [principal.role]
        return [principal.role, await self._role_of(principal.owner_id)]

    async def _role_of(self, account_id: int | None) -> Role | None:
        if account_id is None:
            return None
        load = functools.partial(self._store.account, account_id)
        return (await self._read_cached(("account", account_id), load)).role

    async def _applying(self, protocol: Method, label: str | None, principal: Principal, named: str | None) -> Policy:
        if label is not None:
            labelled = await self.for_label(protocol, label)
            # Not even an administrator enrolls through somebody else's label.
            if not labelled.system and (labelled.owner_id is None or labelled.owner_id != principal.owner_id):
                raise _no_label(protocol)
            if principal.challenge_policy not in (None, labelled.name):
                raise NotAuthorized("The challenge password is for another policy. Use the address without a label.")
            return labelled
        named = named or principal.challenge_policy
        if named is not None:
            if named == DEFAULT_POLICY_NAME:
                return await self._default_with_roles()
            if named == NO_EXTENSIONS_POLICY:
                return await self._without_extensions()
            policy = await self._by_name(named)
            if policy is None or not may_use(policy, principal):
                raise NotFound(f"there is no policy named {named!r}")
            return policy
        if protocol in (Method.EST, Method.SCEP):
            if principal.owner_id is not None:
                policy = await self._default_of(protocol, principal.owner_id)
                if policy is not None:
                    return policy
            policy = await self._default_of(protocol, None)
            if policy is not None:
                return policy
        return await self._default_with_roles()

    async def for_label(self, protocol: Method, label: str | None) -> Policy:
        """Return the policy of a path for clients that have not authenticated: for CA certificates and csrattrs.

        :raises NotFound: when no policy of that name is enabled for the protocol.
        """
        if label is not None:
            policy = await self._by_name(label) if POLICY_NAME.fullmatch(label) else None
            if policy is None or not policy.is_used_for(protocol):
                raise _no_label(protocol)
            return policy
        return await self._default_of(protocol, None) or self.default

    async def _by_name(self, name: str) -> Policy | None:
        # A name that an earlier version accepted may have other characters.
        if len(name) > _MAX_NAME:
            return None
        return await self._read_cached(("name", name), functools.partial(self._store.policy_by_name, name))

    async def _default_of(self, protocol: Method, owner_id: int | None) -> Policy | None:
        load = functools.partial(self._store.default_policy, protocol, owner_id)
        return await self._read_cached(("default", protocol, owner_id), load)

    async def _read_cached(self, key: tuple[object, ...], load: Callable[[], Deferred[T]]) -> T:
        now = self._clock.seconds()
        entry = self._cached.get(key)
        if entry is not None and 0 <= now - entry[0] < _CACHE_SECONDS:
            known: T = entry[1]
            return known
        if len(self._cached) > _MAX_CACHED:
            self._cached.clear()
        # What was read before a change is not kept after it: forget() replaces the cache.
        cache = self._cached
        value = await load()
        cache[key] = (now, value)
        return value


def _no_label(protocol: Method) -> NotFound:
    return NotFound(f"there is no {protocol.value} label of that name")


def _failed(failure: Failure) -> None:
    log.failure("Reading the default policy failed", failure)


def policy_variables(ca: str, key_identifier: bytes, public_url: str | None) -> dict[str, str]:
    """Return the variables of policies for an issuing CA.

    :param ca: its name.
    """
    return {"ca": ca, "ski": key_identifier.hex(), "http_url": (public_url or "").rstrip("/")}


def may_use(policy: Policy, principal: Principal) -> bool:
    """Return whether a principal may use a policy: a system policy, their own, or any as an administrator by scope."""
    return (
        policy.system or is_admin(principal) or (policy.owner_id is not None and policy.owner_id == principal.owner_id)
    )


def accepts_role(policy: Policy, role: Role | None) -> bool:
    """Return whether accounts of *role* may use a policy; requesters without an account count as users."""
    return (Role.USER if role is None else role) in policy.roles


def require_role(policy: Policy, role: Role | None) -> None:
    """Require that accounts of *role* may use a policy.

    :raises NotAuthorized: when they may not.
    """
    if not accepts_role(policy, role):
        raise NotAuthorized(
            f"The role {role or Role.USER} can't use the policy “{policy.name}”. Choose another policy, or have an "
            "administrator allow it.",
            policy=policy.name,
        )


def checked_roles(roles: Iterable[Role]) -> tuple[Role, ...]:
    """Return the roles of a policy in the usual order, each once.

    :raises MalformedRequest: when there is none, or one that can't use policies.
    """
    chosen = frozenset(roles)
    if not chosen or not chosen <= frozenset(POLICY_ROLES):
        raise MalformedRequest(f"Choose at least one of the roles {', '.join(POLICY_ROLES)}.", field="roles")
    return tuple(role for role in POLICY_ROLES if role in chosen)


def usable_by(actor: Principal, policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Return the policies that the role of *actor* may use."""
    return tuple(policy for policy in policies if accepts_role(policy, actor.role))


def check_limits(policy: Policy, key: KeyDescription, subject: str, names: Sequence[str]) -> None:
    """Require that a request is within the limits of a policy (POL-4).

    :param subject: RFC 4514.
    :param names: the names in the subjectAltName, such as ``DNS:a.example.com``.
    :raises PolicyViolation: with the reason.
    """
    limits = policy.limits
    if limits.keys and not any(key.text == allowed or key.text.split("/")[0] == allowed for allowed in limits.keys):
        raise PolicyViolation(f"the policy allows the keys {', '.join(limits.keys)}; this one is {key.text}")
    budget = Budget()
    if limits.subject is not None and not _matcher(limits.subject).matches(_with_inert_escapes(subject), budget):
        raise PolicyViolation("the policy does not allow this subject", subject=subject)
    if limits.names:
        patterns = [_matcher(pattern) for pattern in limits.names]
        for name in names:
            text = _with_inert_escapes(name)
            if not any(pattern.matches(text, budget) for pattern in patterns):
                raise PolicyViolation(f"the policy does not allow the name {name}")


def check_name_encoding(limits: PolicyLimits, csr: CertificationRequest, names: RequestedNames) -> None:
    """Check the string types and the country codes of the names that a certificate would contain.

    :param names: the names of the subjectAltName that are copied.
    :raises PolicyViolation: the policy refuses names that are encoded again, and one would be.
    :raises BadCSR: a country code has not two letters, and the policy allows no other.
    """
    if limits.exact_names and not (names.is_exact and csr.subject_der == csr.received_subject_der):
        raise PolicyViolation(
            "a name in the request has a value with a wrong string type, and the policy accepts exact names only"
        )
    if not limits.other_countries:
        for name in (csr.name, *names.directories):
            require_country_codes(name)


def _matcher(pattern: str) -> GlobPattern:
    return glob_pattern(_with_inert_escapes(pattern))


def _with_inert_escapes(text: str) -> str:
    r"""Return *text* with private-use characters in place of the escaped ones.

    An escaped character is part of a value and never separates values: ``CN=*,O=Acme`` must not match
    ``CN=evil\,O=Acme``, which is only a common name (RFC 4514 section 2.4).
    """
    return _ESCAPE.sub(_inert, text)


def _inert(escape: re.Match[str]) -> str:
    # The text of a name contains private-use characters in hex only, so these can't collide.
    return chr(0xF0000 + ord(escape[1]))


def _parsed(text: str) -> ProfileTemplate | BadTemplate:
    try:
        return parse(text)
    except BadTemplate as error:
        return error


def _prepared(
    text: str, cached: ProfileTemplate | BadTemplate | None, variables: Mapping[str, str]
) -> ProfileTemplate | BadTemplate:
    compiled = _parsed(text) if cached is None else cached
    if isinstance(compiled, ProfileTemplate):
        # A text that is invalid with these variables may be valid with those of another issuing CA.
        with suppress(BadTemplate):
            compiled.compile(variables)
    return compiled
