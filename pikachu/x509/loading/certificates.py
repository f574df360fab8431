"""Certificates as objects of the libraries, for PKCS#12 files and TLS."""

from __future__ import annotations

import warnings

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
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

    :raises MalformedRequest: *certificate* is malformed, or has a form that the library does not read.
    :raises BadPublicKey: the type or the size of its key is not accepted.
    """
    check_certificate_key(certificate)
    try:
        with warnings.catch_warnings():
            # Forms that the library will refuse one day, such as serial numbers below 1.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_der_x509_certificate(certificate)
    except (ValueError, x509.InvalidVersion) as error:
        raise MalformedRequest("the certificate has a form that the cryptographic library does not read") from error


def load_tls_certificate(certificate: bytes, *, is_own: bool = False) -> crypto.X509:
    """Return OpenSSL's object for a DER certificate.

    :param is_own: whether it is this server's certificate or one above it, whose key needs no check.
    :raises MalformedRequest: *certificate* is malformed, or has a form that OpenSSL does not read.
    :raises BadPublicKey: the type or the size of its key is not accepted.
    """
    if not is_own:
        check_certificate_key(certificate)
    try:
        return crypto.load_certificate(crypto.FILETYPE_ASN1, certificate)
    except crypto.Error as error:
        details = error.args[0] if error.args else ()
        reason = str(details[0][-1]) if details else "unknown reason"
        raise MalformedRequest(f"OpenSSL does not read the certificate ({reason})") from error
