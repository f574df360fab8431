"""CRLs over HTTP: ``/crl/<ca>.crl``, ``.pem`` and ``-chain.pem`` (RFC 2585 section 4.2, RFC 5280 section 4.2.1.13).

A CA is named ``ec``, ``rsa``, ``mldsa`` or ``root``, or by the key identifier of one of its keys, in hex: that is what
certificates name, so that a new key changes nothing for certificates of before.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from twisted.internet.defer import TimeoutError as TooSlow
from twisted.web.resource import Resource

from pikachu.ca.issuance import IssuingCA, IssuingCAs
from pikachu.core.errors import MalformedRequest, NotFound, StoreUnavailable, Unavailable
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.model.times import utc
from pikachu.http.files import Dates, Description, FileLibrary, Joined, OpenFile
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import Content, http_date, send_download
from pikachu.protocols.download.outlet import PEM, Download, only_segment
from pikachu.va.crl_publisher import ROOT, CRLPublisher
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.crl import read_dates

DER_TYPE: Final = b"application/pkix-crl"
_CHAIN: Final = "-chain.pem"
# A revocation has to reach those behind a cache soon.
_MAX_AGE: Final = 300
# Seconds to wait for a first list.
_PATIENCE: Final = 5.0
# Enough for the dates, which stand behind the issuer's name.
_HEAD: Final = 16 * 1024


def crl_dates(data: bytes) -> Dates:
    """The dates of a CRL in DER or PEM."""
    head = data[:_HEAD]
    if head.startswith(b"-----"):
        text = head.partition(b"\n")[2].partition(b"-----")[0].translate(None, b"\r\n")
        text = text[: len(text) // 4 * 4]
        try:
            head = base64.b64decode(text)
        except ValueError:
            return Dates()
    try:
        return Dates(*read_dates(head))
    except MalformedRequest:
        return Dates()


class _Found(NamedTuple):
    """A content with its strong entity tag and its dates."""

    content: Content
    etag: bytes
    dates: Dates


class CRLDownloads:
    """Finds CRLs in their files and sends them.

    :param root: of all issuing CAs, for ``/crl/root.crl``.
    """

    def __init__(
        self,
        clock: IClock,
        issuers: IssuingCAs,
        publisher: CRLPublisher,
        root: Certificate | None,
        pool: IWorkerPool,
    ) -> None:
        self._clock = clock
        self._issuers = issuers
        self._publisher = publisher
        self._root = root
        self._library = FileLibrary(pool, crl_dates)

    async def send(self, request: BoundedRequest, name: str, headers: Mapping[bytes, bytes] | None = None) -> None:
        """Answer with the file of that name, as it stands behind ``/crl/``.

        :raises NotFound: when there is none.
        :raises Unavailable: when it is still to be made, or can't be read.
        """
        if name.endswith(_CHAIN):
            found = await self._joined(self._chains(name.removesuffix(_CHAIN)))
            kind = PEM
        else:
            stem, dot, suffix = name.rpartition(".")
            if not dot or suffix not in ("crl", "pem"):
                raise NotFound("nothing here")
            if suffix == "pem":
                found, kind = await self._joined(self._generations(stem)), PEM
            else:
                found, kind = await self._open(self._key_identifier(stem), pem=False), DER_TYPE
        now = utc(self._clock.seconds())
        fields = {**(headers or {}), **cache_fields(found.dates.next, now)}
        try:
            send_download(
                request, kind, found.content, etag=found.etag, now=now, last_modified=found.dates.made, headers=fields
            )
        except OSError as error:
            raise StoreUnavailable("this file can't be read now", error=str(error)) from error

    def _key_identifier(self, name: str) -> bytes:
        """Of the CA of that name, or of that key identifier.

        :raises NotFound: when there is none.
        """
        if name == ROOT:
            if self._root is None:
                raise NotFound("nothing here")
            return self._root.key_identifier
        issuer = self._issuers.current.get(name)
        if issuer is not None:
            return issuer.key_identifier
        key_identifier = _from_hex(name)
        above = (ca.key_identifier for ca in self._publisher.authorities_above())
        if self._issuers.by_key_identifier(key_identifier) is None and key_identifier not in above:
            raise NotFound("nothing here")
        return key_identifier

    def _generations(self, name: str) -> list[bytes]:
        """Of all generations of the CA of that name, newest first; a key identifier names one key.

        :raises NotFound: when there is none.
        """
        found = self._issuers.generations(name, utc(self._clock.seconds()))
        if name not in self._issuers.current or not found:
            return [self._key_identifier(name)]
        return [issuer.key_identifier for issuer in found if not self._is_to_come(issuer)]

    def _is_to_come(self, issuer: IssuingCA) -> bool:
        """Whether an issuer is announced and has no CRL yet: it has no certificate either that one could be for."""
        if self._issuers.next(issuer.name) is not issuer:
            return False
        try:
            self._publisher.published(issuer)
        except NotFound:
            return True
        return False

    def _chains(self, name: str) -> list[bytes]:
        """The same, then those of the CAs above them."""
        generations = self._generations(name)
        issuers = (self._issuers.by_key_identifier(one) for one in generations)
        above = (parse_certificate(der) for issuer in issuers if issuer is not None for der in issuer.chain[1:])
        return list(dict.fromkeys((*generations, *(ca.key_identifier for ca in above))))

    async def _open(self, key_identifier: bytes, *, pem: bool) -> _Found:
        path = self._publisher.folder.paths(key_identifier)[1 if pem else 0]
        try:
            content, description = await self._library.open(path)
        except NotFound:
            issuer = self._issuers.by_key_identifier(key_identifier)
            if issuer is None:
                raise NotFound("the CRL of this CA has not been brought here; an admin can upload it") from None
            content, description = await self._first(issuer, path)
        return _Found(content, description.etag, description.dates)

    async def _first(self, issuer: IssuingCA, path: Path) -> tuple[OpenFile, Description]:
        """The first CRL of an issuer, which a server that has just started is making."""
        try:
            await self._publisher.first(issuer).addTimeout(_PATIENCE, self._clock)  # type: ignore[arg-type]
            return await self._library.open(path)
        except (TooSlow, NotFound):
            raise Unavailable("the CRL of this CA has not been made yet", retry_after=5) from None

    async def _joined(self, key_identifiers: Iterable[bytes]) -> _Found:
        """Several CRLs in one file, for programs that read one."""
        found = [await self._open(one, pem=True) for one in key_identifiers]
        if len(found) == 1:
            return found[0]
        digest = hashlib.sha256(b"".join(one.etag for one in found)).hexdigest()
        contents = [one.content for one in found if isinstance(one.content, OpenFile)]
        made = [one.dates.made for one in found if one.dates.made is not None]
        ends = [one.dates.next for one in found if one.dates.next is not None]
        dates = Dates(max(made, default=None), min(ends, default=None))
        return _Found(Joined(contents), f'"{digest}"'.encode("ascii"), dates)


def cache_fields(next_update: datetime | None, now: datetime) -> dict[bytes, bytes]:
    """How long a cache may keep a CRL: never beyond its end."""
    left = _MAX_AGE if next_update is None else int((next_update - now).total_seconds()) - 1
    age = max(0, min(_MAX_AGE, left))
    return {b"Cache-Control": b"max-age=%d, public" % age, b"Expires": http_date(now.timestamp() + age)}


def _from_hex(name: str) -> bytes:
    try:
        return bytes.fromhex(name) if name == name.lower() else b""
    except ValueError:
        return b""


class CRLResource(Download):
    """``/crl/<name>``."""

    def __init__(self, downloads: CRLDownloads) -> None:
        Resource.__init__(self)
        self._downloads = downloads

    async def answer(self, request: BoundedRequest) -> None:
        """One CRL, or those of a chain."""
        await self._downloads.send(request, only_segment(request))
