"""Private keys in files of other programs, with the certificates beside them: PEM, DER, Base64 or PKCS#12."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pikachu.cms.ber import normalise
from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.key_encryption import FILE_ITERATIONS, bounded_in_all
from pikachu.x509.keys import PrivateKey, describe_private_key, load_private_key
from pikachu.x509.pem_blocks import certificates_in, decode_base64, decode_text
from pikachu.x509.pfx import CERTIFICATE_BAG, KEY_BAGS, WRONG_PASSPHRASE, Bag, check_passphrase, open_content, read_file
from pikachu.x509.unsupported_files import foreign_name

_MAXIMUM_KEYS: Final = 16
_PASSPHRASE_NEEDED: Final = "the PKCS#12 file is encrypted: its passphrase is needed"  # noqa: S105 - a message
_NO_KEY: Final = "no private key found; PEM, DER or PKCS#12 is expected"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A private key and the DER certificates in its file, in their order."""

    private_key: PrivateKey = field(repr=False)
    certificates: tuple[bytes, ...]


def read_key_file(data: bytes, passphrase: str | None = None, alias: str = "") -> KeyFile:
    """Return the private key in a file; may take seconds, so call it in a worker pool.

    :param passphrase: ``None`` opens only what is not encrypted, or encrypted with the empty passphrase in PKCS#12.
    :param alias: the friendlyName of the key, for a PKCS#12 file with several keys.
    :raises MalformedRequest: no private key, several of them, or a wrong or missing passphrase.
    :raises UnsupportedAlgorithm: the encryption or the type of the key is not accepted.
    :raises BadPublicKey: the key is weak (see :func:`pikachu.x509.keys.describe_spki`).
    :raises TooLarge: *data* holds a private key of more than 32 KiB.
    """
    data = decode_text(data)
    with bounded_in_all(FILE_ITERATIONS):
        if data[:1] != b"\x30":
            if b"-----BEGIN " in data:
                return KeyFile(load_private_key(data, passphrase), tuple(certificates_in(data)))
            data = _decode_binary(data)
        if _is_pkcs12(data):
            return _read_pkcs12(data, passphrase, alias)
        return KeyFile(load_private_key(data, passphrase), ())


def _decode_binary(data: bytes) -> bytes:
    """Decode a file without PEM blocks, which is Base64 or nothing that is read here."""
    foreign = foreign_name(data)
    if foreign is not None:
        raise MalformedRequest(f"this is {foreign}")
    try:
        binary = decode_base64(data)
    except MalformedRequest:
        raise MalformedRequest(_NO_KEY) from None
    if binary[:1] != b"\x30":
        raise MalformedRequest(_NO_KEY)
    return binary


def _is_pkcs12(data: bytes) -> bool:
    """Return whether *data* has the outer structure of a PFX in DER or BER: version 3, authSafe, macData."""
    try:
        parts = der.parse(normalise(data), der.SEQUENCE).sub()
    except MalformedRequest:
        return False
    tags = [part.tag for part in parts]
    return tags in ([der.INTEGER, der.SEQUENCE], [der.INTEGER, der.SEQUENCE, der.SEQUENCE])


def _read_pkcs12(data: bytes, passphrase: str | None, alias: str) -> KeyFile:
    file = read_file(data)
    try:
        check_passphrase(file, passphrase or "")
        bags = [bag for content in file.contents for bag in open_content(content, passphrase or "")]
    except MalformedRequest as error:
        if passphrase is None and error.public == WRONG_PASSPHRASE:
            raise MalformedRequest(_PASSPHRASE_NEEDED) from None
        raise
    key_bags = [bag for bag in bags if bag.oid in KEY_BAGS]
    if not key_bags:
        raise MalformedRequest("the PKCS#12 file contains no private key")
    if alias:
        key_bags = _with_alias(key_bags, alias)
    if len(key_bags) > _MAXIMUM_KEYS:
        raise MalformedRequest(f"more than {_MAXIMUM_KEYS} private keys found; give the alias of one")
    loaded = [load_private_key(bag.value, passphrase or "") for bag in key_bags]
    keys = {describe_private_key(key).spki: key for key in loaded}
    if len(keys) > 1:
        raise MalformedRequest(
            f"{len(keys)} private keys found; give the alias of one, or keep one in the file: {_aliases(key_bags)}"
        )
    certificates = tuple(bag.value for bag in bags if bag.oid == CERTIFICATE_BAG)
    return KeyFile(next(iter(keys.values())), certificates)


def _with_alias(bags: list[Bag], alias: str) -> list[Bag]:
    """Return the bags with a friendlyName, which Java writes in lower case."""
    matching = [bag for bag in bags if bag.friendly_name.casefold() == alias.casefold()]
    if not matching:
        raise MalformedRequest(f"no private key in the PKCS#12 file has this alias; the aliases are {_aliases(bags)}")
    return matching


def _aliases(bags: list[Bag]) -> str:
    names = [bag.friendly_name if bag.friendly_name.isprintable() else "?" for bag in bags]
    return ", ".join(repr(name[:64]) if name else "one without a name" for name in names[:_MAXIMUM_KEYS])
