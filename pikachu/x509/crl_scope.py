"""Extensions that tell which certificates a CRL is about: delta CRLs, shards, and where a delta is found (RFC 5280)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from pikachu.core.errors import MalformedRequest
from pikachu.x509 import der
from pikachu.x509.extension import Extension
from pikachu.x509.profile import CRL_DISTRIBUTION_POINTS

DELTA_CRL_INDICATOR: Final = "2.5.29.27"
ISSUING_DISTRIBUTION_POINT: Final = "2.5.29.28"
FRESHEST_CRL: Final = "2.5.29.46"

_URI: Final = 0x86


def delta_crl_indicator(base_number: int) -> Extension:
    """Return the deltaCRLIndicator with the BaseCRLNumber (section 5.2.4)."""
    return Extension(DELTA_CRL_INDICATOR, True, der.integer(base_number))


def issuing_distribution_point(urls: Sequence[str]) -> Extension:
    """Return the issuingDistributionPoint of a CRL for the certificates that name one of *urls* (section 5.2.5)."""
    names = b"".join(der.implicit(6, url.encode("ascii")) for url in urls)
    return Extension(ISSUING_DISTRIBUTION_POINT, True, der.sequence(der.explicit(0, der.explicit(0, names))))


@functools.lru_cache(maxsize=64)
def freshest_crl(url: str) -> Extension:
    """Return the freshestCRL of a full CRL or of a certificate (sections 5.2.6 and 4.2.1.15)."""
    full_name = der.explicit(0, der.implicit(6, url.encode("ascii")))
    return Extension(FRESHEST_CRL, False, der.sequence(der.sequence(der.explicit(0, full_name))))


def distribution_point_urls(extensions: Sequence[Extension]) -> list[str]:
    """Return the URIs of a certificate's crlDistributionPoints; none where it can't be read."""
    value = next((one.value for one in extensions if one.oid == CRL_DISTRIBUTION_POINTS), None)
    if value is None:
        return []
    urls = []
    try:
        for point in der.parse(value, der.SEQUENCE).children():
            for name in point.expect(der.SEQUENCE).children():
                # DistributionPointName is a CHOICE, so its tag [0] is explicit; fullName is [0] in it.
                if name.tag == 0xA0:
                    for full_name in name.children():
                        if full_name.tag == 0xA0:
                            urls += [one.content.decode("latin-1") for one in full_name.children() if one.tag == _URI]
    except MalformedRequest:
        return []
    return urls
