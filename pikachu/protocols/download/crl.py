"""CRLs over HTTP: ``/crl/<ca>.crl``, ``.pem`` and ``-chain.pem`` (RFC 2585 section 4.2, RFC 5280 section 4.2.1.13).

A CA is addressed as ``ec``, ``rsa``, ``mldsa`` or ``root``, or by the key identifier of one of its keys in hex.
Certificates contain the latter, so that a new CA key does not affect certificates issued before.  With ``-delta`` or
the number of a shard behind it, the address is that of the delta CRL or of a sharded one.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from twisted.internet.defer import TimeoutError as TooSlow
from twisted.web.resource import Resource

from pikachu.ca.infrastructure import ROOT
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.errors import MalformedRequest, NotFound, StoreUnavailable, Unavailable
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.model.times import utc
from pikachu.http.files import Dates, Description, FileLibrary, Joined, OpenFile
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import Content, http_date, send_download
from pikachu.protocols.download.download_resource import PEM, Download, only_segment
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.crl import read_dates

DER_TYPE: Final = b"application/pkix-crl"
_CHAIN: Final = "-chain.pem"
# The delta CRL, or the number of a shard.
_PART: Final = re.compile(r"([a-z0-9]+)-(delta|0|[1-9][0-9]{0,2})")
# Seconds; short, since a revocation must reach clients behind a cache soon.
_MAX_AGE: Final = 300
# Seconds to wait for a first CRL.
_MAX_WAIT: Final = 5.0
# Bytes that contain the dates, which follow the issuer's name.
_HEAD_SIZE: Final = 16 * 1024


def crl_dates(data: bytes) -> Dates:
    """Return the dates of a CRL in DER or PEM."""
    head = data[:_HEAD_SIZE]
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


class _CRLContent(NamedTuple):
    """A content with its strong entity tag and its dates."""

    content: Content
    etag: bytes
    dates: Dates


class CRLDownloads:
    """Sends CRLs from their files.

    :param root: the root certificate, for ``/crl/root.crl``.
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
        """Send the CRL file for the path segment *name* below ``/crl/``.

        :raises NotFound: when there is none.
        :raises Unavailable: when it is not published yet, or can't be read.
        """
        if name.endswith(_CHAIN):
            crl = await self._concatenate(self._chains(name.removesuffix(_CHAIN)))
            content_type = PEM
        else:
            stem, dot, suffix = name.rpartition(".")
            if not dot or suffix not in ("crl", "pem"):
                raise NotFound("nothing here")
            match = _PART.fullmatch(stem)
            if match is not None:
                crl = await self._open(self._key_identifier(match[1]), match[2], pem=suffix == "pem")
                content_type = PEM if suffix == "pem" else DER_TYPE
            elif suffix == "pem":
                crl, content_type = await self._concatenate(self._generations(stem)), PEM
            else:
                crl, content_type = await self._open(self._key_identifier(stem), pem=False), DER_TYPE
        now = utc(self._clock.seconds())
        fields = {**(headers or {}), **cache_fields(crl.dates.next, now)}
        try:
            send_download(
                request, content_type, crl.content, etag=crl.etag, now=now, last_modified=crl.dates.made, headers=fields
            )
        except OSError as error:
            raise StoreUnavailable("this file can't be read now", error=str(error)) from error

    def _key_identifier(self, name: str) -> bytes:
        """Return the key identifier of the CA with that name or key identifier.

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
        parents = (ca.key_identifier for ca in self._publisher.uploads.cas())
        if self._issuers.by_key_identifier(key_identifier) is None and key_identifier not in parents:
            raise NotFound("nothing here")
        return key_identifier

    def _generations(self, name: str) -> list[bytes]:
        """Return the key identifiers of all generations of a CA, newest first; a key identifier selects one.

        :raises NotFound: when there is none.
        """
        generations = self._issuers.generations(name, utc(self._clock.seconds()))
        if name not in self._issuers.current or not generations:
            return [self._key_identifier(name)]
        return [issuer.key_identifier for issuer in generations if not self._is_unpublished_next(issuer)]

    def _is_unpublished_next(self, issuer: IssuingCA) -> bool:
        """Return whether an issuer is announced and has no CRL yet; it has issued no certificates either."""
        if self._issuers.next(issuer.name) is not issuer:
            return False
        try:
            self._publisher.published(issuer)
        except NotFound:
            return True
        return False

    def _chains(self, name: str) -> list[bytes]:
        """Return the key identifiers of all generations, then those of the CAs above them."""
        generations = self._generations(name)
        issuers = (self._issuers.by_key_identifier(one) for one in generations)
        parents = (parse_certificate(der) for issuer in issuers if issuer is not None for der in issuer.chain[1:])
        return list(dict.fromkeys((*generations, *(ca.key_identifier for ca in parents))))

    async def _open(self, key_identifier: bytes, part: str = "", *, pem: bool) -> _CRLContent:
        path = self._publisher.folder.paths(key_identifier, part)[1 if pem else 0]
        try:
            content, description = await self._library.open(path)
        except NotFound:
            issuer = self._issuers.by_key_identifier(key_identifier)
            if part:
                if issuer is not None and self._publisher.parts.is_awaited(issuer, part):
                    raise Unavailable("this CRL has not been made yet", retry_after=5) from None
                raise NotFound("nothing here") from None
            if issuer is None:
                raise NotFound("the CRL of this CA has not been brought here; an admin can upload it") from None
            content, description = await self._wait_for_first(issuer, path)
        return _CRLContent(content, description.etag, description.dates)

    async def _wait_for_first(self, issuer: IssuingCA, path: Path) -> tuple[OpenFile, Description]:
        """Wait for the first CRL of an issuer, which a newly started server is publishing."""
        try:
            await self._publisher.first(issuer).addTimeout(_MAX_WAIT, self._clock)  # type: ignore[arg-type]
            return await self._library.open(path)
        except (TooSlow, NotFound):
            raise Unavailable("the CRL of this CA has not been made yet", retry_after=5) from None

    async def _concatenate(self, key_identifiers: Iterable[bytes]) -> _CRLContent:
        """Concatenate several CRLs, for programs that read one file."""
        crls = [await self._open(one, pem=True) for one in key_identifiers]
        if len(crls) == 1:
            return crls[0]
        digest = hashlib.sha256(b"".join(one.etag for one in crls)).hexdigest()
        contents = [one.content for one in crls if isinstance(one.content, OpenFile)]
        this_updates = [one.dates.made for one in crls if one.dates.made is not None]
        next_updates = [one.dates.next for one in crls if one.dates.next is not None]
        dates = Dates(max(this_updates, default=None), min(next_updates, default=None))
        return _CRLContent(Joined(contents), f'"{digest}"'.encode("ascii"), dates)


def cache_fields(next_update: datetime | None, now: datetime) -> dict[bytes, bytes]:
    """Return the cache headers of a CRL; they never extend beyond its nextUpdate."""
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
        """Send one CRL, or those of a chain."""
        await self._downloads.send(request, only_segment(request))
