"""Certificates as objects of the libraries, for PKCS#12 files and TLS."""

from __future__ import annotations

from cryptography import x509
from OpenSSL import crypto

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.loading.public_keys import MESSAGES, RSABounds, read_public_key


def check_certificate_key(certificate: bytes, bounds: RSABounds = MESSAGES) -> None:
    """Check only the key of a DER certificate, before a library computes with it.

    :raises MalformedRequest: *certificate* is malformed.
    :raises BadPublicKey: the type or the size of its key is not accepted.
    """
    outer = der.parse(certificate, der.SEQUENCE).sub()
    fields = outer[0].expect(der.SEQUENCE).sub() if len(outer) == 3 else []
    if fields and fields[0].tag == 0xA0:
        del fields[0]
    if len(fields) < 6:
        raise MalformedRequest("this is not a certificate")
    read_public_key(fields[5].whole, bounds)


def load_certificate(certificate: bytes) -> x509.Certificate:
    """Return pyca/cryptography's object for a DER certificate.

    :raises MalformedRequest: *certificate* is malformed.
    :raises BadPublicKey: the type or the size of its key is not accepted.
    """
    check_certificate_key(certificate)
    return x509.load_der_x509_certificate(certificate)


def load_tls_certificate(certificate: bytes) -> crypto.X509:
    """Return OpenSSL's object for a DER certificate; errors as :func:`load_certificate`."""
    check_certificate_key(certificate)
    return crypto.load_certificate(crypto.FILETYPE_ASN1, certificate)
