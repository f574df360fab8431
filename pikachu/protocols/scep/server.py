"""SCEP's operations (RFC 8894) without HTTP: messages in, messages out.

Everything whose transaction id can be read is answered with a signed CertRep; a FAILURE carries the failInfo of
:data:`FAIL_INFO`.  Two kinds of error leave :meth:`SCEPServer.operate` instead: what has no transaction id
(MalformedRequest), since there is nothing to echo, and Unavailable, since a FAILURE ends a transaction for good and
the client shall come again.  Each answer is made anew, with a nonce of its own, also for a message that comes twice.

Messages are opened so that a sender learns nothing about the content of one that is not his (see
:mod:`pikachu.cms.enveloped`).
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

from pikachu.ca.issuance import CertificateAuthority, IssuingCA
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
from pikachu.ra.authority import RegistrationAuthority
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.scep import SCEPEnrollment
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.x509.names import names_equal

log = Logger()

# The outlet's table (docs/errors.md): the nearest class of an error's ancestry counts.  There is no failInfo for
# "later" or "internal error", so a rate limit and a broken invariant are badRequest like every refusal.
FAIL_INFO: Final[dict[type[PikachuError], FailInfo]] = {
    UnsupportedAlgorithm: FailInfo.BAD_ALG,
    MessageCheckFailed: FailInfo.BAD_MESSAGE_CHECK,
    UnknownRecipient: FailInfo.BAD_CERT_ID,
    NotFound: FailInfo.BAD_CERT_ID,
    BadTime: FailInfo.BAD_TIME,
    RequestError: FailInfo.BAD_REQUEST,
    PikachuError: FailInfo.BAD_REQUEST,
}
_LEAST_RSA_BITS: Final = 1024


@dataclass(frozen=True, slots=True)
class SCEPSettings:
    """What the configuration says about messages.

    :param sha1_3des: SHA-1 and triple DES are accepted.
    :param legacy: MD5, single DES and requests (PKCS#10) signed with SHA-1 or MD5 as well.
    """

    sha1_3des: bool = False
    legacy: bool = False

    @property
    def allowed(self) -> AllowedAlgorithms:
        """The algorithms of messages."""
        return allowed_algorithms(sha1_3des=self.sha1_3des, legacy=self.legacy)


@dataclass(frozen=True, slots=True)
class CACertificates:
    """The body of GetCACert.

    :param degenerate: a PKCS#7 of the RA's certificate and the chain; else one DER certificate.
    """

    body: bytes
    degenerate: bool


@dataclass(frozen=True, slots=True)
class _Opened:
    """A message that was verified and decrypted; its signer is nobody yet."""

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
    """What ``/scep`` answers.

    :param files: the pool in which CRLs are read and wrapped.
    :param dump: keeps raw messages; ``None`` keeps none.
    """

    def __init__(
        self,
        registration: RegistrationAuthority,
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
        self._files = files
        self._settings = settings
        self._allowed = settings.allowed
        self._dump = dump

    async def prepare(self) -> None:
        """Make or renew the RA certificate of the unlabelled path, so that no client has to wait for it."""
        await self._keyring.current(await self._registration.scep_issuer(None))

    def generation_changed(self, issuer: IssuingCA) -> None:
        """Make the RA certificate of a generation that has become the current one, where SCEP needs one."""

        def failed(failure: Failure) -> None:
            log.error(
                "No SCEP RA certificate of {issuer} yet: {error}", issuer=issuer.name, error=failure.getErrorMessage()
            )

        Deferred.fromCoroutine(self.prepare()).addErrback(failed)

    # --- what anyone may read -----------------------------------------------------------

    async def capabilities(self, label: str | None) -> bytes:
        """The body of GetCACaps.  Fails with NotFound."""
        issuer = await self._registration.scep_issuer(label)
        coming = self._authority.issuers.next(issuer.name) is not None
        return capabilities(sha1_3des=self._settings.sha1_3des or self._settings.legacy, next_ca=coming)

    async def ca_certificates(self, label: str | None) -> CACertificates:
        """The body of GetCACert (RFC 8894 section 4.2).  Fails with NotFound, Unavailable."""
        issuer = await self._registration.scep_issuer(label)
        keys = await self._keyring.current(issuer)
        if not keys.is_ra:
            return CACertificates(issuer.certificate.der, False)
        return CACertificates(degenerate((keys.certificate.certificate, *issuer.chain)), True)

    async def next_ca_certificates(self, label: str | None) -> bytes:
        """The body of GetNextCACert (RFC 8894 section 4.7), signed by the current CA itself, never by an RA.

        Fails with NotFound when no next CA is announced.
        """
        issuer = await self._registration.scep_issuer(label)
        coming = self._authority.issuers.next(issuer.name)
        if coming is None:
            raise NotFound("no next CA certificate is announced")
        unsigned = next_ca_certificates(
            (coming.certificate.der,),
            signer=identify(issuer.certificate.der),
            algorithm=issuer.signer.algorithm,
            signing_time=self._authority.now(),
        )
        return unsigned.assemble(await issuer.signer.sign(unsigned.to_be_signed))

    # --- messages -----------------------------------------------------------------------

    async def operate(self, data: bytes, label: str | None, address: str) -> bytes:
        """The CertRep for a pkiMessage.

        Fails with MalformedRequest, NotFound for the label, and Unavailable.
        """
        answer: bytes | None = None
        transaction_id = b""
        try:
            message = decode(data)
            transaction_id = message.transaction_id
            answer = await self._answer(message, label, address)
        finally:
            if self._dump is not None:
                self._dump.keep(data, answer, transaction_id)
        return answer

    async def _answer(self, message: PKIMessage, label: str | None, address: str) -> bytes:
        issuer = await self._registration.scep_issuer(label)
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
            unsigned, told = await self._operate(opened)
        except Unavailable as error:
            _log(name, message, signer, f"503 {error.public}", error)
            raise
        except PikachuError as error:
            info = entry_of(error, FAIL_INFO)
            unsigned = self._reply(message, keys).failure(info, error.public)
            told = f"FAILURE {info.name}: {error.public}"
            _log(name, message, signer, told, error)
        else:
            _log(name, message, signer, told, None)
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
        """(the keys it was encrypted for, its cipher, its content).

        The client knows the certificate that it encrypted for, so those keys sign the answer as well.
        """
        enveloped = message.envelope(self._allowed)
        known = await self._keyring.recipients(issuer, current, self._authority.now())
        recipient = recipient_for(enveloped, [keys.certificate for keys in known])
        keys = next(one for one in known if one.certificate.certificate == recipient.certificate)
        key = await keys.decrypter.decrypt(recipient.encrypted_key, oaep_hash=recipient.oaep_hash)
        return keys, enveloped.cipher, open_envelope(enveloped, key)

    async def _operate(self, opened: _Opened) -> tuple[Unsigned, str]:
        """The answer that is to be signed, and what the log says of it."""
        if opened.kind is MessageType.GET_CRL:
            return await self._get_crl(opened, issuer_and_serial_in(opened.content))
        if opened.kind is MessageType.GET_CERT:
            certificate = await self._certificate(issuer_and_serial_in(opened.content))
            return self._success(opened, certificate)
        result = await self._enrollment(opened)
        if isinstance(result, Pending):
            return opened.reply.pending(), f"PENDING request {result.request_id}"
        return self._success(opened, result.record.der)

    def _enrollment(self, opened: _Opened) -> Awaitable[Issued | Pending]:
        signer = opened.signer
        if opened.kind is MessageType.CERT_POLL:
            # The names in it are the client's word; the transaction and the key that signs it are what counts.
            issuer_and_subject_in(opened.content)
            return self._registration.scep_poll(opened.message.transaction_id, signer.spki_der)
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
            return await self._registration.scep_enroll(enrollment)
        except NotFound as error:
            # A label that this requester may not use; badCertId would speak of a certificate.
            raise NotAuthorized(error.public, **error.context) from error

    @staticmethod
    def _success(opened: _Opened, certificate: bytes) -> tuple[Unsigned, str]:
        serial = f"{identify(certificate).serial:x}"
        return opened.reply.success(opened.signer, opened.cipher, certificate=certificate), f"SUCCESS {serial}"

    async def _certificate(self, asked: IssuerAndSerial) -> bytes:
        """The certificate of that issuer and serial number: issued here, or of an issuing CA itself.

        Fails with UnknownSerial.
        """
        issuers = self._authority.issuers.all()
        for issuer in issuers:
            own = issuer.certificate
            if own.serial == asked.serial and names_equal(own.issuer_der, asked.issuer_der):
                return own.der
        unknown = UnknownSerial("this authority has issued no certificate of that issuer and serial number")
        if not 0 < asked.serial < SERIAL_END:
            raise unknown
        record = await self._certificates.certificate_by_serial(asked.serial)
        by = self._authority.issuers.by_id(record.issuer_id)
        if by is None or not names_equal(by.certificate.subject_der, asked.issuer_der):
            raise unknown
        return record.der

    async def _get_crl(self, opened: _Opened, asked: IssuerAndSerial) -> tuple[Unsigned, str]:
        """The newest CRL of the issuer that is asked for; whether the serial number exists does not matter."""
        issuer = await self._issuer_of(opened.issuer, asked)
        published = self._publisher.published(issuer)

        def wrap() -> Unsigned:
            return opened.reply.success(opened.signer, opened.cipher, crl=published.der_path.read_bytes())

        return await self._files.run(wrap), f"SUCCESS CRL {published.number}"

    async def _issuer_of(self, preferred: IssuingCA, asked: IssuerAndSerial) -> IssuingCA:
        """The issuing CA of that name; of generations that share it, the one that issued the serial number."""
        found = [
            issuer
            for issuer in self._authority.issuers.all()
            if names_equal(issuer.certificate.subject_der, asked.issuer_der)
        ]
        if not found:
            raise NotFound("the CRL of another issuer is not here")
        if len(found) > 1 and 0 < asked.serial < SERIAL_END:
            try:
                record = await self._certificates.certificate_by_serial(asked.serial)
            except UnknownSerial:
                pass
            else:
                found = [issuer for issuer in found if issuer.id == record.issuer_id] or found
        return preferred if preferred in found else found[0]


def _require_rsa(signer: CertificateIdentity) -> None:
    """That an answer can be encrypted for the signer: found out before anything is issued.

    :raises UnsupportedAlgorithm: when it can't.
    """
    key = signer.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _LEAST_RSA_BITS:
        raise UnsupportedAlgorithm("answers can be encrypted for RSA keys of 1024 bits or more only")


def _log(
    name: str, message: PKIMessage, signer: CertificateIdentity | None, told: str, error: PikachuError | None
) -> None:
    """One line for each message: never its challenge password, nor what else the request holds."""
    write = log.warn if isinstance(error, Unavailable) else log.info
    if error is not None and not isinstance(error, RequestError | Unavailable):
        write = log.error
    write(
        "SCEP {name} {transaction} of {signer}: {told}",
        name=name,
        transaction=ascii(message.transaction_id.decode("latin-1"))[1:-1],
        signer="-" if signer is None else hashlib.sha256(signer.certificate).hexdigest(),
        told=told,
        context={} if error is None else error.context,
    )
