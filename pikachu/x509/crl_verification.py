"""CRLs from elsewhere: reading PEM and DER, and verification of the signature."""

from __future__ import annotations

from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509.certificate import Certificate, names_match
from pikachu.x509.crl import CRLSummary, parse_crl_summary
from pikachu.x509.pem_blocks import blocks, decode_text
from pikachu.x509.private_key_input import refuse_private_key
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import describe_spki

_PEM_LABEL: Final = "X509 CRL"


def decode_crl(data: bytes) -> bytes:
    """Return the DER of a CRL in PEM or DER.

    :raises MalformedRequest: when the data is neither, or contains more than one CRL.
    """
    data = decode_text(data)
    refuse_private_key(data, "a CRL", (_PEM_LABEL,))
    if data[:1] == b"\x30":
        return data
    pem_blocks = blocks(data, (_PEM_LABEL,))
    if len(pem_blocks) != 1:
        raise MalformedRequest("This is not one CRL in PEM, which begins with -----BEGIN X509 CRL-----, or in DER.")
    return pem_blocks[0].der()


def check_signed(data: bytes, issuer: Certificate) -> CRLSummary:
    """Return the fields of a DER CRL after verifying that *issuer* signed it.

    :raises MalformedRequest: when it is not a CRL, or another CA's.
    :raises PikachuError: when the signature does not verify.
    """
    summary = parse_crl_summary(data)
    if not names_match(summary.issuer_der, issuer.subject_der):
        raise MalformedRequest("this is another CA's CRL")
    key = describe_spki(issuer.spki_der)
    verify_signature(key, summary.algorithm, summary.signature, bytes(summary.tbs), failure=MalformedRequest)
    return summary


def decode_crls(data: bytes) -> list[bytes]:
    """Return the DER of each CRL in a PEM file, or of the one in DER; empty when there is none.

    :raises MalformedRequest: when a PEM block is damaged.
    """
    data = decode_text(data)
    if data[:1] == b"\x30":
        return [data]
    return [block.der() for block in blocks(data, (_PEM_LABEL,))]
