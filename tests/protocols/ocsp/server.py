"""The OCSP responder over HTTP, in memory."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import quote

from pikachu.core.model.times import utc
from pikachu.http.fast_path import FastPath
from pikachu.http.request import Limits, PathRule, Site
from pikachu.http.resources import NotFoundResource
from pikachu.http.tree import Tree
from pikachu.protocols.ocsp.resource import OCSPResource
from pikachu.x509.ocsp import SHA1
from tests.support import ocsp
from tests.support.stack import Leaf, Response, Stack, ask


class OCSPServer:
    """A stack whose responder answers at ``/ocsp``, on the ordinary path and on the fast path."""

    def __init__(self, stack: Stack, max_certificates: int = 50) -> None:
        self.stack = stack
        app = stack.app
        self.resource = OCSPResource(app.responder, stack.clock, max_certificates)
        tree = Tree(NotFoundResource())
        tree.putChild(b"ocsp", self.resource)
        limits = Limits(rules=(PathRule(b"/ocsp", 10 * 1024),))
        self.site: Site = stack.site(tree, limits=limits)
        self.quick = FastPath(self.resource, (b"POST /ocsp", b"GET /ocsp/"), stack.clock, "http")
        self.quick_site: Site = stack.site(tree, self.quick, limits)

    def cert_id(self, serial: int | Leaf, ca: str | None = None, algorithm: str = SHA1, *, null: bool = True) -> bytes:
        """The CertID of a serial of one of the CAs."""
        number = serial if isinstance(serial, int) else serial.serial
        return ocsp.cert_id(self.stack.issuer(ca).certificate, number, algorithm, null=null)

    def post(
        self,
        body: bytes,
        path: str = "/ocsp",
        *,
        quick: bool = False,
        headers: Mapping[str, str] | None = None,
        version: str = "1.1",
    ) -> Response:
        """POST a request."""
        fields = {"Content-Type": "application/ocsp-request", **(headers or {})}
        site = self.quick_site if quick else self.site
        return ask(site, self.stack.clock, path, "POST", body, fields, version)

    def get(
        self,
        body: bytes,
        prefix: str = "/ocsp/",
        *,
        quick: bool = False,
        headers: Mapping[str, str] | None = None,
        version: str = "1.1",
        method: str = "GET",
    ) -> Response:
        """GET a request, written as RFC 6960 appendix A.1 has it."""
        target = prefix + quote(base64.b64encode(body).decode("ascii"), safe="")
        return ask(self.quick_site if quick else self.site, self.stack.clock, target, method, b"", headers, version)

    def verify(self, response: Response, ca: str | None = None) -> ocsp.Answer:
        """Verify a successful response and return its content."""
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/ocsp-response"
        now = utc(self.stack.clock.seconds())
        return ocsp.verify(response.body, self.stack.issuer(ca).certificate, now)

    def status(self, serial: int | Leaf, ca: str | None = None, *, quick: bool = False) -> str:
        """Return the status that a client without a nonce gets: good, revoked or unknown."""
        return self.verify(self.post(ocsp.request(self.cert_id(serial, ca)), quick=quick), ca).status
