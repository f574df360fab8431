"""EST over HTTPS: ``/.well-known/est/[<label>/]<operation>`` (RFC 7030, 8951, 9908)."""

from __future__ import annotations

import math
from typing import Final

from twisted.logger import Logger
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.core.errors import (
    AuthenticationFailed,
    BadCSR,
    MalformedRequest,
    NotAuthorized,
    NotFound,
    PikachuError,
    PolicyViolation,
    RateLimited,
    RequestError,
    TooLarge,
    Unavailable,
    entry_of,
)
from pikachu.core.interfaces import IWorkerPool
from pikachu.core.model.people import Credentials
from pikachu.http.client_address import client_certificate
from pikachu.http.request import BoundedRequest
from pikachu.http.resources import ProtocolResource, serve
from pikachu.http.responses import not_allowed, send, text_error
from pikachu.protocols.est.messages import (
    CERTS_ONLY_TYPE,
    CSRATTRS_TYPE,
    PKCS10_TYPE,
    ESTPath,
    Operation,
    encode_body,
    encode_certificates,
    encode_server_key,
    is_raw,
    parse_basic_authorization,
    parse_path,
    refuse_key_encryption,
    wraps_base64,
)
from pikachu.ra.enrollment import Issued, Pending
from pikachu.ra.est import ESTEnrollment, ESTRegistration
from pikachu.x509.csr import CertificationRequest
from pikachu.x509.csrattrs import encode_csrattrs
from pikachu.x509.keys import KEY_NAMES, PrivateKey, describe_private_key, generate_private_key, private_key_info
from pikachu.x509.spki import describe_spki

log = Logger()

# The HTTP status of each error (docs/errors.md); libest knows only 400, 401, 404, 423, 500, 502 and 504.
STATUSES: Final[dict[type[PikachuError], int]] = {
    AuthenticationFailed: 401,
    NotAuthorized: 403,
    NotFound: 404,
    TooLarge: 413,
    RateLimited: 429,
    RequestError: 400,
    Unavailable: 503,
    PikachuError: 500,
}
_REALM: Final = b'Basic realm="estrealm"'
_NO_STORE: Final = {b"Cache-Control": b"no-store"}
_BASE64: Final = {b"Content-Transfer-Encoding": b"base64"}
_PREFIX: Final = b"/.well-known/est/"
_PKCS10: Final = PKCS10_TYPE.encode("ascii")
_CERTS_ONLY: Final = CERTS_ONLY_TYPE.encode("ascii")
# The key types that serverkeygen chooses of a family.
_FAMILY_TYPES: Final = {"RSA": "RSA/2048", "EC": "EC/prime256v1", "PQC": "PQC/mldsa44"}
_CSRATTRS: Final = CSRATTRS_TYPE.encode("ascii")


def new_key_type(csr: CertificationRequest, allowed: tuple[str, ...]) -> str:
    """Return the name of the key type for serverkeygen: that of the CSR if generated and allowed, otherwise RSA-2048.

    Where the policy does not allow that either, it is the first type that it allows.

    :param allowed: the key types of the policy's limits; empty allows all.
    :raises PolicyViolation: when the policy allows no key that is generated here.
    """
    wanted = (_placeholder_type(csr), "RSA/2048", *(_FAMILY_TYPES.get(key_type, key_type) for key_type in allowed))
    for key_type in wanted:
        if key_type is not None and _is_allowed(key_type, allowed) and _key_name(key_type) in KEY_NAMES:
            return _key_name(key_type)
    raise PolicyViolation(
        f"The policy allows only keys that are not generated here ({', '.join(allowed)}). Generate the key on the "
        "device and use simpleenroll."
    )


def _key_name(key_type: str) -> str:
    """Return the name in :data:`pikachu.x509.keys.KEY_NAMES` of a key type such as ``RSA/2048``, if it has one."""
    family, _, detail = key_type.partition("/")
    return f"rsa{detail}" if family == "RSA" else (detail or family).lower()


def _placeholder_type(csr: CertificationRequest) -> str | None:
    """Return the type of the CSR's key, or ``None`` where the CA does not certify it."""
    try:
        return describe_spki(csr.spki_der).text
    except (BadCSR, MalformedRequest):
        return None


def _is_allowed(key_type: str, allowed: tuple[str, ...]) -> bool:
    return not allowed or key_type in allowed or key_type.partition("/")[0] in allowed


class ESTResource(ProtocolResource):
    """Everything below ``/.well-known/est``.

    :param pool: the pool for key generation.
    :param wrapping: ``auto``, ``always`` or ``never`` (``[EST] base64_wrap``).
    """

    def __init__(self, registration: ESTRegistration, pool: IWorkerPool, wrapping: str) -> None:
        Resource.__init__(self)
        self._registration = registration
        self._pool = pool
        self._wrapping = wrapping

    def getChild(self, path: bytes, request: BoundedRequest) -> IResource:
        """Return this resource for all paths below it: labels and operations."""
        return self

    def render(self, request: BoundedRequest) -> int:
        """Accept any method: the allowed ones depend on the operation in the path."""
        serve(request, self.answer, self.refuse, self.time_limit)
        return NOT_DONE_YET

    async def answer(self, request: BoundedRequest) -> None:
        """Perform the operation in the path."""
        path = parse_path(request.uri.partition(b"?")[0].removeprefix(_PREFIX).split(b"/"))
        method = b"GET" if request.method == b"HEAD" else request.method
        if method != path.operation.method.encode("ascii"):
            not_allowed(request, {b"GET", b"HEAD"} if path.operation.method == "GET" else {b"POST"})
            return
        if path.operation is Operation.CACERTS:
            await self._cacerts(request, path.label)
        elif path.operation is Operation.CSRATTRS:
            await self._csrattrs(request, path.label)
        else:
            await self._enroll(request, path)

    # --- public operations --------------------------------------------------------------

    async def _cacerts(self, request: BoundedRequest, label: str | None) -> None:
        certificates = await self._registration.ca_certificates(label)
        body = encode_certificates(certificates, wrap=self._wraps(request))
        send(request, 200, _CERTS_ONLY, body, _BASE64)

    async def _csrattrs(self, request: BoundedRequest, label: str | None) -> None:
        attributes = (await self._registration.required_attributes(label)).attributes()
        if not attributes:
            send(request, 204, None, b"")
            return
        body = encode_body(encode_csrattrs(attributes), wrap=self._wraps(request))
        send(request, 200, _CSRATTRS, body, _BASE64)

    def _wraps(self, request: BoundedRequest) -> bool:
        agent = request.getHeader(b"user-agent")
        return wraps_base64(None if agent is None else agent.decode("latin-1"), self._wrapping)

    # --- enrolling ----------------------------------------------------------------------

    def _credentials(self, request: BoundedRequest) -> Credentials:
        shown = client_certificate(request)
        basic = parse_basic_authorization(request.getHeader(b"authorization"))
        return Credentials(
            address=request.address,
            peer_certificate=shown.der,
            peer_intermediates=shown.intermediates,
            username=None if basic is None else basic[0],
            password=None if basic is None else basic[1],
            channel_bindings=shown.channel_bindings,
        )

    async def _enroll(self, request: BoundedRequest, path: ESTPath) -> None:
        content_type = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
        if content_type not in (b"", _PKCS10):
            text_error(request, 415, "the request's type is application/pkcs10")
            return
        body = request.content.read()
        renew = path.operation is Operation.SIMPLEREENROLL
        credentials = self._credentials(request)
        enrollment = ESTEnrollment(credentials, body, path.label, renew)
        if path.operation is Operation.SERVERKEYGEN:
            await self._server_keygen(request, enrollment)
            return
        result = await self._registration.enroll(enrollment)
        if credentials.peer_certificate is not None or credentials.username is not None:
            request.authenticated()
        if isinstance(result, Pending):
            self._pending(request, result)
            return
        raw = is_raw(body)
        answer = encode_certificates([result.record.der], raw=raw, wrap=self._wraps(request))
        send(request, 200, _CERTS_ONLY, answer, _NO_STORE if raw else {**_NO_STORE, **_BASE64})

    async def _server_keygen(self, request: BoundedRequest, enrollment: ESTEnrollment) -> None:
        generation = await self._registration.server_keygen(enrollment)
        csr = generation.received.csr
        refuse_key_encryption(csr)
        private_key: PrivateKey = await self._pool.run(
            generate_private_key, new_key_type(csr, generation.policy.limits.keys)
        )
        spki = describe_private_key(private_key).spki
        result = await self._registration.issue_generated(generation, spki)
        assert isinstance(result, Issued)  # noqa: S101 - manual approval was refused before
        content_type, answer = encode_server_key(
            private_key_info(private_key), result.record.der, wrap=self._wraps(request)
        )
        send(request, 200, content_type.encode("ascii"), answer, _NO_STORE)

    @staticmethod
    def _pending(request: BoundedRequest, pending: Pending) -> None:
        send(
            request,
            202,
            b"text/plain",
            b"the request waits for approval\n",
            {b"Retry-After": b"%d" % pending.retry_after, **_NO_STORE},
        )

    # --- failures -----------------------------------------------------------------------

    def refuse(self, request: BoundedRequest, error: PikachuError) -> None:
        """Send the error as one line of text, with the status from :data:`STATUSES`."""
        status = entry_of(error, STATUSES)
        headers = dict(_NO_STORE)
        if status == 401:
            headers[b"WWW-Authenticate"] = _REALM
        if isinstance(error, RateLimited | Unavailable):
            headers[b"Retry-After"] = b"%d" % math.ceil(error.retry_after)
        if status >= 500:
            log.error("EST: {error} {context}", error=error.public, context=error.context)
        text_error(request, status, error.public, headers)
