"""The registration authority for accounts: signing, previews and approvals, for REST, the pages and the command line.

EST and SCEP clients are served by :mod:`pikachu.ra.est` and :mod:`pikachu.ra.scep`, with the same enrollment service.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from pikachu.auth.permissions import Sphere, can_change, can_view, require_scope
from pikachu.ca.issuance import CertificateAuthority, IssuanceRequest
from pikachu.core.approvals import Approver, first_of_two
from pikachu.core.audit import event_by
from pikachu.core.concurrency import start
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, PolicyViolation, RequestError
from pikachu.core.interfaces import IStore
from pikachu.core.model.certificates import CertificateRecord, Method
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import RequestRecord, RequestState, StoredCSR
from pikachu.ra.enrollment import (
    AuthorizedRequest,
    EnrollmentService,
    Issued,
    Pending,
    ReceivedRequest,
    Repetition,
    VerifiedRequest,
    certificate_owner,
    presented_identity,
)
from pikachu.ra.policies import PolicyResolver
from pikachu.ra.preview import Preview, one_sided, preview_of
from pikachu.x509.csr import CertificationRequest, parse_csr
from pikachu.x509.spki import describe_spki

KEYED_REPEAT_SECONDS = 86400
MAXIMUM_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class UnsignedCSR:
    """A CSR for a preview, whose key signs it only when the certificate is issued.

    :param der: a CSR with an empty signature.
    :param owner_id: the owner of the certificate.
    :param reuses_key: whether a certificate is renewed with its key.
    """

    der: bytes
    owner_id: int | None
    reuses_key: bool = False


class ICSRSource(Protocol):
    """Creates a CSR while its request is processed, so that a repeated request creates none."""

    @property
    def identity(self) -> bytes:
        """A value that is equal for all copies of the request."""

    @property
    def owner_id(self) -> int | None:
        """The owner of the certificate."""

    @property
    def renews(self) -> str:
        """The serial number of the certificate that is renewed; empty: none is."""

    @property
    def reuses_key(self) -> bool:
        """Whether that certificate is renewed with its key."""

    async def create(self) -> bytes:
        """Return the signed CSR; nothing is stored yet."""

    async def accept(self) -> None:
        """Store what the certificate needs: the policy accepts the CSR, and its certificate is issued next."""


@dataclass(frozen=True, slots=True)
class _Decision:
    """The grant of a policy to a request.

    :param identity: the identity in the client certificate of a manufacturer; empty: the device's name counts.
    """

    issuance: IssuanceRequest
    policy: Policy
    identity: str


class RegistrationAuthority:
    """The registration authority for accounts.

    :param self_approval: whether people may approve requests that they made themselves (ROL-1).
    """

    def __init__(
        self,
        *,
        service: EnrollmentService,
        store: IStore,
        authority: CertificateAuthority,
        policies: PolicyResolver,
        self_approval: bool = False,
    ) -> None:
        self._service = service
        self._store = store
        self._authority = authority
        self._policies = policies
        self._self_approval = self_approval

    # --- signing ------------------------------------------------------------------------

    def sign(
        self,
        principal: Principal,
        csr: bytes | int | ICSRSource,
        method: Method,
        *,
        policy: str | None = None,
        days: int | None = None,
        issuer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Deferred[Issued | Pending]:
        """Sign a CSR for an account; its challengePassword is ignored.

        :param csr: DER; or the id of a stored CSR: its owner will own the certificate, and it is marked as signed; or
            what creates the CSR.
        :param policy: the name of a policy; ``System`` (the default) and ``None`` are built in.
        :param days: ``None``: the validity of the policy.
        :param issuer: the name of the issuing CA; ``None``: that of policy and configuration.
        :param idempotency_key: chosen by the account; for 24 hours, the same request is signed only once.

        Fails with AuthenticationFailed, NotAuthorized, NotFound, BadCSR, PolicyViolation …
        """

        async def work() -> Issued | Pending:
            require_scope(principal, Scope.ENROLL)
            source = None if isinstance(csr, bytes | int) else csr
            if isinstance(csr, bytes | int):
                stored, identity = await self._submitted(principal, csr)
            else:
                stored, identity = None, csr.identity

            async def authorize(repetition: Repetition | None = None) -> AuthorizedRequest:
                if stored is not None and stored.state == "rejected":
                    raise Conflict("this certificate signing request was rejected")
                chooser = principal if source is None else _for_owner(principal, source.owner_id)
                chosen = await self._choose(chooser, method, policy, issuer)
                if source is not None:
                    _check_owner(chosen, principal, source.owner_id)
                    _check_key_reuse(chosen, source.reuses_key)
                der = identity if source is None else await source.create()
                verified = ReceivedRequest(method, parse_csr(der), days=days, stored=stored).verify()
                if source is None:
                    return AuthorizedRequest(verified, principal, chosen, repetition)
                request = AuthorizedRequest(verified, principal, chosen, repetition, source.owner_id, source.renews)
                await self._service.prepare(chosen, method)
                # What the policy refuses leaves nothing behind.
                self._service.decide(request)
                await source.accept()
                return request

            if idempotency_key is None:
                return await self._service.enroll(await authorize())
            stored_id = None if stored is None else stored.id
            fields = [principal.owner_id, method.value, idempotency_key, policy, days, issuer, stored_id]
            digest = hashlib.sha256(b"key " + json.dumps(fields).encode() + identity).digest()
            repetition = Repetition(digest, KEYED_REPEAT_SECONDS)
            return await self._service.enroll_once(digest, lambda: authorize(repetition))

        return start(work())

    def preview(
        self,
        principal: Principal,
        csr: bytes | int | UnsignedCSR,
        method: Method,
        *,
        policy: str | None = None,
        days: int | None = None,
        issuer: str | None = None,
    ) -> Deferred[Preview]:
        """Return the certificate that :meth:`sign` would issue, or its refusal (RA-3); nothing is signed or stored.

        Fails with NotAuthorized, with NotFound (policy, issuing CA, stored CSR), and like ``parse_csr`` for an
        unreadable CSR.
        """

        async def work() -> Preview:
            require_scope(principal, Scope.ENROLL)
            unsigned = csr if isinstance(csr, UnsignedCSR) else None
            if isinstance(csr, UnsignedCSR):
                stored, der = None, csr.der
            else:
                stored, der = await self._submitted(principal, csr)
            received = ReceivedRequest(method, parse_csr(der), days=days, stored=stored)
            chooser = principal if unsigned is None else _for_owner(principal, unsigned.owner_id)
            chosen = await self._choose(chooser, method, policy, issuer)
            await self._service.prepare(chosen, method)
            owner_id = certificate_owner(principal, stored) if unsigned is None else unsigned.owner_id

            def decide() -> _Decision:
                if stored is not None and stored.state == "rejected":
                    raise Conflict("this certificate signing request was rejected")
                if unsigned is not None:
                    _check_owner(chosen, principal, unsigned.owner_id)
                    _check_key_reuse(chosen, unsigned.reuses_key)
                verified = (
                    received.verify()
                    if unsigned is None
                    else VerifiedRequest(received, describe_spki(received.csr.spki_der))
                )
                request = AuthorizedRequest(verified, principal, chosen)
                return _Decision(self._service.decide(request), chosen, presented_identity(request))

            return await self._preview(received.csr, decide, owner_id)

        return Deferred.fromCoroutine(work())

    async def _preview(
        self,
        csr: CertificationRequest,
        decide: Callable[[], _Decision],
        owner_id: int | None,
        request_id: int = 0,
    ) -> Preview:
        try:
            decision = decide()
            issuance = decision.issuance
            intent, to_be_signed = self._authority.prepare(issuance)
            await self._service.check_listed(decision.policy, decision.identity or issuance.device)
            await self._store.require_active_owner(owner_id)
            await self._store.check_device(issuance.device, owner_id)
            await self._store.check_key(intent.key_id, owner_id, intent.subject, request_id)
        except RequestError as error:
            return one_sided(csr, error)
        return preview_of(csr, issuance, to_be_signed, self._authority.now())

    async def _submitted(self, principal: Principal, csr: bytes | int) -> tuple[StoredCSR | None, bytes]:
        """Return the DER of a submitted CSR, and the stored CSR when *csr* is the id of one."""
        if isinstance(csr, bytes):
            return None, csr
        stored = await self._store.csr(csr)
        if not can_change(principal, stored.owner_id, Sphere.ISSUANCE):
            raise NotFound("there is no such certificate signing request")
        return stored, stored.der

    async def check_policy(self, principal: Principal, method: Method, policy: str | None) -> None:
        """Check that *principal* may have certificates signed under a policy.  Fails with NotFound, NotAuthorized."""
        await self._choose(principal, method, policy, None)

    async def _choose(self, principal: Principal, method: Method, policy: str | None, issuer: str | None) -> Policy:
        chosen = await self._policies.choose(method, None, principal, policy)
        if issuer is None:
            return chosen
        self._authority.issuers.named(issuer)
        return replace(chosen, issuer=issuer)

    def reject_csr(self, approver: Principal, csr_id: int, reason: str) -> Deferred[StoredCSR]:
        """Reject a stored CSR; operators and administrators only.

        Fails with NotAuthorized, NotFound, MalformedRequest (reason), and Conflict when it was already decided.
        """

        async def work() -> StoredCSR:
            require_scope(approver, Scope.OPERATE)
            text = checked_reason(reason)
            csr = await self._store.csr(csr_id)
            event = event_by(approver, "reject", "CSR", csr.name, csr.owner_id, subject=csr.subject, reason=text)
            return await self._store.reject_csr(csr_id, event, self._authority.now())

        return start(work())

    # --- approvals ----------------------------------------------------------------------

    def approve(self, approver: Principal, request_id: int) -> Deferred[CertificateRecord | None]:
        """Approve a pending request and issue its certificate.

        The result is None when a second person must approve it: this was the first of two approvals.

        Fails with NotAuthorized, also for the approver's own request; with NotFound, with Conflict, also when the first
        approval is theirs, and with PolicyViolation for an identity that is not on the list.
        """

        async def work() -> CertificateRecord | None:
            require_scope(approver, Scope.OPERATE)
            request = await self._store.request(request_id)
            if request.state is not RequestState.PENDING:
                raise Conflict("that request does not wait any more")
            self._require_approver(approver, request)
            policy = await self._policy_of(request)
            await self._service.prepare(policy, request.method)
            issuance = self._issuance(request, parse_csr(request.csr), policy)
            refused = event_by(approver, "reject", "request", "", request.owner_id, subject=request.subject)
            await self._service.require_listed(policy, request.identity or issuance.device, refused)
            return await self._authority.issue_approved(
                request, issuance, approver, {"policy": policy.name}, allows_own=self._self_approval
            )

        return start(work())

    def approval_refusal(self, principal: Principal, request: RequestRecord) -> str:
        """Return why *principal* may not approve a pending request; empty when they may."""
        try:
            require_scope(principal, Scope.OPERATE)
            self._require_approver(principal, request)
        except RequestError as error:
            return error.public
        return ""

    def _require_approver(self, principal: Principal, request: RequestRecord) -> None:
        # The transaction that records the approval requires the same.
        first_of_two(Approver.of(principal, allows_own=self._self_approval), request)

    def preview_approval(self, principal: Principal, request_id: int) -> Deferred[Preview | None]:
        """Return the content of a request and, while it is pending, the certificate that :meth:`approve` would issue.

        The result is None for an issued request, whose CSR is no longer stored.  Fails with NotFound.
        """

        async def work() -> Preview | None:
            require_scope(principal, Scope.READ)
            request = await self._store.request(request_id)
            if request.method is Method.CA or not can_view(principal, request.owner_id, Sphere.ISSUANCE):
                raise NotFound("there is no such request")
            if not request.csr:
                return None
            csr = parse_csr(request.csr)
            if request.state is not RequestState.PENDING:
                return one_sided(csr)
            try:
                policy = await self._policy_of(request)
            except NotFound as error:
                return one_sided(csr, error)
            await self._service.prepare(policy, request.method)

            def decide() -> _Decision:
                return _Decision(self._issuance(request, csr, policy), policy, request.identity)

            return await self._preview(csr, decide, request.owner_id, request.id)

        return Deferred.fromCoroutine(work())

    def _issuance(self, request: RequestRecord, csr: CertificationRequest, policy: Policy) -> IssuanceRequest:
        received = ReceivedRequest(request.method, csr, request.label, request.validity_days)
        # The signature was verified on receipt, when SCEP may have allowed a legacy digest.
        verified = VerifiedRequest(received, describe_spki(csr.spki_der))
        return self._service.issuance(verified, policy, request.added_names)

    def reject(self, approver: Principal, request_id: int, reason: str) -> Deferred[RequestRecord]:
        """Reject a request and release its challenge password.  Fails with NotAuthorized, NotFound, Conflict."""

        async def work() -> RequestRecord:
            require_scope(approver, Scope.OPERATE)
            text = checked_reason(reason)
            request = await self._store.request(request_id)
            event = event_by(
                approver,
                "reject",
                "request",
                str(request_id),
                request.owner_id,
                subject=request.subject,
                reason=text,
            )
            return await self._store.reject(request_id, approver.name, text, event, self._authority.now())

        return start(work())

    async def _policy_of(self, request: RequestRecord) -> Policy:
        if request.policy == self._policies.default.name:
            policy: Policy | None = await self._policies.default_with_roles()
        else:
            policy = await self._store.policy_by_name(request.policy)
        # Requests name their policy; since then, another account may have created one with the same name.
        if policy is None or not (policy.system or policy.owner_id == request.owner_id):
            raise NotFound(f"the policy {request.policy!r} of this request was deleted; reject it")
        return replace(policy, issuer=request.issuer)


def _for_owner(principal: Principal, owner_id: int | None) -> Principal:
    """Return the principal whose policies may be used: that of the owner whose certificate an operator renews."""
    return replace(principal, owner_id=owner_id) if can_change(principal, owner_id, Sphere.ISSUANCE) else principal


def _check_owner(policy: Policy, principal: Principal, owner_id: int | None) -> None:
    """Require that whoever acts for another account names a policy of that account or of the system.

    Certificates name their policy; since then, another account may have created one with the same name.
    """
    if owner_id != principal.owner_id and not (policy.system or policy.owner_id == owner_id):
        raise NotFound(f"there is no policy named {policy.name!r}")


def _check_key_reuse(policy: Policy, reuses_key: bool) -> None:
    if reuses_key and not policy.limits.same_key:
        raise PolicyViolation("The policy does not allow key reuse on renewal. Renew with a new key.")


def checked_reason(reason: str) -> str:
    """Return the reason for a rejection, without spaces around it.

    :raises MalformedRequest: when it is too long, or not printable.
    """
    text = reason.strip()
    if len(text) > MAXIMUM_REASON or not text.isprintable():
        raise MalformedRequest(f"reason is at most {MAXIMUM_REASON} printable characters", field="reason")
    return text
