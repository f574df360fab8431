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

# Values of one attribute.
_MAXIMUM_VALUES: Final = 16
_ANY_RSA: Final = "RSA/"
_FAMILIES: Final = {
    "RSA": (_ANY_RSA,),
    "EC": tuple(f"EC/{curve}" for curve in CURVE_OIDS),
    "PQC": ("PQC/mldsa44", "PQC/mldsa65", "PQC/mldsa87"),
}
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
    :ivar keys: the allowed key types such as ``RSA/3072``, ``EC/secp384r1`` or a whole family such as ``RSA``; empty
        allows any.
    :ivar extensions: required extensions with their values.
    :ivar extension_types: OIDs of required extensions whose values the client chooses, such as subjectAltName.
    :ivar subject_types: OIDs of required subject attributes.
    """

    channel_binding: bool = False
    keys: tuple[str, ...] = ()
    extensions: tuple[Extension, ...] = ()
    extension_types: tuple[str, ...] = ()
    subject_types: tuple[str, ...] = ()

    def attributes(self) -> tuple[CSRAttribute, ...]:
        """Return the CsrAttrs; empty when nothing is required.

        A template (RFC 9908 section 3.4) is included where only it can express a requirement, as long as the whole
        stays within the limit of libest.

        :raises UnsupportedAlgorithm: when *keys* contains something else than key types.
        """
        attributes = []
        if self.channel_binding:
            attributes.append(CSRAttribute(CHALLENGE_PASSWORD))
        attributes.extend(_key_attributes(self.keys))
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
        if len(self.keys) == 1 and self.keys[0] not in _FAMILIES:
            fields.append(der.explicit(0, _key_algorithm(self.keys[0])))
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
        if self.keys and key.text not in self.keys and key.family.value not in self.keys:
            missing.append(f"a key of type {' or '.join(self.keys)}")
        for extension in self.extensions:
            requested = csr.extension(extension.oid)
            if requested is None or requested.value != extension.value:
                missing.append(_extension_name(extension.oid))
        missing.extend(_extension_name(oid) for oid in self.extension_types if csr.extension(oid) is None)
        missing.extend(f"the subject attribute {oid}" for oid in self.subject_types if not csr.name.values(oid))
        if missing:
            raise BadCSR(f"the request lacks what is demanded: {', '.join(missing)}")


def _extension_name(oid: str) -> str:
    return f"the extension {_EXTENSION_NAMES.get(oid, oid)}"


def _key_attributes(key_types: tuple[str, ...]) -> list[CSRAttribute]:
    """Return the attributes for the allowed key types.

    There is one for each algorithm, with the allowed curves or sizes as its values, as RFC 7030 section 4.5.2 has it; a
    bare OID allows any.  The signature algorithm follows where all of the keys have the same one.
    """
    complete = tuple(one for key_type in key_types for one in _FAMILIES.get(key_type, (key_type,)))
    algorithms: dict[str, set[bytes]] = {}
    signatures: set[str] = set()
    for key_type in complete:
        family, _, detail = key_type.partition("/")
        signature = algorithm_for_key_type(key_type).oid
        signatures.add(signature)
        if family == "RSA":
            algorithms.setdefault(RSA_ENCRYPTION, set()).add(_size(key_type, detail))
        elif detail in CURVE_OIDS:
            algorithms.setdefault(EC_PUBLIC_KEY, set()).add(der.oid(CURVE_OIDS[detail]))
        else:
            # The key has the OID of its signatures.
            algorithms[signature] = set()
    sizes = algorithms.get(RSA_ENCRYPTION, set())
    if b"" in sizes or len(sizes) > _MAXIMUM_VALUES:
        sizes.clear()
    if len(signatures) == 1:
        algorithms.setdefault(signatures.pop(), set())
    return [CSRAttribute(oid, tuple(sorted(values))) for oid, values in algorithms.items()]


def _size(key_type: str, bits: str) -> bytes:
    """Return the value for the size of an RSA key, or ``b""`` for any size."""
    if not bits.isdecimal() and key_type != _ANY_RSA:
        raise UnsupportedAlgorithm("no such type of key", key_type=key_type)
    return der.integer(int(bits)) if bits else b""


def _key_algorithm(key_type: str) -> bytes:
    """Return the AlgorithmIdentifier of a SubjectPublicKeyInfoTemplate; the RSA size is in a separate attribute."""
    family, _, detail = key_type.partition("/")
    if detail in CURVE_OIDS:
        return der.sequence(der.oid(EC_PUBLIC_KEY), der.oid(CURVE_OIDS[detail]))
    if family == "RSA":
        return der.sequence(der.oid(RSA_ENCRYPTION), der.null())
    return algorithm_for_key_type(key_type).der
