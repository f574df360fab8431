"""Dates and disk space that need attention in time: certificates and CRLs that expire, and free space."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
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


class DateKind(Enum):
    """A kind of expiring object: a certificate that a person renews, or one that the server renews itself."""

    CERTIFICATE = "certificate"
    CRL = "CRL"
    RESPONDER = "responder"


@dataclass(frozen=True, slots=True)
class Date:
    """A time at which something ends.

    :param what: what ends.
    :param verb: what follows its name in the label, such as ``expires``.
    :param soon: whether it needs attention.
    """

    what: str
    verb: str
    at: datetime
    soon: bool = False
    kind: DateKind = DateKind.CERTIFICATE

    @property
    def label(self) -> str:
        """Return the words before the time."""
        return f"{self.what} {self.verb}".rstrip()


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
    """The free space of a disk with growing folders.

    :param holds: the content of these folders.
    """

    holds: tuple[str, ...]
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
        named = [] if self._root is None else [("Root CA", self._root)]
        named += [(f"CA “{one.name}”", one.certificate) for one in self._issuers.current.values()]
        named += [("HTTPS certificate", one) for one in await self._pool.run(self._https)]
        dates = [Date(what, "expires", one.not_after, one.not_after - now < _SOON) for what, one in named]
        for issuer in self._issuers.current.values():
            crl = self._publisher.newest(issuer)
            if crl is not None:
                # The publisher replaces it when a quarter of its validity is left.
                late = crl.next_update - now <= (crl.next_update - crl.this_update) / 5
                dates.append(Date(f"Next CRL of “{issuer.name}”", "", crl.next_update, late, DateKind.CRL))
            credential = self._credentials.newest(issuer, OCSP)
            if credential is not None:
                # The server renews it in time, unless it ends with its CA.
                left = credential.not_after - now
                is_last = credential.not_after >= issuer.path.ends_at
                late = left <= timedelta(0) or (left < timedelta(days=OCSP.renew_days) / 2 and not is_last)
                what = f"OCSP responder of “{issuer.name}”"
                dates.append(Date(what, "expires", credential.not_after, late, DateKind.RESPONDER))
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
            others = disks[device].holds if device in disks else ()
            disks[device] = DiskSpace((*others, what), free)
        return list(disks.values())
