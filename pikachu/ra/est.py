"""Enrollment over EST (RFC 7030): authentication, channel binding, renewal and repeated requests.

Whether a request waits for approval (202) is decided in :meth:`pikachu.ra.enrollment.EnrollmentService.enroll`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred

from pikachu.auth.authenticator import Authenticator
from pikachu.ca.issuers import IssuingCAs
from pikachu.core.concurrency import start
from pikachu.core.errors import (
    AccountChanged,
    AuthenticationFailed,
    NotAuthorized,
    PolicyViolation,
    ProofOfPossessionFailed,
    RateLimited,
    RequestError,
)
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import ANONYMOUS, Credentials, Principal, PrincipalKind
from pikachu.core.model.policies import Policy
from pikachu.ra.enrollment import (
    AuthorizedRequest,
    EnrollmentService,
    Issued,
    Pending,
    ReceivedRequest,
    Repetition,
    VerifiedRequest,
)
from pikachu.ra.policies import PolicyResolver
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, parse_certificate
from pikachu.x509.csr import CHANGE_SUBJECT_NAME, CertificationRequest, decode_csr_input, parse_csr
from pikachu.x509.csrattrs import RequiredAttributes
from pikachu.x509.names import names_equal
from pikachu.x509.requested_name import requested_name
from pikachu.x509.requested_san import RequestedNames
from pikachu.x509.san import GeneralName, parse_san, same_names
from pikachu.x509.spki import describe_spki

EST_REPEAT_SECONDS = 600
EST_APPROVAL_REPEAT_SECONDS = 7 * 86400
_NO_CREDENTIALS = "enrolling needs a client certificate, a password or a challenge password"


@dataclass(frozen=True, slots=True)
class ESTSettings:
    """The configuration of EST enrollment.

    :param anonymous: EST is open to everyone (for laboratories).
    :param require_channel_binding: every CSR must carry the TLS channel binding, whatever the policy says.
    """

    anonymous: bool = False
    require_channel_binding: bool = False


@dataclass(frozen=True, slots=True)
class ESTEnrollment:
    """The content of a simpleenroll, simplereenroll or serverkeygen request (RFC 7030 sections 4.2 and 4.4).

    :param body: the CSR in DER, base64 or PEM.
    :param label: the label in the path.
    :param renew: the request is a simplereenroll.
    """

    credentials: Credentials
    body: bytes
    label: str | None = None
    renew: bool = False


@dataclass(frozen=True, slots=True)
class _AuthenticatedRequest:
    """An EST request whose credentials outside of the CSR were verified.

    :param bound: the challengePassword is the channel binding of this TLS session.
    :param principal: without the challenge password in the CSR.
    """

    enrollment: ESTEnrollment
    received: ReceivedRequest
    principal: Principal
    bound: bool

    @property
    def csr(self) -> CertificationRequest:
        """The CSR."""
        return self.received.csr

    @property
    def has_challenge(self) -> bool:
        """Whether the CSR has a challengePassword that must be a challenge password of this CA."""
        return self.csr.challenge_password is not None and not self.bound

    @property
    def digest(self) -> bytes:
        """The digest that is equal for all copies."""
        return self.digest_of(self.csr.der)

    def digest_of(self, content: bytes) -> bytes:
        """Return the digest that is equal for requests of one principal at one path with the same *content*."""
        # The owner's id is included, since another account may reuse the name of a deleted one.
        principal = f"{self.principal.kind.value} {self.principal.name} {self.principal.owner_id}"
        target = f"EST {principal} {self.enrollment.renew} {self.received.label}\n"
        return hashlib.sha256(target.encode() + content).digest()


@dataclass(frozen=True, slots=True)
class KeyGenerationRequest:
    """An authorized serverkeygen request: everything but the key, which the caller generates."""

    received: ReceivedRequest
    principal: Principal
    policy: Policy


class ESTRegistration:
    """The registration authority for EST clients."""

    def __init__(
        self,
        *,
        service: EnrollmentService,
        authenticator: Authenticator,
        policies: PolicyResolver,
        issuers: IssuingCAs,
        settings: ESTSettings,
    ) -> None:
        self._service = service
        self._authenticator = authenticator
        self._policies = policies
        self._issuers = issuers
        self._settings = settings

    # --- enrolling ----------------------------------------------------------------------

    async def enroll(self, enrollment: ESTEnrollment) -> Issued | Pending:
        """Enroll or re-enroll (RFC 7030 section 4.2); the body is parsed only after the other credentials are verified.

        Fails with any RequestError, Unavailable, IssuanceFailed.
        """
        principal = self._authenticator.cached(enrollment.credentials)
        if principal is not None:
            with suppress(AccountChanged):
                request = self._with_csr(enrollment, principal)
                if not request.has_challenge:
                    return await self._enroll(request)
        return await self._enroll(await self._authenticate(enrollment))

    def _enroll(self, request: _AuthenticatedRequest) -> Deferred[Issued | Pending]:
        digest = request.digest
        # Only a copy with a challenge password needs the lookup: the first one consumed it.
        return self._service.enroll_once(
            digest, lambda: self._authorize(request, digest), look_up=request.has_challenge
        )

    async def _authorize(self, request: _AuthenticatedRequest, digest: bytes) -> AuthorizedRequest:
        principal = await self._with_challenge(request)
        verified = request.received.verify()
        policy = await self._policies.choose(Method.EST, request.received.label, principal)
        self._check_required(policy, request, principal, verified)
        if request.enrollment.renew:
            await self._service.prepare(policy, Method.EST)
            copies_names = self._service.copies_names(policy, Method.EST)
            check_renewal(principal, verified, policy, copies_names=copies_names)
        if policy.approval.needed:
            repetition = await self._repetition(request, digest, verified)
        else:
            repetition = Repetition(digest, EST_REPEAT_SECONDS)
        return AuthorizedRequest(verified, principal, policy, repetition)

    async def _repetition(self, request: _AuthenticatedRequest, digest: bytes, verified: VerifiedRequest) -> Repetition:
        """Return how copies and polls of a request are recognized that waits for approval."""
        if request.has_challenge:
            return Repetition(digest, EST_APPROVAL_REPEAT_SECONDS)
        # A channel-bound CSR is signed again for each connection; only its key and names stay the same.
        names = request.csr.extension(SUBJECT_ALTERNATIVE_NAME)
        content = verified.key.spki + request.csr.subject_der + (b"" if names is None else names.value)
        usable = await self._service.usable_digest(request.digest_of(content))
        return Repetition(usable, EST_APPROVAL_REPEAT_SECONDS)

    # --- authenticating -----------------------------------------------------------------

    async def _authenticate(self, enrollment: ESTEnrollment) -> _AuthenticatedRequest:
        return self._with_csr(enrollment, await self._credentials(enrollment))

    def _with_csr(self, enrollment: ESTEnrollment, principal: Principal) -> _AuthenticatedRequest:
        csr = self._parse_csr(principal, enrollment.body)
        received = ReceivedRequest(Method.EST, csr, enrollment.label)
        return _AuthenticatedRequest(enrollment, received, principal, _is_bound(csr, enrollment.credentials))

    async def _credentials(self, enrollment: ESTEnrollment) -> Principal:
        """Authenticate by all credentials but the challenge password in the CSR.

        While a lock prevents verification of the HTTP Basic password, a challenge password authenticates instead:
        failures of others behind the same address never refuse a valid one.
        """
        credentials = enrollment.credentials
        try:
            return await self._authenticator.est(credentials)
        except RateLimited:
            with suppress(RequestError):
                csr = parse_csr(decode_csr_input(enrollment.body))
                if csr.challenge_password is not None and not _is_bound(csr, credentials):
                    return replace(ANONYMOUS, address=credentials.address)
            raise

    def _is_refused(self, principal: Principal) -> bool:
        return principal.kind is PrincipalKind.ANONYMOUS and not self._settings.anonymous

    def _parse_csr(self, principal: Principal, body: bytes) -> CertificationRequest:
        """Parse the CSR; an unreadable one without other credentials is a failed authentication."""
        try:
            return parse_csr(decode_csr_input(body))
        except RequestError as error:
            if self._is_refused(principal):
                raise AuthenticationFailed(f"{_NO_CREDENTIALS}; the request can't be read: {error.public}") from error
            raise

    async def _with_challenge(self, request: _AuthenticatedRequest) -> Principal:
        """Return the principal after verifying the challenge password in the CSR, if it has one."""
        principal, text = request.principal, request.csr.challenge_password
        if request.csr.challenge_error is not None:
            if principal.kind is PrincipalKind.ANONYMOUS:
                raise AuthenticationFailed(request.csr.challenge_error)
            raise ProofOfPossessionFailed(request.csr.challenge_error)
        if text is None or request.bound:
            if self._is_refused(principal):
                raise AuthenticationFailed(_NO_CREDENTIALS)
            return principal
        try:
            challenged = await self._authenticator.challenge(text, request.enrollment.credentials.address, request.csr)
        except (AuthenticationFailed, RateLimited):
            if principal.kind is PrincipalKind.ANONYMOUS:
                raise
            raise ProofOfPossessionFailed(
                "the challengePassword is neither this TLS session's channel binding nor an available one"
            ) from None
        if principal.kind is PrincipalKind.ANONYMOUS:
            return challenged
        return replace(
            principal,
            challenge_id=challenged.challenge_id,
            challenge_label=challenged.challenge_label,
            added_names=challenged.added_names,
            challenge_policy=challenged.challenge_policy,
            owner_id=challenged.owner_id,
            authenticated_id=principal.owner_id,
        )

    def _requires_channel_binding(self, policy: Policy) -> bool:
        return policy.limits.linked or self._settings.require_channel_binding

    def _check_required(
        self, policy: Policy, request: _AuthenticatedRequest, principal: Principal, verified: VerifiedRequest
    ) -> None:
        required = self._required_attributes(policy)
        if required.channel_binding and _has_client_key(request, principal, verified):
            required = replace(required, channel_binding=False)
        required.check(request.csr, verified.key)
        if required.channel_binding:
            self._check_channel_binding(policy, request)

    def _check_channel_binding(self, policy: Policy, request: _AuthenticatedRequest) -> None:
        if self._requires_channel_binding(policy) and not request.bound:
            raise PolicyViolation("the policy demands a challengePassword that links the request to this TLS session")

    # --- server-side key generation -----------------------------------------------------

    def server_keygen(self, enrollment: ESTEnrollment) -> Deferred[KeyGenerationRequest]:
        """Authorize a serverkeygen (RFC 7030 section 4.4); the key and the signature of the CSR are ignored.

        The caller generates a key and passes it to :meth:`issue_generated`.
        """

        async def work() -> KeyGenerationRequest:
            request = await self._authenticate(enrollment)
            principal = await self._with_challenge(request)
            policy = await self._policies.choose(Method.EST, enrollment.label, principal)
            self._check_channel_binding(policy, request)
            if policy.approval.needed:
                raise PolicyViolation("keys are not made here under a policy with manual approval; use simpleenroll")
            return KeyGenerationRequest(request.received, principal, policy)

        return Deferred.fromCoroutine(work())

    def issue_generated(self, request: KeyGenerationRequest, spki: bytes) -> Deferred[Issued | Pending]:
        """Issue a certificate for a generated key; a repeated call issues another one.

        :param spki: the DER SubjectPublicKeyInfo of the key.
        """

        async def work() -> Issued | Pending:
            verified = VerifiedRequest(request.received, describe_spki(spki))
            return await self._service.enroll(AuthorizedRequest(verified, request.principal, request.policy))

        return start(work())

    # --- public operations --------------------------------------------------------------

    def ca_certificates(self, label: str | None) -> Deferred[tuple[bytes, ...]]:
        """Return the certificates of cacerts (RFC 7030 section 4.1.3), in DER.

        They are the chains of the CA that signs for the path and of its announced next generation, with the roll-over
        certificates between generations.  Fails with NotFound.
        """

        async def work() -> tuple[bytes, ...]:
            issuer = self._service.issuer_for(await self._policies.for_label(Method.EST, label), Method.EST)
            announced = self._issuers.next(issuer.name)
            following = () if announced is None else (*announced.chain, *announced.rollover)
            return tuple(dict.fromkeys((*issuer.chain, *issuer.rollover, *following)))

        return Deferred.fromCoroutine(work())

    def required_attributes(self, label: str | None) -> Deferred[RequiredAttributes]:
        """Return the attributes that CSRs of a path must have (csrattrs).  Fails with NotFound."""

        async def work() -> RequiredAttributes:
            return self._required_attributes(await self._policies.for_label(Method.EST, label))

        return Deferred.fromCoroutine(work())

    def _required_attributes(self, policy: Policy) -> RequiredAttributes:
        return RequiredAttributes(channel_binding=self._requires_channel_binding(policy), keys=policy.limits.keys)


def check_renewal(principal: Principal, request: VerifiedRequest, policy: Policy, *, copies_names: bool = True) -> None:
    """Require the certificate being renewed as TLS client certificate, with the same names (RFC 7030 section 4.2.2).

    :param copies_names: whether the policy copies the CSR's subjectAltName; one that it ignores may be another one.
    :raises NotAuthorized: without that certificate, or when the names differ.
    :raises PolicyViolation: for ChangeSubjectName, or when the policy requires a new key (EST-3).
    """
    presented = principal.certificate
    if presented is None or not presented.own:
        raise NotAuthorized("re-enrollment needs the certificate that is being renewed, over TLS")
    if request.csr.attribute(CHANGE_SUBJECT_NAME) is not None:
        raise PolicyViolation("no policy gives the right to ChangeSubjectName; enroll the new name instead")
    check_same_subject(presented.der, request.csr)
    if copies_names:
        check_same_names(presented.der, request.csr, policy.limits.other_names)
    if not policy.limits.same_key and parse_certificate(presented.der).spki_der == request.key.spki:
        raise PolicyViolation("the policy demands a new key for each renewal")


def check_same_subject(certificate: bytes, csr: CertificationRequest) -> None:
    """Require that a CSR keeps the subject of a certificate (RFC 7030 section 4.2.2).

    :raises NotAuthorized: when it does not.
    """
    if not names_equal(parse_certificate(certificate).subject_der, csr.subject_der):
        raise NotAuthorized("a re-enrollment keeps the subject of the certificate that it renews")


def check_same_names(certificate: bytes, csr: CertificationRequest, other_names: Collection[str] = ()) -> None:
    """Require that a CSR keeps the subjectAltName of a certificate (RFC 7030 section 4.2.2).

    :param other_names: the type-ids of the otherNames that the policy copies; others in the CSR are ignored.
    :raises NotAuthorized: when it does not.
    """
    extension = parse_certificate(certificate).extension(SUBJECT_ALTERNATIVE_NAME)
    before: tuple[GeneralName, ...] = ()
    if extension is not None:
        # As lenient as the reading of the CSR: a policy may have allowed other country codes.
        before = parse_san(extension.value, limit=1000, allow_other_name=True, read_directory=requested_name)
    # The CA adds the addresses of the subject, which the CSR need not repeat.
    requested = csr.requested_names(other_names).with_subject_addresses(csr.name).copied
    if not same_names(RequestedNames(before).with_subject_addresses(csr.name).copied, requested):
        raise NotAuthorized("a re-enrollment keeps the subjectAltName of the certificate that it renews")


def _has_client_key(request: _AuthenticatedRequest, principal: Principal, verified: VerifiedRequest) -> bool:
    """Return whether the CSR is signed with the key by which the TLS client authenticated itself.

    That links the CSR to the TLS session as well as a channel binding does.  Where there can be no channel binding, a
    proxy has terminated TLS, and the handshake was not with this server.
    """
    presented = principal.certificate
    if presented is None or request.csr.challenge_password is not None:
        return False
    if not request.enrollment.credentials.channel_bindings():
        return False
    return parse_certificate(presented.der).spki_der == verified.key.spki


def _is_bound(csr: CertificationRequest, credentials: Credentials) -> bool:
    """Return whether the challengePassword is this TLS session's channel binding (RFC 7030 section 3.5)."""
    if csr.challenge_password is None:
        return False
    offered = csr.challenge_password.encode("utf-8")
    # Compare with all of them: their number is public, but which one matches might not be.
    matches = [hmac.compare_digest(offered, binding.encode("ascii")) for binding in credentials.channel_bindings()]
    return any(matches)
