"""What an object says, whichever kind it is."""

from __future__ import annotations

from datetime import datetime

from pikachu.core.errors import MalformedRequest, RequestError, TooLarge, UnsupportedAlgorithm
from pikachu.inspection.recognition import cms, keys, ocsp, pkcs12, signed
from pikachu.inspection.recognition.kinds import Decoded, Found, Kind


def decode(found: Found, now: datetime, passphrase: str | None = None) -> Decoded:
    """The facts and the text of *found*.

    :param passphrase: of a private key or a PKCS#12 file; not looked at for others.
    :raises MalformedRequest: it can't be read, or the passphrase does not open it.
    :raises UnsupportedAlgorithm: it is made in a way that is not read here, or opening it would cost too much.
    """
    try:
        return _decode(found, now, passphrase)
    except (MalformedRequest, TooLarge, UnsupportedAlgorithm):
        raise
    except RequestError as error:
        raise MalformedRequest(error.public) from error


def _decode(found: Found, now: datetime, passphrase: str | None) -> Decoded:
    match found.kind:
        case Kind.CERTIFICATE:
            return signed.certificate(found.der, now)
        case Kind.CSR:
            return signed.request(found.der)
        case Kind.CRL:
            return signed.crl(found.der, now)
        case Kind.PKCS7:
            return cms.message(found.der)
        case Kind.PKCS12:
            return pkcs12.pkcs12(found.der, passphrase)
        case Kind.OCSP_REQUEST:
            return ocsp.request(found.der)
        case Kind.OCSP_RESPONSE:
            return ocsp.response(found.der)
        case Kind.PRIVATE_KEY:
            return keys.private_key(found.der, passphrase)
        case Kind.PUBLIC_KEY:
            return keys.public_key(found.der)
