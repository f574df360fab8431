"""The registration authority (RA): who asks, whether the request is sound, which policy applies, what it grants.

Steps 1 to 5 of a request's way.  EST, SCEP, REST, the command line and the web pages come in here; none of them
has a rule of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from twisted.internet.defer import Deferred

from pikachu.decisions import Issued, Pending, SoundRequest, check_request, require
from pikachu.errors import (
    Conflict,
    NotFound,
)
from pikachu.est_registration import ESTRegistration
from pikachu.model import (
    CertificateRecord,
    Event,
    ListQuery,
    Method,
    Page,
    Policy,
    Principal,
    RequestRecord,
    RequestState,
    Scope,
)
from pikachu.scep_registration import SCEPRegistration
from pikachu.threads import start
from pikachu.x509.csr import parse_csr
from pikachu.x509.spki import describe_spki

KEYED_REPEAT_SECONDS = 86400


class RegistrationAuthority(ESTRegistration, SCEPRegistration):
    """Decides; the CA signs."""

    # --- people and scripts -------------------------------------------------------------

    def sign(
        self,
        principal: Principal,
        csr_der: bytes,
        method: Method,
        *,
        policy: str | None = None,
        days: int | None = None,
        issuer: str | None = None,
        idempotency_key: str | None = None,
    ) -> Deferred[Issued | Pending]:
        """Sign a CSR for an account; its challengePassword counts for nothing here.

        :param idempotency_key: the account's name for this request: for 24 hours it is signed once only.

        Fails with NotAuthorized, NotFound, BadCSR, PolicyViolation …
        """

        async def work() -> Issued | Pending:
            require(principal, Scope.ENROLL)
            dedupe = None
            if idempotency_key is not None:
                asked = json.dumps([principal.owner_id, method.value, idempotency_key, policy, days, issuer])
                dedupe = hashlib.sha256(b"key " + asked.encode() + csr_der).digest()
                # Before the policy is looked at: it may have changed since.
                repeated = await self._earlier(dedupe)
                if repeated is not None:
                    return repeated
            sound = check_request(parse_csr(csr_der))
            chosen = await self.policies.choose(method, None, principal, policy)
            if issuer is not None:
                self._authority.issuers.named(issuer)
                chosen = replace(chosen, issuer=issuer)
            return await self._proceed(
                method, sound, principal, chosen, days=days, dedupe=dedupe, dedupe_seconds=KEYED_REPEAT_SECONDS
            )

        return start(work())

    # --- approvals ----------------------------------------------------------------------

    def approvals(self, principal: Principal, query: ListQuery) -> Deferred[Page[RequestRecord]]:
        """Requests that wait, were approved or rejected; all for admins, their own for others."""
        if not principal.is_admin:
            query = replace(query, owner_id=principal.owner_id or -1)
        return self._store.requests(query)

    def approve(self, approver: Principal, request_id: int) -> Deferred[CertificateRecord]:
        """Sign a request that waits.  Fails with NotAuthorized, NotFound, Conflict."""

        async def work() -> CertificateRecord:
            require(approver, Scope.ADMIN)
            request = await self._store.request(request_id)
            if request.state is not RequestState.PENDING:
                raise Conflict("that request does not wait any more")
            csr = parse_csr(request.csr)
            policy = await self._policy_of(request)
            # The signature was verified when the request came in; a legacy digest must not stop it now.
            sound = SoundRequest(csr, describe_spki(csr.spki_der))
            order = self._order(sound, policy, request.method, request.validity_days)
            return await self._authority.issue_approved(request, order, approver, {"policy": policy.name})

        return start(work())

    def reject(self, approver: Principal, request_id: int, reason: str) -> Deferred[RequestRecord]:
        """Turn a request down; its challenge password is free again.  Fails with NotAuthorized, NotFound, Conflict."""

        async def work() -> RequestRecord:
            require(approver, Scope.ADMIN)
            event = Event(
                "reject", "request", str(request_id), approver.name, {"reason": reason}, actor_id=approver.owner_id
            )
            return await self._store.reject(request_id, approver.name, reason, event, self._authority.now())

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
