"""The registration authority (RA): who asks, whether the request is sound, which policy applies, what it grants.

Steps 1 to 5 of a request's way.  EST, SCEP, REST, the command line and the web pages come in here; none of them
has a rule of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.auth.permissions import can_view, require_scope
from pikachu.ca.issuance import IssuanceRequest
from pikachu.core.audit import event_by
from pikachu.core.concurrency import start
from pikachu.core.errors import Conflict, MalformedRequest, NotFound, RequestError
from pikachu.core.model.certificates import CertificateRecord, Method
from pikachu.core.model.people import Principal, Scope
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import RequestRecord, RequestState, StoredCSR
from pikachu.ra.enrollment import Issued, Pending, VerifiedRequest, check_request, requester
from pikachu.ra.est import ESTRegistration
from pikachu.ra.preview import Preview, one_sided, preview_of
from pikachu.ra.scep import SCEPRegistration
from pikachu.x509.csr import CertificationRequest, parse_csr
from pikachu.x509.spki import describe_spki

KEYED_REPEAT_SECONDS = 86400
MAXIMUM_REASON: Final = 500


class RegistrationAuthority(ESTRegistration, SCEPRegistration):
    """Decides; the CA signs."""

    # --- people and scripts -------------------------------------------------------------

    def sign(
        self,
        principal: Principal,
        csr: bytes | int,
        method: Method,
        *,
        policy: str | None = None,
        days: int | None = None,
        issuer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Deferred[Issued | Pending]:
        """Sign a CSR for an account; its challengePassword counts for nothing here.

        :param csr: DER, or the id of one kept here: its owner will own the certificate, and it is marked as signed.
        :param policy: its name; ``System`` (the default) and ``None`` are built in.
        :param days: ``None``: as the policy says.
        :param issuer: the name of the issuing CA; ``None``: as policy and configuration say.
        :param idempotency_key: the account's name for this request: for 24 hours it is signed once only.

        Fails with AuthenticationFailed, NotAuthorized, NotFound, BadCSR, PolicyViolation …
        """

        async def work() -> Issued | Pending:
            require_scope(principal, Scope.ENROLL)
            stored, der = await self._request_in(principal, csr)
            dedupe = None
            if idempotency_key is not None:
                kept = None if stored is None else stored.id
                asked = json.dumps([principal.owner_id, method.value, idempotency_key, policy, days, issuer, kept])
                dedupe = hashlib.sha256(b"key " + asked.encode() + der).digest()
                # Before the policy is looked at: it may have changed since.
                repeated = await self._earlier(dedupe)
                if repeated is not None:
                    return repeated
            if stored is not None and stored.state == "rejected":
                raise Conflict("this certificate signing request was rejected")
            sound = check_request(parse_csr(der))
            chosen = await self._chosen(principal, method, policy, issuer)
            return await self._proceed(
                method,
                sound,
                principal,
                chosen,
                days=days,
                dedupe=dedupe,
                dedupe_seconds=KEYED_REPEAT_SECONDS,
                stored=stored,
            )

        return start(work())

    def preview(
        self,
        principal: Principal,
        csr: bytes | int,
        method: Method,
        *,
        policy: str | None = None,
        days: int | None = None,
        issuer: str | None = None,
    ) -> Deferred[Preview]:
        """What :meth:`sign` would make of the same (RA-3), or why it would refuse; nothing is signed or stored.

        Fails with NotAuthorized, with NotFound (policy, issuing CA, stored request), and like ``parse_csr`` where the
        request can't be read at all.
        """

        async def work() -> Preview:
            require_scope(principal, Scope.ENROLL)
            stored, der = await self._request_in(principal, csr)
            parsed = parse_csr(der)
            chosen = await self._chosen(principal, method, policy, issuer)
            owner_id = requester(principal, stored)
            await self._prepare(chosen, method)

            def order() -> IssuanceRequest:
                if stored is not None and stored.state == "rejected":
                    raise Conflict("this certificate signing request was rejected")
                return self._decide(method, check_request(parsed), principal, chosen, days)

            return await self._preview(parsed, order, owner_id)

        return Deferred.fromCoroutine(work())

    async def _preview(
        self,
        csr: CertificationRequest,
        decide: Callable[[], IssuanceRequest],
        owner_id: int | None,
        request_id: int = 0,
    ) -> Preview:
        try:
            order = decide()
            intent, to_be_signed = self._authority.prepare(order)
            await self._store.require_active_owner(owner_id)
            await self._store.check_key(intent.key_id, owner_id, intent.subject, request_id)
        except RequestError as error:
            return one_sided(csr, error)
        return preview_of(csr, order, to_be_signed, self._authority.now())

    async def _request_in(self, principal: Principal, csr: bytes | int) -> tuple[StoredCSR | None, bytes]:
        """The request that somebody hands in: itself, or one that is kept here."""
        if isinstance(csr, bytes):
            return None, csr
        stored = await self._store.csr(csr)
        if not can_view(principal, stored.owner_id):
            raise NotFound("there is no such certificate signing request")
        return stored, stored.der

    async def _chosen(self, principal: Principal, method: Method, policy: str | None, issuer: str | None) -> Policy:
        chosen = await self.policies.choose(method, None, principal, policy)
        if issuer is None:
            return chosen
        self._authority.issuers.named(issuer)
        return replace(chosen, issuer=issuer)

    def reject_csr(self, approver: Principal, csr_id: int, reason: str) -> Deferred[StoredCSR]:
        """Turn down a request that somebody keeps here; admins only.

        Fails with NotAuthorized, NotFound, MalformedRequest (reason), and Conflict when it was decided already.
        """

        async def work() -> StoredCSR:
            require_scope(approver, Scope.ADMIN)
            text = _checked_reason(reason)
            csr = await self._store.csr(csr_id)
            event = event_by(approver, "reject", "CSR", csr.name, csr.owner_id, subject=csr.subject, reason=text)
            return await self._store.reject_csr(csr_id, event, self._authority.now())

        return start(work())

    # --- approvals ----------------------------------------------------------------------

    def approve(self, approver: Principal, request_id: int) -> Deferred[CertificateRecord]:
        """Sign a request that waits.  Fails with NotAuthorized, NotFound, Conflict."""

        async def work() -> CertificateRecord:
            require_scope(approver, Scope.ADMIN)
            request = await self._store.request(request_id)
            if request.state is not RequestState.PENDING:
                raise Conflict("that request does not wait any more")
            policy = await self._policy_of(request)
            await self._prepare(policy, request.method)
            order = self._order_of(request, parse_csr(request.csr), policy)
            return await self._authority.issue_approved(request, order, approver, {"policy": policy.name})

        return start(work())

    def preview_approval(self, principal: Principal, request_id: int) -> Deferred[Preview | None]:
        """What a request asks for, and what :meth:`approve` would give while it waits; ``None`` where the request is
        kept no longer, which is so once it is issued.  Fails with NotFound.
        """

        async def work() -> Preview | None:
            require_scope(principal, Scope.READ)
            request = await self._store.request(request_id)
            if request.method is Method.CA or not can_view(principal, request.owner_id):
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
            await self._prepare(policy, request.method)
            return await self._preview(csr, lambda: self._order_of(request, csr, policy), request.owner_id, request.id)

        return Deferred.fromCoroutine(work())

    def _order_of(self, request: RequestRecord, csr: CertificationRequest, policy: Policy) -> IssuanceRequest:
        # The signature was verified when the request came in; a legacy digest must not stop it now.
        sound = VerifiedRequest(csr, describe_spki(csr.spki_der))
        return self._order(sound, policy, request.method, request.validity_days)

    def reject(self, approver: Principal, request_id: int, reason: str) -> Deferred[RequestRecord]:
        """Turn a request down; its challenge password is free again.  Fails with NotAuthorized, NotFound, Conflict."""

        async def work() -> RequestRecord:
            require_scope(approver, Scope.ADMIN)
            text = _checked_reason(reason)
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
        if request.policy == self.policies.default.name:
            policy: Policy | None = self.policies.default
        else:
            policy = await self._store.policy_by_name(request.policy)
        # Policies are named in requests: somebody else's of the same name is another one.
        if policy is None or not (policy.system or policy.owner_id == request.owner_id):
            raise NotFound(f"the policy {request.policy!r} of this request was deleted; reject it")
        return replace(policy, issuer=request.issuer)


def _checked_reason(reason: str) -> str:
    text = reason.strip()
    if len(text) > MAXIMUM_REASON or not text.isprintable():
        raise MalformedRequest(f"reason is at most {MAXIMUM_REASON} printable characters")
    return text
