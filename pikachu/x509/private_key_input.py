"""Recognition of private keys that were sent by mistake, so that they are named as such and never shown again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.pem_blocks import decode_base64, decode_text, labels_in

# PKCS#1, SEC 1, PKCS#8, OpenSSH, OpenPGP; the END line may be cut off.
_BLOCK: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----|\Z)", re.DOTALL
)
# Under PKCS#8 (RFC 5958) or RFC 1421 encryption.
_ENCRYPTED_BLOCK: Final = re.compile(
    r"-----BEGIN ENCRYPTED PRIVATE KEY-----[^-]*-----END ENCRYPTED PRIVATE KEY-----"
    r"|-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----\s{1,4}Proc-Type: 4,ENCRYPTED\s"
    r"(?:(?!-----).)*-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----",
    re.DOTALL,
)
_BEGIN: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY|^PuTTY-User-Key-File-", re.MULTILINE)
# Base64 of a DER SEQUENCE begins with M; keys and PKCS#12 files of users are far smaller than this.
_MAXIMUM_BASE64: Final = 256 * 1024
# PBES1, PBES2 and the ciphers of PKCS#12 (RFC 8018, RFC 7292).
_ENCRYPTION: Final = ("1.2.840.113549.1.5.", "1.2.840.113549.1.12.1.")


def holds_private_key(data: bytes) -> bool:
    """Return whether *data* is or contains a private key or a PKCS#12 file: PEM, also cut off, DER, or base64 of it."""
    data = decode_text(data)
    if _BEGIN.search(data):
        return True
    if data[:1] != b"\x30":
        text = data[:_MAXIMUM_BASE64].strip()
        if not text.startswith(b"M"):
            return False
        try:
            data = decode_base64(text)
        except MalformedRequest:
            return False
    return _is_private_key(data)


def refuse_private_key(data: bytes, expected: str, labels: Sequence[str]) -> None:
    """Refuse a private key where something public is expected.

    :param expected: the name of the expected object, with its article.
    :param labels: PEM labels of the expected object; beside a block of these, a private key is passed over.
    :raises MalformedRequest: *data* is or contains a private key, and no such block.
    """
    if not any(label in labels for label in labels_in(data)) and holds_private_key(data):
        raise MalformedRequest(
            f"This is a private key, not {expected}. Never send it to anybody; if others could read it, replace it."
        )


def without_private_keys(text: str) -> str:
    """Return a text for a form that is shown again, without the private keys in it."""
    text = _BLOCK.sub("", text)
    return "" if holds_private_key(text.encode("utf-8", "replace")) else text


def without_unencrypted_keys(text: str) -> str:
    """Return a text for a form shown again: as it is if all private keys in it are encrypted, else without them."""
    rest = _ENCRYPTED_BLOCK.sub("", text)
    return text if without_private_keys(rest) == rest or _is_encrypted(rest) else without_private_keys(text)


def _is_encrypted(text: str) -> bool:
    """Return whether a text is base64 of an EncryptedPrivateKeyInfo or a PFX."""
    try:
        parts = der.parse(decode_base64(text[:_MAXIMUM_BASE64].encode("ascii", "replace").strip()), der.SEQUENCE).sub()
        tags = [part.tag for part in parts]
        is_pfx = tags[:2] == [der.INTEGER, der.SEQUENCE] and parts[0].integer() == 3 and tags[2:3] != [der.OCTET_STRING]
        return is_pfx or tags == [der.SEQUENCE, der.OCTET_STRING]
    except (MalformedRequest, IndexError):
        return False


def _is_private_key(data: bytes) -> bool:
    try:
        parts = der.parse(data, der.SEQUENCE).sub()
        tags = [part.tag for part in parts]
        # OneAsymmetricKey (RFC 5958), ECPrivateKey (RFC 5915), RSAPrivateKey (RFC 8017), PFX (RFC 7292)
        if tags[:3] == [der.INTEGER, der.SEQUENCE, der.OCTET_STRING] or tags[:2] == [der.INTEGER, der.OCTET_STRING]:
            return True
        if len(tags) >= 9 and set(tags[:9]) == {der.INTEGER}:
            return True
        if tags[:2] == [der.INTEGER, der.SEQUENCE] and parts[0].integer() == 3 and len(tags) in (2, 3):
            return True
        # EncryptedPrivateKeyInfo (RFC 5958)
        return tags == [der.SEQUENCE, der.OCTET_STRING] and parts[0].sub()[0].oid().startswith(_ENCRYPTION)
    except (MalformedRequest, IndexError):
        return False
