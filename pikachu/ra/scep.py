"""Enrollment over SCEP (RFC 8894): challenge passwords, renewals, transactions and their repetition."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred

from pikachu.ca.issuance import IssuingCA
from pikachu.cms.enveloped import not_readable
from pikachu.core.errors import (
    AuthenticationFailed,
    BadCSR,
    NotAuthorized,
    NotFound,
    PolicyViolation,
    RateLimited,
    RequestError,
)
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import ANONYMOUS, Principal
from pikachu.core.model.policies import Approval
from pikachu.ra.enrollment import EnrollmentService, Issued, Pending, VerifiedRequest, check_request
from pikachu.x509.csr import CertificationRequest, parse_csr
from pikachu.x509.names import names_equal


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


class SCEPRegistration(EnrollmentService):
    """The registration authority towards SCEP."""

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
        self, enrollment: SCEPEnrollment, sound: VerifiedRequest, signer_key: bytes, repeat: bytes
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
        except (AuthenticationFailed, RateLimited):
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


def _check_scep_request(enrollment: SCEPEnrollment) -> tuple[CertificationRequest, VerifiedRequest]:
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


def scep_transaction(transaction_id: bytes, signer_key: bytes) -> bytes:
    """The digest by which a SCEP transaction of one key is found again."""
    return hashlib.sha256(b"SCEP transaction" + signer_key + transaction_id).digest()
