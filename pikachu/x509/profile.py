"""Extensions of a certificate: from the policy, from the request, and added by the CA (docs/issuance.md).

The order of precedence is fixed: a policy's extension overrides the request's; the request contributes only its
subjectAltName, and only if the policy honours it; the requirements of RFC 5280 and RFC 9881 for every
certificate are enforced last.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pikachu.core.errors import PolicyViolation
from pikachu.x509 import der
from pikachu.x509.certificate import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    CLIENT_AUTH,
    CRL_SIGN,
    DIGITAL_SIGNATURE,
    EXTENDED_KEY_USAGE,
    KEY_CERT_SIGN,
    KEY_ENCIPHERMENT,
    KEY_USAGE,
    OCSP_SIGNING,
    REVOCATION_SIGNING,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
    Certificate,
)
from pikachu.x509.extension import Extension
from pikachu.x509.spki import KeyDescription, KeyFamily

AUTHORITY_INFORMATION_ACCESS = "1.3.6.1.5.5.7.1.1"
CRL_DISTRIBUTION_POINTS = "2.5.29.31"
OCSP_ACCESS = "1.3.6.1.5.5.7.48.1"
CA_ISSUERS_ACCESS = "1.3.6.1.5.5.7.48.2"
OCSP_NO_CHECK = "1.3.6.1.5.5.7.48.1.5"

NETSCAPE_CERTIFICATE_TYPE = "2.16.840.1.113730.1.1"

# Purposes that delegate a role of the issuing CA to the holder of the certificate.
_DELEGATED_PURPOSES = {
    OCSP_SIGNING: "OCSPSigning",
    REVOCATION_SIGNING: "revocationSigning",
    "1.3.6.1.5.5.7.3.27": "cmcCA",
    "1.3.6.1.5.5.7.3.28": "cmcRA",
    "1.3.6.1.5.5.7.3.29": "cmcArchive",
    "1.3.6.1.4.1.311.20.2.1": "the purpose of a certificate request agent",
}
# Purposes for which RFC 5280 section 4.2.1.12 names no encipherment: clientAuth, codeSigning, timeStamping and
# OCSPSigning.
_SIGNATURE_PURPOSES = frozenset({CLIENT_AUTH, "1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.8", OCSP_SIGNING})
# Extensions that RFC 5280 section 4.2.1 allows in CA certificates only, and the one that disables status checks.
_CA_EXTENSIONS = {
    OCSP_NO_CHECK: "noCheck",
    "2.5.29.30": "nameConstraints",
    "2.5.29.33": "policyMappings",
    "2.5.29.36": "policyConstraints",
    "2.5.29.54": "inhibitAnyPolicy",
}
# Values of extensions that policies, and therefore most certificates, share.
_REMEMBERED: Final = 256
_NOT_CA = der.sequence()
_EMPTY_NAME = der.sequence()

#: keyUsage bits that a key of the family does not support: RFC 4055 section 1.2 (RSA: no keyAgreement, nor what needs
#: it), RFC 8813 section 3 (EC), RFC 8410 section 5 (Ed25519), RFC 9881 section 5 (ML-DSA).
FORBIDDEN_USAGE: Final = {
    KeyFamily.RSA: frozenset({4, 7, 8}),
    KeyFamily.EC: frozenset({2, 3}),
    KeyFamily.ED25519: frozenset({2, 3, 4, 7, 8}),
    KeyFamily.ML_DSA: frozenset({2, 3, 4, 7, 8}),
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """The URLs of this CA's OCSP responder, certificate and CRL, used when a policy sets none."""

    ocsp: str
    ca_issuers: str
    crl: str

    @classmethod
    def under(cls, public_url: str | None, issuer: Certificate) -> Addresses | None:
        """Return the URLs of the certificates that *issuer* issues, or None when *public_url* is not set."""
        if public_url is None:
            return None
        base, key = public_url.rstrip("/"), issuer.key_identifier.hex()
        return cls(ocsp=f"{base}/ocsp", ca_issuers=f"{base}/ca/{key}.cer", crl=f"{base}/crl/{key}.crl")

    def extensions(self) -> tuple[Extension, Extension]:
        """Return AuthorityInfoAccess and CRLDistributionPoints with these URLs."""
        return authority_information_access(self), crl_distribution_point(self.crl)

    @property
    def delta(self) -> str:
        """The URL of the delta CRL."""
        return f"{self.crl.removesuffix('.crl')}-delta.crl"

    def shard(self, number: int) -> str:
        """Return the URL of a sharded CRL."""
        return f"{self.crl.removesuffix('.crl')}-{number}.crl"


def default_key_usage(key: KeyDescription, purposes: Extension | None = None) -> Extension:
    """Return the keyUsage of a certificate whose policy sets none.

    :param purposes: its extendedKeyUsage, with which keyUsage must be consistent (RFC 5280 section 4.2.1.12).
    """
    return _default_key_usage(key.family, purposes)


@functools.lru_cache(maxsize=_REMEMBERED)
def _default_key_usage(family: KeyFamily, purposes: Extension | None) -> Extension:
    bits = {DIGITAL_SIGNATURE}
    if family is KeyFamily.RSA and not (purposes is not None and _purposes(purposes) <= _SIGNATURE_PURPOSES):
        bits.add(KEY_ENCIPHERMENT)
    return Extension(KEY_USAGE, True, der.named_bits(bits))


def usage_for_key(extension: Extension, key: KeyDescription, purposes: Extension | None = None) -> Extension:
    """Return the keyUsage without the bits that the key does not support, or the default when no bit remains."""
    return _usage_for_family(extension, key.family, purposes)


@functools.lru_cache(maxsize=_REMEMBERED)
def _usage_for_family(extension: Extension, family: KeyFamily, purposes: Extension | None) -> Extension:
    bits = _bits(extension)
    allowed = bits - FORBIDDEN_USAGE[family]
    if allowed == bits:
        return extension
    if not allowed:
        return _default_key_usage(family, purposes)
    return Extension(KEY_USAGE, extension.critical, der.named_bits(allowed))


def _bits(extension: Extension) -> set[int]:
    content = der.parse(extension.value, der.BIT_STRING).content
    return {number for number in range((len(content) - 1) * 8) if content[1 + number // 8] & (0x80 >> number % 8)}


def authority_granted(extension: Extension) -> str | None:
    """Return the CA power that an extension grants to the holder of a certificate, or ``None``.

    The powers are those of a CA, of a CRL signer, of an OCSP responder (RFC 6960 section 4.2.2.2: OCSPSigning permits
    responses for all certificates of the CA), of a signer of revocation messages, and of an RA (RFC 6402 section 2.10).

    :raises MalformedRequest: the value does not match the extension's OID.
    """
    oid = extension.oid
    if oid == BASIC_CONSTRAINTS and extension.value != _NOT_CA:
        return "CA:TRUE"
    if oid == KEY_USAGE and _bits(extension) & {KEY_CERT_SIGN, CRL_SIGN}:
        return "keyCertSign or cRLSign"
    if oid == NETSCAPE_CERTIFICATE_TYPE and _bits(extension) & {5, 6, 7}:
        return "a certificate type of CAs"
    if oid == EXTENDED_KEY_USAGE:
        delegated = sorted(_purposes(extension) & _DELEGATED_PURPOSES.keys())
        return _DELEGATED_PURPOSES[delegated[0]] if delegated else None
    return _CA_EXTENSIONS.get(oid)


@functools.lru_cache(maxsize=_REMEMBERED)
def _purposes(extension: Extension) -> frozenset[str]:
    return frozenset(purpose.oid() for purpose in der.parse(extension.value, der.SEQUENCE).children())


def _is_ocsp_responder(extensions: Mapping[str, Extension]) -> bool:
    """Return whether nobody asks for the status of this certificate (RFC 6960 section 4.2.2.2.1)."""
    purposes = extensions.get(EXTENDED_KEY_USAGE)
    return OCSP_NO_CHECK in extensions or (purposes is not None and OCSP_SIGNING in _purposes(purposes))


def _is_ca(extension: Extension) -> bool:
    parts = der.parse(extension.value, der.SEQUENCE).sub()
    return bool(parts) and parts[0].tag == der.BOOLEAN and parts[0].boolean()


def leaf_extensions(
    *,
    policy: Sequence[Extension],
    requested_names: Extension | None,
    subject_der: bytes,
    key: KeyDescription,
    issuer: Certificate,
    addresses: Addresses | None,
) -> tuple[Extension, ...]:
    """Return the extensions of a certificate to be signed.

    :param policy: the extensions from the policy's text.
    :param requested_names: the validated subjectAltName of the request, if the policy honours it.
    :param addresses: added as AIA and CDP when the policy does not set them.
    :raises PolicyViolation: the issuer may not issue such a certificate.
    """
    extensions = {extension.oid: extension for extension in policy}
    constraints = extensions.get(BASIC_CONSTRAINTS)
    if constraints is None:
        extensions[BASIC_CONSTRAINTS] = Extension(BASIC_CONSTRAINTS, True, _NOT_CA)
    elif constraints.value != _NOT_CA and _is_ca(constraints):
        if issuer.path_length == 0:
            raise PolicyViolation("the policy asks for a CA certificate, and the issuing CA has pathlen 0")
        extensions.setdefault(KEY_USAGE, Extension(KEY_USAGE, True, der.named_bits({KEY_CERT_SIGN, CRL_SIGN})))
    if SUBJECT_ALTERNATIVE_NAME not in extensions and requested_names is not None:
        extensions[SUBJECT_ALTERNATIVE_NAME] = Extension(SUBJECT_ALTERNATIVE_NAME, False, requested_names.value)
    names = extensions.get(SUBJECT_ALTERNATIVE_NAME)
    if subject_der == _EMPTY_NAME:
        if names is None:
            raise PolicyViolation("the certificate would have neither a subject nor a subjectAltName")
        # RFC 5280 section 4.1.2.6: subjectAltName is critical when the subject is empty.
        extensions[SUBJECT_ALTERNATIVE_NAME] = Extension(SUBJECT_ALTERNATIVE_NAME, True, names.value)
    usage = extensions.get(KEY_USAGE)
    purposes = extensions.get(EXTENDED_KEY_USAGE)
    extensions[KEY_USAGE] = default_key_usage(key, purposes) if usage is None else usage_for_key(usage, key, purposes)
    extensions[SUBJECT_KEY_IDENTIFIER] = extensions.get(SUBJECT_KEY_IDENTIFIER) or Extension(
        SUBJECT_KEY_IDENTIFIER, False, der.octet_string(key.ski)
    )
    extensions[AUTHORITY_KEY_IDENTIFIER] = extensions.get(AUTHORITY_KEY_IDENTIFIER) or authority_key_identifier(issuer)
    if addresses is not None and not _is_ocsp_responder(extensions):
        extensions.setdefault(AUTHORITY_INFORMATION_ACCESS, authority_information_access(addresses))
        extensions.setdefault(CRL_DISTRIBUTION_POINTS, crl_distribution_point(addresses.crl))
    return tuple(extensions.values())


def authority_key_identifier(issuer: Certificate) -> Extension:
    """Return the authorityKeyIdentifier with the issuer's subjectKeyIdentifier (RFC 5280 section 4.2.1.1)."""
    return _authority_key_identifier(issuer.key_identifier)


@functools.lru_cache(maxsize=_REMEMBERED)
def _authority_key_identifier(key_identifier: bytes) -> Extension:
    return Extension(AUTHORITY_KEY_IDENTIFIER, False, der.sequence(der.implicit(0, key_identifier)))


@functools.lru_cache(maxsize=_REMEMBERED)
def authority_information_access(addresses: Addresses) -> Extension:
    """Return AuthorityInfoAccess with the OCSP responder and the issuer's certificate (RFC 5280 section 4.2.2.1)."""
    return Extension(
        AUTHORITY_INFORMATION_ACCESS,
        False,
        der.sequence(
            der.sequence(der.oid(OCSP_ACCESS), der.implicit(6, addresses.ocsp.encode("ascii"))),
            der.sequence(der.oid(CA_ISSUERS_ACCESS), der.implicit(6, addresses.ca_issuers.encode("ascii"))),
        ),
    )


@functools.lru_cache(maxsize=_REMEMBERED)
def crl_distribution_point(url: str) -> Extension:
    """Return CRLDistributionPoints with one fullName (RFC 5280 section 4.2.1.13)."""
    full_name = der.explicit(0, der.implicit(6, url.encode("ascii")))
    return Extension(CRL_DISTRIBUTION_POINTS, False, der.sequence(der.sequence(der.explicit(0, full_name))))


def service_extensions(
    *, key: KeyDescription, issuer: Certificate, usage: Iterable[int], purposes: Iterable[str], no_check: bool = False
) -> tuple[Extension, ...]:
    """Return the extensions of a certificate for the CA's own services: OCSP responder or SCEP RA.

    :param usage: keyUsage bits.
    :param purposes: extendedKeyUsage OIDs; may be empty.
    :param no_check: whether to add id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1).
    """
    extensions = [
        Extension(BASIC_CONSTRAINTS, True, _NOT_CA),
        Extension(KEY_USAGE, True, der.named_bits(usage)),
        Extension(SUBJECT_KEY_IDENTIFIER, False, der.octet_string(key.ski)),
        authority_key_identifier(issuer),
    ]
    purpose_oids = tuple(purposes)
    if purpose_oids:
        extensions.append(Extension("2.5.29.37", False, der.sequence(*(der.oid(purpose) for purpose in purpose_oids))))
    if no_check:
        extensions.append(Extension(OCSP_NO_CHECK, False, der.null()))
    return tuple(extensions)
