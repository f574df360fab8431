"""Enrollment over EST (RFC 7030): who asks, what links a request to its TLS session, what is a repetition."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

from twisted.internet.defer import Deferred

from pikachu.ca.issuance import IssuingCA
from pikachu.core.concurrency import start
from pikachu.core.errors import (
    AuthenticationFailed,
    NotAuthorized,
    PolicyViolation,
    ProofOfPossessionFailed,
    RateLimited,
    RequestError,
)
from pikachu.core.model.certificates import CertificateStatus, Method
from pikachu.core.model.people import ANONYMOUS, Credentials, PresentedCertificate, Principal, PrincipalKind
from pikachu.core.model.policies import Approval, Policy
from pikachu.ra.enrollment import EnrollmentService, Issued, Pending, VerifiedRequest, check_request, requested_names
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME, parse_certificate
from pikachu.x509.csr import CHANGE_SUBJECT_NAME, CertificationRequest, decode_csr_input, parse_csr
from pikachu.x509.names import names_equal
from pikachu.x509.san import parse_san, same_names
from pikachu.x509.spki import KeyDescription, describe_spki

EST_REPEAT_SECONDS = 600
EST_APPROVAL_REPEAT_SECONDS = 7 * 86400
_NO_CREDENTIALS = "enrolling needs a client certificate, a password or a challenge password"

Demanded: TypeAlias = Callable[[Policy, CertificationRequest, KeyDescription], None]


class ESTRegistration(EnrollmentService):
    """The registration authority towards EST."""

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
        principal = await self._est_credentials(credentials, body)
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

    async def _est_credentials(self, credentials: Credentials, body: bytes) -> Principal:
        """Authenticate all credentials but the CSR's challenge password.

        While a lock keeps the password of HTTP Basic from being verified, a challenge password authenticates instead:
        what others behind the address did never refuses one that is available.
        """
        try:
            return await self._authenticator.est(credentials)
        except RateLimited:
            with suppress(RequestError):
                csr = parse_csr(decode_csr_input(body))
                if csr.challenge_password is not None and not _is_linked(csr, credentials):
                    return replace(ANONYMOUS, address=credentials.address)
            raise

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
        lasting = sound.key.spki + csr.subject_der + (requested_names(csr) or b"")
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
        except (AuthenticationFailed, RateLimited):
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

    async def _check_reenrollment(
        self, presented: PresentedCertificate | None, sound: VerifiedRequest, policy: Policy
    ) -> None:
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
            coming = self._authority.issuers.next(issuer.name)
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
        """Issue for a key that was made here; each call issues anew."""

        async def work() -> Issued | Pending:
            key = describe_spki(spki)
            sound = VerifiedRequest(csr, key)
            return await self._proceed(Method.EST, sound, principal, policy, label=label)

        return start(work())


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
    # By the owner's id too: the name of a deleted account may be another one's by now.
    who = f"{principal.kind.value} {principal.name} {principal.owner_id}"
    return hashlib.sha256(f"EST {who} {renew} {label}\n".encode() + content).digest()
