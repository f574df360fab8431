"""A CRL publisher under test, and its CRLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from cryptography import x509

from pikachu.cli.main import main
from pikachu.va.crl_files import CRLSettings, PublishedCRL
from pikachu.va.crl_publisher import CRLPublisher
from pikachu.va.revocation_recovery import RevocationRecovery
from tests.support.deferreds import result_of
from tests.support.stack import Stack

DAY = 86400


def crl_of(stack: Stack, name: str | None = None) -> x509.CertificateRevocationList:
    """The CRL that is published, verified."""
    issuer = stack.issuer() if name is None else next(one for one in stack.app.issuers.all() if one.name == name)
    der_path, pem_path = stack.app.publisher.paths(issuer)
    crl = x509.load_der_x509_crl(der_path.read_bytes())
    key: Any = x509.load_der_x509_certificate(issuer.certificate.der).public_key()
    assert crl.is_signature_valid(key)
    assert crl.issuer.public_bytes() == issuer.certificate.subject_der
    aki = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert aki.key_identifier == issuer.key_identifier
    pem = pem_path.read_bytes()
    assert pem.endswith(b"-----END X509 CRL-----\n")
    assert x509.load_pem_x509_crl(pem) == crl
    return crl


def number_of(crl: x509.CertificateRevocationList) -> int:
    """cRLNumber, which is not critical."""
    extension = crl.extensions.get_extension_for_class(x509.CRLNumber)
    assert not extension.critical
    return extension.value.crl_number


def serials(crl: x509.CertificateRevocationList) -> list[int]:
    """Return the serial numbers on a CRL."""
    return [entry.serial_number for entry in crl]


def settle(stack: Stack) -> None:
    """Let the delay of revocations go by."""
    stack.clock.advance(1)


def make(stack: Stack) -> PublishedCRL:
    """A CRL now."""
    return result_of(stack.app.publisher.make(stack.issuer()))


def rotate(stack: Stack, name: str, *arguments: str) -> None:
    """``pikachu ca rotate``, as another process would; the server takes it over."""
    assert main(["ca", "rotate", name, "--config", str(stack.files.config), *arguments]) == 0
    result_of(stack.app.generations.update(stack.app.issuers))


class Held:
    """A pool that does its work when it is let go."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def run(self, work: Any, *args: Any, **kwargs: Any) -> Deferred[Any]:
        result: Deferred[Any] = Deferred()

        def go() -> None:
            try:
                value = work(*args, **kwargs)
            except Exception:
                result.errback()
            else:
                result.callback(value)

        self.work.append(go)
        return result

    def go(self) -> None:
        self.work.pop(0)()


def slow_publisher(stack: Stack, store: Any = None) -> tuple[CRLPublisher, Held]:
    pool = Held()
    folder = stack.app.publisher.folder.path
    settings = CRLSettings(7 * DAY, 0.5, folder, stack.app.config.paths.crl_path)
    recovery = RevocationRecovery(stack.clock, store or stack.app.store, pool)
    return CRLPublisher(stack.clock, store or stack.app.store, stack.app.issuers, pool, settings, recovery), pool
