"""Decoding of a recognised object of any kind."""

from __future__ import annotations

from datetime import datetime

from pikachu.core.errors import MalformedRequest, RequestError, TooLarge, UnsupportedAlgorithm
from pikachu.inspection.recognition import cms, keys, ocsp, pkcs12, signed
from pikachu.inspection.recognition.kinds import Decoded, Kind, RecognisedObject


def decode(recognised: RecognisedObject, now: datetime, passphrase: str | None = None) -> Decoded:
    """Return the fields and the text of *recognised*.

    :param passphrase: decrypts a private key or a PKCS#12 file; ignored for other kinds.
    :raises MalformedRequest: the object is unreadable, or the passphrase is wrong.
    :raises UnsupportedAlgorithm: the object uses an unsupported algorithm, or decrypting it would cost too much.
    """
    try:
        return _decode(recognised, now, passphrase)
    except (MalformedRequest, TooLarge, UnsupportedAlgorithm):
        raise
    except RequestError as error:
        raise MalformedRequest(error.public) from error


def _decode(recognised: RecognisedObject, now: datetime, passphrase: str | None) -> Decoded:
    match recognised.kind:
        case Kind.CERTIFICATE:
            return signed.certificate(recognised.der, now)
        case Kind.CSR:
            return signed.request(recognised.der)
        case Kind.CRL:
            return signed.crl(recognised.der, now)
        case Kind.PKCS7:
            return cms.message(recognised.der)
        case Kind.PKCS12:
            return pkcs12.pkcs12(recognised.der, passphrase)
        case Kind.OCSP_REQUEST:
            return ocsp.request(recognised.der)
        case Kind.OCSP_RESPONSE:
            return ocsp.response(recognised.der)
        case Kind.PRIVATE_KEY:
            return keys.private_key(recognised.der, passphrase)
        case Kind.PUBLIC_KEY:
            return keys.public_key(recognised.der)
