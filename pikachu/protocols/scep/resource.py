"""SCEP over HTTP: ``/scep``, ``/scep/<label>`` and ``/cgi-bin/pkiclient.exe`` (RFC 8894 section 4)."""

from __future__ import annotations

import math
from typing import ClassVar, Final
from urllib.parse import unquote

from twisted.logger import Logger
from twisted.web.resource import IResource, Resource

from pikachu.core.errors import (
    MalformedRequest,
    NotFound,
    PikachuError,
    RateLimited,
    RequestError,
    TooLarge,
    Unavailable,
    entry_of,
)
from pikachu.http.request import BoundedRequest
from pikachu.http.resources import NotFoundResource, ProtocolResource
from pikachu.http.responses import send, text_error
from pikachu.http.tree import Tree
from pikachu.protocols.scep.query import Operation, message_in, parse_query
from pikachu.protocols.scep.server import SCEPServer

log = Logger()

# Without parameters, since clients compare these literally.
MESSAGE: Final = b"application/x-pki-message"
CA_CERTIFICATE: Final = b"application/x-x509-ca-cert"
CA_RA_CERTIFICATES: Final = b"application/x-x509-ca-ra-cert"
NEXT_CA_CERTIFICATES: Final = b"application/x-x509-next-ca-cert"
TEXT: Final = b"text/plain"

# For errors outside of a CertRep; all others have a failInfo (pikachu.protocols.scep.server.FAIL_INFO).
STATUSES: Final[dict[type[PikachuError], int]] = {
    NotFound: 404,
    TooLarge: 413,
    RateLimited: 429,
    RequestError: 400,
    Unavailable: 503,
    PikachuError: 500,
}
_CACHEABLE: Final = {b"Cache-Control": b"max-age=300"}
_NO_STORE: Final = {b"Cache-Control": b"no-store"}
#: The program name in traditional SCEP URLs; it may follow a label, and is never a label itself.
_PROGRAM: Final = "pkiclient.exe"


def label_in(raw_uri: bytes) -> str | None:
    """Return the label in ``/scep/<label>[/anything]``, or None when there is none.

    :raises NotFound: when it is not text.
    """
    segments = raw_uri.partition(b"?")[0].split(b"/")
    if len(segments) < 3 or segments[1] != b"scep" or not segments[2]:
        return None
    try:
        label = unquote(segments[2].decode("ascii"), errors="strict")
    except UnicodeDecodeError:
        raise NotFound("there is no SCEP label of that name") from None
    return None if label == _PROGRAM else label


class SCEPResource(ProtocolResource):
    """The SCEP server at every path that clients use."""

    methods: ClassVar = {b"GET": "answer_get", b"POST": "answer_post"}

    def __init__(self, server: SCEPServer) -> None:
        Resource.__init__(self)
        self._server = server

    def getChild(self, path: bytes, request: BoundedRequest) -> IResource:
        """Return this resource for all paths below it: a label, and any segments that a client appends."""
        return self

    async def answer_get(self, request: BoundedRequest) -> None:
        """Perform any operation, with the message in the query."""
        query = parse_query(request.uri)
        label = label_in(request.uri)
        if query.operation is Operation.PKI_OPERATION:
            await self._operate(request, query.der(), label)
        elif query.operation is Operation.GET_CA_CAPS:
            send(request, 200, TEXT, await self._server.capabilities(label), _CACHEABLE)
        elif query.operation is Operation.GET_CA_CERT:
            certificates = await self._server.ca_certificates(label)
            content_type = CA_RA_CERTIFICATES if certificates.degenerate else CA_CERTIFICATE
            send(request, 200, content_type, certificates.body, _CACHEABLE)
        elif query.operation is Operation.GET_NEXT_CA_CERT:
            send(request, 200, NEXT_CA_CERTIFICATES, await self._server.next_ca_certificates(label), _NO_STORE)
        else:
            raise MalformedRequest("the request names no operation")

    async def answer_post(self, request: BoundedRequest) -> None:
        """Perform a PKIOperation with the message in the body, in DER or base64, whatever its Content-Type."""
        query = parse_query(request.uri)
        if query.operation not in (None, Operation.PKI_OPERATION):
            raise MalformedRequest(f"{query.operation} is asked for with GET")
        assert request.content is not None  # noqa: S101 - twisted.web sets it before rendering
        await self._operate(request, message_in(request.content.read()), label_in(request.uri))

    async def _operate(self, request: BoundedRequest, message: bytes, label: str | None) -> None:
        answer = await self._server.operate(message, label, request.address)
        send(request, 200, MESSAGE, answer, _NO_STORE)

    def refuse(self, request: BoundedRequest, error: PikachuError) -> None:
        """Send the error as one line of text, with the status from :data:`STATUSES`."""
        status = entry_of(error, STATUSES)
        headers = dict(_NO_STORE)
        if isinstance(error, RateLimited | Unavailable):
            headers[b"Retry-After"] = b"%d" % math.ceil(error.retry_after)
        if status >= 500:
            log.error("SCEP: {error} {context}", error=error.public, context=error.context)
        text_error(request, status, error.public, headers)


def put_scep(tree: Tree, server: SCEPServer) -> None:
    """Serve SCEP below *tree*, at all of its paths."""
    resource = SCEPResource(server)
    tree.putChild(b"scep", resource)
    programs = Tree(NotFoundResource())
    programs.putChild(_PROGRAM.encode("ascii"), resource)
    tree.putChild(b"cgi-bin", programs)
