"""A SCEP server on 127.0.0.1 that is only the codec and a key: for real clients, without the rest of the program."""

from __future__ import annotations

import secrets
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from pikachu.cms.algorithms import AllowedAlgorithms, Digest
from pikachu.cms.enveloped import open_envelope, recipient_for
from pikachu.cms.identity import identify
from pikachu.cms.signed import Unsigned
from pikachu.core.errors import PikachuError, UnsupportedAlgorithm
from pikachu.protocols.scep.messages import FailInfo, MessageType, PKIMessage, Reply, csr_in, decode
from pikachu.protocols.scep.query import Operation, capabilities, parse_query
from tests.support.signature_algorithms import rsa_signature_algorithm

ALGORITHM = rsa_signature_algorithm(Digest.SHA256)


def throw_away_ca(key: rsa.RSAPrivateKey) -> bytes:
    """A self-signed RSA authority, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Throw-away CA")])
    now = datetime.now(UTC).replace(microsecond=0)
    usage = x509.KeyUsage(True, False, True, False, False, True, True, False, False)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


class LoopbackSCEPServer:
    """Answers enrollments at once, after *pending* polls; keeps what it received in ``received`` and ``uris``."""

    def __init__(
        self,
        allowed: AllowedAlgorithms,
        *,
        pending: int = 0,
        authority: tuple[rsa.RSAPrivateKey, bytes] | None = None,
    ) -> None:
        if authority is None:
            key = rsa.generate_private_key(65537, 2048)
            authority = key, throw_away_ca(key)
        self.key, self.certificate = authority
        self.allowed = allowed
        self.pending = pending
        self.received: list[bytes] = []
        self.uris: list[bytes] = []
        self.errors: list[PikachuError] = []
        self._csrs: dict[bytes, bytes] = {}
        self._authority = x509.load_der_x509_certificate(self.certificate)
        server = self

        class Exchange(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self, b"")

            def do_POST(self) -> None:
                server.answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/scep"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))

    def __enter__(self) -> LoopbackSCEPServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, exchange: BaseHTTPRequestHandler, body: bytes) -> None:
        raw_uri = exchange.path.encode("latin-1")
        self.uris.append(raw_uri)
        query = parse_query(raw_uri)
        media_type, reply = "text/plain", capabilities(sha1_3des=Digest.SHA1 in self.allowed.digests)
        if query.operation is Operation.GET_CA_CERT:
            media_type, reply = "application/x-x509-ca-cert", self.certificate
        elif query.operation is Operation.PKI_OPERATION:
            media_type, reply = "application/x-pki-message", self.operate(body or query.der())
        exchange.send_response(200)
        exchange.send_header("Content-Type", media_type)
        exchange.send_header("Content-Length", str(len(reply)))
        exchange.end_headers()
        exchange.wfile.write(reply)

    def operate(self, data: bytes) -> bytes:
        """The CertRep for a pkiMessage."""
        self.received.append(data)
        message = decode(data)
        reply = Reply(
            message.transaction_id,
            message.sender_nonce,
            secrets.token_bytes(16),
            datetime.now(UTC),
            identify(self.certificate),
            ALGORITHM,
        )
        try:
            unsigned = self._operate(message, reply)
        except PikachuError as error:
            self.errors.append(error)
            unsupported = isinstance(error, UnsupportedAlgorithm)
            unsigned = reply.failure(FailInfo.BAD_ALG if unsupported else FailInfo.BAD_MESSAGE_CHECK, error.public)
        return unsigned.assemble(self.key.sign(unsigned.to_be_signed, padding.PKCS1v15(), hashes.SHA256()))

    def decrypt(self, data: bytes) -> bytes:
        """The content of the envelope in a pkiMessage."""
        enveloped = decode(data).envelope(self.allowed)
        recipient = recipient_for(enveloped, [identify(self.certificate)])
        assert recipient.oaep_hash is None
        return open_envelope(enveloped, self.key.decrypt(recipient.encrypted_key, padding.PKCS1v15()))

    def _operate(self, message: PKIMessage, reply: Reply) -> Unsigned:
        kind = message.check()
        signer = message.verify(self.allowed)
        cipher = message.envelope(self.allowed).cipher
        content = self.decrypt(self.received[-1])
        if kind in (MessageType.PKCS_REQ, MessageType.RENEWAL_REQ):
            self._csrs[message.transaction_id] = csr_in(content)
        if self.pending > 0:
            self.pending -= 1
            return reply.pending()
        issued = self._issue(self._csrs[message.transaction_id])
        return reply.success(signer, cipher, certificate=issued)

    def _issue(self, request: bytes) -> bytes:
        # The names only: pyca refuses attributes that are not sorted, as strongSwan sends them.
        from asn1crypto import csr as asn1_csr

        info = asn1_csr.CertificationRequest.load(request)["certification_request_info"]
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, str(info["subject"].native["common_name"]))]
            if list(info["subject"].native) == ["common_name"]
            else [
                x509.NameAttribute(x509.ObjectIdentifier(part["type"].dotted), str(part["value"].native))
                for relative in info["subject"].chosen
                for part in relative
            ]
        )
        now = datetime.now(UTC).replace(microsecond=0)
        public_key = serialization.load_der_public_key(info["subject_pk_info"].dump())
        assert isinstance(public_key, rsa.RSAPublicKey)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._authority.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
            .sign(self.key, hashes.SHA256())
            .public_bytes(serialization.Encoding.DER)
        )
