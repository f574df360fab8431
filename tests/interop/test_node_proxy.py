"""Two nodes behind HAProxy are restarted one after the other under load, and no request is lost (HA-1, RUN-8)."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from cryptography.x509 import ocsp

from tests.support.fleet import basic, certificate_of, enroll, new_account, ocsp_status
from tests.support.interop import require
from tests.support.nodes import two_nodes
from tests.support.pki import make_csr, make_leaf
from tests.support.ports import free_ports
from tests.support.postgresql import running_postgresql
from tests.support.server import ROOT, Client, Server, accepts, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

GUIDE: Final = ROOT / "docs" / "guide" / "11-behind-a-proxy.md"
PASSWORD: Final = "the password of the fleet 4711"
FRONTENDS: Final = """
defaults
    mode {mode}
    timeout connect 5s
    timeout client 60s
    timeout server 60s

frontend https
    bind 127.0.0.1:{https}{tls}
    default_backend enrollment

frontend http
    mode http
    bind 127.0.0.1:{http}
    default_backend status
"""


def backends(mode: str) -> str:
    """Return the backends of the guide; passing TCP on, only the checks speak TLS, and no request is sent again."""
    section = GUIDE.read_text("utf-8").partition("\n## Several servers\n")[2].partition("\n## ")[0]
    text = section.partition("```haproxy\n")[2].partition("```")[0]
    if mode == "http":
        return text
    enrollment, status = text.split("backend status")
    enrollment = re.sub(r"    retry-on .*\n", "", enrollment).replace("check inter 1s ssl", "check check-ssl inter 1s")
    return f"{enrollment}backend status\n    mode http{status}"


@contextmanager
def haproxy(nodes: tuple[Server, Server], folder: Path, mode: str) -> Iterator[dict[str, int]]:
    """Run HAProxy in front of the nodes; give its ports."""
    require("haproxy")
    folder.mkdir()
    own = make_leaf(nodes[0].files.issuers["ec"], "localhost", sans=["localhost"])
    (folder / "proxy.pem").write_bytes(own.chain_pem + own.key_pem)
    (folder / "root.crt").write_bytes(nodes[0].files.root.pem)
    text = backends(mode)
    for name, node in zip("ab", nodes, strict=True):
        for port, listener in ((8443, "https"), (8080, "http")):
            text = text.replace(f"{name}.internal:{port}", f"127.0.0.1:{node.ports[listener]}")
        text = text.replace(f"verifyhost {name}.internal", "verifyhost localhost")
    text = text.replace("verifyhost ca.internal", "verifyhost localhost")
    ports = dict(zip(("https", "http"), free_ports(2), strict=True))
    tls = " ssl crt proxy.pem" if mode == "http" else ""
    (folder / "proxy.conf").write_text(FRONTENDS.format(mode=mode, tls=tls, **ports) + text)
    with (folder / "proxy.log").open("ab") as output:
        process = subprocess.Popen(
            ["haproxy", "-q", "-f", "proxy.conf"], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: all(accepts(port) for port in ports.values()), "HAProxy listens")
        assert process.poll() is None, (folder / "proxy.log").read_text()
        yield ports
    finally:
        process.terminate()
        process.wait(20)


class Load:
    """Requests in threads, none of which is sent a second time.

    :ivar results: how often each came out how.
    """

    def __init__(self, works: list[Callable[[], str]]) -> None:
        self.results: Counter[str] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def _run(self, work: Callable[[], str]) -> None:
        while not self._stop.wait(0.05):
            try:
                self.results[work()] += 1
            except Exception as error:
                self.results[repr(error)] += 1

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def wait_ready(node: Server) -> None:
    """Wait until a node says that it can work."""
    wait_until(lambda: node.ask("http", "/readyz").status == 200, "it is ready")


@pytest.mark.parametrize("mode", ["tcp", pytest.param("http", marks=pytest.mark.soak)])
def test_rolling_restart(tmp_path: Path, mode: str) -> None:
    """HAProxy terminates TLS, or passes TCP on; each enrollment and each OCSP request is answered at the first try."""
    with running_postgresql() as postgresql:
        url = postgresql.url(postgresql.new_database())
        with two_nodes(tmp_path, url) as nodes:
            first = nodes[0]
            with first.application() as app:
                new_account(app, "fleet", PASSWORD)
            for node in nodes:
                node.start()
            issuer = first.files.issuers["ec"].certificate
            with first.client() as client:
                known = certificate_of(enroll(client, make_csr(subject="known")[1], basic("fleet", PASSWORD)))
            with haproxy(nodes, tmp_path / "proxy", mode) as ports:

                def enrolled() -> str:
                    with Client(ports["https"], first.context()) as client:
                        return f"EST {enroll(client, make_csr(subject='d')[1], basic('fleet', PASSWORD)).status}"

                def answered() -> str:
                    with Client(ports["http"]) as client:
                        status = ocsp_status(client, known, issuer).certificate_status
                        return f"OCSP {status is ocsp.OCSPCertStatus.GOOD}"

                wait_until(lambda: enrolled() == "EST 200", "HAProxy has found the nodes")
                load = Load([enrolled, enrolled, answered])
                for node in nodes:
                    assert node.stop() == 0
                    node.start()
                    wait_ready(node)
                    # HAProxy takes a server back after two checks.
                    time.sleep(4)
                load.stop()
            assert set(load.results) == {"EST 200", "OCSP True"}, load.results
            assert min(load.results.values()) > 10
            for node in nodes:
                assert node.stop() == 0
