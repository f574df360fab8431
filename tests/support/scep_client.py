"""A little SCEP client for tests: it shares no code with the server's codec, and can misbehave on demand.

Requests are written tag by tag (so that any part can be wrong), answers are read with asn1crypto and verified
with pyca/cryptography.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.x509.oid import NameOID

RENEWAL_REQ: Final = 17
PKCS_REQ: Final = 19
CERT_POLL: Final = 20
GET_CERT: Final = 21
GET_CRL: Final = 22

VERISIGN: Final = "2.16.840.1.113733.1.9."
MESSAGE_TYPE: Final = VERISIGN + "2"
PKI_STATUS: Final = VERISIGN + "3"
FAIL_INFO: Final = VERISIGN + "4"
SENDER_NONCE: Final = VERISIGN + "5"
RECIPIENT_NONCE: Final = VERISIGN + "6"
TRANSACTION_ID: Final = VERISIGN + "7"
FAIL_INFO_TEXT: Final = "1.3.6.1.5.5.7.24.1"
CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
SIGNING_TIME: Final = "1.2.840.113549.1.9.5"
DATA: Final = "1.2.840.113549.1.7.1"
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"

DIGESTS: Final[dict[str, tuple[str, hashes.HashAlgorithm]]] = {
    "md5": ("1.2.840.113549.2.5", hashes.MD5()),
    "sha1": ("1.3.14.3.2.26", hashes.SHA1()),
    "sha224": ("2.16.840.1.101.3.4.2.4", hashes.SHA224()),
    "sha256": ("2.16.840.1.101.3.4.2.1", hashes.SHA256()),
    "sha384": ("2.16.840.1.101.3.4.2.2", hashes.SHA384()),
    "sha512": ("2.16.840.1.101.3.4.2.3", hashes.SHA512()),
}
#: name → (OID, bytes of a key, bytes of a block)
CIPHERS: Final = {
    "des": ("1.3.14.3.2.7", 8, 8),
    "des3": ("1.2.840.113549.3.7", 24, 8),
    "aes128": ("2.16.840.1.101.3.4.1.2", 16, 16),
    "aes192": ("2.16.840.1.101.3.4.1.22", 24, 16),
    "aes256": ("2.16.840.1.101.3.4.1.42", 32, 16),
}


def tlv(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    content = b"".join(parts)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


def oid(dotted: str) -> bytes:
    return bytes(core.ObjectIdentifier(dotted).dump())


def integer(value: int) -> bytes:
    return bytes(core.Integer(value).dump())


def printable(text: bytes | str) -> bytes:
    return tlv(0x13, text.encode() if isinstance(text, str) else text)


def octets(content: bytes) -> bytes:
    return tlv(0x04, content)


def algorithm(dotted: str, parameters: bytes = b"\x05\x00") -> bytes:
    return tlv(0x30, oid(dotted), parameters)


def attribute(dotted: str, *values: bytes) -> bytes:
    return tlv(0x30, oid(dotted), tlv(0x31, *values))


def split(data: bytes) -> tuple[int, bytes, bytes]:
    """(tag, content, rest) of the DER element at the beginning."""
    size, start = data[1], 2
    if size >= 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(data[2:start], "big")
    return data[0], data[start : start + size], data[start + size :]


def members(content: bytes) -> list[bytes]:
    """The DER elements inside."""
    found = []
    while content:
        rest = split(content)[2]
        found.append(content[: len(content) - len(rest)])
        content = rest
    return found


def as_ber(data: bytes, verbatim: Sequence[bytes] = (), piece: int = 16) -> bytes:
    """The same value with indefinite lengths, and OCTET STRINGs in pieces; elements in *verbatim* are kept.

    A primitive [0] is taken for the encryptedContent of an EnvelopedData.
    """
    tag, content, _rest = split(data)
    if data in verbatim:
        return data
    if tag in (0x04, 0x80) and len(content) > piece:
        pieces = [octets(content[at : at + piece]) for at in range(0, len(content), piece)]
        return bytes((tag | 0x20, 0x80)) + b"".join(pieces) + b"\0\0"
    if tag & 0x20:
        return bytes((tag, 0x80)) + b"".join(as_ber(one, verbatim, piece) for one in members(content)) + b"\0\0"
    return data


# --- keys, certificates, requests --------------------------------------------------------


@functools.cache
def rsa_key(slot: int = 0, size: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; making one is slow, so the same one again for the same *slot*."""
    return rsa.generate_private_key(65537, size)


def name(common_name: str) -> bytes:
    """A DER Name with one commonName."""
    return tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3"), tlv(0x0C, common_name.encode()))))


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def self_signed(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    common_name: str = "device",
    serial: int = 1,
    key_identifier: bytes | None = None,
) -> bytes:
    """A throw-away certificate, with any serial number."""
    sha256_rsa = algorithm("1.2.840.113549.1.1.11")
    sha256_ec = algorithm("1.2.840.10045.4.3.2", b"")
    signature_algorithm = sha256_rsa if isinstance(key, rsa.RSAPrivateKey) else sha256_ec
    extensions = b""
    if key_identifier is not None:
        extension = tlv(0x30, oid("2.5.29.14"), octets(octets(key_identifier)))
        extensions = tlv(0xA3, tlv(0x30, extension))
    tbs = tlv(
        0x30,
        tlv(0xA0, integer(2)),
        integer(serial),
        signature_algorithm,
        name(common_name),
        tlv(0x30, tlv(0x17, b"250101000000Z"), tlv(0x17, b"490101000000Z")),
        name(common_name),
        spki(key),
        extensions,
    )
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs, signature_algorithm, tlv(0x03, b"\0", signature))


def csr(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    common_name: str = "device",
    challenge: str | None = None,
    dns: Sequence[str] = (),
) -> bytes:
    """A DER certification request."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    )
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in dns]), False)
    if challenge is not None:
        builder = builder.add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def issuer_and_serial(certificate: bytes) -> bytes:
    """DER, copied from *certificate*."""
    fields = members(split(members(split(certificate)[1])[0])[1])
    if fields[0][0] == 0xA0:
        del fields[0]
    return tlv(0x30, fields[2], fields[0])


def subject(certificate: bytes) -> bytes:
    fields = members(split(members(split(certificate)[1])[0])[1])
    if fields[0][0] == 0xA0:
        del fields[0]
    return fields[4]


def issuer_and_subject(issuer: bytes, subject_name: bytes) -> bytes:
    """Encode the IssuerAndSubject of a CertPoll."""
    return tlv(0x30, issuer, subject_name)


# --- envelopes ---------------------------------------------------------------------------


def block_cipher(cipher: str, key: bytes) -> Any:
    if cipher == "des":
        return TripleDES(key * 3)
    return TripleDES(key) if cipher == "des3" else AES(key)


def encrypt(content: bytes, cipher: str, key: bytes, vector: bytes) -> bytes:
    block = CIPHERS[cipher][2]
    padder = PKCS7(block * 8).padder()
    encryptor = Cipher(block_cipher(cipher, key), modes.CBC(vector)).encryptor()
    return encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()


def oaep(digest: str) -> tuple[padding.AsymmetricPadding, bytes]:
    """RSAES-OAEP, and its AlgorithmIdentifier."""
    dotted, primitive = DIGESTS[digest]
    inner = algorithm(dotted)
    parameters = tlv(0x30, tlv(0xA0, inner), tlv(0xA1, algorithm("1.2.840.113549.1.1.8", inner)))
    identifier = algorithm("1.2.840.113549.1.1.7", parameters)
    return padding.OAEP(padding.MGF1(primitive), primitive, None), identifier


def envelope(
    content: bytes,
    recipient: bytes,
    cipher: str = "aes128",
    *,
    oaep_digest: str | None = None,
    key_identifier: bytes | None = None,
    constructed: bool = False,
    encrypted_key: bytes | None = None,
    content_key: bytes | None = None,
    ciphertext: bytes | None = None,
) -> bytes:
    """A ContentInfo with EnvelopedData; the last three replace what would be right.

    :param constructed: encryptedContent as a constructed [0] with one OCTET STRING, as scepclient sends it.
    """
    cipher_oid, key_size, block = CIPHERS[cipher]
    key = os.urandom(key_size) if content_key is None else content_key
    vector = os.urandom(block)
    scheme, key_algorithm = padding.PKCS1v15(), algorithm("1.2.840.113549.1.1.1")
    if oaep_digest is not None:
        scheme, key_algorithm = oaep(oaep_digest)  # type: ignore[assignment]
    public_key = x509.load_der_x509_certificate(recipient).public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    if encrypted_key is None:
        encrypted_key = public_key.encrypt(key, scheme)
    if ciphertext is None:
        ciphertext = encrypt(content, cipher, key, vector)
    rid = issuer_and_serial(recipient) if key_identifier is None else tlv(0x80, key_identifier)
    version = integer(0 if key_identifier is None else 2)
    transport = tlv(0x30, version, rid, key_algorithm, octets(encrypted_key))
    encrypted = tlv(0xA0, octets(ciphertext)) if constructed else tlv(0x80, ciphertext)
    body = tlv(
        0x30,
        version,
        tlv(0x31, transport),
        tlv(0x30, oid(DATA), algorithm(cipher_oid, octets(vector)), encrypted),
    )
    return tlv(0x30, oid(ENVELOPED_DATA), tlv(0xA0, body))


# --- requests ----------------------------------------------------------------------------


@dataclass(frozen=True)
class SCEPClient:
    """A client with its key and the certificate that it signs with; see :func:`new_client`."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    certificate: bytes
    recipient: bytes
    digest: str = "sha256"
    cipher: str = "aes128"

    def request(
        self,
        kind: int,
        content: bytes,
        *,
        transaction_id: bytes | str = b"transaction-1",
        sender_nonce: bytes = b"0123456789abcdef",
        **how: Any,
    ) -> bytes:
        """A pkiMessage of that type around *content*, signed and enveloped; *how* goes to :func:`signed`."""
        attributes = {
            TRANSACTION_ID: [printable(transaction_id)],
            MESSAGE_TYPE: [printable(str(kind))],
            SENDER_NONCE: [octets(sender_nonce)],
        }
        attributes.update(how.pop("attributes", {}))
        enveloped = how.pop("enveloped", None)
        if enveloped is None:
            enveloped = envelope(content, self.recipient, self.cipher)
        return signed(enveloped, self.key, self.certificate, attributes, digest=how.pop("digest", self.digest), **how)

    def pkcs_req(self, request: bytes | None = None, **how: Any) -> bytes:
        return self.request(PKCS_REQ, csr(self.key) if request is None else request, **how)

    def renewal_req(self, request: bytes | None = None, **how: Any) -> bytes:
        return self.request(RENEWAL_REQ, csr(self.key) if request is None else request, **how)

    def cert_poll(self, issuer: bytes, subject_name: bytes, **how: Any) -> bytes:
        return self.request(CERT_POLL, issuer_and_subject(issuer, subject_name), **how)

    def get_cert(self, issuer: bytes, serial: int, **how: Any) -> bytes:
        return self.request(GET_CERT, tlv(0x30, issuer, integer(serial)), **how)

    def get_crl(self, issuer: bytes, serial: int, **how: Any) -> bytes:
        return self.request(GET_CRL, tlv(0x30, issuer, integer(serial)), **how)

    def with_certificate(self, certificate: bytes) -> SCEPClient:
        """The same key with another certificate, for renewals."""
        return replace(self, certificate=certificate)

    def read(self, reply: bytes, signer: bytes) -> CertRep:
        """Decode the server's reply; fail unless it is signed by *signer* and meant for this client."""
        return read_reply(reply, signer, self.key if isinstance(self.key, rsa.RSAPrivateKey) else None)


def new_client(recipient: bytes, *, slot: int = 1, **how: Any) -> SCEPClient:
    """A client with an RSA-2048 key (that of *slot*) and a self-signed certificate."""
    key = rsa_key(slot)
    return SCEPClient(key, self_signed(key), recipient, **how)


def signed(
    content: bytes | None,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    certificate: bytes,
    attributes: Mapping[str, Sequence[bytes] | None],
    *,
    digest: str = "sha256",
    signature_oid: str | None = None,
    message_digest: bytes | None = None,
    content_type: str = DATA,
    extra: Sequence[bytes] = (),
    key_identifier: bytes | None = None,
    certificates: Sequence[bytes] | None = None,
    unsorted: bool = False,
    sign_as_sent: bool = False,
    flip: bool = False,
    signers: int = 1,
    signing_time: dt.datetime | None = None,
    pss: bool = False,
) -> bytes:
    """A ContentInfo with SignedData.

    :param attributes: dotted OID → values; ``None`` or no values leave one out.
    :param extra: further Attributes, as they are.
    :param unsorted: send the attributes in reverse order; *sign_as_sent*: and sign them in that order.
    :param flip: spoil one bit of the signature.
    """
    digest_oid, primitive = DIGESTS[digest]
    values: dict[str, Sequence[bytes] | None] = {
        CONTENT_TYPE: [oid(content_type)],
        MESSAGE_DIGEST: [octets(message_digest or hashlib.new(digest, content or b"").digest())],
    }
    if signing_time is not None:
        values[SIGNING_TIME] = [tlv(0x17, signing_time.strftime("%y%m%d%H%M%SZ").encode())]
    values.update(attributes)
    encoded = [attribute(dotted, *one) for dotted, one in values.items() if one] + list(extra)
    in_order = b"".join(sorted(encoded))
    sent = b"".join(sorted(encoded, reverse=True)) if unsorted else in_order
    to_be_signed = tlv(0x31, sent if sign_as_sent else in_order)
    if isinstance(key, rsa.RSAPrivateKey):
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        signature_algorithm = algorithm(signature_oid or "1.2.840.113549.1.1.1")
        if pss:
            inner = algorithm(digest_oid)
            mask = algorithm("1.2.840.113549.1.1.8", inner)
            parameters = tlv(0x30, tlv(0xA0, inner), tlv(0xA1, mask), tlv(0xA2, integer(32)))
            scheme = padding.PSS(padding.MGF1(primitive), 32)
            signature_algorithm = algorithm("1.2.840.113549.1.1.10", parameters)
        signature = key.sign(to_be_signed, scheme, primitive)
    else:
        signature = key.sign(to_be_signed, ec.ECDSA(primitive))
        signature_algorithm = algorithm(signature_oid or "1.2.840.10045.4.3.2", b"")
    if flip:
        signature = signature[:-1] + bytes((signature[-1] ^ 1,))
    sid = issuer_and_serial(certificate) if key_identifier is None else tlv(0x80, key_identifier)
    signer = tlv(
        0x30,
        integer(1 if key_identifier is None else 3),
        sid,
        algorithm(digest_oid),
        tlv(0xA0, sent),
        signature_algorithm,
        octets(signature),
    )
    body = tlv(
        0x30,
        integer(1),
        tlv(0x31, algorithm(digest_oid)),
        tlv(0x30, oid(content_type), b"" if content is None else tlv(0xA0, octets(content))),
        tlv(0xA0, *([certificate] if certificates is None else certificates)),
        tlv(0x31, *([signer] * signers)),
    )
    return tlv(0x30, oid(SIGNED_DATA), tlv(0xA0, body))


def joined(message: bytes, other: bytes) -> bytes:
    """The content of *message* with the certificates and signatures of both, in that order."""

    def parts(data: bytes) -> list[bytes]:
        (body,) = members(split(members(split(data)[1])[1])[1])
        return members(split(body)[1])

    *head, certificates, signers = parts(message)
    *_head, more_certificates, more_signers = parts(other)
    body = tlv(
        0x30,
        *head,
        tlv(0xA0, split(certificates)[1], split(more_certificates)[1]),
        tlv(0x31, split(signers)[1], split(more_signers)[1]),
    )
    return tlv(0x30, oid(SIGNED_DATA), tlv(0xA0, body))


# --- answers -----------------------------------------------------------------------------


@dataclass(frozen=True)
class CertRep:
    """An answer whose signature has been verified."""

    status: str
    transaction_id: str
    sender_nonce: bytes
    recipient_nonce: bytes | None
    fail_info: str | None = None
    fail_info_text: str | None = None
    signing_time: dt.datetime | None = None
    certificates: list[bytes] = field(default_factory=list)
    crls: list[bytes] = field(default_factory=list)
    cipher: str | None = None
    digest: str = ""


def open_envelope(data: bytes, key: rsa.RSAPrivateKey) -> tuple[str, bytes]:
    """(cipher, content) of an EnvelopedData ContentInfo for *key*."""
    info = cms.ContentInfo.load(data, strict=True)
    assert info["content_type"].native == "enveloped_data"
    enveloped = info["content"]
    assert enveloped["version"].native == "v0"
    (recipient,) = enveloped["recipient_infos"]
    content_key = key.decrypt(recipient.chosen["encrypted_key"].native, padding.PKCS1v15())
    encrypted = enveloped["encrypted_content_info"]
    dotted = encrypted["content_encryption_algorithm"]["algorithm"].dotted
    cipher = next(known for known, row in CIPHERS.items() if row[0] == dotted)
    vector = encrypted["content_encryption_algorithm"]["parameters"].native
    decryptor = Cipher(block_cipher(cipher, content_key), modes.CBC(vector)).decryptor()
    padded = decryptor.update(encrypted["encrypted_content"].native) + decryptor.finalize()
    unpadder = PKCS7(CIPHERS[cipher][2] * 8).unpadder()
    return cipher, unpadder.update(padded) + unpadder.finalize()


def verify_signed(data: bytes, signer: bytes) -> tuple[Any, dict[str, list[bytes]]]:
    """(asn1crypto's SignedData, signed attributes as dotted OID → DER values), verified with *signer*'s key."""
    info = cms.ContentInfo.load(data, strict=True)
    assert info["content_type"].native == "signed_data"
    signed_data = info["content"]
    (signer_info,) = signed_data["signer_infos"]
    assert signer_info["sid"].chosen.dump() == issuer_and_serial(signer)
    assert signer in [one.dump() for one in signed_data["certificates"]]
    raw = signer_info["signed_attrs"].dump()
    encoded = members(split(raw)[1])
    assert encoded == sorted(encoded), "signed attributes are not in DER order"
    digest = signer_info["digest_algorithm"]["algorithm"].native
    public_key = x509.load_der_x509_certificate(signer).public_key()
    signature = signer_info["signature"].native
    to_be_signed = b"\x31" + raw[1:]
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, to_be_signed, padding.PKCS1v15(), DIGESTS[digest][1])
    else:
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        public_key.verify(signature, to_be_signed, ec.ECDSA(DIGESTS[digest][1]))
    attributes: dict[str, list[bytes]] = {}
    for one in encoded:
        dotted, values = members(split(one)[1])
        key = core.ObjectIdentifier.load(dotted).dotted
        assert key not in attributes
        attributes[key] = members(split(values)[1])
    content = signed_data["encap_content_info"]["content"]
    # OpenSSL, and with it half of all clients, verifies no signature over content that is absent.
    assert not isinstance(content, core.Void), "the eContent is absent"
    assert attributes[MESSAGE_DIGEST] == [octets(hashlib.new(digest, bytes(content)).digest())]
    assert attributes[CONTENT_TYPE] == [oid(signed_data["encap_content_info"]["content_type"].dotted)]
    return signed_data, attributes


def _one(attributes: Mapping[str, Sequence[bytes]], dotted: str, tag: int) -> bytes | None:
    if dotted not in attributes:
        return None
    (value,) = attributes[dotted]
    found, content, rest = split(value)
    assert (found, rest) == (tag, b"")
    return content


def read_reply(reply: bytes, signer: bytes, key: rsa.RSAPrivateKey | None) -> CertRep:
    """Verify and open a CertRep, as strictly as the strictest client does."""
    signed_data, attributes = verify_signed(reply, signer)
    assert _one(attributes, MESSAGE_TYPE, 0x13) == b"3"
    transaction_id = _one(attributes, TRANSACTION_ID, 0x13)
    status = _one(attributes, PKI_STATUS, 0x13)
    sender_nonce = _one(attributes, SENDER_NONCE, 0x04)
    fail_info = _one(attributes, FAIL_INFO, 0x13)
    text = _one(attributes, FAIL_INFO_TEXT, 0x0C)
    assert transaction_id is not None
    assert status is not None
    assert sender_nonce is not None
    assert len(sender_nonce) == 16
    signing_time = core.UTCTime.load(attributes[SIGNING_TIME][0]).native
    content = bytes(signed_data["encap_content_info"]["content"])
    result = CertRep(
        status=status.decode(),
        transaction_id=transaction_id.decode("latin-1"),
        sender_nonce=sender_nonce,
        recipient_nonce=_one(attributes, RECIPIENT_NONCE, 0x04),
        fail_info=None if fail_info is None else fail_info.decode(),
        fail_info_text=None if text is None else text.decode(),
        signing_time=signing_time,
        digest=signed_data["signer_infos"][0]["digest_algorithm"]["algorithm"].native,
    )
    if status != b"0":
        assert content == b""
        assert (fail_info is not None) == (status == b"2")
        return result
    assert key is not None
    cipher, payload = open_envelope(content, key)
    certificates, crls = read_degenerate(payload)
    return replace(result, cipher=cipher, certificates=certificates, crls=crls)


def read_degenerate(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """(certificates, CRLs) of a certs-only or CRLs-only ContentInfo."""
    info = cms.ContentInfo.load(data, strict=True)
    assert info["content_type"].native == "signed_data"
    signed_data = info["content"]
    assert signed_data["version"].native == "v1"
    assert len(signed_data["signer_infos"]) == 0
    assert len(signed_data["digest_algorithms"]) == 0
    assert signed_data["encap_content_info"]["content_type"].native == "data"
    certificates = [] if isinstance(signed_data["certificates"], core.Void) else list(signed_data["certificates"])
    crls = [] if isinstance(signed_data["crls"], core.Void) else list(signed_data["crls"])
    return [bytes(one.dump()) for one in certificates], [bytes(one.dump()) for one in crls]


def as_query(message: bytes) -> bytes:
    """The ``message=`` value of a GET request, percent-encoded."""
    text = base64.b64encode(message)
    return text.replace(b"+", b"%2B").replace(b"/", b"%2F").replace(b"=", b"%3D")
