"""Names of files that are not read here, and how to convert them."""

from __future__ import annotations

from typing import Final

from pikachu.x509.pem_blocks import labels_in

_KEYSTORE: Final = (
    "a Java keystore of the old form; convert it by "
    "keytool -importkeystore -srckeystore FILE -destkeystore NEW -deststoretype pkcs12"
)
_LABELS: Final = {
    "OPENSSH PRIVATE KEY": "an OpenSSH private key; convert a copy by ssh-keygen -p -m PKCS8 -f FILE",
    "PGP PUBLIC KEY BLOCK": "an OpenPGP key, which is no X.509 object",
    "PGP PRIVATE KEY BLOCK": "an OpenPGP key, which is no X.509 object",
    "PGP MESSAGE": "an OpenPGP message, which is no X.509 object",
    "SSH2 PUBLIC KEY": "an SSH public key; convert it by ssh-keygen -e -m PKCS8 -f FILE",
}
_BEGINNINGS: Final = {
    b"\xfe\xed\xfe\xed": _KEYSTORE,
    b"\xce\xce\xce\xce": _KEYSTORE,
    b"\x1e\xf1\xb5\xb0": "a Microsoft PVK file; convert it by openssl rsa -inform PVK -in FILE",
    b"\x07\x02\x00\x00": "a Microsoft key BLOB; convert it by openssl rsa -inform MSBLOB -in FILE",
    b"PuTTY-User-Key-File": "a PuTTY key; convert it by puttygen FILE -O private-openssh-new, then by ssh-keygen",
    b"ssh-": "an SSH public key; convert it by ssh-keygen -e -m PKCS8 -f FILE",
}


def is_foreign(label: str) -> bool:
    """Return whether a PEM label is that of an object that is not read here."""
    return label in _LABELS


def foreign_name(data: bytes) -> str | None:
    """Return what *data* is, with a way to convert it, or ``None`` when it is not known."""
    for beginning, name in _BEGINNINGS.items():
        if data.startswith(beginning):
            return name
    return next((_LABELS[label] for label in labels_in(data) if label in _LABELS), None)
