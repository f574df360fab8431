"""The part of a CSR that is signed (RFC 2986 section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from pikachu.x509 import der
from pikachu.x509.certificate import SUBJECT_ALTERNATIVE_NAME
from pikachu.x509.extension import Extension, encode_extensions
from pikachu.x509.request_attributes import EXTENSION_REQUEST
from pikachu.x509.san import GeneralName, encode_san


def request_info(
    subject_der: bytes,
    spki_der: bytes,
    extensions: Sequence[Extension] = (),
    attributes: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """Return the DER CertificationRequestInfo, which the subject's key signs.

    :param attributes: OIDs and DER values, without the extension request.
    :raises MalformedRequest: *spki_der* is malformed.
    """
    encoded = [der.sequence(der.oid(oid), der.set_of((value,))) for oid, value in attributes]
    if extensions:
        encoded.append(der.sequence(der.oid(EXTENSION_REQUEST), der.set_of((encode_extensions(extensions),))))
    return der.sequence(
        der.integer(0),
        subject_der,
        der.parse(spki_der, der.SEQUENCE).whole,
        der.explicit(0, b"".join(sorted(encoded))),
    )


def with_names(
    extensions: Sequence[Extension], subject_der: bytes, names: Sequence[GeneralName]
) -> tuple[Extension, ...]:
    """Return the extensions with other names in their subjectAltName, which is critical without a subject."""
    old = next((one for one in extensions if one.oid == SUBJECT_ALTERNATIVE_NAME), None)
    others = [one for one in extensions if one is not old]
    if not names:
        return tuple(others)
    is_empty = not der.parse(subject_der, der.SEQUENCE).sub()
    is_critical = is_empty or (old is not None and old.critical)
    new = Extension(SUBJECT_ALTERNATIVE_NAME, is_critical, encode_san(names))
    others.insert(len(others) if old is None else extensions.index(old), new)
    return tuple(others)


def request_for(subject_der: bytes, names: Sequence[GeneralName], spki_der: bytes) -> bytes:
    """Return the CertificationRequestInfo for a subject and its subjectAltName, which is critical without a subject."""
    return request_info(subject_der, spki_der, with_names((), subject_der, names))
