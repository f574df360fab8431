"""Messages that real clients sent (tests/vectors/scep)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pikachu.cms.algorithms import LEGACY, MODERN, AllowedAlgorithms, Cipher, Digest
from pikachu.cms.enveloped import open_envelope, recipient_for
from pikachu.cms.identity import identify
from pikachu.core.errors import UnsupportedAlgorithm
from pikachu.protocols.scep.messages import MessageType, csr_in, decode, issuer_and_subject_in
from pikachu.protocols.scep.query import Operation, parse_query
from tests.support.scep_client import as_ber

VECTORS = Path(__file__).parents[3] / "vectors" / "scep"
RECIPIENT = identify((VECTORS / "recipient.der").read_bytes())


def _key() -> rsa.RSAPrivateKey:
    key = load_pem_private_key((VECTORS / "recipient.key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


CASES = [
    ("scepclient-pkcsreq", LEGACY, MessageType.PKCS_REQ, Digest.SHA1, Cipher.DES),
    ("scepclient-renewal", LEGACY, MessageType.RENEWAL_REQ, Digest.SHA1, Cipher.DES),
    ("strongswan-pkcsreq", MODERN, MessageType.PKCS_REQ, Digest.SHA256, Cipher.AES128),
    ("strongswan-pkcsreq-pss", MODERN, MessageType.PKCS_REQ, Digest.SHA512, Cipher.AES128),
    ("strongswan-certpoll", MODERN, MessageType.CERT_POLL, Digest.SHA256, Cipher.AES128),
    ("strongswan-renewalreq", MODERN, MessageType.RENEWAL_REQ, Digest.SHA256, Cipher.AES128),
    ("certmonger-pkcsreq", MODERN, MessageType.PKCS_REQ, Digest.SHA256, Cipher.AES256),
    ("certmonger-rekey", MODERN, MessageType.PKCS_REQ, Digest.SHA256, Cipher.AES256),
]


@pytest.mark.parametrize("ber", [False, True])
@pytest.mark.parametrize(("name", "allowed", "kind", "digest", "cipher"), CASES)
def test_what_real_clients_send_is_read(
    name: str, allowed: AllowedAlgorithms, kind: MessageType, digest: Digest, cipher: Cipher, ber: bool
) -> None:
    """As captured, and turned into BER around it."""
    data = (VECTORS / f"{name}.der").read_bytes()
    if ber:
        data = as_ber(data, decode(data).signed.certificates)
    message = decode(data)
    assert message.check() is kind
    assert message.digest is digest
    signer = message.verify(allowed)
    assert signer.certificate in message.signed.certificates
    enveloped = message.envelope(allowed)
    assert enveloped.cipher is cipher
    recipient = recipient_for(enveloped, [RECIPIENT])
    assert recipient.oaep_hash is None
    content = open_envelope(enveloped, _key().decrypt(recipient.encrypted_key, padding.PKCS1v15()))
    if kind is MessageType.CERT_POLL:
        assert issuer_and_subject_in(content).issuer_der == RECIPIENT.subject_der
    else:
        assert csr_in(content)[:1] == b"\x30"


def test_scepclient_needs_the_legacy_switch() -> None:
    """SHA-1 and single DES whatever the capabilities say."""
    message = decode((VECTORS / "scepclient-pkcsreq.der").read_bytes())
    with pytest.raises(UnsupportedAlgorithm):
        message.verify(MODERN)
    with pytest.raises(UnsupportedAlgorithm):
        message.envelope(MODERN)


def test_the_message_that_certmonger_puts_into_a_url() -> None:
    """A GET of more than 3 KiB."""
    query = parse_query((VECTORS / "certmonger-get.uri").read_bytes())
    assert query.operation is Operation.PKI_OPERATION
    assert query.der() == (VECTORS / "certmonger-rekey.der").read_bytes()
