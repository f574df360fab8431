"""OpenVPN and FreeRADIUS, which admit devices to networks by certificate: a good and a revoked device with each."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.test_status_clients import CLIENT_AUTH, SERVER_AUTH, Site, run, site
from tests.support.interop import require
from tests.support.ports import free_port
from tests.support.server import wait_until

__all__ = ("site",)

pytestmark = pytest.mark.interop

SECRET = "a secret of the access point"


@contextmanager
def logging_process(log: Path, *command: str | Path, until: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A program that writes to *log*, and has written *until*."""
    with log.open("wb") as output:
        running = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: until in text(log) or running.poll() is not None, f"{command[0]} says {until!r}", 30)
        assert until in text(log), text(log)
        yield running
    finally:
        running.terminate()
        running.wait(20)


def text(path: Path) -> str:
    """Return what a program has written so far."""
    return path.read_text("utf-8", "replace")


def with_chain(site: Site, certificate: Path) -> Path:
    """Return the path of a certificate with its issuing CA."""
    whole = certificate.with_suffix(".chain")
    whole.write_bytes(certificate.read_bytes() + (site.server.folder / "ec.crt").read_bytes())
    return whole


# --- OpenVPN -----------------------------------------------------------------------------


class Tunnel:
    """An OpenVPN peer that serves, without a network device, which only root may make.

    :param own: the paths of its certificate and key.
    """

    def __init__(self, site: Site, folder: Path, own: Sequence[Path]) -> None:
        self.site, self.folder, self.own = site, folder, own
        self.lists = folder / "lists.pem"
        self.port = free_port()
        self.number = 0

    def peer(self, files: Sequence[Path]) -> tuple[str | Path, ...]:
        """Return the options of either peer; what is shown has the issuing CA with it."""
        certificate, key = files
        key.chmod(0o600)
        whole = with_chain(self.site, certificate)
        root = self.site.server.folder / "root.crt"
        return ("openvpn", "--dev", "null", "--ca", root, "--cert", whole, "--key", key, "--verb", "3")

    def exchange(self, files: Sequence[Path], *options: str) -> tuple[bool, str]:
        """Connect once; return whether the client is in, and what both have logged.

        :param files: the paths of the client's certificate and key.
        :param options: of the client, which ends by itself.
        """
        self.number += 1
        served, connected = (self.folder / f"{self.number}-{side}.log" for side in ("server", "client"))
        serve = (
            *self.peer(self.own),
            *("--tls-server", "--dh", "none", "--local", "127.0.0.1", "--port", str(self.port)),
            *("--crl-verify", self.lists, "--remote-cert-tls", "client"),
            "--tls-exit",
        )
        connect = (
            *self.peer(files),
            *("--tls-client", "--remote", "127.0.0.1", str(self.port), "--nobind", "--tls-exit"),
            *("--remote-cert-tls", "server", *options),
        )
        with (
            logging_process(served, *serve, until="UDPv4 link remote") as server,
            logging_process(connected, *connect) as client,
        ):

            def accepted() -> bool:
                return "Initialization Sequence Completed" in text(connected)

            def ended() -> bool:
                return accepted() or any(peer.poll() is not None for peer in (server, client))

            wait_until(ended, "the client is in, or one of them has given up")
            return accepted(), text(served) + text(connected)


def test_openvpn(site: Site, tmp_path: Path) -> None:
    """With ``remote-cert-tls`` at both ends and ``crl-verify``, which takes the CRLs of the whole chain."""
    require("openvpn")
    _, *own = site.issue(common_name="vpn.example.com", purposes=[SERVER_AUTH])
    device, *files = site.issue(common_name="device", purposes=[CLIENT_AUTH])
    _, *other_files = site.issue(common_name="other", purposes=[CLIENT_AUTH])
    tunnel = Tunnel(site, tmp_path, own)
    tunnel.lists.write_bytes(site.get("/crl/ec-chain.pem"))
    accepted, said = tunnel.exchange(files, "--verify-x509-name", "vpn.example.com", "name")
    assert accepted, said
    site.revoke(device)
    tunnel.lists.write_bytes(site.get("/crl/ec-chain.pem"))
    accepted, said = tunnel.exchange(files)
    assert not accepted
    assert "certificate revoked" in said
    assert tunnel.exchange(other_files)[0]


def test_openvpn_knows_the_purpose(site: Site, tmp_path: Path) -> None:
    """With ``remote-cert-tls server``: the certificate of a device can't serve others."""
    require("openvpn")
    _, *own = site.issue(common_name="vpn.example.com", purposes=[CLIENT_AUTH])
    _, *files = site.issue(common_name="device", purposes=[CLIENT_AUTH])
    tunnel = Tunnel(site, tmp_path, own)
    tunnel.lists.write_bytes(site.get("/crl/ec-chain.pem"))
    accepted, said = tunnel.exchange(files)
    assert not accepted
    assert "unsuitable certificate purpose" in said, said


# --- FreeRADIUS --------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """A way in which FreeRADIUS checks the status of devices.

    :param settings: its settings for that.
    :param trust: the file with the certificates that it trusts.
    :param said: what it logs of a revoked device.
    """

    settings: str
    trust: str
    said: str


# A chain ends at the first certificate that is trusted, and of the last one it wants a CRL of its issuer's, too.
LISTS = Check("check_crl = yes\ncheck_all_crl = yes", "root.crt", "certificate revoked")
# Of a responder it finds the issuer only among the certificates that are trusted.
ONLINE = Check(
    "ocsp {\nenable = yes\nuse_nonce = yes\nsoftfail = no\ntimeout = 5\n}", "ec-chain.crt", "Cert status: revoked"
)


@contextmanager
def radius(site: Site, folder: Path, port: int, own: tuple[Path, Path], check: Check) -> Iterator[Path]:
    """FreeRADIUS with EAP-TLS, its log.

    :param own: the paths of its certificate and key.
    """
    folder.mkdir()
    trust = folder / "trust.pem"
    trust.write_bytes((site.server.folder / check.trust).read_bytes() + site.get("/crl/ec-chain.pem"))
    (folder / "radiusd.conf").write_text(
        f"""
        libdir = /usr/lib/freeradius
        raddbdir = {folder}
        logdir = {folder}
        run_dir = {folder}
        pidfile = {folder}/pid
        correct_escapes = true
        modules {{
          eap {{
            default_eap_type = tls
            tls-config certificates {{
              certificate_file = {own[0]}
              private_key_file = {own[1]}
              ca_file = {trust}
              tls_min_version = "1.2"
              tls_max_version = "1.2"
              {check.settings}
            }}
            tls {{
              tls = certificates
            }}
          }}
        }}
        client access_point {{
          ipaddr = 127.0.0.1
          secret = "{SECRET}"
        }}
        server default {{
          listen {{
            type = auth
            ipaddr = 127.0.0.1
            port = {port}
          }}
          authorize {{
            eap
          }}
          authenticate {{
            eap
          }}
        }}
        """
    )
    (folder / "radiusd.conf").chmod(0o600)
    folder.chmod(0o700)
    log = folder / "log"
    with logging_process(log, "freeradius", "-X", "-d", folder, "-n", "radiusd", until="Ready to process requests"):
        yield log


@pytest.mark.parametrize("check", [LISTS, ONLINE], ids=["CRLs", "OCSP"])
def test_freeradius(site: Site, tmp_path: Path, check: Check) -> None:
    """EAP-TLS by wpa_supplicant's ``eapol_test``: a revoked device is refused by CRL and by OCSP."""
    require("freeradius", "eapol_test")
    _, *own = site.issue(common_name="radius.example.com", purposes=[SERVER_AUTH])
    device, *files = site.issue(common_name="device", purposes=[CLIENT_AUTH])
    _, *other_files = site.issue(common_name="other", purposes=[CLIENT_AUTH])
    served = (with_chain(site, own[0]), own[1])
    port = free_port()

    def answer(certificate: Path, key: Path) -> str:
        network = tmp_path / "network"
        network.write_text(
            f'network={{\nkey_mgmt=IEEE8021X\neap=TLS\nidentity="device"\nca_cert="{site.server.folder / "root.crt"}"\n'
            f'client_cert="{with_chain(site, certificate)}"\nprivate_key="{key}"\n}}\n'
        )
        command = ("eapol_test", "-n", "-c", network, "-a", "127.0.0.1", "-p", str(port), "-s", SECRET, "-t", "10")
        return run(*command, ok=None).strip().rpartition("\n")[2]

    with radius(site, tmp_path / "before", port, served, check):
        assert answer(*files) == answer(*other_files) == "SUCCESS"
    site.revoke(device)
    with radius(site, tmp_path / "after", port, served, check) as log:
        assert answer(*files) == "FAILURE"
        assert check.said in text(log), text(log)
        assert answer(*other_files) == "SUCCESS"
