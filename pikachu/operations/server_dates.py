"""Dates and disk space that need attention in time: certificates and CRLs that expire, and free space."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pikachu.auth.permissions import is_admin
from pikachu.ca.issuers import IssuingCAs
from pikachu.ca.service_certificates import OCSP, ServiceCertificates
from pikachu.core.errors import ConfigError
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.model.people import Principal
from pikachu.core.model.times import utc
from pikachu.signers.files import load_certificates
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.x509.certificate import Certificate

#: How long before its end a certificate that a person renews is marked.
_SOON: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Date:
    """A time at which something ends.

    :param label: what ends.
    :param soon: whether it needs attention.
    """

    label: str
    at: datetime
    soon: bool = False


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """The files and folders that are looked at.

    :param https: the certificate files of the HTTPS listeners.
    :param folders: the growing folders, by their content.
    """

    https: Sequence[Path]
    folders: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The free space of a disk with growing folders."""

    what: str
    free: int


class ServerDates:
    """Collects the dates; those of files and CAs are for everyone, free space for administrators.

    :param root: the root certificate, where it is configured.
    :param pool: reads files.
    """

    def __init__(
        self,
        *,
        issuers: IssuingCAs,
        root: Certificate | None,
        credentials: ServiceCertificates,
        publisher: CRLPublisher,
        files: ServerFiles,
        pool: IWorkerPool,
        clock: IClock,
    ) -> None:
        self._issuers = issuers
        self._root = root
        self._credentials = credentials
        self._publisher = publisher
        self._files = files
        self._pool = pool
        self._clock = clock

    async def dates(self) -> list[Date]:
        """Return what ends when: the root, the CAs, HTTPS certificates, OCSP responders, and the next CRLs."""
        now = utc(self._clock.seconds())
        named = [] if self._root is None else [("Root CA expires", self._root)]
        named += [(f"CA “{one.name}” expires", one.certificate) for one in self._issuers.current.values()]
        named += [("HTTPS certificate expires", one) for one in await self._pool.run(self._https)]
        dates = [Date(label, one.not_after, one.not_after - now < _SOON) for label, one in named]
        for issuer in self._issuers.current.values():
            crl = self._publisher.newest(issuer)
            if crl is not None:
                dates.append(Date(f"Next CRL of “{issuer.name}”", crl.next_update, crl.next_update <= now))
            credential = self._credentials.newest(issuer, OCSP)
            if credential is not None:
                # It renews itself.
                expired = credential.not_after <= now
                dates.append(Date(f"OCSP responder of “{issuer.name}” expires", credential.not_after, expired))
        return dates

    async def space(self, actor: Principal) -> list[DiskSpace]:
        """Return the free space of each disk with folders that grow; nothing for others than administrators."""
        return await self._pool.run(self._measure) if is_admin(actor) else []

    def _https(self) -> list[Certificate]:
        """Return the certificates of the HTTPS listeners; blocks."""
        certificates = {}
        for path in self._files.https:
            try:
                certificate = load_certificates(path, "")[0]
            except ConfigError:
                # The listener reports that.
                continue
            certificates[certificate.der] = certificate
        return list(certificates.values())

    def _measure(self) -> list[DiskSpace]:
        """Return the free space of each disk; blocks."""
        disks: dict[int, DiskSpace] = {}
        for what, folder in self._files.folders.items():
            existing = next(path for path in (folder, *folder.parents) if path.exists())
            try:
                device, free = existing.stat().st_dev, shutil.disk_usage(existing).free
            except OSError:
                # The check of the free space reports that.
                continue
            known = disks.get(device)
            disks[device] = DiskSpace(what if known is None else f"{known.what} and {what}", free)
        return list(disks.values())
