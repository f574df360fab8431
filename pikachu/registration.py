"""The registration authority (RA): who asks, whether the request is sound, which policy applies, what it grants.

Steps 1 to 5 of a request's way.  EST, SCEP, REST, the command line and the web pages come in here; none of them
has a rule of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pikachu.auth.authenticator import Authenticator
from pikachu.authority import CertificateAuthority, IssuingCA, Order
from pikachu.cms.enveloped import not_readable
from pikachu.errors import (
    AuthenticationFailed,
    BadCSR,
    Conflict,
    NotAuthorized,
    NotFound,
    PolicyViolation,
    ProofOfPossessionFailed,
    RequestError,
)
from pikachu.interfaces import Begun, IStore, Repeated
from pikachu.model import (
    ANONYMOUS,
    Approval,
    CertificateRecord,
    CertificateStatus,
    Credentials,
    Event,
    ListQuery,
    Method,
    NewRequest,
    Page,
    Policy,
    PresentedCertificate,
    Principal,
    PrincipalKind,
    RequestRecord,
    RequestState,
    Scope,
)
from pikachu.policy import PolicyBook, check_days, check_limits, compiled
from pikachu.threads import start
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, parse_certificate
from pikachu.x509.csr import CHANGE_SUBJECT_NAME, CertificationRequest, decode_csr_input, parse_csr, verify_csr
from pikachu.x509.extension import Extension
from pikachu.x509.names import names_equal
from pikachu.x509.profile import Addresses, leaf_extensions
from pikachu.x509.san import parse_san, same_names
from pikachu.x509.spki import KeyDescription, describe_spki
from pikachu.x509.template import ExtensionContext

log = Logger()


EST_REPEAT_SECONDS = 600
EST_APPROVAL_REPEAT_SECONDS = 7 * 86400
KEYED_REPEAT_SECONDS = 86400
_NO_CREDENTIALS = "enrolling needs a client certificate, a password or a challenge password"


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate was issued, now or for an earlier copy of the same request."""

    record: CertificateRecord
    issuer: IssuingCA


@dataclass(frozen=True, slots=True)
class Pending:
    """A person has to look at it first.

    :param retry_after: seconds.
    """

    request_id: int
    retry_after: int


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """What the configuration says about enrollment.

    :param public_url: base of the AIA and CDP addresses that the CA adds; ``None`` adds none.
    :param anonymous_est: EST is open to anyone (a switch for laboratories).
    :param est_linked: EST requests must carry the channel binding, whatever the policy says.
    :param scep_challenge: SCEP enrollments need a challenge password.
    :param retry_after: seconds that a waiting client is told to wait.
    """

    public_url: str | None = None
    anonymous_est: bool = False
    est_linked: bool = False
    scep_challenge: bool = True
    retry_after: int = 60


@dataclass(frozen=True, slots=True)
class SCEPEnrollment:
    """A decrypted and verified PKCSReq or RenewalReq (RFC 8894 section 3.3).

    :param signer: DER certificate whose key signed the message.
    :param signer_spki: the DER SubjectPublicKeyInfo in it.  A throw-away certificate may have a serial number that no
        real one may have, so nothing more of it is read here.
    :param self_signed: that certificate is the requester's own make, which proves nothing but the key.
    :param renewal: the message is a RenewalReq.
    """

    csr: bytes
    signer: bytes
    signer_spki: bytes
    self_signed: bool
    renewal: bool
    transaction_id: bytes
    label: str | None
    address: str
    allow_sha1: bool = False
    allow_md5: bool = False


@dataclass(frozen=True, slots=True)
class _Sound:
    """A request that passed every check but the policy's."""

    csr: CertificationRequest
    key: KeyDescription


Demanded: TypeAlias = Callable[[Policy, CertificationRequest, KeyDescription], None]


class _Together:
    """Does once what several ask for at the same time, and gives its result to all of them."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[Deferred[Issued | Pending]]] = {}

    def run(self, key: bytes, work: Callable[[], Coroutine[Any, Any, Issued | Pending]]) -> Deferred[Issued | Pending]:
        turn: Deferred[Issued | Pending] = Deferred()
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(turn)
            return turn
        self._waiting[key] = [turn]
        start(work()).addBoth(self._tell, key)
        return turn

    def _tell(self, result: Issued | Pending | Failure, key: bytes) -> None:
        for turn in self._waiting.pop(key):
            if isinstance(result, Failure):
                turn.errback(result)
            else:
                turn.callback(result)


class RegistrationAuthority:
    """Decides; the CA signs."""

    def __init__(
        self,
        store: IStore,
        authority: CertificateAuthority,
        policies: PolicyBook,
        authenticator: Authenticator,
        settings: RegistrationSettings,
    ) -> None:
        self._store = store
        self._authority = authority
        self.policies = policies
        self._authenticator = authenticator
        self._settings = settings
        self._est_together = _Together()
        self._scep_together = _Together()

    # --- EST ----------------------------------------------------------------------------

    def est_enroll(
        self, credentials: Credentials, body: bytes, label: str | None, *, renew: bool, demanded: Demanded
    ) -> Deferred[Issued | Pending]:
        """simpleenroll, or simplereenroll when *renew* (RFC 7030 section 4.2).

        :param body: the CSR in DER, base64 or PEM; nothing of it is read before the other credentials are.
        :param demanded: raises when the request lacks what csrattrs demands under a policy.

        Fails with any RequestError, Unavailable, IssuanceFailed.
        """
        return Deferred.fromCoroutine(self._est_enroll(credentials, body, label, renew, demanded))

    async def _est_enroll(
        self, credentials: Credentials, body: bytes, label: str | None, renew: bool, demanded: Demanded
    ) -> Issued | Pending:
        principal = await self._authenticator.est(credentials)
        csr = self._est_csr(principal, body)
        linked = _is_linked(csr, credentials)
        digest = _est_digest(principal, renew, label, csr.der)

        async def decide() -> Issued | Pending:
            return await self._est_decide(credentials, principal, csr, linked, label, renew, demanded)

        async def decide_anew() -> Issued | Pending:
            # The first copy of a request consumed its challenge password: look for a repetition before that.
            repeated = await self._earlier(digest)
            return await decide() if repeated is None else repeated

        if csr.challenge_password is None or linked:
            return await decide()
        # Copies that come at the same time must not find the challenge password reserved by the first.
        return await self._est_together.run(digest, decide_anew)

    async def _est_decide(
        self,
        credentials: Credentials,
        asking: Principal,
        csr: CertificationRequest,
        linked: bool,
        label: str | None,
        renew: bool,
        demanded: Demanded,
    ) -> Issued | Pending:
        principal = await self._est_principal(asking, csr, credentials, linked)
        sound = check_request(csr)
        policy = await self.policies.choose(Method.EST, label, principal)
        demanded(policy, csr, sound.key)
        self._check_linking(policy, linked)
        if renew:
            await self._check_reenrollment(principal.certificate, sound, policy)
        manual = policy.approval is Approval.MANUAL
        # A linked request is signed again for each connection: what stays is its key and its names.
        lasts = manual and (linked or csr.challenge_password is None)
        lasting = sound.key.spki + csr.subject_der + (_requested_names(csr) or b"")
        dedupe = _est_digest(asking, renew, label, lasting if lasts else csr.der)
        return await self._proceed(
            Method.EST,
            sound,
            principal,
            policy,
            label=label,
            dedupe=await self._still_good(dedupe) if lasts else dedupe,
            dedupe_seconds=EST_APPROVAL_REPEAT_SECONDS if manual else EST_REPEAT_SECONDS,
        )

    async def _still_good(self, dedupe: bytes) -> bytes:
        """The digest of a request that waited for approval, or of the next one like it where what was issued for
        the former is revoked or has expired by now: that would be of no use to its owner.
        """
        while True:
            now = self._authority.now()
            earlier = await self._store.repeated(dedupe, now)
            certificate = None if earlier is None else earlier.certificate
            if certificate is None or certificate.status(now) is CertificateStatus.VALID:
                return dedupe
            dedupe = hashlib.sha256(b"EST again" + dedupe).digest()

    def _est_csr(self, principal: Principal, body: bytes) -> CertificationRequest:
        """The request in *body*; who has shown nothing else and sends none that can be read has no credentials."""
        try:
            return parse_csr(decode_csr_input(body))
        except RequestError as error:
            if principal.kind is PrincipalKind.ANONYMOUS and not self._settings.anonymous_est:
                raise AuthenticationFailed(f"{_NO_CREDENTIALS}; the request can't be read: {error.public}") from error
            raise

    async def _est_principal(
        self, principal: Principal, csr: CertificationRequest, credentials: Credentials, linked: bool
    ) -> Principal:
        """Who asks, once the CSR's challengePassword was looked at."""
        text = csr.challenge_password
        if text is None or linked:
            if principal.kind is PrincipalKind.ANONYMOUS and not self._settings.anonymous_est:
                raise AuthenticationFailed(_NO_CREDENTIALS)
            return principal
        try:
            challenged = await self._authenticator.challenge(text, credentials.address)
        except AuthenticationFailed:
            if principal.kind is PrincipalKind.ANONYMOUS:
                raise
            raise ProofOfPossessionFailed(
                "the challengePassword is neither this TLS session's channel binding nor an available one"
            ) from None
        if principal.kind is PrincipalKind.ANONYMOUS:
            return challenged
        return replace(principal, challenge_id=challenged.challenge_id, owner_id=challenged.owner_id)

    def _check_linking(self, policy: Policy, linked: bool) -> None:
        if self.demands_linking(policy) and not linked:
            raise PolicyViolation("the policy demands a challengePassword that links the request to this TLS session")

    async def _check_reenrollment(self, presented: PresentedCertificate | None, sound: _Sound, policy: Policy) -> None:
        """EST-3: the certificate being renewed authenticates, and its names stay (RFC 7030 section 4.2.2)."""
        if presented is None or not presented.own:
            raise NotAuthorized("re-enrollment needs the certificate that is being renewed, over TLS")
        if sound.csr.attribute(CHANGE_SUBJECT_NAME) is not None:
            raise PolicyViolation("no policy gives the right to ChangeSubjectName; enroll the new name instead")
        check_same_names(presented.der, sound.csr)
        if not policy.limits.same_key and parse_certificate(presented.der).spki_der == sound.key.spki:
            raise PolicyViolation("the policy demands a new key for each renewal")

    def est_issuer(self, label: str | None) -> Deferred[IssuingCA]:
        """The CA that would sign on that path: whose chain cacerts gives.  Fails with NotFound."""

        async def work() -> IssuingCA:
            return self.issuer_for(await self.policies.for_label(Method.EST, label), Method.EST)

        return Deferred.fromCoroutine(work())

    def est_certificates(self, label: str | None) -> Deferred[tuple[bytes, ...]]:
        """What cacerts gives: the chain of the CA that would sign on that path, and of the one that follows it, with
        the roll-over certificates between generations (RFC 7030 section 4.1.3).
        """

        async def work() -> tuple[bytes, ...]:
            issuer = await self.est_issuer(label)
            coming = self._authority.issuers.coming(issuer.name)
            following = () if coming is None else (*coming.chain, *coming.rollover)
            return tuple(dict.fromkeys((*issuer.chain, *issuer.rollover, *following)))

        return Deferred.fromCoroutine(work())

    def demands_linking(self, policy: Policy) -> bool:
        """Whether EST requests under this policy must be bound to their TLS session."""
        return policy.limits.linked or self._settings.est_linked

    def est_policy(self, label: str | None) -> Deferred[Policy]:
        """The policy of an EST path: what csrattrs tells.  Fails with NotFound."""
        return Deferred.fromCoroutine(self.policies.for_label(Method.EST, label))

    def est_server_keygen(
        self, credentials: Credentials, body: bytes, label: str | None
    ) -> Deferred[tuple[Principal, CertificationRequest, Policy]]:
        """serverkeygen's decisions (RFC 7030 section 4.4): the request's key and signature count for nothing.

        The caller makes a key and comes back with :meth:`issue_generated`.
        """

        async def work() -> tuple[Principal, CertificationRequest, Policy]:
            principal = await self._authenticator.est(credentials)
            csr = self._est_csr(principal, body)
            linked = _is_linked(csr, credentials)
            principal = await self._est_principal(principal, csr, credentials, linked)
            policy = await self.policies.choose(Method.EST, label, principal)
            self._check_linking(policy, linked)
            if policy.approval is Approval.MANUAL:
                raise PolicyViolation("keys are not made here under a policy with manual approval; use simpleenroll")
            return principal, csr, policy

        return Deferred.fromCoroutine(work())

    def issue_generated(
        self, principal: Principal, csr: CertificationRequest, policy: Policy, spki: bytes, label: str | None
    ) -> Deferred[Issued | Pending]:
        """Issue for a key that was made here; each call issues anew (E38)."""

        async def work() -> Issued | Pending:
            key = describe_spki(spki)
            sound = _Sound(csr, key)
            return await self._proceed(Method.EST, sound, principal, policy, label=label)

        return start(work())

    # --- SCEP ---------------------------------------------------------------------------

    def scep_enroll(self, enrollment: SCEPEnrollment) -> Deferred[Issued | Pending]:
        """PKCSReq and RenewalReq (RFC 8894 sections 2.3 to 2.5).  Fails like :meth:`est_enroll`."""
        return Deferred.fromCoroutine(self._scep_enroll(enrollment))

    async def _scep_enroll(self, enrollment: SCEPEnrollment) -> Issued | Pending:
        csr, sound = _check_scep_request(enrollment)
        signer_key = hashlib.sha256(enrollment.signer_spki).digest()
        # Transaction ids derive from keys: a renewal that keeps its key has the id of the enrollment before, and is
        # told apart by the certificate that signs it.  Throw-away certificates are made anew for each copy.
        signed_by = signer_key if enrollment.self_signed else hashlib.sha256(enrollment.signer).digest()
        repeat = hashlib.sha256(b"SCEP" + signed_by + csr.der + enrollment.transaction_id).digest()

        async def decide() -> Issued | Pending:
            # A retransmission is answered before its challenge password is looked at: the first copy consumed that.
            repeated = await self._earlier(repeat)
            return await self._scep_decide(enrollment, sound, signer_key, repeat) if repeated is None else repeated

        return await self._scep_together.run(repeat, decide)

    async def _scep_decide(
        self, enrollment: SCEPEnrollment, sound: _Sound, signer_key: bytes, repeat: bytes
    ) -> Issued | Pending:
        if enrollment.self_signed:
            if enrollment.renewal:
                raise BadCSR("a RenewalReq is signed with the certificate that is being renewed")
            if enrollment.signer_spki != sound.key.spki:
                raise BadCSR("the message and the request in it are not signed with the same key")
            principal = await self._scep_challenger(sound.csr.challenge_password, enrollment.address)
        else:
            # A challenge password counts for nothing here: devices send their first one, long spent, for ever.
            principal = await self._authenticator.message_signer(enrollment.signer, enrollment.address)
        renewed = principal.certificate
        policy = await self.policies.choose(Method.SCEP, enrollment.label, principal)
        if renewed is not None:
            if not names_equal(renewed.subject_der, sound.csr.subject_der):
                raise NotAuthorized("a renewal keeps the subject of the certificate that signs it")
            if not policy.limits.same_key and enrollment.signer_spki == sound.key.spki:
                raise PolicyViolation("the policy demands a new key for each renewal")
        elif (
            self._settings.scep_challenge and principal.challenge_id is None and policy.approval is not Approval.MANUAL
        ):
            raise AuthenticationFailed("the challenge password is missing")
        return await self._proceed(
            Method.SCEP,
            sound,
            replace(principal, address=enrollment.address),
            policy,
            label=enrollment.label,
            dedupe=repeat,
            # Once the certificate has ended the same request is a new one.
            dedupe_seconds=policy.days * 86400,
            transaction=scep_transaction(enrollment.transaction_id, signer_key),
            requester_key=signer_key,
        )

    async def _scep_challenger(self, text: str | None, address: str) -> Principal:
        """Whose challenge password it is.  Where none is needed a wrong one is as good as none, and no failure."""
        if text is None:
            return ANONYMOUS
        if not self._settings.scep_challenge and await self._authenticator.challenge_id(text) is None:
            return ANONYMOUS
        try:
            return await self._authenticator.challenge(text, address)
        except AuthenticationFailed:
            if self._settings.scep_challenge:
                raise
            return ANONYMOUS

    def scep_poll(self, transaction_id: bytes, signer_spki: bytes) -> Deferred[Issued | Pending]:
        """CertPoll (RFC 8894 section 4.4): the request of that transaction that the same key signed.

        :param signer_spki: the DER SubjectPublicKeyInfo of the key that signed the poll.

        Fails with NotFound when there is none, NotAuthorized when it was rejected.
        """

        async def work() -> Issued | Pending:
            signer_key = hashlib.sha256(signer_spki).digest()
            earlier = await self._store.request_by_transaction(scep_transaction(transaction_id, signer_key))
            found = None if earlier is None else self._repeated(earlier)
            if found is None:
                raise NotFound("no request of that transaction waits here")
            return found

        return Deferred.fromCoroutine(work())

    def scep_issuer(self, label: str | None) -> Deferred[IssuingCA]:
        """The CA that would sign on that SCEP path.  Fails with NotFound."""

        async def work() -> IssuingCA:
            return self.issuer_for(await self.policies.for_label(Method.SCEP, label), Method.SCEP)

        return Deferred.fromCoroutine(work())

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
            sound = _Sound(csr, describe_spki(csr.spki_der))
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
        if policy is None:
            raise NotFound(f"the policy {request.policy!r} of this request was deleted; reject it")
        return replace(policy, issuer=request.issuer)

    # --- deciding -----------------------------------------------------------------------

    def issuer_for(self, policy: Policy, protocol: Method) -> IssuingCA:
        """The CA that signs under a policy: the one it names, for SCEP ``rsa`` where configured, else the default."""
        issuers = self._authority.issuers
        if policy.issuer is not None:
            return issuers.named(policy.issuer)
        if protocol is Method.SCEP and "rsa" in issuers.current:
            return issuers.named("rsa")
        return issuers.default

    def _order(self, sound: _Sound, policy: Policy, protocol: Method, days: int | None) -> Order:
        issuer = self.issuer_for(policy, protocol)
        limits = policy.limits
        names = [name.text for name in sound.csr.names] if limits.honour_names else []
        check_limits(policy, sound.key, sound.csr.subject, names)
        if days is not None:
            check_days(days)
        if days is not None and limits.max_days is not None and days > limits.max_days:
            raise PolicyViolation(f"the policy allows at most {limits.max_days} days")
        granted = policy.days if days is None else days
        if limits.max_days is not None:
            granted = min(granted, limits.max_days)
        requested = sound.csr.extension(SUBJECT_ALTERNATIVE_NAME) if limits.honour_names else None
        extensions = leaf_extensions(
            policy=compiled(policy.extensions).extensions(self._context(sound, issuer)),
            requested_names=requested,
            subject_der=sound.csr.subject_der,
            key=sound.key,
            issuer=issuer.certificate,
            addresses=self.addresses(issuer),
        )
        return Order(issuer, policy, sound.csr.name, sound.key, extensions, granted, days is not None, sound.csr.der)

    def _context(self, sound: _Sound, issuer: IssuingCA) -> ExtensionContext:
        certificate = issuer.certificate
        return ExtensionContext(
            issuer_key_identifier=certificate.key_identifier,
            issuer_issuer_der=certificate.issuer_der,
            issuer_serial=certificate.serial,
            subject_spki=sound.key.spki,
            subject_der=sound.csr.subject_der,
            variables={
                "ca": issuer.name,
                "ski": issuer.key_identifier.hex(),
                "http_url": (self._settings.public_url or "").rstrip("/"),
            },
        )

    def addresses(self, issuer: IssuingCA) -> Addresses | None:
        """AIA and CDP of the certificates of an issuer, when ``public_url`` is set."""
        if self._settings.public_url is None:
            return None
        base = self._settings.public_url.rstrip("/")
        return Addresses(
            ocsp=f"{base}/ocsp",
            ca_issuers=f"{base}/ca/{issuer.name}.cer",
            crl=f"{base}/crl/{issuer.key_identifier.hex()}.crl",
        )

    async def _proceed(
        self,
        method: Method,
        sound: _Sound,
        principal: Principal,
        policy: Policy,
        *,
        label: str | None = None,
        days: int | None = None,
        dedupe: bytes | None = None,
        dedupe_seconds: int | None = None,
        transaction: bytes | None = None,
        requester_key: bytes | None = None,
    ) -> Issued | Pending:
        certificate = principal.certificate
        if (
            policy.limits.own_subject
            and certificate is not None
            and not names_equal(certificate.subject_der, sound.csr.subject_der)
        ):
            raise NotAuthorized("the policy lets a client certificate enroll its own subject only")
        order = self._order(sound, policy, method, days)
        request = NewRequest(
            method=method,
            csr=sound.csr.der,
            subject=sound.csr.subject,
            key_type=sound.key.text,
            key_id=sound.key.key_id,
            policy=policy.name,
            issuer=order.issuer.name,
            principal=principal.name,
            owner_id=principal.owner_id,
            created_at=self._authority.now(),
            address=principal.address,
            dedupe=dedupe,
            dedupe_seconds=dedupe_seconds,
            transaction=transaction,
            requester_key=requester_key,
            challenge_id=principal.challenge_id,
            label=label,
            validity_days=days,
        )
        if policy.approval is Approval.MANUAL:
            return await self._wait_for_approval(request)
        try:
            record = await self._authority.issue(request, order, _told(request, principal))
        except Conflict as error:
            if principal.challenge_id is None:
                raise
            # Another request was quicker: for this one the challenge password is as good as wrong.
            raise AuthenticationFailed(error.public) from error
        issuer = self._authority.issuers.by_id(record.issuer_id)
        return Issued(record, issuer or order.issuer)

    async def _wait_for_approval(self, request: NewRequest) -> Issued | Pending:
        begun = await start(self._record(request))
        if isinstance(begun, Repeated):
            found = self._repeated(begun)
            if found is not None:
                return found
            raise PolicyViolation("this request failed before; make a new one")
        log.info("Request {id} of {subject} waits for approval", id=begun.request_id, subject=request.subject)
        return Pending(begun.request_id, self._settings.retry_after)

    async def _record(self, request: NewRequest) -> Begun | Repeated:
        return await self._store.begin(request, None, self._authority.now())

    async def _earlier(self, dedupe: bytes) -> Issued | Pending | None:
        earlier = await self._store.repeated(dedupe, self._authority.now())
        if earlier is None:
            return None
        found = self._repeated(earlier)
        if found is None and earlier.request.state is RequestState.ISSUING:
            # The first copy ended without its end being stored; it holds the challenge password of this one.
            await self._authority.give_up_stale(earlier.request)
        return found

    def _repeated(self, earlier: Repeated) -> Issued | Pending | None:
        """What a request that was here before is worth now; ``None``: it has to be made anew."""
        if earlier.certificate is not None:
            issuer = self._authority.issuers.by_id(earlier.certificate.issuer_id)
            return None if issuer is None else Issued(earlier.certificate, issuer)
        state = earlier.request.state
        if state is RequestState.REJECTED:
            raise NotAuthorized("this request was rejected", reason=earlier.request.reason)
        if state is RequestState.PENDING:
            return Pending(earlier.request.id, self._settings.retry_after)
        return None


def check_request(csr: CertificationRequest, *, allow_sha1: bool = False, allow_md5: bool = False) -> _Sound:
    """Step 2: proof of possession, the key, and the names; nothing of policy.

    :raises BadCSR: or one of its kind, UnsupportedAlgorithm, PolicyViolation for names nobody may have.
    """
    key = verify_csr(csr, allow_sha1=allow_sha1, allow_md5=allow_md5)
    return _Sound(csr, key)


def _check_scep_request(enrollment: SCEPEnrollment) -> tuple[CertificationRequest, _Sound]:
    """Step 2 for what was decrypted from a message.

    Who sends somebody else's message again, changed and signed anew, must not learn how it decrypts.  Only who names
    in the request the key that signs the message has written that request, and is told what is wrong with it.
    """
    try:
        csr = parse_csr(enrollment.csr)
        return csr, check_request(csr, allow_sha1=enrollment.allow_sha1, allow_md5=enrollment.allow_md5)
    except RequestError:
        if enrollment.signer_spki in enrollment.csr:
            raise
        raise not_readable() from None


def _requested_names(csr: CertificationRequest) -> bytes | None:
    extension: Extension | None = csr.extension(SUBJECT_ALTERNATIVE_NAME)
    return None if extension is None else extension.value


def check_same_names(certificate: bytes, csr: CertificationRequest) -> None:
    """That a request keeps subject and subjectAltName of a certificate (RFC 7030 section 4.2.2).

    :raises NotAuthorized: when it does not.
    """
    current = parse_certificate(certificate)
    if not names_equal(current.subject_der, csr.subject_der):
        raise NotAuthorized("a re-enrollment keeps the subject of the certificate that it renews")
    extension = current.extension(SUBJECT_ALTERNATIVE_NAME)
    before = () if extension is None else parse_san(extension.value, limit=1000, allow_other_name=True)
    if not same_names(before, csr.names):
        raise NotAuthorized("a re-enrollment keeps the subjectAltName of the certificate that it renews")


def _is_linked(csr: CertificationRequest, credentials: Credentials) -> bool:
    """Whether the challengePassword is this TLS session's channel binding (RFC 7030 section 3.5)."""
    if csr.challenge_password is None:
        return False
    offered = csr.challenge_password.encode("utf-8")
    # All are compared: how many there are is no secret, which one it was might be.
    found = [hmac.compare_digest(offered, binding.encode("ascii")) for binding in credentials.channel_bindings()]
    return any(found)


def _est_digest(principal: Principal, renew: bool, label: str | None, content: bytes) -> bytes:
    """What makes two EST requests one: who asks, where, and for what."""
    return hashlib.sha256(f"EST {principal.kind.value} {principal.name} {renew} {label}\n".encode() + content).digest()


def scep_transaction(transaction_id: bytes, signer_key: bytes) -> bytes:
    """The digest by which a SCEP transaction of one key is found again."""
    return hashlib.sha256(b"SCEP transaction" + signer_key + transaction_id).digest()


def require(principal: Principal, scope: Scope) -> None:
    """That a principal is an account that may do this.

    :raises NotAuthorized: when it is not.
    """
    if scope not in principal.scopes or (scope is Scope.ADMIN and not principal.is_admin):
        raise NotAuthorized(f"this needs the right to {scope.value}")


def _told(request: NewRequest, principal: Principal) -> Mapping[str, object]:
    told: dict[str, object] = {
        "policy": request.policy,
        "subject": request.subject,
        "key": request.key_type,
        "authenticated_by": principal.kind.value,
    }
    if request.label is not None:
        told["label"] = request.label
    if request.address:
        told["address"] = request.address
    if principal.kind is PrincipalKind.CLIENT_CERTIFICATE and principal.certificate is not None:
        told["client_certificate"] = f"{principal.certificate.serial:x}"
    return told
