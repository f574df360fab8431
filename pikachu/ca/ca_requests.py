"""PKCS#10 requests for the CA's own keys, to be signed by a CA elsewhere (RFC 2986)."""

from __future__ import annotations

from collections.abc import Sequence

from pikachu.signers.key import sign_now
from pikachu.x509 import der
from pikachu.x509.certificate import (
    BASIC_CONSTRAINTS,
    CRL_SIGN,
    DIGITAL_SIGNATURE,
    EXTENDED_KEY_USAGE,
    KEY_CERT_SIGN,
    KEY_USAGE,
    OCSP_SIGNING,
    assemble,
)
from pikachu.x509.csr import EXTENSION_REQUEST
from pikachu.x509.extension import Extension, encode_extensions
from pikachu.x509.keys import PrivateKey, describe_private_key
from pikachu.x509.profile import OCSP_NO_CHECK
from pikachu.x509.signature import signature_algorithm


def ca_request(key: PrivateKey, subject_der: bytes) -> bytes:
    """Return the DER request of an issuing CA, for basicConstraints (pathlen 0) and keyUsage."""
    return _request(
        key,
        subject_der,
        (
            Extension(BASIC_CONSTRAINTS, True, der.sequence(der.boolean(True), der.integer(0))),
            Extension(KEY_USAGE, True, der.named_bits((DIGITAL_SIGNATURE, KEY_CERT_SIGN, CRL_SIGN))),
        ),
    )


def responder_request(key: PrivateKey, subject_der: bytes) -> bytes:
    """Return the DER request of an OCSP responder (RFC 6960 section 4.2.2.2)."""
    return _request(
        key,
        subject_der,
        (
            Extension(KEY_USAGE, True, der.named_bits((DIGITAL_SIGNATURE,))),
            Extension(EXTENDED_KEY_USAGE, False, der.sequence(der.oid(OCSP_SIGNING))),
            Extension(OCSP_NO_CHECK, False, der.null()),
        ),
    )


def _request(key: PrivateKey, subject_der: bytes, extensions: Sequence[Extension]) -> bytes:
    described = describe_private_key(key)
    algorithm = signature_algorithm(described).der
    requested = encode_extensions(extensions)
    attributes = der.explicit(0, der.sequence(der.oid(EXTENSION_REQUEST), der.set_of([requested])))
    info = der.sequence(der.integer(0), subject_der, described.spki, attributes)
    return assemble(info, algorithm, sign_now(key, info))
