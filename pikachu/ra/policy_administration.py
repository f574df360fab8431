"""Administration of enrollment policies: validation and permissions (POL-1, POL-2, POL-4).

Pages, REST and the command line use it.  :mod:`pikachu.ra.policies` chooses the policy of an enrollment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock

from pikachu.auth.permissions import can_view, is_admin, require_scope, scope_to_owner
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.audit import event_by
from pikachu.core.concurrency import uncancelled
from pikachu.core.errors import (
    BadTemplate,
    Conflict,
    EditConflict,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PolicyViolation,
    errors_of,
)
from pikachu.core.interfaces import IClock, IStore
from pikachu.core.model.certificates import Method
from pikachu.core.model.events import Event
from pikachu.core.model.lint import LintReport
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import AccountState, Principal, Role, Scope
from pikachu.core.model.policies import (
    KEY_LIMIT,
    LABEL_PROTOCOLS,
    NAME_PATTERN,
    NO_NEXT_DEFAULTS,
    POLICY_ROLES,
    NextDefaults,
    Policy,
    PolicyLimits,
    SystemPolicySettings,
)
from pikachu.core.model.times import utc
from pikachu.core.optimistic_locking import Versions, repeat, require_version
from pikachu.ra.default_policy import DEFAULT_POLICY_NAME, check_days, default_version
from pikachu.ra.policies import (
    NO_EXTENSIONS_POLICY,
    POLICY_NAME,
    PolicyResolver,
    accepts_role,
    checked_roles,
    policy_variables,
    usable_by,
)
from pikachu.ra.policy_lint import PolicyLint
from pikachu.x509.names import is_oid
from pikachu.x509.profile import authority_granted
from pikachu.x509.requested_san import OTHER_NAMES
from pikachu.x509.template import ExtensionContext, ProfileTemplate

MAXIMUM_TEXT: Final = 64 * 1024
MAXIMUM_PATTERNS: Final = 64

#: The names of all issuing CAs that can be configured.
CA_NAMES: Final = ("ec", "rsa", "mldsa")
KEY_LIMITS: Final = (
    "RSA",
    "EC",
    "PQC",
    "Ed25519",
    "EC/prime256v1",
    "EC/secp384r1",
    "EC/secp521r1",
    "EC/secp256k1",
    "PQC/mldsa44",
    "PQC/mldsa65",
    "PQC/mldsa87",
)
_OTHER_NAMES: Final = {name.lower(): oid for name, oid in OTHER_NAMES.items()}

# A label must not be mistaken for an operation (RFC 7030 section 3.2.2), nor for SCEP's customary program name.
_NO_EST_LABELS: Final = frozenset(
    {"cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs", "crls"}
)
_NO_SCEP_LABELS: Final = frozenset({"pkiclient.exe"})
_UNKNOWN: Final = "there is no such policy"
_KIND: Final = "policy"
_EVENTS_SEARCHED: Final = 25


class PolicyAdministration:
    """Lists, creates, changes and deletes policies.

    A policy whose sample certificate has errors of lint is saved only with an *override*, the reason for which an
    administrator accepts them (LNT-1).

    All methods fail with AuthenticationFailed for an anonymous *actor*, with NotAuthorized if role or scope do not
    suffice, and with StoreUnavailable.  Cancelling their Deferred does not interrupt them.

    :param public_url: the value of ``${http_url}`` in policies.
    """

    def __init__(
        self,
        *,
        store: IStore,
        policies: PolicyResolver,
        issuers: IssuingCAs,
        clock: IClock,
        policy_lint: PolicyLint,
        public_url: str | None = None,
    ) -> None:
        self._lint = policy_lint
        self._public_url = public_url
        self._store = store
        self._policies = policies
        self._issuers = issuers
        self._clock = clock
        # Changes by this process run one after the other; those of other processes are detected when they are stored.
        self._changes = DeferredLock()

    @uncancelled
    async def default(self, actor: Principal) -> Policy:
        """Return the default policy, which every account may view."""
        require_scope(actor, Scope.READ)
        return await self._policies.default_with_roles()

    @uncancelled
    async def get(self, actor: Principal, policy_id: int) -> Policy:
        """Return a policy of the actor, a system policy, or any for administrators; 0 is the default policy.

        Fails with NotFound.
        """
        require_scope(actor, Scope.READ)
        return await self._visible(actor, policy_id)

    @uncancelled
    async def find(self, actor: Principal, name: str) -> Policy:
        """Return a policy by name, as :meth:`get`.  Fails with NotFound."""
        require_scope(actor, Scope.READ)
        if name == DEFAULT_POLICY_NAME:
            return await self._policies.default_with_roles()
        policy = await self._store.policy_by_name(name)
        if policy is None or not _can_view(actor, policy):
            raise NotFound(_UNKNOWN)
        return policy

    @uncancelled
    async def list(self, actor: Principal, query: ListQuery) -> Page[Policy]:
        """Return a page of the actor's and system policies, without the default policy.

        For administrators: all, or those of ``query.owner_id``.
        """
        return await self._store.policies(scope_to_owner(actor, query))

    @uncancelled
    async def add(self, actor: Principal, policy: Policy, *, override: str | None = None) -> Policy:
        """Create a policy; its id and times are ignored.

        Unless it is a system policy it belongs to ``policy.owner_id``, or else to the actor.  Only administrators
        create policies for other accounts, system policies, and policies that grant powers of a CA: to certify, to
        sign CRLs or OCSP responses; only they choose its roles.  Whose role can't use the default policy creates and
        changes none, since a policy of one's own has the limits that one gives it.

        The first policy of an owner that is used for a protocol becomes the owner's default, and so does one with
        ``default_for_est`` or ``default_for_scep``.

        Fails with MalformedRequest, PolicyViolation (days), BadTemplate, LintFailed, NotFound (owner), QuotaExceeded,
        and Conflict when the name is in use.
        """
        policy = await self._linted(actor, await self._checked(actor, policy), None, override)
        event = self._event(actor, "create", policy)
        return self._changed(await self._store.add_policy(policy, event, self._now()))

    @uncancelled
    async def check(self, actor: Principal, policy: Policy) -> None:
        """Check that :meth:`add` would create a policy, if its name is not in use; fails as it does."""
        await self._linted(actor, await self._checked(actor, policy), None, None)

    @uncancelled
    async def update(
        self,
        actor: Principal,
        policy: Policy,
        *,
        expected: Versions = None,
        next_defaults: NextDefaults = NO_NEXT_DEFAULTS,
        override: str | None = None,
    ) -> Policy:
        """Replace a policy of the actor, or any for administrators; id 0 replaces the files of the default policy.

        :param expected: the versions that may be replaced.
        :param next_defaults: the policies that become the defaults where this one gives it up; by default none does.

        Fails as :meth:`add`, with NotFound, and with EditConflict.
        """
        return await self._update(actor, policy.id, lambda _: policy, expected, next_defaults, override)

    @uncancelled
    async def change(
        self,
        actor: Principal,
        policy_id: int,
        merge: Callable[[Policy], Policy],
        *,
        expected: Versions = None,
        next_defaults: NextDefaults = NO_NEXT_DEFAULTS,
        override: str | None = None,
    ) -> Policy:
        """Replace a policy by the result of *merge*, as :meth:`update`; *merge* may be called more than once."""
        return await self._update(actor, policy_id, merge, expected, next_defaults, override)

    async def _update(
        self,
        actor: Principal,
        policy_id: int,
        merge: Callable[[Policy], Policy],
        expected: Versions,
        next_defaults: NextDefaults,
        override: str | None,
    ) -> Policy:
        async def change() -> Policy:
            if policy_id == 0:
                if next_defaults:
                    raise Conflict(f"{DEFAULT_POLICY_NAME} is never the default. Choose no next default.")
                before = await self._policies.fresh_default()
                return await self._update_default(actor, merge(before), before, expected, override)
            before = await self._visible(actor, policy_id)
            self._require_editable(actor, before)
            require_version(expected, before.version, _KIND, before.updated_by, before.updated_at)
            policy = merge(before)
            if policy.owner_id is None and not policy.system:
                policy = replace(policy, owner_id=before.owner_id)
            policy = await self._linted(actor, await self._checked(actor, policy, before), before, override)
            policy = replace(policy, version=before.version)
            event = self._event(actor, "update", policy)
            return self._changed(await self._store.update_policy(policy, event, self._now(), next_defaults))

        require_scope(actor, Scope.READ)
        return await self._in_turn(change, expected)

    def _in_turn(self, change: Callable[[], Coroutine[Any, Any, Policy]], expected: Versions) -> Deferred[Policy]:
        return self._changes.run(lambda: Deferred.fromCoroutine(repeat(change, expected)))

    @uncancelled
    async def set_default_validity(self, actor: Principal, days: int, *, expected: Versions = None) -> Policy:
        """Change the validity of the default policy, which the signing form suggests (RA-4); administrators only.

        Fails with PolicyViolation (days), EditConflict.
        """

        async def change() -> Policy:
            before = await self._policies.fresh_default()
            return await self._update_default(actor, replace(before, days=days), before, expected)

        require_scope(actor, Scope.ADMIN)
        return await self._in_turn(change, expected)

    async def _update_default(
        self, actor: Principal, policy: Policy, before: Policy, expected: Versions, override: str | None = None
    ) -> Policy:
        if not is_admin(actor):
            raise NotAuthorized("the default policy is changed by admins only")
        if any(policy.is_default_for(protocol) for protocol in LABEL_PROTOCOLS):
            raise MalformedRequest(
                f"{DEFAULT_POLICY_NAME} applies where no other policy is the default. Choose another policy."
            )
        await self._check_text(policy.extensions)
        check_days(policy.days)
        roles = checked_roles(policy.roles)
        await self._require_default_version(expected, before)
        version = default_version(policy.days, policy.extensions, roles)
        default = replace(before, days=policy.days, extensions=policy.extensions, version=version, roles=roles)
        default = await self._linted(actor, default, before, override)
        settings = SystemPolicySettings(roles, default.lint_override)
        # Recorded first: an unrecorded change is worse than the record of a failed one.
        await self._store.set_system_settings(settings, self._event(actor, "update", default), self._now())
        file_version = default_version(before.days, before.extensions)

        def decide(current: Policy | None) -> tuple[int, str]:
            # Files that can't be read are replaced.
            if current is not None:
                require_version(frozenset({file_version}), current.version, _KIND, None, current.updated_at)
            return policy.days, policy.extensions

        return await self._policies.change_default(decide)

    async def _require_default_version(self, expected: Versions, current: Policy) -> None:
        """Require that *current* is an expected version; the audit log names the author of the files.

        Fails with EditConflict.
        """
        if expected is None or current.version in expected:
            return
        recorded = {"resource_type": "policy", "resource_name": DEFAULT_POLICY_NAME, "type": "update"}
        events = (await self._store.events(ListQuery(limit=_EVENTS_SEARCHED, filters=recorded))).items
        change = next((record for record in events if record.event.details.get("version") == current.version), None)
        if change is None:
            raise EditConflict.of(_KIND, None, current.updated_at)
        raise EditConflict.of(_KIND, change.event.actor, change.at)

    @uncancelled
    async def delete(
        self,
        actor: Principal,
        policy_id: int,
        *,
        expected: Versions = None,
        next_defaults: NextDefaults = NO_NEXT_DEFAULTS,
    ) -> None:
        """Delete a policy of the actor, or any for administrators; its certificates are kept.

        :param expected: the versions that may be deleted.
        :param next_defaults: as in :meth:`update`.

        Fails with NotFound, EditConflict, and Conflict for the default policy.
        """

        def decide(policy: Policy) -> Event:
            if not _can_view(actor, policy):
                raise NotFound(_UNKNOWN)
            self._require_editable(actor, policy)
            require_version(expected, policy.version, _KIND, policy.updated_by, policy.updated_at)
            return self._event(actor, "delete", policy)

        require_scope(actor, Scope.READ)
        if policy_id == 0:
            raise Conflict("the default policy can't be deleted; change it instead")
        await self._store.delete_policy(policy_id, decide, self._now(), next_defaults)
        self._policies.forget()

    @uncancelled
    async def next_default_choices(self, actor: Principal, policy_id: int) -> Mapping[Method, Sequence[Policy]]:
        """Return, by each protocol that a policy is the default for, the others that can become it.

        Fails with NotFound.
        """
        policy = await self._visible(actor, policy_id)
        choices = {}
        for protocol in LABEL_PROTOCOLS:
            if policy.is_default_for(protocol):
                labels = await self._store.labels(protocol, None if policy.system else policy.owner_id)
                choices[protocol] = [one for one in labels if one.id != policy.id]
        return choices

    @uncancelled
    async def labels(self, actor: Principal, protocol: Method) -> Sequence[Policy]:
        """Return the policies that the actor can use by a label of a protocol: the system's and the actor's own."""
        require_scope(actor, Scope.READ)
        own = () if actor.owner_id is None else await self._store.labels(protocol, actor.owner_id)
        return usable_by(actor, (*await self._store.labels(protocol, None), *own))

    # --- permissions --------------------------------------------------------------------

    async def _visible(self, actor: Principal, policy_id: int) -> Policy:
        require_scope(actor, Scope.READ)
        if policy_id == 0:
            return await self._policies.default_with_roles()
        policy = await self._store.policy(policy_id)
        if not _can_view(actor, policy):
            raise NotFound(_UNKNOWN)
        return policy

    @staticmethod
    def _require_editable(actor: Principal, policy: Policy) -> None:
        if is_admin(actor):
            return
        require_scope(actor, Scope.ENROLL)
        if policy.system or policy.owner_id != actor.owner_id:
            raise NotAuthorized("a system policy is changed by admins only")

    # --- lint ---------------------------------------------------------------------------

    @uncancelled
    async def lint(self, policy: Policy) -> LintReport:
        """Return the findings about sample certificates of a policy that the caller may see; Overloaded."""
        return await self._lint.report(policy)

    async def _linted(self, actor: Principal, policy: Policy, before: Policy | None, override: str | None) -> Policy:
        """Return a policy that may be saved, with the override of its errors.  Fails with LintFailed."""
        return replace(policy, lint_override=await self._lint.accepted(actor, policy, before, override))

    # --- validation ---------------------------------------------------------------------

    async def _checked(self, actor: Principal, policy: Policy, before: Policy | None = None) -> Policy:
        policy = await self._owned(actor, policy, before)
        policy = replace(policy, roles=await self._checked_roles(actor, policy, before))
        _check_name(policy, before)
        for protocol in LABEL_PROTOCOLS:
            was_default = before is not None and before.is_default_for(protocol)
            if policy.is_default_for(protocol) and not was_default and not policy.is_used_for(protocol):
                raise MalformedRequest(
                    f"The default policy for {protocol.value} must be used for {protocol.value}. Select that as well."
                )
        check_days(policy.days)
        is_checked = is_admin(actor) or (before is not None and before.extensions == policy.extensions)
        await self._check_text(policy.extensions, () if is_checked else self._issuer_contexts())
        limits = _checked_limits(policy.limits)
        if limits.max_days is not None and policy.days > limits.max_days:
            raise PolicyViolation(
                f"the validity of {policy.days} days exceeds the policy's own maximum of {limits.max_days}",
                field="days",
            )
        required = limits.identities
        if required is not None and await self._store.identity_list_by_name(required) is None:
            raise MalformedRequest(
                f"There is no list of identities “{required[:64]}”. Create it first, or name another.",
                field="identities",
            )
        if policy.issuer is not None and policy.issuer not in self._issuers.current:
            raise MalformedRequest(
                f"the issuing CA is one of {', '.join(sorted(self._issuers.current))}", field="issuer"
            )
        await self._check_purposes(policy)
        return replace(policy, limits=limits)

    async def _checked_roles(self, actor: Principal, policy: Policy, before: Policy | None) -> tuple[Role, ...]:
        """Return the roles of a policy that the actor may save (ROL-1)."""
        roles = checked_roles(policy.roles)
        if not is_admin(actor):
            if roles != (POLICY_ROLES if before is None else before.roles):
                raise NotAuthorized("Only administrators can choose the roles that may use a policy.")
            default = await self._policies.default_with_roles()
            if not accepts_role(default, actor.role):
                raise NotAuthorized(
                    f"The role {actor.role} can't use the policy “{default.name}”, and so can't create or change "
                    "policies of its own. Ask an administrator."
                )
        return roles

    async def _check_purposes(self, policy: Policy) -> None:
        """Require that the issuing CA of a policy may certify for the purposes that its text names."""
        issuer = self._issuers.default if policy.issuer is None else self._issuers.named(policy.issuer)
        if issuer.path.limits_purposes:
            context = self._context(issuer.name, issuer)
            await self._policies.texts.check(
                policy.extensions, lambda template: issuer.path.check_purposes(template.extensions(context))
            )

    async def _check_text(self, text: str, issuers: Sequence[ExtensionContext] = ()) -> None:
        """Require valid extensions that grant no power of a CA.

        :param issuers: the contexts to check, since variables can select sections; none: any power is allowed.
        """

        def check(template: ProfileTemplate) -> None:
            if "ext" not in template.usages:
                raise BadTemplate(
                    0, "the text has no section [ v3_ext ]: it says nothing about certificates", field="extensions"
                )
            for context in issuers:
                for extension in template.extensions(context):
                    power = authority_granted(extension)
                    if power is not None:
                        raise NotAuthorized(f"a policy with {power} is for administrators only")

        if len(text) > MAXIMUM_TEXT:
            raise MalformedRequest("the extensions are longer than 64 KiB", field="extensions")
        with errors_of("extensions"):
            await self._policies.texts.check(text, check)

    def _issuer_contexts(self) -> Sequence[ExtensionContext]:
        """Return a context for each issuing CA that can be configured, and for the announced generations."""
        current = self._issuers.current
        names = (*CA_NAMES, *(name for name in current if name not in CA_NAMES))
        issuers = [(name, current.get(name, self._issuers.default)) for name in names]
        issuers += [(name, announced) for name in current if (announced := self._issuers.next(name)) is not None]
        return [self._context(name, issuer) for name, issuer in issuers]

    def _context(self, name: str, issuer: IssuingCA) -> ExtensionContext:
        certificate = issuer.certificate
        return ExtensionContext(
            issuer_key_identifier=certificate.key_identifier,
            issuer_issuer_der=certificate.issuer_der,
            issuer_serial=certificate.serial,
            subject_spki=certificate.spki_der,
            subject_der=certificate.subject_der,
            variables=policy_variables(name, issuer.key_identifier, self._public_url),
        )

    async def _owned(self, actor: Principal, policy: Policy, before: Policy | None) -> Policy:
        """Return the policy with its owner, for whom the actor may create it; a system policy has none.

        Fails with NotAuthorized, MalformedRequest, and NotFound for a deleted owner.
        """
        require_scope(actor, Scope.ENROLL)
        if policy.system:
            if not is_admin(actor):
                raise NotAuthorized("a system policy is for administrators only")
            return replace(policy, owner_id=None)
        owner_id = actor.owner_id if policy.owner_id is None else policy.owner_id
        if owner_id is None:
            raise MalformedRequest("a policy is the system's or a user's; say which")
        if owner_id != actor.owner_id:
            if not is_admin(actor):
                raise NotAuthorized("a policy for somebody else is for administrators only")
            account = await self._store.account(owner_id)
            is_new_owner = before is None or before.owner_id != owner_id
            if is_new_owner and account.state is AccountState.DELETED:
                raise NotFound("This account is deleted. Name another one as the owner.")
        return replace(policy, owner_id=owner_id)

    # --- events -------------------------------------------------------------------------

    def _changed(self, policy: Policy) -> Policy:
        self._policies.forget()
        return policy

    def _event(self, actor: Principal, type_: str, policy: Policy) -> Event:
        details: dict[str, object] = {
            "days": policy.days,
            "system": policy.system,
            "est": policy.use_for_est,
            "scep": policy.use_for_scep,
            "approval": policy.approval.value,
            "roles": list(policy.roles),
        }
        if policy.id == 0 and type_ == "update":
            # Identifies the author of the files in a later conflict.
            details["version"] = policy.version
        if policy.issuer is not None:
            details["issuer"] = policy.issuer
        if policy.lint_override is not None:
            details["lint_override"] = policy.lint_override.reason
            details["lint_errors"] = list(policy.lint_override.codes)
        return event_by(actor, type_, "policy", policy.name, policy.owner_id, **details)

    def _now(self) -> datetime:
        return utc(self._clock.seconds())


def _can_view(actor: Principal, policy: Policy) -> bool:
    """Return whether the actor may view a policy; an administrator's token without that scope counts as a user."""
    return policy.system or can_view(actor, policy.owner_id)


def _check_name(policy: Policy, before: Policy | None) -> None:
    name = policy.name
    if before is not None and name == before.name:
        # A name that an earlier version accepted is kept.
        _check_label(policy, before)
        return
    if not POLICY_NAME.fullmatch(name) or name.strip(" .") == "" or name != name.strip():
        raise MalformedRequest(
            "a policy's name is 1 to 64 letters, digits and the characters . _ - and space", field="name"
        )
    if name.lower() == DEFAULT_POLICY_NAME.lower():
        raise Conflict(f"{DEFAULT_POLICY_NAME} is the name of the default policy; choose another one", field="name")
    if name.lower() == NO_EXTENSIONS_POLICY.lower():
        raise Conflict(
            f"{NO_EXTENSIONS_POLICY} is the name of the policy without extensions; choose another one", field="name"
        )
    _check_label(policy, None)


def _check_label(policy: Policy, before: Policy | None) -> None:
    """Require that the name can be a label of the protocols that a change begins to use the policy for."""
    name = policy.name
    began_est = policy.use_for_est and not (before is not None and before.use_for_est)
    began_scep = policy.use_for_scep and not (before is not None and before.use_for_scep)
    if began_est and name in _NO_EST_LABELS:
        raise MalformedRequest(f"{name} is an operation of EST and can't be a label; choose another name", field="name")
    if began_scep and name in _NO_SCEP_LABELS:
        raise MalformedRequest(f"{name} can't be a label of SCEP; choose another name", field="name")


def _checked_limits(limits: PolicyLimits) -> PolicyLimits:
    for key in limits.keys:
        if not re.fullmatch(KEY_LIMIT.pattern, key):
            raise MalformedRequest(f"allowed keys are {', '.join(KEY_LIMITS)}, or RSA/2048 and the like", field="keys")
    for pattern in (*limits.names, *(() if limits.subject is None else (limits.subject,))):
        if not 1 <= len(pattern) <= NAME_PATTERN.maximum or not pattern.isprintable():
            raise MalformedRequest(f"a pattern is 1 to {NAME_PATTERN.maximum} printable characters", field="names")
    if len(limits.names) > MAXIMUM_PATTERNS:
        raise MalformedRequest(f"a policy has at most {MAXIMUM_PATTERNS} patterns of names", field="names")
    if limits.max_days is not None:
        check_days(limits.max_days)
    return replace(
        limits,
        keys=tuple(dict.fromkeys(limits.keys)),
        names=tuple(dict.fromkeys(limits.names)),
        other_names=_other_names(limits.other_names),
    )


def _other_names(type_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the OIDs of the types of otherName, which may be given by their usual names."""
    if len(type_ids) > MAXIMUM_PATTERNS:
        raise MalformedRequest(f"A policy has at most {MAXIMUM_PATTERNS} types of otherName.", field="other_names")
    oids = tuple(dict.fromkeys(_OTHER_NAMES.get(one.lower(), one) for one in type_ids))
    if not all(is_oid(one) for one in oids):
        raise MalformedRequest(
            f"Name types of otherName as {', '.join(OTHER_NAMES)}, or as an OID such as 1.2.3.4.", field="other_names"
        )
    return oids
