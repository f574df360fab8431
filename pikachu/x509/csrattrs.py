"""CSR attributes (RFC 7030 section 4.5.2, RFC 9908): the attributes that a client must put into its CSR.

Encoding uses the forms of RFC 9908: the key type as an attribute with its curve or size, the signature algorithm as an
OID without values, and whole extensions in one extensionRequest.  Decoding accepts the older forms as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import BadCSR, UnsupportedAlgorithm
from pikachu.x509 import der
from pikachu.x509.csr import CHALLENGE_PASSWORD, EXTENSION_REQUEST, CertificationRequest
from pikachu.x509.extension import Extension, encode_extensions
from pikachu.x509.signature import algorithm_for_key_type
from pikachu.x509.spki import CURVE_OIDS, EC_PUBLIC_KEY, RSA_ENCRYPTION, KeyDescription

REQUEST_TEMPLATE: Final = "1.2.840.113549.1.9.16.2.61"
EXTENSION_TEMPLATE: Final = "1.2.840.113549.1.9.16.2.62"
# libest reads at most 1024 characters of base64.
LIBEST_LIMIT: Final = 768

_EXTENSION_NAMES: Final = {
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.37": "extendedKeyUsage",
}


@dataclass(frozen=True, slots=True)
class CSRAttribute:
    """One element of CsrAttrs.

    :ivar values: DER values, in DER order; empty for an OID without values.
    """

    oid: str
    values: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Return the DER encoding."""
        oid = der.oid(self.oid)
        return der.sequence(oid, der.set_of(self.values)) if self.values else oid


def encode_csrattrs(attributes: tuple[CSRAttribute, ...]) -> bytes:
    """Encode DER CsrAttrs."""
    return der.sequence(*(attribute.encode() for attribute in attributes))


@dataclass(frozen=True, slots=True)
class RequiredAttributes:
    """The attributes that a policy requires of an EST client's CSR.

    :ivar channel_binding: require the TLS channel binding as challengePassword (RFC 7030 section 3.5).
    :ivar key: a required key type such as ``RSA/3072`` or ``EC/secp384r1``; ``None`` allows any.
    :ivar extensions: required extensions with their values.
    :ivar extension_types: OIDs of required extensions whose values the client chooses, such as subjectAltName.
    :ivar subject_types: OIDs of required subject attributes.
    """

    channel_binding: bool = False
    key: str | None = None
    extensions: tuple[Extension, ...] = ()
    extension_types: tuple[str, ...] = ()
    subject_types: tuple[str, ...] = ()

    def attributes(self) -> tuple[CSRAttribute, ...]:
        """Return the CsrAttrs; empty when nothing is required.

        A template (RFC 9908 section 3.4) is included where only it can express a requirement, as long as the whole
        stays within the limit of libest.

        :raises UnsupportedAlgorithm: when *key* is not a key type.
        """
        attributes = []
        if self.channel_binding:
            attributes.append(CSRAttribute(CHALLENGE_PASSWORD))
        if self.key is not None:
            attributes.extend(_key_attributes(self.key))
        if self.extensions:
            attributes.append(CSRAttribute(EXTENSION_REQUEST, (encode_extensions(self.extensions),)))
        if self.extension_types or self.subject_types:
            template = CSRAttribute(REQUEST_TEMPLATE, (self._template(),))
            if len(encode_csrattrs((*attributes, template))) <= LIBEST_LIMIT:
                attributes.append(template)
        return tuple(attributes)

    def _template(self) -> bytes:
        """Encode a CertificationRequestInfoTemplate: implicit tags; the client fills in absent values."""
        fields = [der.integer(0)]
        if self.subject_types:
            fields.append(der.sequence(*(der.set_of((der.sequence(der.oid(oid)),)) for oid in self.subject_types)))
        if self.key is not None:
            fields.append(der.explicit(0, _key_algorithm(self.key)))
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
        fields.append(der.explicit(1, b"".join(attributes)))
        return der.sequence(*fields)

    def check(self, csr: CertificationRequest, key: KeyDescription) -> None:
        """Check that a CSR has the required attributes; the value of a challengePassword is verified elsewhere.

        :raises BadCSR: when attributes are missing; the message names all of them.
        """
        missing = []
        if self.channel_binding and csr.challenge_password is None:
            missing.append("challengePassword with the TLS channel binding")
        if self.key is not None and key.text != self.key:
            missing.append(f"a key of type {self.key}")
        for extension in self.extensions:
            requested = csr.extension(extension.oid)
            if requested is None or requested.value != extension.value:
                missing.append(_extension_name(extension.oid))
        missing.extend(_extension_name(oid) for oid in self.extension_types if csr.extension(oid) is None)
        missing.extend(f"the subject attribute {oid}" for oid in self.subject_types if not csr.name.values(oid))
        if missing:
            raise BadCSR(f"the request lacks what is demanded: {', '.join(missing)}")


def requirable_key(keys: tuple[str, ...]) -> str | None:
    """Return the only allowed key type if it is complete, else None: ``RSA`` alone has no size.

    :param keys: key types such as ``RSA/3072``; empty allows all.
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
    """Return the attributes for a key type, and for its signature algorithm where that is a different OID."""
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
    """Return the AlgorithmIdentifier of a SubjectPublicKeyInfoTemplate; the RSA size is in a separate attribute."""
    family, _, detail = key_type.partition("/")
    if detail in CURVE_OIDS:
        return der.sequence(der.oid(EC_PUBLIC_KEY), der.oid(CURVE_OIDS[detail]))
    if family == "RSA":
        return der.sequence(der.oid(RSA_ENCRYPTION), der.null())
    return algorithm_for_key_type(key_type).der
