"""OCSP over HTTP: ``POST /ocsp`` and ``GET /ocsp/<base64>`` (RFC 6960 appendix A, RFC 5019).

Every response except to an oversized body has HTTP status 200: ``openssl ocsp`` treats any other status as a broken
responder, even when the body is an OCSPResponse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource

from pikachu.core.errors import (
    IssuanceFailed,
    MalformedRequest,
    NotAuthorized,
    PikachuError,
    RequestError,
    TooLarge,
    Unavailable,
    entry_of,
)
from pikachu.core.interfaces import IClock
from pikachu.core.metrics import CountsByLabel
from pikachu.core.model.times import utc
from pikachu.http.request import BoundedRequest, log_failure
from pikachu.http.resources import ProtocolResource
from pikachu.http.responses import not_modified, send, text_error
from pikachu.protocols.ocsp.messages import NOT_CACHEABLE, cache_headers, decode_get, decode_request
from pikachu.protocols.ocsp.response_cache import ResponseCache
from pikachu.va.ocsp import RESULTS, OCSPAnswer, OCSPResponder
from pikachu.x509.ocsp import ResponseStatus, error_response

log = Logger()

CONTENT_TYPE: Final = b"application/ocsp-response"
# The max-age in seconds.  Near nextUpdate it decreases with time, so complete responses are not cached then.
_MAX_AGE: Final = 3600

_NOT_CACHEABLE: Final = {name.encode("ascii"): value.encode("ascii") for name, value in NOT_CACHEABLE.items()}

# The OCSPResponseStatus of each error (docs/errors.md).
STATUSES: Final[dict[type[PikachuError], ResponseStatus]] = {
    MalformedRequest: ResponseStatus.MALFORMED_REQUEST,
    NotAuthorized: ResponseStatus.UNAUTHORIZED,
    RequestError: ResponseStatus.MALFORMED_REQUEST,
    Unavailable: ResponseStatus.TRY_LATER,
    IssuanceFailed: ResponseStatus.INTERNAL_ERROR,
    PikachuError: ResponseStatus.INTERNAL_ERROR,
}


class OCSPResource(ProtocolResource):
    """The responder at ``/ocsp``, and its cached responses for the fast path.

    :param path: the path of the responder, such as ``b"/ocsp"``.
    :ivar errors: numbers of responses without a signature, by their status.
    """

    methods: ClassVar = {b"GET": "answer_get", b"POST": "answer_post"}

    def __init__(self, responder: OCSPResponder, clock: IClock, max_certificates: int, path: bytes = b"/ocsp") -> None:
        Resource.__init__(self)
        self.errors = CountsByLabel()
        self._responder = responder
        self._clock = clock
        self._max_certificates = max_certificates
        self._path = path
        self._caches = {method: ResponseCache(responder.cache_bytes // 2) for method in (b"GET", b"POST")}

    def getChild(self, path: bytes, request: BoundedRequest) -> IResource:
        """Return this resource for all paths below it: base64 may contain slashes."""
        return self

    async def answer_post(self, request: BoundedRequest) -> None:
        """Answer the request in the body, whatever its Content-Type."""
        assert request.content is not None  # noqa: S101 - twisted.web sets it before rendering
        await self._answer(request, request.content.read(), cacheable=False)

    async def answer_get(self, request: BoundedRequest) -> None:
        """Answer the request in the rest of the path."""
        await self._answer(request, decode_get(request.uri[len(self._path) :]), cacheable=True)

    async def _answer(self, request: BoundedRequest, data: bytes, *, cacheable: bool) -> None:
        ocsp_request = decode_request(data, self._max_certificates)
        try:
            answer = await self._responder.answer(ocsp_request.cert_ids, ocsp_request.nonce)
        except Exception as error:
            if isinstance(error, PikachuError | CancelledError):
                raise
            # Clients understand only OCSPResponses, also for an internal error.
            raise IssuanceFailed(f"internal error {log_failure(Failure(), request)}") from error
        headers = self._headers(answer, cacheable)
        etag = headers.get(b"ETag")
        now = utc(self._clock.seconds())
        if etag is not None and not_modified(request, etag, answer.this_update, now):
            send(request, 304, None, b"", headers)
        else:
            send(request, 200, CONTENT_TYPE, answer.der, headers)

    def _headers(self, answer: OCSPAnswer, cacheable: bool) -> Mapping[bytes, bytes]:
        if not (cacheable and answer.cacheable):
            return _NOT_CACHEABLE
        fields = cache_headers(answer.der, answer.this_update, answer.next_update, utc(self._clock.seconds()))
        return {name.encode("ascii"): value.encode("ascii") for name, value in fields.items()}

    def refuse(self, request: BoundedRequest, error: PikachuError) -> None:
        """Send an unsigned OCSPResponse with the status of the error."""
        if isinstance(error, TooLarge):
            text_error(request, 413, error.public)
            return
        status = entry_of(error, STATUSES)
        self.errors.add(status.name.lower())
        if status in (ResponseStatus.INTERNAL_ERROR, ResponseStatus.TRY_LATER):
            log.error("OCSP: {error} {context}", error=error.public, context=error.context)
        send(request, 200, CONTENT_TYPE, error_response(status), _NOT_CACHEABLE)

    def hits(self) -> dict[str, int]:
        """Return the numbers of responses from the cache of complete responses, by their result."""
        caches = self._caches.values()
        return {result: sum(cache.hits[result] for cache in caches) for result in RESULTS}

    # --- fast path ----------------------------------------------------------------------

    def quick(self, method: bytes, target: bytes, body: bytes) -> bytes | None:
        """Return a complete HTTP response if available without waiting, else None.

        See :class:`pikachu.http.fast_path.IFastResponder`.
        """
        if method == b"GET":
            key = target
        elif target == self._path or target == self._path + b"/":
            key = body
        else:
            return None
        cache = self._caches[method]
        now = self._clock.seconds()
        response = cache.get(key, now)
        if response is not None:
            return response
        try:
            data = body if method == b"POST" else decode_get(target[len(self._path) :])
            ocsp_request = decode_request(data, self._max_certificates)
        except RequestError:
            return None
        answer = self._responder.cached_answer(ocsp_request.cert_ids, ocsp_request.nonce)
        if answer is None:
            return None
        response = self._http_response(answer, method == b"GET")
        if answer.cacheable and now < answer.next_update.timestamp() - _MAX_AGE:
            cache.put(key, answer, response, answer.next_update.timestamp() - _MAX_AGE)
        return response

    def _http_response(self, answer: OCSPAnswer, cacheable: bool) -> bytes:
        fields = b"".join([b"%s: %s\r\n" % field for field in self._headers(answer, cacheable).items()])
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n"
        return head % (CONTENT_TYPE, len(answer.der), fields) + answer.der
