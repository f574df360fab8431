"""SCEP in memory: a whole core behind the SCEP paths, and clients that enroll with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from cryptography import x509

from pikachu.auth.authenticator import account_principal
from pikachu.http.request import Limits, PathRule, Site
from pikachu.http.resources import NotFoundResource
from pikachu.http.tree import Tree
from pikachu.protocols.scep.resource import put_scep
from pikachu.server.sites import scep_server
from tests.support import scep_client
from tests.support.deferreds import result_of
from tests.support.est import EST
from tests.support.lint import check_certificate
from tests.support.scep_client import CertRep, SCEPClient, as_query, read_degenerate
from tests.support.stack import Files, Response, Stack, ask, build_core, open_stack

MESSAGE = "application/x-pki-message"
SUCCESS, FAILURE, PENDING = "0", "2", "3"
BAD_ALG, BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_TIME, BAD_CERT_ID = "0", "1", "2", "3", "4"


def scep_site(stack: Stack) -> Site:
    """Return the SCEP site of a listener."""
    tree = Tree(NotFoundResource())
    put_scep(tree, scep_server(stack.app))
    rules = (PathRule(b"/scep", stack.app.config.scep.body_limit), PathRule(b"/cgi-bin/", 64 * 1024))
    return stack.site(tree, limits=Limits(rules=rules))


@dataclass
class SCEP(EST):
    """A client's and an administrator's view of one server."""

    def get_scep(self, operation: str, path: str = "/scep", message: bytes | None = None) -> Response:
        """GET of an operation."""
        query = b"" if message is None else b"&message=" + message
        target = path.encode("ascii") + b"?operation=" + operation.encode("ascii") + query
        return ask(self.site, self.stack.clock, target)

    def ca_certificates(self, path: str = "/scep") -> list[bytes]:
        """Return the certificates of GetCACert."""
        response = self.get_scep("GetCACert", path)
        assert response.status == 200
        if response.headers["Content-Type"] == "application/x-x509-ca-cert":
            return [response.body]
        assert response.headers["Content-Type"] == "application/x-x509-ca-ra-cert"
        return read_degenerate(response.body)[0]

    def recipient(self, path: str = "/scep") -> bytes:
        """The certificate that messages are encrypted for: the RA's where there is one."""
        found = self.ca_certificates(path)
        if len(found) == 1:
            return found[0]
        (ra,) = [one for one in found if not _is_ca(one)]
        return ra

    def client(self, slot: int = 1, path: str = "/scep", **how: Any) -> SCEPClient:
        """A client that knows the server's certificates."""
        return scep_client.new_client(self.recipient(path), slot=slot, **how)

    def post(self, message: bytes, path: str = "/scep?operation=PKIOperation") -> Response:
        """Any body."""
        return ask(self.site, self.stack.clock, path, "POST", message)

    def ask_scep(self, client: SCEPClient, message: bytes, path: str = "/scep", *, get: bool = False) -> CertRep:
        """The answer to a message; it must be a CertRep that *client* can read."""
        if get:
            response = self.get_scep("PKIOperation", path, as_query(message))
        else:
            response = self.post(message, f"{path}?operation=PKIOperation")
        assert response.status == 200, response.body
        assert response.headers["Content-Type"] == MESSAGE
        assert response.headers["Cache-Control"] == "no-store"
        return client.read(response.body, client.recipient)

    def admin_challenge(self) -> str:
        """A new challenge password of the account ``keeper``."""
        found = result_of(self.stack.app.store.account_by_name("keeper"))
        owner = self.account("keeper") if found is None else account_principal(found, "192.0.2.7")
        return self.challenge(owner)

    def enroll_scep(
        self, client: SCEPClient, common_name: str = "device", challenge: str | None = None, **how: Any
    ) -> CertRep:
        """PKCSReq."""
        request = scep_client.csr(client.key, common_name, challenge)
        return self.ask_scep(client, client.pkcs_req(request, **how))

    def enrolled(self, client: SCEPClient, common_name: str = "device", **how: Any) -> SCEPClient:
        """A client that signs with the certificate it was given."""
        reply = self.enroll_scep(client, common_name, self.admin_challenge(), **how)
        return replace(client, certificate=self.leaf(reply))

    def leaf(self, reply: CertRep) -> bytes:
        """The one certificate of an answer, without fault."""
        assert reply.status == SUCCESS, reply.fail_info_text
        (found,) = reply.certificates
        key = x509.load_der_x509_certificate(found).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        issuer = next(one for one in self.stack.app.issuers.all() if one.key_identifier == key.value.key_identifier)
        check_certificate(found, issuer.chain)
        return found

    def restart(self) -> SCEP:
        """The same database, files and time in a new process."""
        return _served(self.stack.restart())


def _is_ca(certificate: bytes) -> bool:
    constraints = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.BasicConstraints)
    return constraints.value.ca


def _served(stack: Stack) -> SCEP:
    """A server over *stack*, which is closed when there can be none."""
    try:
        return SCEP(stack, scep_site(stack))
    except BaseException:
        stack.close()
        raise


@contextmanager
def scep_server_in(folder: Path, key_types: tuple[str, ...] = ("rsa2048",), **settings: Any) -> Iterator[SCEP]:
    """A server; *settings* as ``tests.support.stack.build_core`` takes them."""
    server = _served(build_core(folder, key_types=key_types, **settings))
    try:
        yield server
    finally:
        # The test may have restarted it.
        server.stack.close()


def reopened(files: Files, clock: Clock) -> SCEP:
    """A server over files that are there."""
    return _served(open_stack(files, clock))
