"""The usage of a certificate on its page, and links to the objects that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from pikachu.auth.permissions import Audience, in_audience
from pikachu.core.errors import NotFound
from pikachu.core.model.certificates import CertificateRecord, format_serial
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Principal
from pikachu.inventory.csrs import CertificateRequests
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.x509.certificate import Certificate
from pikachu.x509.extension_text import extension_text
from pikachu.x509.text.descriptions import shown

_KEY_USAGE: Final = "2.5.29.15"
_EXTENDED_KEY_USAGE: Final = "2.5.29.37"
_CRL_DISTRIBUTION_POINTS: Final = "2.5.29.31"
_AUTHORITY_INFORMATION: Final = "1.3.6.1.5.5.7.1.1"


@dataclass(frozen=True, slots=True)
class Link:
    """A link to an object: what it is to the certificate, its address and name."""

    label: str
    address: str
    name: str


@dataclass(frozen=True, slots=True)
class Usage:
    """The permitted usage of a certificate, and the addresses of its status.

    :ivar addresses: of its CRL, and of the OCSP responder.
    """

    key_usage: Sequence[str]
    extended_key_usage: Sequence[str]
    addresses: Sequence[str]


def usage_of(certificate: Certificate) -> Usage:
    """Return the usage that the extensions of a certificate name."""
    return Usage(
        _texts(certificate, _KEY_USAGE),
        _texts(certificate, _EXTENDED_KEY_USAGE),
        [
            address
            for oid, line_of in ((_AUTHORITY_INFORMATION, "OCSP"), (_CRL_DISTRIBUTION_POINTS, "URI:"))
            for line in _lines(certificate, oid)
            if line_of in line
            for address in re.findall(r"URI:(\S+)", line)
        ],
    )


def _lines(certificate: Certificate, oid: str) -> Sequence[str]:
    extension = certificate.extension(oid)
    return () if extension is None else extension_text(extension)


def _texts(certificate: Certificate, oid: str) -> list[str]:
    return [text for line in _lines(certificate, oid) for text in line.split(", ")]


class CertificateLinks:
    """Finds the objects that a certificate belongs to."""

    def __init__(self, *, requests: CertificateRequests, policies: PolicyAdministration) -> None:
        self._requests = requests
        self._policies = policies

    async def of(self, actor: Principal, record: CertificateRecord, issuer: str, owner: str) -> list[Link]:
        """Return the links that *actor* may follow.

        :param issuer: the name of the issuing CA where it is in service, or an empty string.
        :param owner: the name of the owner.
        """
        query = ListQuery(limit=10, filters={"certificate_id": str(record.id)})
        csrs = (await self._requests.list(actor, query)).items
        links = [Link("CSR", f"/csrs/{csr.id}", csr.name) for csr in csrs]
        try:
            policy = await self._policies.find(actor, record.policy)
        except NotFound:
            pass
        else:
            links.append(Link("Policy", f"/policies/{policy.id}", policy.name))
        if record.device_id is not None:
            links.append(Link("Device", f"/devices/{record.device_id}", shown(record.name)))
        if issuer:
            links.append(Link("Issuing CA", f"/ca/{issuer}", issuer))
        if in_audience(actor, Audience.AUDITOR) and record.owner_id is not None:
            links.append(Link("User", f"/users/{record.owner_id}", owner))
        events = urlencode({"resource_type": "certificate", "resource_name": format_serial(record.serial)})
        links.append(Link("Events", f"/events?{events}", "Events of this certificate"))
        certificates = urlencode({"key_sha256": record.key_id.hex()})
        links.append(Link("Same key", f"/certificates?{certificates}", "Certificates of this public key"))
        return links
