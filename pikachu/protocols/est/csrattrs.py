"""CSR attributes (RFC 7030 section 4.5.2, RFC 9908): what a client is told to put into its request.

Written are the forms of RFC 9908: the key type as an attribute with its curve or size, the signature algorithm
as a bare OID, and whole extensions in one extensionRequest.  The older forms are read as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import BadCSR, MalformedRequest, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.csr import CHALLENGE_PASSWORD, EXTENSION_REQUEST, CertificationRequest
from pikachu.x509.extension import Extension, encode_extensions
from pikachu.x509.signature import algorithm_for_key_type
from pikachu.x509.spki import CURVE_OIDS, EC_PUBLIC_KEY, RSA_ENCRYPTION, KeyDescription

REQUEST_TEMPLATE: Final = "1.2.840.113549.1.9.16.2.61"
EXTENSION_TEMPLATE: Final = "1.2.840.113549.1.9.16.2.62"
# libest reads at most 1024 characters of base64.
LIBEST_LIMIT: Final = 768

_MAXIMUM_ITEMS: Final = 64
_EXTENSION_NAMES: Final = {
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.37": "extendedKeyUsage",
}


@dataclass(frozen=True, slots=True)
class CSRAttribute:
    """One element of CsrAttrs.

    :ivar values: DER values, in DER order; none for a bare OID.
    """

    oid: str
    values: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Its DER."""
        bare = der.oid(self.oid)
        return der.sequence(bare, der.set_of(self.values)) if self.values else bare


def encode_csrattrs(attributes: tuple[CSRAttribute, ...]) -> bytes:
    """DER CsrAttrs."""
    return der.sequence(*(attribute.encode() for attribute in attributes))


def parse_csrattrs(data: bytes) -> tuple[CSRAttribute, ...]:
    """The elements of DER CsrAttrs, old forms and new.

    :raises MalformedRequest: it is none, or has more than 64 elements.
    """
    found: list[CSRAttribute] = []
    for item in der.parse(data, der.SEQUENCE).children():
        if len(found) >= _MAXIMUM_ITEMS:
            raise MalformedRequest(f"there are more than {_MAXIMUM_ITEMS} CSR attributes")
        if item.tag == der.OBJECT_IDENTIFIER:
            found.append(CSRAttribute(item.oid()))
            continue
        parts = item.expect(der.SEQUENCE).sub()
        if len(parts) != 2:
            raise MalformedRequest("an attribute has a type and values")
        values = tuple(sorted(value.whole for value in parts[1].expect(der.SET).children()))
        if not values:
            raise MalformedRequest("an attribute has at least one value")
        found.append(CSRAttribute(parts[0].oid(), values))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class RequiredAttributes:
    """What a policy demands of an EST request.

    :ivar linked: the TLS channel binding as challengePassword (RFC 7030 section 3.5).
    :ivar key: a key type such as ``RSA/3072`` or ``EC/secp384r1``; ``None`` leaves the choice.
    :ivar extensions: extensions with the values that they must have.
    :ivar extension_types: OIDs of extensions whose values the client chooses, such as subjectAltName.
    :ivar subject_types: OIDs of subject attributes that must be there.
    """

    linked: bool = False
    key: str | None = None
    extensions: tuple[Extension, ...] = ()
    extension_types: tuple[str, ...] = ()
    subject_types: tuple[str, ...] = ()

    def attributes(self) -> tuple[CSRAttribute, ...]:
        """The CsrAttrs that say so; empty when nothing is demanded.

        What only a template can say (RFC 9908 section 3.4) is said by one, as long as libest can still read all.

        :raises UnsupportedAlgorithm: *key* is no key type.
        """
        found = []
        if self.linked:
            found.append(CSRAttribute(CHALLENGE_PASSWORD))
        if self.key is not None:
            found.extend(_key_attributes(self.key))
        if self.extensions:
            found.append(CSRAttribute(EXTENSION_REQUEST, (encode_extensions(self.extensions),)))
        if self.extension_types or self.subject_types:
            template = CSRAttribute(REQUEST_TEMPLATE, (self._template(),))
            if len(encode_csrattrs((*found, template))) <= LIBEST_LIMIT:
                found.append(template)
        return tuple(found)

    def _template(self) -> bytes:
        """CertificationRequestInfoTemplate: implicit tags, absent values are the client's to fill in."""
        parts = [der.integer(0)]
        if self.subject_types:
            parts.append(der.sequence(*(der.set_of((der.sequence(der.oid(oid)),)) for oid in self.subject_types)))
        if self.key is not None:
            parts.append(der.explicit(0, _key_algorithm(self.key)))
        templates = [
            der.sequence(
                der.oid(extension.oid),
                der.boolean(True) if extension.critical else b"",
                der.octet_string(extension.value),
            )
            for extension in self.extensions
        ]
        templates.extend(der.sequence(der.oid(oid)) for oid in self.extension_types)
        attributes = (
            [der.sequence(der.oid(EXTENSION_TEMPLATE), der.set_of((der.sequence(*templates),)))] if templates else []
        )
        parts.append(der.explicit(1, b"".join(attributes)))
        return der.sequence(*parts)

    def check(self, csr: CertificationRequest, key: KeyDescription) -> None:
        """Compare a request with the demands; the value of a challengePassword is checked elsewhere.

        :raises BadCSR: something is missing; the message names all of it.
        """
        missing = []
        if self.linked and csr.challenge_password is None:
            missing.append("challengePassword with the TLS channel binding")
        if self.key is not None and key.text != self.key:
            missing.append(f"a key of type {self.key}")
        for extension in self.extensions:
            found = csr.extension(extension.oid)
            if found is None or found.value != extension.value:
                missing.append(_extension_name(extension.oid))
        missing.extend(_extension_name(oid) for oid in self.extension_types if csr.extension(oid) is None)
        missing.extend(f"the subject attribute {oid}" for oid in self.subject_types if not csr.name.values(oid))
        if missing:
            raise BadCSR(f"the request lacks what is demanded: {', '.join(missing)}")


def requirable_key(keys: tuple[str, ...]) -> str | None:
    """The one type of key that is allowed, where there is just one and it says all: ``RSA`` alone says no size.

    :param keys: types such as ``RSA/3072``; empty allows all.
    """
    if len(keys) != 1:
        return None
    try:
        _key_attributes(keys[0])
    except UnsupportedAlgorithm:
        return None
    return keys[0]


def _extension_name(oid: str) -> str:
    return f"the extension {_EXTENSION_NAMES.get(oid, oid)}"


def _key_attributes(key_type: str) -> list[CSRAttribute]:
    """The key type, and the signature algorithm that goes with it where that is another OID."""
    signature = CSRAttribute(algorithm_for_key_type(key_type).oid)
    family, _, detail = key_type.partition("/")
    if family == "RSA" and detail.isdecimal():
        return [CSRAttribute(RSA_ENCRYPTION, (der.integer(int(detail)),)), signature]
    if detail in CURVE_OIDS:
        return [CSRAttribute(EC_PUBLIC_KEY, (der.oid(CURVE_OIDS[detail]),)), signature]
    if family == "RSA":
        raise UnsupportedAlgorithm("no such type of key", key_type=key_type)
    return [signature]


def _key_algorithm(key_type: str) -> bytes:
    """The AlgorithmIdentifier inside a SubjectPublicKeyInfoTemplate; an RSA size stands in the attribute beside it."""
    family, _, detail = key_type.partition("/")
    if detail in CURVE_OIDS:
        return der.sequence(der.oid(EC_PUBLIC_KEY), der.oid(CURVE_OIDS[detail]))
    if family == "RSA":
        return der.sequence(der.oid(RSA_ENCRYPTION), der.null())
    return algorithm_for_key_type(key_type).der
