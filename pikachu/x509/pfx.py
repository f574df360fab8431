"""PKCS#12 (RFC 7292) reader with bounded cost: authenticated safe, MAC and bags, in DER or BER.

pyca/cryptography reads such files too, but does not limit the iteration count that a file demands.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pikachu.cms.ber import bounded, normalise
from pikachu.core.errors import MalformedRequest, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.key_encryption import (
    HMACS,
    PKCS12_MAC,
    decrypt_pkcs8,
    derive_key,
    pkcs12_derive,
    pkcs12_secrets,
)

DATA: Final = "1.2.840.113549.1.7.1"
ENCRYPTED_DATA: Final = "1.2.840.113549.1.7.6"
KEY_BAG: Final = "1.2.840.113549.1.12.10.1.1"
SHROUDED_KEY_BAG: Final = "1.2.840.113549.1.12.10.1.2"
CERTIFICATE_BAG: Final = "1.2.840.113549.1.12.10.1.3"
KEY_BAGS: Final = (KEY_BAG, SHROUDED_KEY_BAG)
_SAFE_CONTENTS_BAG: Final = "1.2.840.113549.1.12.10.1.6"
FRIENDLY_NAME: Final = "1.2.840.113549.1.9.20"
LOCAL_KEY_ID: Final = "1.2.840.113549.1.9.21"
_X509_CERTIFICATE: Final = "1.2.840.113549.1.9.22.1"
_DIGESTS: Final = {
    "1.2.840.113549.2.5": "md5",
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.5": "sha512_224",
    "2.16.840.1.101.3.4.2.6": "sha512_256",
}
# PBMAC1 (RFC 9579).
_PBMAC1: Final = "1.2.840.113549.1.5.14"
_MAXIMUM_NESTING: Final = 4
_MAXIMUM_CONTENTS: Final = 8
_MAXIMUM_BAGS: Final = 64
_MAXIMUM_MAC_KEY: Final = 64
WRONG_PASSPHRASE: Final = "the passphrase does not open the PKCS#12 file"  # noqa: S105 - a message
_MALFORMED_MAC: Final = "the MAC of the PKCS#12 file is malformed"
_MALFORMED_BAG: Final = "a bag of the PKCS#12 file is malformed"


@dataclass(frozen=True, slots=True)
class Bag:
    """A SafeBag.

    :ivar value: the DER bagValue; for a certificate bag the certificate itself.
    :ivar friendly_name: the attribute, unescaped, or ``""``.
    """

    oid: str
    value: bytes = field(repr=False)
    friendly_name: str
    local_key_id: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """One ContentInfo of the AuthenticatedSafe.

    :ivar encryption: the AlgorithmIdentifier, or ``None`` when not encrypted.
    :ivar data: the SafeContents, still encrypted if *encryption* is set.
    """

    oid: str
    encryption: der.Element | None
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MAC:
    """The MacData that protects the integrity of the file."""

    algorithm: der.Element
    digest: bytes
    salt: bytes
    iterations: int


@dataclass(frozen=True, slots=True)
class File:
    """A PFX."""

    mac: MAC | None
    signed: bytes = field(repr=False)
    contents: tuple[Content, ...]


def read_file(data: bytes) -> File:
    """Parse a PFX in DER or BER without decrypting anything.

    :raises MalformedRequest: *data* is not a PFX.
    :raises UnsupportedAlgorithm: a signature protects the integrity of the file.
    """
    parts = der.parse(normalise(data), der.SEQUENCE).sub()
    if not 2 <= len(parts) <= 3 or parts[0].integer() != 3:
        raise MalformedRequest("this is not a PKCS#12 file")
    oid, safe = _content_info(parts[1])
    if oid != DATA or safe is None:
        raise UnsupportedAlgorithm("a PKCS#12 file that is protected by a signature is not read here")
    signed = safe.expect(der.OCTET_STRING).content
    contents = der.parse(normalise(signed), der.SEQUENCE).sub()
    if len(contents) > _MAXIMUM_CONTENTS:
        raise MalformedRequest("the PKCS#12 file has too many parts")
    return File(
        _mac(parts[2]) if len(parts) == 3 else None, signed, tuple(_content(content_info) for content_info in contents)
    )


def _content_info(element: der.Element) -> tuple[str, der.Element | None]:
    parts = element.expect(der.SEQUENCE).sub()
    if not 1 <= len(parts) <= 2:
        raise MalformedRequest("this is not a PKCS#12 file")
    return parts[0].oid(), der.parse(parts[1].expect(0xA0).content) if len(parts) == 2 else None


def _mac(element: der.Element) -> MAC:
    parts = element.expect(der.SEQUENCE).sub()
    if not 2 <= len(parts) <= 3:
        raise MalformedRequest(_MALFORMED_MAC)
    information = parts[0].expect(der.SEQUENCE).sub()
    if len(information) != 2:
        raise MalformedRequest(_MALFORMED_MAC)
    iterations = parts[2].integer() if len(parts) == 3 else 1
    salt = parts[1].expect(der.OCTET_STRING).content
    return MAC(information[0], information[1].expect(der.OCTET_STRING).content, salt, iterations)


def _content(element: der.Element) -> Content:
    oid, inside = _content_info(element)
    if inside is None:
        return Content(oid, None, b"")
    if oid == DATA:
        return Content(oid, None, inside.expect(der.OCTET_STRING).content)
    if oid != ENCRYPTED_DATA:
        return Content(oid, None, b"")
    fields = inside.expect(der.SEQUENCE).sub()
    encrypted = fields[1].expect(der.SEQUENCE).sub() if len(fields) > 1 else []
    if len(encrypted) != 3:
        raise MalformedRequest("an encrypted part of the PKCS#12 file is malformed")
    content = encrypted[2].content
    if encrypted[2].tag == 0xA0:
        content = b"".join(piece.expect(der.OCTET_STRING).content for piece in encrypted[2].children())
    return Content(oid, encrypted[1].expect(der.SEQUENCE), content)


def check_passphrase(file: File, passphrase: str) -> bool:
    """Verify the MAC of the file with *passphrase*; return ``False`` when it has none or one of an unknown type.

    :raises MalformedRequest: the MAC does not verify.
    :raises UnsupportedAlgorithm: verifying would cost too much.
    """
    mac = file.mac
    if mac is None:
        return False
    secret = passphrase_bytes(passphrase)
    oid = _first_oid(mac.algorithm)
    keys: Iterable[bytes]
    if oid == _PBMAC1:
        digest, keys = _pbmac1(mac.algorithm, secret)
    elif oid in _DIGESTS:
        digest, keys = _DIGESTS[oid], _mac_keys(mac, _DIGESTS[oid], secret)
    else:
        return False
    for key in keys:
        if hmac.compare_digest(hmac.new(key, file.signed, digest).digest(), mac.digest):
            return True
    raise MalformedRequest(WRONG_PASSPHRASE)


def _mac_keys(mac: MAC, digest: str, passphrase: bytes) -> Iterator[bytes]:
    """Derive the MAC's key for each encoding of the passphrase (RFC 7292 appendix B.4)."""
    for secret in pkcs12_secrets(passphrase):
        yield pkcs12_derive(digest, secret, mac.salt, mac.iterations, PKCS12_MAC, len(mac.digest))


def _pbmac1(algorithm: der.Element, passphrase: bytes) -> tuple[str, list[bytes]]:
    """Return the hash and the only candidate key of PBMAC1 (RFC 9579); the file must give the key's length."""
    parameters = algorithm.sub()[-1].expect(der.SEQUENCE).sub(der.SEQUENCE)
    if len(parameters) != 2:
        raise MalformedRequest(_MALFORMED_MAC)
    derivation, scheme = parameters
    costs = [cost for part in derivation.children() if part.tag == der.SEQUENCE for cost in part.children()]
    numbers = [cost.integer() for cost in costs if cost.tag == der.INTEGER]
    if len(numbers) != 2 or not 1 <= numbers[1] <= _MAXIMUM_MAC_KEY:
        raise MalformedRequest(_MALFORMED_MAC)
    digest = HMACS.get(_first_oid(scheme))
    if digest is None:
        raise UnsupportedAlgorithm("the MAC of the PKCS#12 file is of a kind that is not accepted")
    return digest, [derive_key(derivation, passphrase, numbers[1])]


def open_content(content: Content, passphrase: str) -> tuple[Bag, ...]:
    """Return the bags of a ContentInfo, decrypted with *passphrase*.

    :raises MalformedRequest: the passphrase is wrong, or the bags are malformed.
    :raises UnsupportedAlgorithm: the encryption algorithm is not accepted.
    """
    if content.oid == DATA:
        return tuple(_bags(normalise(content.data)))
    if content.encryption is None:
        raise UnsupportedAlgorithm("a part of the PKCS#12 file is encrypted for a certificate")
    try:
        return tuple(_bags(decrypt_pkcs8(content.encryption, content.data, passphrase_bytes(passphrase))))
    except MalformedRequest:
        raise MalformedRequest(WRONG_PASSPHRASE) from None


def passphrase_bytes(passphrase: str) -> bytes:
    """Encode a passphrase in UTF-8; JSON may contain a lone surrogate, which then opens nothing."""
    return passphrase.encode("utf-8", "surrogatepass")


def _bags(contents: bytes) -> list[Bag]:
    """Return the bags of DER SafeContents, those inside others in their place."""
    bags: list[Bag] = []
    pending = [(element, 1) for element in reversed(bounded(der.parse(contents, der.SEQUENCE), _MAXIMUM_BAGS))]
    while pending:
        element, depth = pending.pop()
        bag = _bag(element)
        if bag.oid != _SAFE_CONTENTS_BAG:
            bags.append(bag)
            continue
        if depth == _MAXIMUM_NESTING:
            raise MalformedRequest("the bags of the PKCS#12 file are nested too deep")
        inner = bounded(der.parse(bag.value, der.SEQUENCE), _MAXIMUM_BAGS - len(bags) - len(pending))
        pending += [(child, depth + 1) for child in reversed(inner)]
    return bags


def _first_oid(element: der.Element) -> str:
    first = next(element.children(), None)
    if first is None:
        raise MalformedRequest(_MALFORMED_MAC)
    return first.oid()


def _bag(element: der.Element) -> Bag:
    parts = element.expect(der.SEQUENCE).sub()
    if not 2 <= len(parts) <= 3:
        raise MalformedRequest(_MALFORMED_BAG)
    oid = parts[0].oid()
    inside = der.parse(parts[1].expect(0xA0).content)
    value = inside.whole
    if oid == CERTIFICATE_BAG:
        cert_bag = inside.expect(der.SEQUENCE).sub()
        if len(cert_bag) != 2:
            raise MalformedRequest("a certificate's bag of the PKCS#12 file is malformed")
        if cert_bag[0].oid() == _X509_CERTIFICATE:
            value = der.parse(cert_bag[1].expect(0xA0).content, der.OCTET_STRING).content
    name, key_id = "", b""
    for attribute in parts[2].expect(der.SET).children() if len(parts) == 3 else ():
        pair = attribute.expect(der.SEQUENCE).sub()
        values = pair[1].expect(der.SET).sub() if len(pair) == 2 else []
        if values and pair[0].oid() == FRIENDLY_NAME:
            name = values[0].expect(der.BMP_STRING).content.decode("utf-16-be", "replace")
        elif values and pair[0].oid() == LOCAL_KEY_ID:
            key_id = values[0].content
    return Bag(oid, value, name, key_id)
