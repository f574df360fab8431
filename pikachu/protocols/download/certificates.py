"""CA certificates over HTTP: ``/ca/…`` and ``/downloads/…`` (RFC 2585 section 4.1, RFC 5280 section 4.2.2.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from twisted.web.resource import Resource

from pikachu.ca.infrastructure import ROOT
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.errors import NotFound
from pikachu.core.interfaces import IClock
from pikachu.core.model.times import utc
from pikachu.http.request import BoundedRequest
from pikachu.http.responses import send_download
from pikachu.protocols.download.crl import CRLDownloads
from pikachu.protocols.download.download_resource import PEM, Download, attachment, only_segment, path_segments
from pikachu.transparency.checkpoints import VerifierKey
from pikachu.x509.certificate import Certificate, parse_certificate
from pikachu.x509.pem import certificates_pem

DER_TYPE: Final = b"application/pkix-cert"
_TEXT: Final = b"text/plain; charset=utf-8"
_AUDIT_KEY: Final = "audit.pub"
_CACHE: Final = {b"Cache-Control": b"max-age=3600, public"}


def chain_bundle(issuers: IssuingCAs, name: str, now: datetime) -> tuple[bytes, ...]:
    """Return the certificates of all generations of a CA, newest first, then those above, without duplicates.

    The result is empty for an unknown name.
    """
    generations = issuers.generations(name, now)
    own = [issuer.chain[0] for issuer in generations]
    return tuple(dict.fromkeys((*own, *(der for issuer in generations for der in issuer.chain[1:]))))


def send_certificates(
    request: BoundedRequest,
    clock: IClock,
    certificates: Sequence[bytes],
    *,
    pem: bool,
    headers: Mapping[bytes, bytes] | None = None,
) -> None:
    """Send certificates as PEM, or the first one as DER."""
    body = certificates_pem(certificates).encode("ascii") if pem else certificates[0]
    send_download(
        request,
        PEM if pem else DER_TYPE,
        body,
        etag=f'"{hashlib.sha256(body).hexdigest()}"'.encode("ascii"),
        now=utc(clock.seconds()),
        last_modified=max(parse_certificate(der).not_before for der in certificates),
        headers={**_CACHE, **(headers or {})},
    )


class CACertificates(Download):
    """``/ca/<ca>.crt`` (PEM), ``/ca/<ca>.cer`` (DER) and ``/ca/<ca>/chain.pem``; a CA by name or key identifier.

    :param audit_key: returns the public key of the transparency log, for ``/ca/audit.pub``.
    """

    def __init__(
        self, clock: IClock, issuers: IssuingCAs, root: Certificate | None, audit_key: Callable[[], VerifierKey]
    ) -> None:
        Resource.__init__(self)
        self._clock = clock
        self._issuers = issuers
        self._root = root
        self._audit_key = audit_key

    async def answer(self, request: BoundedRequest) -> None:
        """Send a certificate or a chain."""
        segments = path_segments(request)
        if len(segments) == 2 and segments[1] == "chain.pem":
            bundle = chain_bundle(self._issuers, segments[0], utc(self._clock.seconds()))
            send_certificates(request, self._clock, bundle or self._chain(segments[0]), pem=True)
            return
        name = only_segment(request)
        if name == _AUDIT_KEY:
            body = self._audit_key().text().encode("ascii")
            etag = f'"{hashlib.sha256(body).hexdigest()}"'.encode("ascii")
            send_download(request, _TEXT, body, etag=etag, now=utc(self._clock.seconds()), headers=_CACHE)
            return
        stem, _, suffix = name.rpartition(".")
        if suffix not in ("crt", "cer"):
            raise NotFound("nothing here")
        send_certificates(request, self._clock, self._chain(stem)[:1], pem=suffix == "crt")

    def _chain(self, name: str) -> tuple[bytes, ...]:
        """Return the DER certificates from the CA of that name to its root.

        :raises NotFound: when there is none.
        """
        if name == ROOT and self._root is not None:
            return (self._root.der,)
        issuer: IssuingCA | None = self._issuers.current.get(name)
        if issuer is not None:
            return issuer.chain
        for one in self._issuers.all():
            # CAs above the issuing CAs too: the certificates that they issue name these addresses.
            for index, der in enumerate(one.chain):
                if parse_certificate(der).key_identifier.hex() == name:
                    return one.chain[index:]
        raise NotFound("nothing here")


class Downloads(Download):
    """``/downloads/crl``, ``/downloads/chain`` and ``/downloads/manufacturers``: PEM files for people."""

    def __init__(
        self, clock: IClock, issuers: IssuingCAs, crls: CRLDownloads, manufacturers: Sequence[Certificate]
    ) -> None:
        Resource.__init__(self)
        self._clock = clock
        self._issuers = issuers
        self._crls = crls
        self._manufacturers = manufacturers

    async def answer(self, request: BoundedRequest) -> None:
        """Send the named file."""
        name = only_segment(request)
        issuer = self._issuers.default
        if name == "crl":
            await self._crls.send(request, f"{issuer.name}.pem", attachment(f"{issuer.name}-crl.pem"))
        elif name == "chain":
            file = attachment(f"{issuer.name}-chain.pem")
            bundle = chain_bundle(self._issuers, issuer.name, utc(self._clock.seconds()))
            send_certificates(request, self._clock, bundle or issuer.chain, pem=True, headers=file)
        elif name == "manufacturers" and self._manufacturers:
            certificates = [certificate.der for certificate in self._manufacturers]
            send_certificates(request, self._clock, certificates, pem=True, headers=attachment("manufacturers.pem"))
        else:
            raise NotFound("nothing here")
