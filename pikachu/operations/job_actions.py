"""The actions of jobs: each row is the action on a single object, with its rules and its audit event (JOB-1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from pikachu.accounts.accounts import Accounts
from pikachu.accounts.challenge_passwords import ChallengePasswords
from pikachu.accounts.tokens import Tokens
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, errors_of
from pikachu.core.model.certificates import Method, RevocationReason
from pikachu.core.model.jobs import Job, JobAction, JobArguments, JobResource
from pikachu.core.model.list_queries import ListQuery, Page
from pikachu.core.model.people import AccountState, Principal, Scope
from pikachu.core.model.requests import RequestState
from pikachu.inventory.certificates import CertificateQueries
from pikachu.inventory.csrs import CertificateRequests
from pikachu.inventory.devices import Devices, retirement_reason
from pikachu.inventory.keys import Keys
from pikachu.inventory.renewals import Renewal, Renewals
from pikachu.inventory.templates import CertificateTemplates
from pikachu.operations.job_exports import JobExports, JobFile
from pikachu.ra.enrollment import Pending
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.ra.registration_authority import RegistrationAuthority, checked_reason

#: The message of an approval that does not suffice.
FIRST_APPROVAL: Final = "The first of two approvals was recorded. Another person must approve it too."
#: Returns a message for the results, or the object's part of the job's file.
Perform: TypeAlias = Callable[[Principal, int, JobArguments], Awaitable[str | bytes]]
#: Returns a page of the list, with the objects that the actor may see.
List: TypeAlias = Callable[[Principal, ListQuery], Awaitable[Page[Any]]]
#: Returns the name of an object that the actor may see.
Name: TypeAlias = Callable[[Principal, int], Awaitable[str]]
#: Tells something about an object that the actor may see.  Fails with NotFound.
Check: TypeAlias = Callable[[Principal, int], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class RowAction:
    """An action on one object.

    :param scope: required of the requester, beside what *perform* requires for each object.
    :param is_done: tells whether the object is already as the action leaves it; ``None``: a repetition is no other act.
    :param takes: names of the arguments that it takes.
    :param alone: not concurrently with other rows.
    """

    scope: Scope
    perform: Perform
    is_done: Check | None
    takes: frozenset[str] = frozenset()
    alone: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    list: List
    name: Name
    actions: dict[JobAction, RowAction]


class JobActions:
    """The actions by kind of object."""

    def __init__(
        self,
        *,
        inventory: CertificateQueries,
        renewals: Renewals,
        registration: RegistrationAuthority,
        keys: Keys,
        requests: CertificateRequests,
        templates: CertificateTemplates,
        challenge_passwords: ChallengePasswords,
        accounts: Accounts,
        policies: PolicyAdministration,
        tokens: Tokens,
        exports: JobExports,
        devices: Devices,
    ) -> None:
        self._inventory = inventory
        self._exports = exports
        self._renewals = renewals
        self._registration = registration
        self._accounts = accounts
        self._requests = requests
        self._devices = devices

        async def certificate_name(actor: Principal, identity: int) -> str:
            return (await inventory.certificate(actor, identity)).name

        async def subject(actor: Principal, identity: int) -> str:
            return (await inventory.approval(actor, identity)).subject

        async def key_name(actor: Principal, identity: int) -> str:
            return (await keys.get(actor, identity)).name

        async def csr_name(actor: Principal, identity: int) -> str:
            return (await requests.get(actor, identity)).name

        async def template_name(actor: Principal, identity: int) -> str:
            return (await templates.get(actor, identity)).name

        async def prefix(actor: Principal, identity: int) -> str:
            return (await challenge_passwords.get(actor, identity)).prefix

        async def username(actor: Principal, identity: int) -> str:
            return (await accounts.account(actor, identity)).username

        async def policy_name(actor: Principal, identity: int) -> str:
            return (await policies.get(actor, identity)).name

        async def policy_list(actor: Principal, query: ListQuery) -> Page[Any]:
            """List policies as the page does: the default policy is the first of all."""
            page = await policies.list(actor, query)
            if query.q or query.filters or query.cursor is not None:
                return page
            return replace(page, items=(await policies.default(actor), *page.items))

        async def token_name(actor: Principal, identity: int) -> str:
            return (await tokens.get(actor, identity)).name

        async def device_name(actor: Principal, identity: int) -> str:
            return (await devices.get(actor, identity)).name

        async def is_retired(actor: Principal, identity: int) -> bool:
            return (await devices.get(actor, identity)).retired_at is not None

        async def is_revoked(actor: Principal, identity: int) -> bool:
            return (await inventory.certificate(actor, identity)).revoked_at is not None

        def is_decided(state: RequestState) -> Check:
            async def check(actor: Principal, identity: int) -> bool:
                return (await inventory.approval(actor, identity)).state is state

            return check

        async def is_approved(actor: Principal, identity: int) -> bool:
            request = await inventory.approval(actor, identity)
            first = request.first_approval
            if request.state is RequestState.PENDING:
                return first is not None and first.account_id == actor.owner_id
            return request.state is RequestState.ISSUED

        async def is_signed(actor: Principal, identity: int) -> bool:
            return (await requests.get(actor, identity)).state == "signed"

        def is_account(state: AccountState) -> Check:
            async def check(actor: Principal, identity: int) -> bool:
                return (await accounts.account(actor, identity)).state is state

            return check

        delete = JobAction.DELETE
        self._kinds: Mapping[JobResource, _Kind] = {
            JobResource.CERTIFICATES: _Kind(
                inventory.certificates,
                certificate_name,
                {
                    JobAction.REVOKE: RowAction(Scope.REVOKE, self._revoke, is_revoked, frozenset({"reason"})),
                    # An account may have few keys created at a time.
                    JobAction.RENEW: RowAction(Scope.ENROLL, self._renew, None, alone=True),
                    delete: RowAction(
                        Scope.REVOKE, self._delete_certificate, _is_gone(certificate_name), frozenset({"revoke"})
                    ),
                },
            ),
            JobResource.APPROVALS: _Kind(
                inventory.approvals,
                subject,
                {
                    JobAction.APPROVE: RowAction(Scope.OPERATE, self._approve, is_approved),
                    JobAction.REJECT: RowAction(
                        Scope.OPERATE, self._reject, is_decided(RequestState.REJECTED), frozenset({"reason"})
                    ),
                },
            ),
            JobResource.KEYS: _Kind(keys.list, key_name, {delete: _deletion(keys.delete, key_name)}),
            JobResource.CSRS: _Kind(
                requests.list,
                csr_name,
                {
                    JobAction.SIGN: RowAction(Scope.ENROLL, self._sign, is_signed, frozenset({"policy"})),
                    delete: _deletion(requests.delete, csr_name),
                },
            ),
            JobResource.TEMPLATES: _Kind(
                templates.list, template_name, {delete: _deletion(templates.delete, template_name)}
            ),
            JobResource.CHALLENGE_PASSWORDS: _Kind(
                challenge_passwords.list, prefix, {delete: _deletion(challenge_passwords.delete, prefix)}
            ),
            JobResource.DEVICES: _Kind(
                devices.list,
                device_name,
                {
                    JobAction.RETIRE: RowAction(Scope.REVOKE, self._retire, is_retired, frozenset({"reason"})),
                    JobAction.RENEW: RowAction(Scope.ENROLL, self._renew_device, None, alone=True),
                },
            ),
            JobResource.USERS: _Kind(
                accounts.list_accounts,
                username,
                {
                    JobAction.ACTIVATE: RowAction(Scope.ADMIN, self._activate, is_account(AccountState.ACTIVE)),
                    JobAction.SUSPEND: RowAction(
                        Scope.ADMIN, self._suspend, is_account(AccountState.SUSPENDED), frozenset({"revoke"})
                    ),
                },
            ),
            JobResource.POLICIES: _Kind(policy_list, policy_name, {delete: _deletion(policies.delete, policy_name)}),
            JobResource.TOKENS: _Kind(tokens.list, token_name, {delete: _deletion(tokens.revoke, token_name)}),
        }
        for resource, kind in self._kinds.items():
            if exports.supports(resource):
                kind.actions[JobAction.EXPORT] = self._export(resource)

    def of(self, resource: JobResource, action: JobAction) -> RowAction:
        """Return the action on one object.

        :raises MalformedRequest: when there is no such action on those objects.
        """
        actions = self._kinds[resource].actions
        if action not in actions:
            raise MalformedRequest(f"Jobs on {resource} can {' or '.join(actions)}, not {action}.")
        return actions[action]

    def check(self, resource: JobResource, action: JobAction, arguments: JobArguments) -> None:
        """Check the arguments before a job is created.

        :raises MalformedRequest: for one that the action does not take, or with a wrong value.
        """
        takes = self.of(resource, action).takes
        for name in ("reason", "revoke", "format", "policy"):
            if getattr(arguments, name) is not None and name not in takes:
                raise MalformedRequest(f"The action {action} on {resource} takes no argument {name!r}. Leave it out.")
        if action is JobAction.EXPORT:
            self._exports.check(resource, arguments.format)
        if action is JobAction.REVOKE:
            _reason(arguments.reason or "")
        elif action is JobAction.RETIRE:
            _retirement_reason(arguments.reason)
        elif arguments.reason is not None:
            checked_reason(arguments.reason)
        _optional_reason(arguments.revoke)

    async def check_policy(self, actor: Principal, action: JobAction, arguments: JobArguments) -> None:
        """Check that a job which signs has a policy that *actor* may use.  Fails with NotFound and NotAuthorized."""
        if action is JobAction.SIGN:
            with errors_of("policy"):
                await self._registration.check_policy(actor, Method.API, arguments.policy)

    def list(self, actor: Principal, resource: JobResource, query: ListQuery) -> Awaitable[Page[Any]]:
        """Return a page of the objects of that kind that *actor* may see."""
        return self._kinds[resource].list(actor, query)

    def name(self, actor: Principal, resource: JobResource, identity: int) -> Awaitable[str]:
        """Return the name of an object.  Fails with NotFound, and with NotAuthorized without the scope to read it."""
        return self._kinds[resource].name(actor, identity)

    def file(self, job: Job) -> JobFile:
        """Return the file of an export."""
        return self._exports.file(job)

    def _export(self, resource: JobResource) -> RowAction:
        async def perform(actor: Principal, identity: int, arguments: JobArguments) -> bytes:
            format_ = self._exports.check(resource, arguments.format)
            return await self._exports.part(resource, format_, actor, identity)

        return RowAction(Scope.READ, perform, None, frozenset({"format"}))

    async def _revoke(self, actor: Principal, identity: int, arguments: JobArguments) -> str:
        await self._inventory.revoke(actor, identity, _reason(arguments.reason or ""))
        return ""

    async def _renew(self, actor: Principal, identity: int, _: JobArguments) -> str:
        """Issue a certificate with a new key; a repetition for the same job gives the same one."""
        key = f"job {actor.job_id}, certificate {identity}"
        result = (await self._renewals.renew(actor, Renewal(identity), Method.API, key)).result
        if isinstance(result, Pending):
            return f"Request {result.request_id} awaits approval."
        return f"Certificate {result.record.id} was issued."

    async def _renew_device(self, actor: Principal, identity: int, arguments: JobArguments) -> str:
        """Renew the current certificate of a device; a repetition for the same job gives the same one."""
        certificate_id = (await self._devices.get(actor, identity, Scope.ENROLL)).certificate_id
        if certificate_id is None:
            raise Conflict("This device has no valid certificate. Issue a new one instead.")
        return await self._renew(actor, certificate_id, arguments)

    async def _retire(self, actor: Principal, identity: int, arguments: JobArguments) -> str:
        done = await self._devices.retire(actor, identity, _retirement_reason(arguments.reason))
        return f"Certificates revoked: {done.certificates}; challenge passwords ended: {done.challenge_passwords}."

    async def _delete_certificate(self, actor: Principal, identity: int, arguments: JobArguments) -> str:
        await self._inventory.delete(actor, identity, _optional_reason(arguments.revoke))
        return ""

    async def _approve(self, actor: Principal, identity: int, _: JobArguments) -> str:
        record = await self._registration.approve(actor, identity)
        if record is None:
            return FIRST_APPROVAL
        return f"Certificate {record.id} was issued."

    async def _sign(self, actor: Principal, identity: int, arguments: JobArguments) -> str:
        """Sign a pending CSR as its page does; a repetition for the same job gives the same certificate."""
        stored = await self._requests.get(actor, identity)
        if stored.state != "pending":
            raise Conflict(f"This CSR was {stored.state} before.")
        key = f"job {actor.job_id}, CSR {identity}"
        result = await self._registration.sign(
            actor, identity, Method.API, policy=arguments.policy, idempotency_key=key
        )
        if isinstance(result, Pending):
            return f"Request {result.request_id} awaits approval."
        return f"Certificate {result.record.id} was issued."

    async def _reject(self, actor: Principal, identity: int, arguments: JobArguments) -> str:
        await self._registration.reject(actor, identity, arguments.reason or "")
        return ""

    async def _activate(self, actor: Principal, identity: int, _: JobArguments) -> str:
        """Approve a pending account, or activate a suspended one."""
        account = await self._accounts.account(actor, identity)
        if account.state is AccountState.PENDING:
            await self._accounts.approve(actor, identity)
        else:
            await self._accounts.activate(actor, identity)
        return ""

    async def _suspend(self, actor: Principal, identity: int, arguments: JobArguments) -> str:
        await self._accounts.suspend(actor, identity, _optional_reason(arguments.revoke))
        return ""


def _is_gone(name: Name) -> Check:
    async def check(actor: Principal, identity: int) -> bool:
        try:
            await name(actor, identity)
        except NotFound:
            return True
        return False

    return check


def _deletion(delete: Callable[[Principal, int], Awaitable[None]], name: Name) -> RowAction:
    async def perform(actor: Principal, identity: int, _: JobArguments) -> str:
        await delete(actor, identity)
        return ""

    return RowAction(Scope.ENROLL, perform, _is_gone(name))


def _reason(name: str) -> RevocationReason:
    return RevocationReason.from_name(name) if name else RevocationReason.UNSPECIFIED


def _retirement_reason(name: str | None) -> RevocationReason:
    return retirement_reason(RevocationReason.CESSATION_OF_OPERATION if not name else _reason(name))


def _optional_reason(name: str | None) -> RevocationReason | None:
    return None if name is None else _reason(name)
