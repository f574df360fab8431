"""Downloads and health checks for anyone, on the HTTP and HTTPS listeners."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from twisted.web.resource import IResource

from pikachu.operations.readiness import Check
from pikachu.protocols.download.certificates import CACertificates, Downloads
from pikachu.protocols.download.crl import CRLDownloads, CRLResource
from pikachu.protocols.download.health import Alive, Ready
from pikachu.protocols.download.status import ExpiredResource, StatusResource
from pikachu.server.application import Application

_NOTHING: Mapping[str, Check | None] = MappingProxyType({})


def download_tree(app: Application, checks: Mapping[str, Check | None] = _NOTHING) -> dict[bytes, IResource]:
    """Build the resources, by the first segment of their paths.

    :param checks: further ones for ``/readyz``, or in place of those made here, by name: ``database``, ``signer``,
        ``vault``, ``ldap``.
    """
    crls = CRLDownloads(app.clock, app.issuers, app.publisher, app.root, app.pools.files)
    return {
        b"crl": CRLResource(crls),
        b"ca": CACertificates(app.clock, app.issuers, app.root, lambda: app.transparency.verifier),
        b"downloads": Downloads(app.clock, app.issuers, crls, app.manufacturers),
        b"status": StatusResource(app.statuses),
        b"expired": ExpiredResource(app.statuses),
        b"healthz": Alive(),
        b"readyz": Ready(app.readiness.with_checks(checks) if checks else app.readiness),
    }
