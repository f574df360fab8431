"""nginx and HAProxy in front of a real server, with the configurations of the guide's page *Behind a proxy*."""

from __future__ import annotations

import base64
import http.client
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7

from tests.support.est import PASSWORD, PREFIX
from tests.support.est_live import LiveEST, live_est, run
from tests.support.interop import missing, require
from tests.support.pki import Identity, make_csr, make_leaf
from tests.support.ports import free_ports
from tests.support.proxies import STRANGER, V1, V2, ask
from tests.support.scep import SUCCESS
from tests.support.scep_client import csr, new_client
from tests.support.scep_live import challenge
from tests.support.server import ROOT, accepts, wait_until

pytestmark = pytest.mark.interop

GUIDE: Final = ROOT / "docs" / "guide" / "11-behind-a-proxy.md"
STREAM: Final = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
# An address that is no proxy's; the client forges another one.
CLIENT: Final = "127.0.0.5"
FORGED: Final = "192.0.2.66"


def blocks(heading: str, language: str) -> list[str]:
    """Return the fenced blocks of a language in a section of the guide."""
    section = GUIDE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def settings(text: str) -> dict[tuple[str, str], str]:
    """Return the settings of a block of ``config.ini``; the proxy connects from 127.0.0.1."""
    changes = {}
    section = ""
    for line in filter(None, text.replace("192.0.2.10", "127.0.0.1").splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        else:
            key, value = line.split(" = ")
            changes[section, key] = value
    return changes


@dataclass(frozen=True)
class Mode:
    """One configuration of the guide.

    :param config: the block of ``config.ini``.
    :param proxy: the block of the proxy.
    :param terminates: whether the proxy terminates TLS.
    """

    program: str
    config: str
    proxy: str
    terminates: bool = False


(_passed_on,) = blocks("Passing TCP on", "ini")
(_nginx_stream,) = blocks("Passing TCP on", "nginx")
(_haproxy_tcp,) = blocks("Passing TCP on", "haproxy")
_nginx_config, _haproxy_config = blocks("Terminating TLS", "ini")
(_nginx_http,) = blocks("Terminating TLS", "nginx")
(_haproxy_http,) = blocks("Terminating TLS", "haproxy")
MODES: Final = {
    "nginx passing TCP on": Mode("nginx", _passed_on, _nginx_stream),
    "HAProxy passing TCP on, v1": Mode("haproxy", _passed_on, _haproxy_tcp.replace("send-proxy-v2", "send-proxy")),
    "HAProxy passing TCP on, v2": Mode("haproxy", _passed_on, _haproxy_tcp),
    "nginx terminating TLS": Mode("nginx", _nginx_config, _nginx_http, True),
    "HAProxy terminating TLS": Mode("haproxy", _haproxy_config, _haproxy_http, True),
}


@dataclass
class World:
    """A server, and a proxy in front of it.

    :ivar ports: of the proxy: ``http``, ``https``, ``trusted_https``.
    """

    est: LiveEST
    mode: Mode
    ports: dict[str, int]
    folder: Path

    @property
    def listener(self) -> str:
        """The listener at which devices show certificates."""
        return "https" if self.mode.terminates else "trusted_https"

    @property
    def header(self) -> str:
        """The header with the client's certificate."""
        return settings(self.mode.config).get(("HTTPS", "client_certificate_header"), "Client-Cert")

    def curl(self, listener: str, path: str, *options: str | Path) -> str:
        """Return the answer that curl gets through the proxy, as status and header fields and body."""
        scheme = "http" if listener == "http" else "https"
        root, url = self.est.server.folder / "root.crt", f"{scheme}://localhost:{self.ports[listener]}{path}"
        command = ("curl", "-4", "-sS", "-i", "--interface", CLIENT, "--cacert", root, *options, url)
        return run(*command, cwd=self.folder)

    def enroll(self, listener: str, subject: str, *options: str | Path) -> tuple[str, Identity | None]:
        """Enroll a new key over EST with curl; return the answer, and what was issued."""
        key, request = make_csr(subject=subject)
        (self.folder / "body").write_bytes(base64.b64encode(request))
        fields = ("-H", "Content-Type: application/pkcs10", "--data-binary", "@body")
        answer = self.curl(listener, f"{PREFIX}/simpleenroll", *fields, *options)
        head, _, body = answer.replace("\r\n", "\n").rpartition("\n\n")
        if " 200" not in head:
            return head, None
        (certificate,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
        return head, self.est.identity(key, certificate, "rsa")

    def device(self) -> tuple[Identity, tuple[str | Path, ...]]:
        """Enroll a certificate with a password; return it with curl's options for its use."""
        _, identity = self.enroll("https", "device", "-u", f"alice:{PASSWORD}")
        assert identity is not None
        path = self.folder / "device.pem"
        path.write_bytes(identity.key_pem + identity.pem)
        return identity, ("--cert", path)

    def logged_address(self, path: str) -> str:
        """Return the address with which a request for *path* was logged."""
        line = rf"GET {re.escape(path)} \d+ \d+ [0-9.]+ ms (\S+)"
        return str(wait_until(lambda: re.search(line, self.est.server.log), path)[1])


@pytest.fixture(scope="module", params=MODES, ids=list(MODES))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server behind the proxy of each configuration."""
    mode = MODES[request.param]
    require(mode.program, "curl", "openssl")
    if "stream {" in mode.proxy and not STREAM.exists():
        missing("libnginx-mod-stream is not installed")
    folder = tmp_path_factory.mktemp("proxy")
    with live_est(folder / "server", key_types=("rsa2048",), changes=settings(mode.config)) as est:
        ports = dict(zip(("http", "https", "trusted_https"), free_ports(3), strict=True))
        with running_proxy(mode, est, ports, folder):
            yield World(est, mode, ports, folder)


@contextmanager
def running_proxy(mode: Mode, est: LiveEST, ports: dict[str, int], folder: Path) -> Iterator[None]:
    """Run the proxy with its configuration of the guide, on *ports*, all of whose files are in *folder*."""
    files = est.server.files
    own = make_leaf(files.issuers["rsa"], "localhost", sans=["localhost"])
    for name, data in (
        ("proxy.crt", own.chain_pem),
        ("proxy.key", own.key_pem),
        ("proxy.pem", own.chain_pem + own.key_pem),
        ("chain.pem", files.issuers["rsa"].pem + files.root.pem),
        ("root.crt", files.root.pem),
    ):
        (folder / name).write_bytes(data)
    text = mode.proxy
    for port, listener in ((8080, "http"), (8443, "https"), (4443, "trusted_https")):
        text = text.replace(f"ca.internal:{port}", f"127.0.0.1:{est.server.ports[listener]}")
    text = text.replace("ca.internal", "localhost")
    for port, listener in ((80, "http"), (443, "https"), (4443, "trusted_https")):
        text = re.sub(rf"listen {port}\b", f"listen 127.0.0.1:{ports[listener]}", text)
        text = re.sub(rf"bind :{port}\b", f"bind 127.0.0.1:{ports[listener]}", text)
    path = folder / "proxy.conf"
    log = folder / "proxy.log"
    if mode.program == "nginx":
        temporary = "".join(
            f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = text.replace("http {", f"http {{ access_log off; {temporary}", 1)
        module = f"load_module {STREAM};" if "stream {" in text else ""
        path.write_text(f"{module} daemon off; pid nginx.pid; user root; events {{}}\n{text}")
        command = ["nginx", "-p", str(folder), "-e", str(log), "-c", str(path)]
    else:
        path.write_text(text)
        command = ["haproxy", "-q", "-f", str(path)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        used = [port for port in ports.values() if f":{port}" in text]

        def ready() -> bool:
            assert process.poll() is None, log.read_text("utf-8", "replace")
            return all(accepts(port) for port in used)

        wait_until(ready, f"{mode.program} listens")
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_est_with_a_client_certificate(world: World) -> None:
    """The certificate reaches the server, by TLS or in the header."""
    _, options = world.device()
    head, identity = world.enroll(world.listener, "device", *options)
    assert identity is not None, head
    assert "401" in world.enroll("https", "device")[0]


def test_certificate_is_judged_by_the_server(world: World) -> None:
    identity, options = world.device()
    world.est.revoke(identity.certificate.serial_number)
    assert " 403" in world.enroll(world.listener, "device", *options)[0]


def test_pages_and_redirect(world: World) -> None:
    path = "/login"
    assert " 200" in world.curl("https", path).partition("\n")[0]
    answer = world.curl("http", "/", "-H", "Accept: text/html")
    assert " 308" in answer.partition("\n")[0]
    outside = settings(world.mode.config).get(("HTTPS", "external_url"))
    expected = outside or f"https://localhost:{world.est.server.ports['https']}"
    assert f"location: {expected}/\n" in answer.replace("\r\n", "\n").replace("Location", "location")


def test_scep(world: World) -> None:
    client = new_client(world.est.server.files.issuers["rsa"].der)
    message = client.pkcs_req(csr(client.key, "device", challenge(world.est.server)))
    connection = http.client.HTTPConnection("127.0.0.1", world.ports["http"], timeout=30)
    connection.request("POST", "/scep?operation=PKIOperation", message)
    answer = connection.getresponse()
    assert client.read(answer.read(), client.recipient).status == SUCCESS
    connection.close()


def test_ocsp(world: World) -> None:
    identity, _ = world.device()
    files = world.est.server.files
    (world.folder / "leaf.pem").write_bytes(identity.pem)
    (world.folder / "issuer.pem").write_bytes(files.issuers["rsa"].pem)
    url = f"http://127.0.0.1:{world.ports['http']}/ocsp"
    command = ("openssl", "ocsp", "-issuer", "issuer.pem", "-cert", "leaf.pem", "-CAfile", "chain.pem", "-url", url)
    assert "leaf.pem: good" in run(*command, cwd=world.folder)


def test_address(world: World) -> None:
    """A forged header is ignored: the log has the address from which the client connected."""
    for number, headers in enumerate(((), ("-H", f"X-Forwarded-For: {FORGED}"))):
        path = f"/nothing-{number}"
        world.curl("https", path, *headers)
        assert world.logged_address(path) == CLIENT


def test_forged_certificate(world: World) -> None:
    """A client that names somebody's certificate in the header, through the proxy and beside it."""
    identity, _ = world.device()
    forged = {
        "Client-Cert": f":{base64.b64encode(identity.der).decode()}:",
        "X-Client-Cert": quote(identity.pem.decode()),
    }
    for name, value in forged.items():
        assert " 401" in world.enroll("https", "device", "-H", f"{name}: {value}")[0]
    if world.mode.terminates:
        direct = ask(world.est.server, "https", f"{PREFIX}/simpleenroll", source=STRANGER, headers=forged, body=b"x")
        assert direct.status == 401


def test_forged_proxy_header(world: World) -> None:
    """A client that begins with a PROXY header, through the proxy and beside it."""
    for header in (V1, V2):
        connection = http.client.HTTPConnection(
            "127.0.0.1", world.ports["http"], timeout=30, source_address=(CLIENT, 0)
        )
        connection.connect()
        connection.sock.sendall(header)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 400
        connection.close()
        assert ask(world.est.server, "http", "/healthz", source=STRANGER, header=header).status == 400
