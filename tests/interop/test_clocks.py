"""Devices and servers whose clocks are ahead or behind, by faketime: what each of them is told."""

from __future__ import annotations

import glob
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.interop.test_est_curl import ALICE, PKCS10, certificate, curl, folder, make_request
from tests.support.est import PREFIX
from tests.support.est_live import LiveEST, live_est, run
from tests.support.interop import missing, require
from tests.support.server import wait_until

__all__ = ("folder",)

pytestmark = pytest.mark.interop

# What curl ends with where it does not trust the server's certificate.
UNTRUSTED = 60


def clock(offset: str) -> Mapping[str, str]:
    """Return the variables with which a server's clock is wrong; its time goes on as ever."""
    libraries = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not libraries:
        missing("faketime is not installed")
    return {"LD_PRELOAD": libraries[0], "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEST]:
    """A server with a P-256 CA."""
    require("curl", "openssl", "faketime")
    with live_est(tmp_path_factory.mktemp("server")) as server:
        yield server


def enroll(est: LiveEST, folder: Path, *options: str) -> int:
    """Enroll with curl at the real time; return the status."""
    url = est.url() + PREFIX + "/simpleenroll"
    return curl(folder, url, *ALICE, *options, *PKCS10, "--data-binary", "@r.pem")[0]


def device(est: LiveEST, folder: Path, offset: str, code: int = 0) -> str:
    """Enroll from a device whose clock is wrong; return what curl says."""
    url = est.url() + PREFIX + "/simpleenroll"
    command = ("curl", "-sS", "--cacert", "root.crt", "-o", "answer", "-w", "%{http_code}", *ALICE, *PKCS10)
    return run("faketime", "-f", offset, *command, "--data-binary", "@r.pem", url, cwd=folder, code=code)


@pytest.mark.parametrize("offset", ["-50s", "+1h", "+3d"])
def test_device_whose_clock_is_a_little_wrong(est: LiveEST, folder: Path, offset: str) -> None:
    """It enrolls, and finds its certificate valid by its own clock."""
    assert device(est, folder, offset) == "200"
    certificate(est, folder)
    trust = ("-CAfile", "root.crt", "-untrusted", "chain.pem")
    assert run("faketime", "-f", offset, "openssl", "verify", *trust, "c.pem", cwd=folder).endswith(": OK\n")


@pytest.mark.parametrize(("offset", "said"), [("-400d", "not yet valid"), ("+9000d", "expired")])
def test_device_whose_clock_is_wrong(est: LiveEST, folder: Path, offset: str, said: str) -> None:
    """It trusts no server; its program says which certificate is not valid when."""
    assert said in device(est, folder, offset, UNTRUSTED)


def test_server_whose_clock_is_ahead(est: LiveEST, folder: Path) -> None:
    """It issues what is not valid yet; once its clock is right, that is refused, and the CRL is replaced."""
    server = est.server
    server.stop()
    server.start(variables=clock("+2d"))
    assert enroll(est, folder) == 200
    openssl = ("openssl", "verify", "-CAfile", "root.crt", "-untrusted", "chain.pem", "answer.pem")
    run("openssl", "base64", "-d", "-A", "-in", "answer", "-out", "p7.der", cwd=folder)
    run("openssl", "pkcs7", "-inform", "DER", "-in", "p7.der", "-print_certs", "-out", "answer.pem", cwd=folder)
    assert "certificate is not yet valid" in run(*openssl, cwd=folder, code=None)
    wait_until(lambda: server.ask("http", "/crl/ec.crl").status == 200, "the CRL is published")
    server.stop()
    server.start()
    client = ("--cert", "answer.pem", "--key", "r-key.pem")
    url = est.url() + PREFIX + "/simplereenroll"
    assert curl(folder, url, *client, *PKCS10, "--data-binary", "@r.pem")[0] == 403
    assert "not yet valid" in (folder / "answer").read_text()
    make_request(folder, "r", "prime256v1", f"/CN={folder.name}")
    assert enroll(est, folder) == 200
    certificate(est, folder)

    def in_force() -> bool:
        (folder / "list.pem").write_bytes(server.ask("http", "/crl/ec.pem").body)
        verify = ("openssl", "verify", "-crl_check", "-CRLfile", "list.pem", *openssl[2:-1], "c.pem")
        done = subprocess.run(verify, cwd=folder, capture_output=True, check=False)
        return done.returncode == 0

    wait_until(in_force, "the CRL is replaced")


def test_server_whose_clock_is_behind(est: LiveEST) -> None:
    """It does not start, and says to look at the clock."""
    server = est.server
    server.stop()
    server.launch(variables=clock("-2d"))
    assert server.running.wait(60) != 0
    assert "check this machine's clock" in server.console
    server.start()
