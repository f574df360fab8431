"""Enrollment over SCEP (RFC 8894): challenge passwords, renewal, transactions and retransmission."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

from pikachu.auth.authenticator import Authenticator
from pikachu.ca.issuers import IssuingCA
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
from pikachu.core.interfaces import IIssuanceStore
from pikachu.core.model.certificates import Method
from pikachu.core.model.people import ANONYMOUS, Principal
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
from pikachu.x509.csr import CertificationRequest, parse_csr
from pikachu.x509.names import names_equal


@dataclass(frozen=True)
class SCEPEnrollment:
    """A decrypted and verified PKCSReq or RenewalReq (RFC 8894 section 3.3).

    :param signer: DER certificate whose key signed the message.
    :param signer_spki: the DER SubjectPublicKeyInfo in it.  A throw-away certificate may have an invalid serial
        number, so nothing else in it is parsed.
    :param self_signed: the certificate was made by the requester and proves only possession of the key.
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

    @cached_property
    def signer_key(self) -> bytes:
        """SHA-256 of the SPKI that signed the message."""
        return hashlib.sha256(self.signer_spki).digest()

    @property
    def digest(self) -> bytes:
        """The digest that is equal for all copies of the message."""
        # Transaction ids derive from keys, so a renewal that keeps its key has the id of the first enrollment; the
        # signing certificate distinguishes them.  A throw-away certificate is new in each copy, so its key counts.
        signed_by = self.signer_key if self.self_signed else hashlib.sha256(self.signer).digest()
        return hashlib.sha256(_scope("SCEP", self.label) + signed_by + self.csr + self.transaction_id).digest()

    @property
    def transaction(self) -> bytes:
        """The lookup digest of the transaction."""
        return _transaction_digest(self.label, self.transaction_id, self.signer_key)


class SCEPRegistration:
    """The registration authority for SCEP clients.

    :param require_challenge: an enrollment without approval needs a challenge password.
    """

    def __init__(
        self,
        *,
        service: EnrollmentService,
        authenticator: Authenticator,
        policies: PolicyResolver,
        store: IIssuanceStore,
        require_challenge: bool,
    ) -> None:
        self._service = service
        self._authenticator = authenticator
        self._policies = policies
        self._store = store
        self._require_challenge = require_challenge

    async def enroll(self, enrollment: SCEPEnrollment) -> Issued | Pending:
        """Process a PKCSReq or RenewalReq (RFC 8894 sections 2.3 to 2.5).

        Fails with any RequestError, Unavailable, IssuanceFailed.
        """
        verified, digest = _verify(enrollment), enrollment.digest
        # A copy of these would be refused: the first one consumed its challenge password, or renewed its certificate.
        look_up = verified.csr.challenge_password is not None or not enrollment.self_signed
        try:
            return await self._service.enroll_once(
                digest, lambda: self._authorize(enrollment, verified), look_up=look_up
            )
        except RequestError:
            # The policy of the earlier copy may have changed since.
            earlier = None if look_up else await self._service.earlier(digest)
            if earlier is None:
                raise
            return earlier

    async def _authorize(self, enrollment: SCEPEnrollment, verified: VerifiedRequest) -> AuthorizedRequest:
        principal = await self._authenticate(enrollment, verified)
        policy = await self._policies.choose(Method.SCEP, enrollment.label, principal)
        if principal.certificate is not None:
            _check_renewal(principal.certificate.subject_der, enrollment, verified, policy)
        elif self._require_challenge and principal.challenge_id is None and not policy.approval.needed:
            raise AuthenticationFailed("the challenge password is missing")
        repetition = Repetition(
            enrollment.digest,
            # After the certificate has expired, the same request is a new one.
            policy.days * 86400,
            transaction=enrollment.transaction,
            requester_key=enrollment.signer_key,
        )
        return AuthorizedRequest(verified, replace(principal, address=enrollment.address), policy, repetition)

    async def _authenticate(self, enrollment: SCEPEnrollment, verified: VerifiedRequest) -> Principal:
        if not enrollment.self_signed:
            # The challenge password is ignored: devices repeat the one of their first enrollment in each renewal.
            return await self._authenticator.message_signer(enrollment.signer, enrollment.address)
        if enrollment.renewal:
            raise BadCSR("a RenewalReq is signed with the certificate that is being renewed")
        if enrollment.signer_spki != verified.key.spki:
            raise BadCSR("the message and the request in it are not signed with the same key")
        if verified.csr.challenge_error is not None and self._require_challenge:
            raise AuthenticationFailed(verified.csr.challenge_error)
        return await self._challenge(verified.csr, enrollment.address)

    async def _challenge(self, csr: CertificationRequest, address: str) -> Principal:
        """Authenticate by challenge password; where none is required, an invalid one is ignored and not counted."""
        text = csr.challenge_password
        if text is None:
            return ANONYMOUS
        if not self._require_challenge and await self._authenticator.challenge_id(text) is None:
            return ANONYMOUS
        try:
            return await self._authenticator.challenge(text, address, csr)
        except (AuthenticationFailed, RateLimited):
            if self._require_challenge:
                raise
            return ANONYMOUS

    async def poll(self, label: str | None, transaction_id: bytes, signer_spki: bytes) -> Issued | Pending:
        """Return the state of the transaction that the same key signed (CertPoll, RFC 8894 section 4.4).

        :param label: the label in the path of the poll, which is that of the enrollment.
        :param signer_spki: the DER SubjectPublicKeyInfo of the key that signed the poll.

        Fails with NotFound when there is none, NotAuthorized when it was rejected.
        """
        signer_key = hashlib.sha256(signer_spki).digest()
        earlier = await self._store.request_by_transaction(_transaction_digest(label, transaction_id, signer_key))
        result = None if earlier is None else self._service.result_of(earlier)
        if result is None:
            raise NotFound("no request of that transaction waits here")
        return result

    async def issuer(self, label: str | None) -> IssuingCA:
        """Return the CA that signs for a SCEP path.  Fails with NotFound."""
        return self._service.issuer_for(await self._policies.for_label(Method.SCEP, label), Method.SCEP)


def _verify(enrollment: SCEPEnrollment) -> VerifiedRequest:
    """Verify the decrypted CSR (step 2).

    A client that changes another client's message, signs it and sends it must not learn how it decrypts.  Only the
    author of a CSR knows the key that signs the message beforehand, so only a CSR that contains it gets a detailed
    error.
    """
    try:
        received = ReceivedRequest(Method.SCEP, parse_csr(enrollment.csr), enrollment.label)
        return received.verify(allow_sha1=enrollment.allow_sha1, allow_md5=enrollment.allow_md5)
    except RequestError:
        if enrollment.signer_spki in enrollment.csr:
            raise
        raise not_readable() from None


def _check_renewal(subject_der: bytes, enrollment: SCEPEnrollment, verified: VerifiedRequest, policy: Policy) -> None:
    """Require that a renewal keeps the subject of the signing certificate, and a new key if the policy says so.

    :raises NotAuthorized: when the subject differs.
    :raises PolicyViolation: when the policy requires a new key.
    """
    if not names_equal(subject_der, verified.csr.subject_der):
        raise NotAuthorized("a renewal keeps the subject of the certificate that signs it")
    if not policy.limits.same_key and enrollment.signer_spki == verified.key.spki:
        raise PolicyViolation("the policy demands a new key for each renewal")


def _transaction_digest(label: str | None, transaction_id: bytes, signer_key: bytes) -> bytes:
    """Return the lookup digest of a SCEP transaction of one key under one label."""
    return hashlib.sha256(_scope("SCEP transaction", label) + signer_key + transaction_id).digest()


def _scope(kind: str, label: str | None) -> bytes:
    """Return the prefix of a digest; each label has its own policy, so a copy under another one is a new request.

    A hash of the label has a fixed length, so no label can continue into what follows.
    """
    return kind.encode() + (b"" if label is None else hashlib.sha256(label.encode()).digest())
