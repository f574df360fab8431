"""Certificate downloads of the pages and REST (CRT-3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.cms.signed import degenerate
from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import CertificateRecord, format_serial
from pikachu.x509.pem import certificates_pem


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """Content, media type and name of a file."""

    body: bytes
    content_type: bytes
    name: str


_FORMATS: Final[dict[str, tuple[bytes, str, Callable[[list[bytes]], bytes]]]] = {
    "pem": (b"application/x-pem-file", ".pem", lambda chain: certificates_pem(chain[:1]).encode()),
    "der": (b"application/pkix-cert", ".cer", lambda chain: chain[0]),
    "p7b": (b"application/x-pkcs7-certificates", ".p7b", degenerate),
    "chain": (b"application/pem-certificate-chain", "-chain.pem", lambda chain: certificates_pem(chain).encode()),
}
#: Name of a format → media type.
CERTIFICATE_FORMATS: Final = {name: media_type.decode() for name, (media_type, _, _) in _FORMATS.items()}


_NAME_LENGTH: Final = 64
_SERIAL_DIGITS: Final = 8


def certificate_filename(record: CertificateRecord) -> str:
    """Return the name of a certificate's files without an extension: its name, and the beginning of its serial number.

    It has only characters that every system accepts (RFC 6266), such as ``device.example.com-5cdf506c``.
    """
    serial = format_serial(record.serial)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", record.name).strip("._-")[:_NAME_LENGTH]
    return serial if not name or record.name == serial else f"{name}-{serial[:_SERIAL_DIGITS]}"


def certificate_file(record: CertificateRecord, parents: Sequence[bytes], kind: str) -> CertificateFile:
    """Encode the certificate in a format; ``p7b`` and ``chain`` contain end entity, issuing CA and root.

    :param parents: DER, from the issuing CA to the root.
    :raises MalformedRequest: the format is unknown.
    """
    if kind not in _FORMATS:
        raise MalformedRequest(f"“format” must be one of {', '.join(_FORMATS)}.")
    content_type, suffix, encode = _FORMATS[kind]
    return CertificateFile(encode([record.der, *parents]), content_type, certificate_filename(record) + suffix)
