"""SCEP against a real server: restarts, many at once, every listener, and rotation while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from pikachu.cli.session import done, operator
from pikachu.core.model.certificates import RevocationReason
from tests.support.lint import check_chain
from tests.support.scep_client import CertRep, SCEPClient, csr, new_client, rsa_key, verify_signed
from tests.support.server import Server, running_server, wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server whose CA has an RSA key."""
    with running_server(tmp_path / "server", ("rsa2048",)) as made:
        yield made


def challenge(server: Server) -> str:
    with server.application() as app:
        return done(app.challenge_passwords.create(operator()))[1]


def send(server: Server, client: SCEPClient, message: bytes, listener: str = "scep") -> CertRep:
    answer = server.ask(listener, "/scep?operation=PKIOperation", "POST", message)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/x-pki-message"
    return client.read(answer.body, client.recipient)


def ca_certificate(server: Server, listener: str = "scep") -> bytes:
    return server.ask(listener, "/scep?operation=GetCACert").body


@pytest.mark.parametrize("listener", ["http", "scep", "https"])
def test_listeners(server: Server, listener: str) -> None:
    """RUN-2: each of them serves it."""
    client = new_client(ca_certificate(server, listener))
    reply = send(server, client, client.pkcs_req(csr(client.key, challenge=challenge(server))), listener)
    (leaf,) = reply.certificates
    check_chain(leaf, [server.files.issuers["rsa"].der, server.files.root.der])


def test_one_challenge_many_clients(server: Server) -> None:
    """CHP-2: a hundred at once with one challenge password; one certificate."""
    secret = challenge(server)
    recipient = ca_certificate(server)
    clients = [new_client(recipient, slot=slot) for slot in range(1, 5)]
    messages = [
        (client, client.pkcs_req(csr(client.key, f"device {number}", secret), transaction_id=str(number)))
        for number in range(25)
        for client in clients
    ]
    outcomes: list[str] = []
    failures: list[BaseException] = []

    def work(part: list[tuple[SCEPClient, bytes]]) -> None:
        try:
            outcomes.extend(send(server, client, message).status for client, message in part)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(messages[at::20],)) for at in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(outcomes) == ["0"] + ["2"] * 99
    assert server.log.count("via SCEP") == 1


def test_one_message_many_times(server: Server) -> None:
    """Copies that come at the same time get one certificate."""
    client = new_client(ca_certificate(server))
    message = client.pkcs_req(csr(client.key, challenge=challenge(server)))
    found: list[bytes] = []

    def work() -> None:
        found.extend(send(server, client, message).certificates)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    # Also after a kill.
    server.kill()
    server.start()
    assert send(server, client, message).certificates == found[:1]


def test_nothing_secret_is_logged(server: Server) -> None:
    """Transaction, signer and result; never the challenge password or what the request holds."""
    client = new_client(ca_certificate(server))
    secret = challenge(server)
    request = csr(client.key, "device", secret, dns=["hidden.example.com"])
    send(server, client, client.pkcs_req(request, transaction_id="find\nme"))
    send(server, client, client.pkcs_req(csr(client.key, "device", "wrong-secret"), transaction_id="second"))
    assert "SCEP PKCS_REQ find\\nme of " in server.log
    assert "SUCCESS" in server.log
    for text in (secret, "hidden.example.com", "wrong-secret"):
        assert text not in server.log + server.console


def test_rotation_while_it_runs(server: Server) -> None:
    """VLT-4: the server sees what the command announces and switches to; old certificates stay served."""
    before = ca_certificate(server)
    client = new_client(before)
    old = send(server, client, client.pkcs_req(csr(client.key, challenge=challenge(server)))).certificates[0]
    server.run("ca", "rotate", "rsa")
    wait_until(lambda: b"GetNextCACert" in server.ask("scep", "/scep?operation=GetCACaps").body, "it is announced")
    signed, _ = verify_signed(server.ask("scep", "/scep?operation=GetNextCACert").body, before)
    assert ca_certificate(server) == before
    server.run("ca", "rotate", "rsa", "--now")
    wait_until(lambda: ca_certificate(server) != before, "it has switched")
    now = ca_certificate(server)
    assert now in [one.dump() for one in signed["certificates"]]
    renewing = client.with_certificate(old)
    (new,) = send(server, renewing, renewing.renewal_req()).certificates
    check_chain(new, [now, server.files.root.der])
    old_ca = x509.load_der_x509_certificate(before)
    ski = old_ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    with server.application() as app:
        done(
            app.authority.revoke(
                x509.load_der_x509_certificate(old).serial_number, RevocationReason.SUPERSEDED, operator()
            )
        )

    def listed() -> bool:
        answer = server.ask("http", f"/crl/{ski}.crl")
        if answer.status != 200:
            return False
        crl = x509.load_der_x509_crl(answer.body)
        serial = x509.load_der_x509_certificate(old).serial_number
        return crl.is_signature_valid(old_ca.public_key()) and (  # type: ignore[arg-type]
            crl.get_revoked_certificate_by_serial_number(serial) is not None
        )

    wait_until(listed, "the former CRL lists it")
    server.kill()
    server.start()
    assert ca_certificate(server) == now
    assert listed()
    # A client that knows only the former CA is answered by it.
    assert send(server, renewing, renewing.renewal_req(transaction_id="x")).fail_info == "2"
    fresh = new_client(now, slot=2)
    request = csr(rsa_key(2), "fresh", challenge(server))
    assert send(server, fresh, fresh.pkcs_req(request)).status == "0"
