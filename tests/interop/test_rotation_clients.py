"""Servers that read one CRL file, across a rotation: no valid client refused, no revoked one forgotten (VLT-4)."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.interop.test_status_clients import nginx_configuration, process
from tests.support.interop import require
from tests.support.pki import Identity
from tests.support.ports import free_ports
from tests.support.rotation import CA, RotatedServer, rotated_server
from tests.support.server import wait_until

pytestmark = pytest.mark.interop


@dataclass(frozen=True)
class Verifier:
    """A program of another project that decides about clients.

    :ivar reload: makes it read its updated files again.
    :ivar accepts: whether it lets a client in.
    """

    reload: Callable[[], None]
    accepts: Callable[[Identity], bool]


def fetch(rotated: RotatedServer) -> tuple[Path, Path]:
    """Bring the files (CA certificates, CRLs) that a program reads up to date, as its administrator's timer would."""
    files = []
    for name, path in (("chain.pem", f"/ca/{CA}/chain.pem"), ("crls.pem", f"/crl/{CA}-chain.pem")):
        file = rotated.folder / name
        temporary = file.with_suffix(".new")
        temporary.write_bytes(rotated.get(path))
        temporary.replace(file)
        files.append(file)
    return files[0], files[1]


def client_files(rotated: RotatedServer, identity: Identity) -> tuple[Path, Path]:
    """A client's certificate and key."""
    certificate = rotated.write(identity.certificate)
    key = certificate.with_suffix(".key")
    key.write_bytes(identity.key_pem)
    return certificate, key


def succeeds(*command: str | Path) -> bool:
    done = subprocess.run(
        [str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0


@contextmanager
def openssl(rotated: RotatedServer) -> Iterator[Verifier]:
    """``openssl verify -crl_check_all``."""

    def accepts(identity: Identity) -> bool:
        return succeeds(
            *("openssl", "verify", "-crl_check_all", "-CAfile", rotated.server.folder / "root.crt"),
            *("-untrusted", rotated.folder / "chain.pem", "-CRLfile", rotated.folder / "crls.pem"),
            client_files(rotated, identity)[0],
        )

    yield Verifier(lambda: None, accepts)


@contextmanager
def nginx(rotated: RotatedServer) -> Iterator[Verifier]:
    """nginx with ``ssl_crl``."""
    require("nginx", "curl")
    (port,) = free_ports(1)
    chain, lists = fetch(rotated)
    files, folder = rotated.server.folder, rotated.folder / "nginx"
    configuration = nginx_configuration(
        folder,
        f"listen 127.0.0.1:{port} ssl; ssl_certificate {files / 'https.crt'}; ssl_certificate_key "
        f"{files / 'https.key'}; ssl_client_certificate {chain}; ssl_verify_client on; ssl_verify_depth 2; "
        f"ssl_crl {lists}; ssl_session_cache off; ssl_session_tickets off;",
    )
    command = ("nginx", "-c", configuration, "-p", folder, "-e", folder / "error.log")

    def accepts(identity: Identity) -> bool:
        certificate, key = client_files(rotated, identity)
        return succeeds(
            *("curl", "-sSf", "-o", folder / "out", "--cacert", files / "root.crt"),
            *("--cert", certificate, "--key", key, f"https://localhost:{port}/"),
        )

    def reload() -> None:
        assert succeeds(*command, "-s", "reload")

    with process(*command, port=port):
        yield Verifier(reload, accepts)


@contextmanager
def mosquitto(rotated: RotatedServer) -> Iterator[Verifier]:
    """Mosquitto, which reads ``crl_path`` itself."""
    require("mosquitto", "mosquitto_pub")
    (port,) = free_ports(1)
    chain, _ = fetch(rotated)
    files = rotated.server.folder
    configuration = rotated.folder / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nuser root\ncafile {chain}\ncertfile {files / 'https.crt'}\n"
        f"keyfile {files / 'https.key'}\nrequire_certificate true\nuse_identity_as_username true\n"
        f"crlfile {files / 'crl' / 'ca.crl'}\nlog_dest file {rotated.folder / 'mosquitto.log'}\n"
    )

    def accepts(identity: Identity) -> bool:
        certificate, key = client_files(rotated, identity)
        return succeeds(
            *("mosquitto_pub", "-h", "localhost", "-p", str(port), "--cafile", files / "root.crt"),
            *("--cert", certificate, "--key", key, "-t", "x", "-m", "hi", "-q", "1"),
        )

    with process("mosquitto", "-c", configuration, port=port) as broker:
        yield Verifier(lambda: broker.send_signal(signal.SIGHUP), accepts)


Verifiers = Callable[[RotatedServer], AbstractContextManager[Verifier]]


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "at once"])
@pytest.mark.parametrize("verifiers", [openssl, nginx, mosquitto])
def test_a_rotation_refuses_and_forgets_nobody(tmp_path: Path, verifiers: Verifiers, announced: bool) -> None:
    """Before, after the announcement, right after the switch, and when more was revoked of either generation.

    What was announced is in the files before the switch: then a program that has not read them again since accepts
    the first clients of the new generation too.
    """
    require("openssl")
    with rotated_server(tmp_path) as rotated:
        for name in (CA, "root"):
            wait_until(partial(is_published, rotated, name), f"the CRL of {name} is published")
        good, revoked = rotated.enroll("EST"), rotated.enroll("REST")
        fetch(rotated)
        with verifiers(rotated) as verifier:

            def bring_up_to_date() -> None:
                fetch(rotated)
                verifier.reload()

            assert verifier.accepts(good)
            assert verifier.accepts(revoked)
            rotated.revoke(revoked)
            bring_up_to_date()
            wait_until(lambda: not verifier.accepts(revoked), "the revoked client is refused")
            if announced:
                rotated.announce()
                wait_until(lambda: crl_count(rotated) == 2, "the next generation's CRL is there")
                bring_up_to_date()
            rotated.switch_now()
            wait_until(lambda: crl_count(rotated) == 2, "the new generation's CRL is there")
            if not announced:
                bring_up_to_date()
            new, new_revoked = rotated.enroll("EST"), rotated.enroll("SCEP")
            for identity in (good, new, new_revoked):
                wait_until(partial(verifier.accepts, identity), "every valid client is accepted")
            assert not verifier.accepts(revoked)
            rotated.revoke(new_revoked)
            rotated.revoke(good)
            bring_up_to_date()
            wait_until(lambda: not verifier.accepts(new_revoked), "a client of the new generation is refused")
            wait_until(lambda: not verifier.accepts(good), "a client of the former generation is refused")
            assert not verifier.accepts(revoked)
            assert verifier.accepts(new)


def is_published(rotated: RotatedServer, name: str) -> bool:
    return rotated.server.ask("http", f"/crl/{name}.crl").status == 200


def crl_count(rotated: RotatedServer) -> int:
    """How many CRLs ``crl_path`` holds, and the address of the same content."""
    content = (rotated.server.folder / "crl" / "ca.crl").read_bytes()
    served = rotated.get(f"/crl/{CA}.pem")
    return content.count(b"BEGIN X509 CRL") if content == served else 0
