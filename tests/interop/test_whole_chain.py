"""CAR-1: programs that check the status of every certificate of a chain, issuing CA included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from pikachu.cli.session import done
from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.interop.test_rotation_clients import client_files, fetch, succeeds
from tests.interop.test_status_clients import nginx_configuration, process
from tests.support.apache import apache_configuration, readable_folder
from tests.support.databases import AS_0006, execute
from tests.support.est import PASSWORD
from tests.support.interop import require
from tests.support.java import compiled
from tests.support.pki import Identity
from tests.support.ports import free_ports
from tests.support.rotation import CA, RotatedServer, authority_key_of
from tests.support.server import Server, end, make_server, wait_until

pytestmark = pytest.mark.interop


#: Whether a program lets a client in.
Accepts = Callable[[Identity], bool]


def _new(server: Server) -> None:
    """A CA that ``pikachu init`` makes, with ``public_url``."""
    for pattern in ("root.*", f"{CA}*", "https.*", "pikachu.sqlite"):
        for path in server.folder.glob(pattern):
            path.unlink()
    password = server.folder / "password"
    password.write_text("correct horse battery staple\n")
    server.run(
        *("init", "--quiet", "--hostname", "localhost", "--rsa-bits", "2048"),
        *("--admin-password-file", str(password)),
    )


def _upgraded(server: Server) -> None:
    """Make the CA one of an earlier version, whose certificates lack URLs, and reissue it."""
    execute(f"sqlite:///{server.folder / 'pikachu.sqlite'}", *AS_0006)
    before = x509.load_pem_x509_certificate((server.folder / f"{CA}.crt").read_bytes())
    server.run("ca", "reissue", CA)
    after = x509.load_pem_x509_certificate((server.folder / f"{CA}.crt").read_bytes())
    assert (after.subject, after.public_key()) == (before.subject, before.public_key())


@contextmanager
def running(folder: Path, prepare: Callable[[Server], None]) -> Iterator[RotatedServer]:
    """A running server with an RSA CA and the account ``alice``."""
    (port,) = free_ports(1)
    changes = {("CA", "public_url"): f"http://127.0.0.1:{port}", ("DEFAULT", "http_port"): str(port)}
    server = make_server(folder / "server", ("rsa2048",), changes=changes)
    try:
        prepare(server)
        made = RotatedServer(server.start(), folder)
        with server.application() as app:
            account = done(
                app.accounts.add_user(SYSTEM, "alice", "alice@example.com", Role.USER, AccountState.ACTIVE, PASSWORD)
            )
            made.token = done(app.tokens.create(SYSTEM, account.id, "test"))[1]
        yield made
    finally:
        end(server)


def issuer_file(rotated: RotatedServer, identity: Identity) -> Path:
    """The certificate of the CA that issued a client's, in PEM."""
    path = rotated.folder / f"ca-{authority_key_of(identity.certificate)}.crt"
    path.write_bytes(rotated.get(f"/ca/{authority_key_of(identity.certificate)}.crt"))
    return path


@contextmanager
def openssl(rotated: RotatedServer) -> Iterator[Accepts]:
    """``openssl verify -crl_check_all``, with the lists of this moment."""
    require("openssl")

    def accepts(identity: Identity) -> bool:
        fetch(rotated)
        return succeeds(
            *("openssl", "verify", "-crl_check_all", "-CAfile", rotated.server.folder / "root.crt"),
            *("-untrusted", rotated.folder / "chain.pem", "-CRLfile", rotated.folder / "crls.pem"),
            client_files(rotated, identity)[0],
        )

    yield accepts


def curl(rotated: RotatedServer, port: int) -> Accepts:
    """A client of a server that verifies client certificates, and has a page for those that it accepts."""
    require("curl")

    def accepts(identity: Identity) -> bool:
        certificate, key = client_files(rotated, identity)
        return succeeds(
            *("curl", "-sS", "-f", "-o", rotated.folder / "out", "--cacert", rotated.server.folder / "root.crt"),
            *("--cert", certificate, "--key", key, f"https://localhost:{port}/"),
        )

    return accepts


@contextmanager
def nginx(rotated: RotatedServer) -> Iterator[Accepts]:
    """nginx with ``ssl_ocsp on``: leaf and issuing CA."""
    require("nginx")
    (port,) = free_ports(1)
    files, folder = rotated.server.folder, rotated.folder / "nginx"
    configuration = nginx_configuration(
        folder,
        f"listen 127.0.0.1:{port} ssl; ssl_certificate {files / 'https.crt'}; ssl_certificate_key "
        f"{files / 'https.key'}; ssl_client_certificate {fetch(rotated)[0]}; ssl_verify_client on; "
        "ssl_verify_depth 2; ssl_ocsp on; ssl_session_cache off; ssl_session_tickets off;",
    )
    with process("nginx", "-c", configuration, "-p", folder, "-e", folder / "error.log", port=port):
        yield curl(rotated, port)


@contextmanager
def apache(rotated: RotatedServer) -> Iterator[Accepts]:
    """Apache with ``SSLOCSPEnable on``: leaf and issuing CA."""
    require("apache2")
    (port,) = free_ports(1)
    files = rotated.server.folder
    settings = f"SSLCACertificateFile {fetch(rotated)[0]}\nSSLOCSPEnable on\nSSLOCSPUseRequestNonce off"
    with readable_folder() as folder:
        configuration = apache_configuration(folder, port, files / "https.crt", files / "https.key", settings)
        with process("apache2", "-f", configuration, "-DFOREGROUND", port=port):
            yield curl(rotated, port)


@contextmanager
def java(rotated: RotatedServer) -> Iterator[Accepts]:
    """Java's PKIX with a PKIXRevocationChecker, which by itself asks OCSP for each certificate of the path."""
    command = compiled("ValidateChain", rotated.folder / "classes")

    def accepts(identity: Identity) -> bool:
        return succeeds(
            *command,
            *(rotated.server.folder / "root.crt", rotated.write(identity.certificate), issuer_file(rotated, identity)),
        )

    yield accepts


@pytest.mark.parametrize("prepare", [_new, _upgraded])
def test_the_whole_chain_is_verified(tmp_path: Path, prepare: Callable[[Server], None]) -> None:
    """Good clients of either generation get through; a revoked leaf and the leaves of a revoked CA do not."""
    with running(tmp_path, prepare) as rotated, ExitStack() as programs:
        wait_until(lambda: rotated.server.ask("http", f"/crl/{CA}-chain.pem").status == 200, "the CRLs are published")
        former, revoked = rotated.enroll("EST"), rotated.enroll("REST")
        rotated.announce()
        current_ca = rotated.switch_now()
        current = rotated.enroll("EST")
        wait_until(lambda: rotated.server.ask("http", f"/crl/{CA}-chain.pem").status == 200, "the CRLs are published")
        verifiers = {
            verifier.__name__: programs.enter_context(verifier(rotated)) for verifier in (openssl, nginx, apache, java)
        }

        def decisions(identity: Identity) -> dict[str, bool]:
            return {name: accepts(identity) for name, accepts in verifiers.items()}

        everybody, nobody = dict.fromkeys(verifiers, True), dict.fromkeys(verifiers, False)
        for identity in (former, revoked, current):
            assert decisions(identity) == everybody
        rotated.revoke(revoked)
        assert decisions(revoked) == nobody
        serial = f"{current_ca.serial_number:x}"
        done = rotated.server.run("revoke", serial, "--reason", "cACompromise", "--confirm", "issuing_ca")
        assert done == f"revoked {serial}\n"
        wait_until(lambda: not verifiers["java"](current), "OCSP says that the CA is revoked")
        assert decisions(current) == nobody
        assert decisions(former) == everybody
