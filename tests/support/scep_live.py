"""SCEP at a real server; challenge passwords and policies are made by another process, as by ``pikachu``."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pikachu.cli.session import done, operator
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.policies import Approval, Policy
from tests.support.lint import check_chain
from tests.support.server import Server, running_server, wait_until


def run(folder: Path, *command: str, codes: tuple[int, ...] = (0,)) -> str:
    """The output of a command that ends with one of *codes*."""
    result = subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=90, stdin=subprocess.DEVNULL)
    text = (result.stdout + result.stderr).decode("utf-8", "replace")
    assert result.returncode in codes, f"{' '.join(command)}: {result.returncode}\n{text}"
    return text


def challenge(server: Server) -> str:
    """A new challenge password."""
    with server.application() as app:
        return done(app.challenge_passwords.create(operator()))[1]


def manual(server: Server) -> None:
    """Let a person look at each enrollment."""
    with server.application() as app:
        policy = Policy(
            0, "looked-at", 30, app.policies.default.extensions, True, use_for_scep=True, approval=Approval.MANUAL
        )
        done(app.store.add_policy(policy, Event("create", "policy", policy.name, "test"), app.authority.now()))
    # A running server looks for changed policies once a second.
    path = "/scep/looked-at?operation=GetCACaps"
    wait_until(lambda: server.ask("scep", path).status == 200, "the server knows the policy")
    # What it has cached of the path without a label is older, and ends within that second.
    time.sleep(1.1)


def approve(server: Server) -> None:
    """Approve what waits, once something does."""

    def waiting() -> bool:
        with server.application() as app:
            page = done(app.inventory.approvals(operator(), ListQuery(filters={"state": "pending"})))
            for request in page.items:
                done(app.registration.approve(operator(), request.id))
            return bool(page.items)

    wait_until(waiting, "a request waits")


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.ports['scep']}/scep"


def verify(server: Server, path: Path, issuer: str) -> x509.Certificate:
    """The certificate in a PEM file, whose chain OpenSSL verifies."""
    found = x509.load_pem_x509_certificate(path.read_bytes())
    ca = server.files.issuers[issuer]
    check_chain(found.public_bytes(Encoding.DER), [ca.der, server.files.root.der])
    return found


@contextmanager
def server_in(folder: Path, kind: str, **changes: str) -> Iterator[Server]:
    settings = {("SCEP", key): text for key, text in changes.items()}
    with running_server(folder / "server", (kind,), changes=settings) as server:
        yield server


def rsa_key_file(folder: Path, name: str = "key.pem") -> str:
    """Make an RSA key; the name of its file."""
    run(folder, "openssl", "genrsa", "-traditional", "-out", name, "2048")
    return name


def strongswan_cas(server: Server, folder: Path) -> tuple[str, str]:
    """(the recipient, the issuing CA): what ``pki --scepca`` writes."""
    run(
        folder,
        "pki",
        "--scepca",
        "--url",
        url(server),
        "--caout",
        "ca.pem",
        "--raout",
        "ra.pem",
        "--outform",
        "pem",
        "--force",
    )
    ra = next(iter(sorted(folder.glob("ra*.pem"))), None)
    (folder / "root.pem").write_bytes(server.files.root.pem)
    (folder / "sub.pem").write_bytes(next(iter(server.files.issuers.values())).pem)
    return ("sub.pem" if ra is None else ra.name), "sub.pem"


def strongswan(server: Server, folder: Path, out: str, *options: str) -> Path:
    """Have ``pki --scep`` enroll or renew; the file of the certificate."""
    recipient, ca = strongswan_cas(server, folder)
    command = ["pki", "--scep", "--url", url(server), "--in", "key.pem", "--outform", "pem"]
    command += ["--dn", "C=DE, CN=strongswan"]
    command += ["--cacert-enc", recipient, "--cacert-sig", recipient, "--cacert", ca, "--cacert", "root.pem"]
    text = run(folder, *command, *options)
    (folder / out).write_text(text[text.index("-----BEGIN") :])
    return folder / out
