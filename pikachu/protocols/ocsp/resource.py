"""OCSP over HTTP: ``POST /ocsp`` and ``GET /ocsp/<base64>`` (RFC 6960 appendix A, RFC 5019).

Every outcome but a body that is too large is HTTP 200: ``openssl ocsp`` takes any other status for a broken
responder, also when the body is an OCSPResponse.
"""

from __future__ import annotations

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
from pikachu.core.model.times import utc
from pikachu.http.request import BoundedRequest, log_failure
from pikachu.http.resources import ProtocolResource
from pikachu.http.responses import not_modified, send, text_error
from pikachu.protocols.ocsp.messages import NOT_CACHEABLE, cache_headers, decode_get, decode_request
from pikachu.protocols.ocsp.response_cache import ResponseCache
from pikachu.va.ocsp import OCSPAnswer, OCSPResponder
from pikachu.x509.ocsp import ResponseStatus, error_response

log = Logger()

CONTENT_TYPE: Final = b"application/ocsp-response"
# Caches are told an hour; near the end of an answer it is less, and has to be told anew each time.
_HOUR: Final = 3600

# The outlet's table: what each kind of failure is in OCSP (docs/errors.md).
STATUSES: Final[dict[type[PikachuError], ResponseStatus]] = {
    MalformedRequest: ResponseStatus.MALFORMED_REQUEST,
    NotAuthorized: ResponseStatus.UNAUTHORIZED,
    RequestError: ResponseStatus.MALFORMED_REQUEST,
    Unavailable: ResponseStatus.TRY_LATER,
    IssuanceFailed: ResponseStatus.INTERNAL_ERROR,
    PikachuError: ResponseStatus.INTERNAL_ERROR,
}


class OCSPResource(ProtocolResource):
    """The responder at ``/ocsp``; also the quick path's answers from memory.

    :param path: of the responder, such as ``b"/ocsp"``.
    """

    methods: ClassVar = {b"GET": "answer_get", b"POST": "answer_post"}

    def __init__(self, responder: OCSPResponder, clock: IClock, max_certificates: int, path: bytes = b"/ocsp") -> None:
        Resource.__init__(self)
        self._responder = responder
        self._clock = clock
        self._max_certificates = max_certificates
        self._path = path
        self._kept = {method: ResponseCache(responder.cache_bytes // 2) for method in (b"GET", b"POST")}

    def getChild(self, path: bytes, request: BoundedRequest) -> IResource:
        """All paths below are base64; it may hold slashes."""
        return self

    async def answer_post(self, request: BoundedRequest) -> None:
        """The request is the body, whatever Content-Type says."""
        assert request.content is not None  # noqa: S101 - twisted.web sets it before rendering
        await self._answer(request, request.content.read(), cacheable=False)

    async def answer_get(self, request: BoundedRequest) -> None:
        """The request is the rest of the path."""
        await self._answer(request, decode_get(request.uri[len(self._path) :]), cacheable=True)

    async def _answer(self, request: BoundedRequest, data: bytes, *, cacheable: bool) -> None:
        asked = decode_request(data, self._max_certificates)
        try:
            answer = await self._responder.answer(asked.cert_ids, asked.nonce)
        except Exception as error:
            if isinstance(error, PikachuError | CancelledError):
                raise
            # A fault of ours is an OCSP answer too, for clients that read nothing else.
            raise IssuanceFailed(f"internal error {log_failure(Failure(), request)}") from error
        headers = self._headers(answer, cacheable)
        etag = headers.get(b"ETag")
        now = utc(self._clock.seconds())
        if etag is not None and not_modified(request, etag, answer.this_update, now):
            send(request, 304, None, b"", headers)
        else:
            send(request, 200, CONTENT_TYPE, answer.der, headers)

    def _headers(self, answer: OCSPAnswer, cacheable: bool) -> dict[bytes, bytes]:
        if cacheable and answer.cacheable:
            found = cache_headers(answer.der, answer.this_update, answer.next_update, utc(self._clock.seconds()))
        else:
            found = dict(NOT_CACHEABLE)
        return {name.encode("ascii"): value.encode("ascii") for name, value in found.items()}

    def refuse(self, request: BoundedRequest, error: PikachuError) -> None:
        """An OCSPResponse without an answer in it; never signed."""
        if isinstance(error, TooLarge):
            text_error(request, 413, error.public)
            return
        status = entry_of(error, STATUSES)
        if status in (ResponseStatus.INTERNAL_ERROR, ResponseStatus.TRY_LATER):
            log.error("OCSP: {error} {context}", error=error.public, context=error.context)
        headers = {name.encode("ascii"): value.encode("ascii") for name, value in NOT_CACHEABLE.items()}
        send(request, 200, CONTENT_TYPE, error_response(status), headers)

    # --- the quick path -----------------------------------------------------------------

    def quick(self, method: bytes, target: bytes, body: bytes) -> bytes | None:
        """A whole HTTP answer when it takes no waiting; see :class:`pikachu.http.fast_path.IFastResponder`."""
        if method == b"GET":
            key = target
        elif target == self._path or target == self._path + b"/":
            key = body
        else:
            return None
        kept = self._kept[method]
        now = self._clock.seconds()
        whole = kept.get(key, now)
        if whole is not None:
            return whole
        try:
            data = body if method == b"POST" else decode_get(target[len(self._path) :])
            asked = decode_request(data, self._max_certificates)
        except RequestError:
            return None
        answer = self._responder.cached_answer(asked.cert_ids, asked.nonce)
        if answer is None:
            return None
        whole = self._whole(answer, method == b"GET")
        if answer.cacheable and now < answer.next_update.timestamp() - _HOUR:
            kept.put(key, answer, whole, answer.next_update.timestamp() - _HOUR)
        return whole

    def _whole(self, answer: OCSPAnswer, cacheable: bool) -> bytes:
        lines = [
            b"HTTP/1.1 200 OK",
            b"Content-Type: " + CONTENT_TYPE,
            b"Content-Length: %d" % len(answer.der),
            *(b"%s: %s" % field for field in self._headers(answer, cacheable).items()),
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + answer.der
