"""AlgorithmIdentifiers of the signatures that test clients make."""

from __future__ import annotations

from pikachu.cms.algorithms import Digest
from pikachu.x509 import der

_RSA_SIGNATURES = {
    Digest.SHA1: "1.2.840.113549.1.1.5",
    Digest.SHA256: "1.2.840.113549.1.1.11",
    Digest.SHA384: "1.2.840.113549.1.1.12",
    Digest.SHA512: "1.2.840.113549.1.1.13",
}


def rsa_signature_algorithm(digest: Digest) -> bytes:
    """Return the DER AlgorithmIdentifier of RSASSA-PKCS1-v1_5 with *digest* (RFC 8017 appendix A.2.4)."""
    return der.sequence(der.oid(_RSA_SIGNATURES[digest]), der.null())
