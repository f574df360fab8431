"""The SCEP operations (RFC 8894), independent of HTTP.

Every message with a readable transaction id gets a signed CertRep; a FAILURE carries the failInfo of
:data:`FAIL_INFO`.  Two kinds of error are raised by :meth:`SCEPServer.operate` instead: MalformedRequest for a message
without a transaction id, since there is nothing to echo, and Unavailable, since a FAILURE ends a transaction
permanently and the client should retry.  Each CertRep is new, with its own nonce, also for a repeated message.

Decryption reveals nothing about the content of another client's message (see :mod:`pikachu.cms.enveloped`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from cryptography.hazmat.primitives.asymmetric import rsa

from pikachu.ca.issuance import CertificateAuthority
from pikachu.ca.issuers import IssuingCA
from pikachu.cms.algorithms import AllowedAlgorithms, Cipher, allowed_algorithms
from pikachu.cms.enveloped import open_envelope, recipient_for
from pikachu.cms.identity import CertificateIdentity, identify
from pikachu.cms.signed import Unsigned, degenerate
from pikachu.core.errors import (
    BadTime,
    MessageCheckFailed,
    NotAuthorized,
    NotFound,
    PikachuError,
    RequestError,
    Unavailable,
    UnknownRecipient,
    UnknownSerial,
    UnsupportedAlgorithm,
    entry_of,
)
from pikachu.core.interfaces import ICertificateReader, IWorkerPool
from pikachu.core.model.certificates import SERIAL_END
from pikachu.http.responses import Content
from pikachu.protocols.scep.crl_replies import CRLReplies
from pikachu.protocols.scep.dump import MessageDump
from pikachu.protocols.scep.keys import MessageKeyring, MessageKeys
from pikachu.protocols.scep.messages import (
    FailInfo,
    IssuerAndSerial,
    MessageType,
    PKIMessage,
    Reply,
    csr_in,
    decode,
    issuer_and_serial_in,
    issuer_and_subject_in,
    next_ca_certificates,
)
from pikachu.protocols.scep.query import capabilities
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.scep import SCEPEnrollment, SCEPRegistration
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.x509.names import names_equal

log = Logger()

# The failInfo of each error (docs/errors.md), by the nearest base class.  There is no failInfo for "try later" or
# "internal error", so a rate limit and a broken invariant are badRequest like every refusal.
FAIL_INFO: Final[dict[type[PikachuError], FailInfo]] = {
    UnsupportedAlgorithm: FailInfo.BAD_ALG,
    MessageCheckFailed: FailInfo.BAD_MESSAGE_CHECK,
    UnknownRecipient: FailInfo.BAD_CERT_ID,
    NotFound: FailInfo.BAD_CERT_ID,
    BadTime: FailInfo.BAD_TIME,
    RequestError: FailInfo.BAD_REQUEST,
    PikachuError: FailInfo.BAD_REQUEST,
}
_MIN_RSA_BITS: Final = 1024


@dataclass(frozen=True, slots=True)
class SCEPSettings:
    """The configuration of SCEP messages.

    :param sha1_3des: SHA-1 and triple DES are accepted.
    :param legacy: MD5, single DES and CSRs signed with SHA-1 or MD5 are accepted as well.
    """

    sha1_3des: bool = False
    legacy: bool = False

    @property
    def allowed(self) -> AllowedAlgorithms:
        """The accepted algorithms."""
        return allowed_algorithms(sha1_3des=self.sha1_3des, legacy=self.legacy)


@dataclass(frozen=True, slots=True)
class CACertificates:
    """The body of GetCACert.

    :param degenerate: a degenerate PKCS#7 with the RA certificate and the chain; otherwise one DER certificate.
    """

    body: bytes
    degenerate: bool


@dataclass(frozen=True, slots=True)
class _Opened:
    """A verified and decrypted message; its signer is not authenticated yet."""

    kind: MessageType
    message: PKIMessage
    signer: CertificateIdentity
    cipher: Cipher
    content: bytes
    reply: Reply
    issuer: IssuingCA
    label: str | None
    address: str


class SCEPServer:
    """Answers the operations of ``/scep``.

    :param files: the pool in which CRLs are read and encrypted.
    :param dump: stores raw messages; ``None`` stores none.
    """

    def __init__(
        self,
        *,
        registration: SCEPRegistration,
        authority: CertificateAuthority,
        keyring: MessageKeyring,
        certificates: ICertificateReader,
        publisher: CRLPublisher,
        files: IWorkerPool,
        settings: SCEPSettings,
        dump: MessageDump | None = None,
    ) -> None:
        self._registration = registration
        self._authority = authority
        self._keyring = keyring
        self._certificates = certificates
        self._publisher = publisher
        self._crl_replies = CRLReplies(files)
        self._settings = settings
        self._allowed = settings.allowed
        self._dump = dump

    async def prepare(self) -> None:
        """Issue or renew the RA certificate of the unlabelled path, so that no client has to wait for it."""
        await self._keyring.current(await self._registration.issuer(None))

    def generation_changed(self, issuer: IssuingCA) -> None:
        """Issue the RA certificate of a new current generation, if SCEP needs one."""

        def failed(failure: Failure) -> None:
            log.error(
                "No SCEP RA certificate of {issuer} yet: {error}", issuer=issuer.name, error=failure.getErrorMessage()
            )

        Deferred.fromCoroutine(self.prepare()).addErrback(failed)

    # --- public operations --------------------------------------------------------------

    async def capabilities(self, label: str | None) -> bytes:
        """Return the body of GetCACaps.  Fails with NotFound."""
        issuer = await self._registration.issuer(label)
        has_next = self._authority.issuers.next(issuer.name) is not None
        return capabilities(sha1_3des=self._settings.sha1_3des or self._settings.legacy, next_ca=has_next)

    async def ca_certificates(self, label: str | None) -> CACertificates:
        """Return the body of GetCACert (RFC 8894 section 4.2).  Fails with NotFound, Unavailable."""
        issuer = await self._registration.issuer(label)
        keys = await self._keyring.current(issuer)
        if not keys.is_ra:
            return CACertificates(issuer.certificate.der, False)
        return CACertificates(degenerate((keys.certificate.certificate, *issuer.chain)), True)

    async def next_ca_certificates(self, label: str | None) -> bytes:
        """Return the body of GetNextCACert (RFC 8894 section 4.7), signed by the current CA itself, never by an RA.

        Fails with NotFound when no next CA is announced.
        """
        issuer = await self._registration.issuer(label)
        next_ca = self._authority.issuers.next(issuer.name)
        if next_ca is None:
            raise NotFound("no next CA certificate is announced")
        unsigned = next_ca_certificates(
            (next_ca.certificate.der,),
            signer=identify(issuer.certificate.der),
            algorithm=issuer.signer.algorithm,
            signing_time=self._authority.now(),
        )
        return unsigned.assemble(await issuer.signer.sign(unsigned.to_be_signed))

    # --- messages -----------------------------------------------------------------------

    async def operate(self, data: bytes, label: str | None, address: str) -> bytes | Content:
        """Return the CertRep for a pkiMessage; with a CRL, it shares memory with other CertReps.

        Fails with MalformedRequest, with NotFound for an unknown label, and with Unavailable.
        """
        answer: bytes | Content | None = None
        transaction_id = b""
        try:
            message = decode(data)
            transaction_id = message.transaction_id
            answer = await self._answer(message, label, address)
        finally:
            if self._dump is not None:
                whole = answer if answer is None or isinstance(answer, bytes) else answer.read(0, answer.size)
                self._dump.keep(data, whole, transaction_id)
        return answer

    async def _answer(self, message: PKIMessage, label: str | None, address: str) -> bytes | Content:
        issuer = await self._registration.issuer(label)
        keys = await self._keyring.current(issuer)
        name = "message"
        signer: CertificateIdentity | None = None
        try:
            kind = message.check()
            name = kind.name
            signer = message.verify(self._allowed)
            _require_rsa(signer)
            keys, cipher, content = await self._open(message, issuer, keys)
            opened = _Opened(kind, message, signer, cipher, content, self._reply(message, keys), issuer, label, address)
            if kind is MessageType.GET_CRL:
                answer, outcome = await self._get_crl(opened, keys)
                _log(name, message, signer, outcome, None)
                return answer
            unsigned, outcome = await self._operate(opened)
        except Unavailable as error:
            _log(name, message, signer, f"503 {error.public}", error)
            raise
        except PikachuError as error:
            info = entry_of(error, FAIL_INFO)
            unsigned = self._reply(message, keys).failure(info, error.public)
            outcome = f"FAILURE {info.name}: {error.public}"
            _log(name, message, signer, outcome, error)
        else:
            _log(name, message, signer, outcome, None)
        return unsigned.assemble(await keys.signer.sign(unsigned.to_be_signed))

    def _reply(self, message: PKIMessage, keys: MessageKeys) -> Reply:
        return Reply(
            message.transaction_id,
            message.sender_nonce,
            secrets.token_bytes(16),
            keys.inside(self._authority.now()),
            keys.certificate,
            keys.signer.algorithm,
        )

    async def _open(
        self, message: PKIMessage, issuer: IssuingCA, current: MessageKeys
    ) -> tuple[MessageKeys, Cipher, bytes]:
        """Return the recipient's keys, the cipher and the decrypted content.

        The client knows the certificate that it encrypted for, so those keys sign the CertRep as well.
        """
        enveloped = message.envelope(self._allowed)
        keys = current
        try:
            recipient = recipient_for(enveloped, (current.certificate,))
        except UnknownRecipient:
            known = await self._keyring.recipients(issuer, current, self._authority.now())
            recipient = recipient_for(enveloped, [keys.certificate for keys in known])
            keys = next(one for one in known if one.certificate.certificate == recipient.certificate)
        key = await keys.decrypter.decrypt(recipient.encrypted_key, oaep_hash=recipient.oaep_hash)
        return keys, enveloped.cipher, open_envelope(enveloped, key)

    async def _operate(self, opened: _Opened) -> tuple[Unsigned, str]:
        """Return the CertRep to be signed, and its outcome for the log."""
        if opened.kind is MessageType.GET_CERT:
            requested = issuer_and_serial_in(opened.content)
            return self._success(opened, await self._certificate(requested), requested.serial)
        result = await self._enrollment(opened)
        if isinstance(result, Pending):
            return opened.reply.pending(), f"PENDING request {result.request_id}"
        return self._success(opened, result.record.der, result.record.serial)

    def _enrollment(self, opened: _Opened) -> Awaitable[Issued | Pending]:
        signer = opened.signer
        if opened.kind is MessageType.CERT_POLL:
            # The names in it are unverified; the transaction id and the signing key identify the request.
            issuer_and_subject_in(opened.content)
            return self._registration.poll(opened.label, opened.message.transaction_id, signer.spki_der)
        enrollment = SCEPEnrollment(
            csr=csr_in(opened.content),
            signer=signer.certificate,
            signer_spki=signer.spki_der,
            self_signed=signer.self_issued,
            renewal=opened.kind is MessageType.RENEWAL_REQ,
            transaction_id=opened.message.transaction_id,
            label=opened.label,
            address=opened.address,
            allow_sha1=self._settings.legacy,
            allow_md5=self._settings.legacy,
        )
        return self._enroll(enrollment)

    async def _enroll(self, enrollment: SCEPEnrollment) -> Issued | Pending:
        try:
            return await self._registration.enroll(enrollment)
        except NotFound as error:
            # The requester may not use this label; badCertId would be about a certificate.
            raise NotAuthorized(error.public, **error.context) from error

    @staticmethod
    def _success(opened: _Opened, certificate: bytes, serial: int) -> tuple[Unsigned, str]:
        return opened.reply.success(opened.signer, opened.cipher, certificate=certificate), f"SUCCESS {serial:x}"

    async def _certificate(self, requested: IssuerAndSerial) -> bytes:
        """Return a certificate by issuer and serial number: one issued here, or that of an issuing CA.

        Fails with UnknownSerial.
        """
        issuers = self._authority.issuers.all()
        for issuer in issuers:
            certificate = issuer.certificate
            if certificate.serial == requested.serial and names_equal(certificate.issuer_der, requested.issuer_der):
                return certificate.der
        unknown = UnknownSerial("this authority has issued no certificate of that issuer and serial number")
        if not 0 < requested.serial < SERIAL_END:
            raise unknown
        record = await self._certificates.certificate_by_serial(requested.serial)
        record_issuer = self._authority.issuers.by_id(record.issuer_id)
        if record_issuer is None or not names_equal(record_issuer.certificate.subject_der, requested.issuer_der):
            raise unknown
        return record.der

    async def _get_crl(self, opened: _Opened, keys: MessageKeys) -> tuple[Content, str]:
        """Return the CertRep with the newest CRL of the requested issuer, whose serial number need not exist."""
        issuer = await self._issuer_of(opened.issuer, issuer_and_serial_in(opened.content))
        crl = self._publisher.published(issuer)
        answer = await self._crl_replies.build(crl, opened.signer, opened.cipher, opened.reply, keys.signer)
        return answer, f"SUCCESS CRL {crl.number}"

    async def _issuer_of(self, preferred: IssuingCA, requested: IssuerAndSerial) -> IssuingCA:
        """Return the issuing CA of that name; among generations with the same name, the one that issued the serial."""
        candidates = [
            issuer
            for issuer in self._authority.issuers.all()
            if names_equal(issuer.certificate.subject_der, requested.issuer_der)
        ]
        if not candidates:
            raise NotFound("the CRL of another issuer is not here")
        if len(candidates) > 1 and 0 < requested.serial < SERIAL_END:
            try:
                record = await self._certificates.certificate_by_serial(requested.serial)
            except UnknownSerial:
                pass
            else:
                candidates = [issuer for issuer in candidates if issuer.id == record.issuer_id] or candidates
        return preferred if preferred in candidates else candidates[0]


def _require_rsa(signer: CertificateIdentity) -> None:
    """Require that the CertRep can be encrypted for the signer, before anything is issued.

    :raises UnsupportedAlgorithm: when it can't.
    """
    key = signer.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _MIN_RSA_BITS:
        raise UnsupportedAlgorithm("answers can be encrypted for RSA keys of 1024 bits or more only")


def _log(
    name: str, message: PKIMessage, signer: CertificateIdentity | None, outcome: str, error: PikachuError | None
) -> None:
    """Log one line per message, without its challenge password or other content of the CSR."""
    write = log.warn if isinstance(error, Unavailable) else log.info
    if error is not None and not isinstance(error, RequestError | Unavailable):
        write = log.error
    write(
        "SCEP {name} {transaction} of {signer}: {outcome}",
        name=name,
        transaction=ascii(message.transaction_id.decode("latin-1"))[1:-1],
        signer="-" if signer is None else hashlib.sha256(signer.certificate).hexdigest(),
        outcome=outcome,
        context={} if error is None else error.context,
    )
