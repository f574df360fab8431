"""Certificates without a signature over them: degenerate SignedData (RFC 5652 section 5, RFC 8551 section 3.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pikachu.x509 import der

DATA: Final = "1.2.840.113549.1.7.1"
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"

_EMPTY_SET: Final = der.set_of(())


def certs_only(certificates: Sequence[bytes]) -> bytes:
    """DER ContentInfo that holds *certificates*, DER each, and nothing else.

    DER sorts the members of a SET OF (X.690 section 11.6), so their order says nothing.
    """
    return der.sequence(
        der.oid(SIGNED_DATA),
        der.explicit(
            0,
            der.sequence(
                der.integer(1),
                _EMPTY_SET,
                der.sequence(der.oid(DATA)),
                der.explicit(0, b"".join(sorted(certificates))),
                _EMPTY_SET,
            ),
        ),
    )
