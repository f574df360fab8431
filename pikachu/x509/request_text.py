"""Display form of a CSR, without its secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import PikachuError
from pikachu.x509 import der
from pikachu.x509.csr import CHALLENGE_PASSWORD, EXTENSION_REQUEST, MICROSOFT_EXTENSIONS, CertificationRequest
from pikachu.x509.extension_text import extension_text, object_name
from pikachu.x509.names import Name
from pikachu.x509.signature import parse_algorithm, without_null
from pikachu.x509.spki import describe_spki
from pikachu.x509.text.descriptions import value_text

HIDDEN: Final = "(not shown)"
_EXTENSIONS: Final = (EXTENSION_REQUEST, MICROSOFT_EXTENSIONS)


@dataclass(frozen=True, slots=True)
class RequestedExtension:
    """A requested extension.

    :param name: its name, or the OID when unknown.
    """

    oid: str
    name: str
    critical: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestAttribute:
    """An attribute other than the extensions.

    :param values: texts; a challenge password is hidden.
    """

    oid: str
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RequestView:
    """The display form of a CSR.

    :param subject: RFC 4514.
    :param parts: the attributes of the subject in the order of the encoding: ``("CN", "device.example.com")``.
    :param key: ``RSA/2048`` …; ``"unknown"`` when the key is not accepted.
    :param signature: the signature algorithm.
    """

    subject: str
    parts: tuple[tuple[str, str], ...]
    key: str
    signature: str
    attributes: tuple[RequestAttribute, ...]
    extensions: tuple[RequestedExtension, ...]


def view_request(csr: CertificationRequest) -> RequestView:
    """Return the display form of *csr*, without checking it."""
    return RequestView(
        subject=csr.subject,
        parts=_parts(csr.name),
        key=_key(csr.spki_der),
        signature=_signature(csr.signature_algorithm_der),
        attributes=tuple(_attribute(oid, values) for oid, values in csr.attributes if oid not in _EXTENSIONS),
        extensions=tuple(
            RequestedExtension(extension.oid, object_name(extension.oid), extension.critical, extension_text(extension))
            for extension in csr.extensions
        ),
    )


def _parts(name: Name) -> tuple[tuple[str, str], ...]:
    pairs = []
    for rdn in name.rdns:
        for attribute in rdn:
            kind, _, value = attribute.text.partition("=")
            pairs.append((kind, value))
    return tuple(pairs)


def _key(spki: bytes) -> str:
    try:
        return describe_spki(spki).text
    except PikachuError:
        return "unknown"


def _signature(algorithm: bytes) -> str:
    try:
        return parse_algorithm(without_null(algorithm)).text
    except PikachuError:
        return "unknown"


def _attribute(oid: str, values: tuple[bytes, ...]) -> RequestAttribute:
    shown = (HIDDEN,) if oid == CHALLENGE_PASSWORD else tuple(value_text(der.parse(value)) for value in values)
    return RequestAttribute(oid, object_name(oid), shown)
