"""A server whose keys are in SoftHSM, its clients of every protocol, and the commands of docs/hsm.md (HSM-1, VLT-4)."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pikachu.signers.references import read_reference
from tests.support.est import PASSWORD, PREFIX, certificates_in
from tests.support.est_live import LiveEST
from tests.support.interop import missing, require
from tests.support.lint import check_chain
from tests.support.pki import Identity, make_csr
from tests.support.rotation import RotatedServer
from tests.support.scep_live import challenge, rsa_key_file, run, strongswan, verify
from tests.support.server import Answer, Server, end, make_server, wait_until
from tests.support.site import Site, empty_site
from tests.support.softhsm import TOKEN, SoftToken, forget_tokens, library, soft_token

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DOCUMENT = Path(__file__).parents[2] / "docs" / "hsm.md"
P11_SERVER: Final = Path("/usr/libexec/p11-kit/p11-kit-server")
P11_CLIENT: Final = next(iter(glob("/usr/lib/*/pkcs11/p11-kit-client.so")), None)
BLOCK = re.compile(r"^```(sh|ini)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RotatedServer]:
    """An RSA CA in a token, and the account alice."""
    token = soft_token(tmp_path / "token", monkeypatch)
    made = make_server(tmp_path / "server", ("rsa2048",), changes=token.settings(rsa="pikachu-rsa"))
    token.import_key(made.files.issuers["rsa"].key, "pikachu-rsa")
    (made.folder / "rsa.key").unlink()
    try:
        made.start()
        LiveEST(made).account("alice")
        yield RotatedServer(made, tmp_path)
    finally:
        end(made)


def test_clients(server: RotatedServer, tmp_path: Path) -> None:
    """EST by curl, SCEP by strongSwan, OCSP by openssl, the CRL, and a rotation within the token."""
    require("curl", "openssl", "pki")
    (tmp_path / "root.pem").write_bytes(server.server.files.root.pem)
    first = by_curl(server, tmp_path)
    assert server.ocsp_status(first, server.current()) == "good"
    scep = tmp_path / "scep"
    scep.mkdir()
    rsa_key_file(scep)
    options = ("--password", challenge(server.server), "--cipher", "aes", "--digest", "sha256")
    verify(server.server, strongswan(server.server, scep, "scep.pem", *options), "rsa")
    listed = server.enroll("EST")
    server.revoke(listed)
    assert server.ocsp_status(listed, server.current()) == "revoked"
    former = server.current()
    server.switch_now()
    second = by_curl(server, tmp_path)
    assert server.ocsp_status(second, server.current()) == "good"
    assert server.ocsp_status(first, former) == "good"
    references = [read_reference(path, "the setting") for path in sorted(server.server.folder.glob("rsa.key*"))]
    assert [str(one).partition("-rsa")[0] for one in references] == ["pkcs11:token=pikachu;object=pikachu"] * 2
    assert server.server.ask("http", "/readyz").text.count('"pkcs11":"ok"') == 1


DEVICE = ("-subj", "/CN=device", "-out", "r.der", "-outform", "DER", "-addext", "subjectAltName=DNS:device.example.com")


def by_curl(server: RotatedServer, folder: Path) -> Identity:
    """A certificate over EST."""
    address = f"https://localhost:{server.server.ports['https']}{PREFIX}/simpleenroll"
    run(folder, "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", *DEVICE)
    (folder / "r.b64").write_bytes(base64.b64encode((folder / "r.der").read_bytes()))
    how = ("-H", "Content-Type: application/pkcs10", "--data-binary", "@r.b64", "-u", f"alice:{PASSWORD}")
    run(folder, "curl", "-sSf", "--cacert", "root.pem", *how, "-o", "answer", address)
    (found,) = certificates_in((folder / "answer").read_bytes())
    der = serialization.Encoding.DER
    check_chain(found.public_bytes(der), [server.current().public_bytes(der), server.server.files.root.der])
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return Identity(key, found)


def test_slow_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server starts without its token, says so in the log, and works when it comes."""
    token = soft_token(tmp_path / "token", monkeypatch)
    made = make_server(tmp_path / "server", changes=token.settings(ec="pikachu-ec"))
    token.import_key(made.files.issuers["ec"].key, "pikachu-ec")
    (made.folder / "ec.key").unlink()
    token.take_away()
    try:
        made.launch()
        wait_until(lambda: "Not ready: pkcs11" in made.log, "the log says what is wrong")
        assert "no token labelled" in made.log
        token.bring_back()
        wait_until(lambda: made.ask("http", "/readyz").status == 200, "the server is ready")
    finally:
        end(made)


@dataclass
class TokenDaemon:
    """A token behind p11-kit's server, as one that is on the network: the module is p11-kit's client."""

    token: SoftToken
    socket: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    @property
    def address(self) -> str:
        """Return the value of the client's variable ``P11_KIT_SERVER_ADDRESS``."""
        return f"unix:path={self.socket}"

    def start(self) -> None:
        """Begin to listen."""
        self.socket.unlink(missing_ok=True)
        arguments = ("-f", "-n", str(self.socket), "--provider", str(self.token.module), f"pkcs11:token={TOKEN}")
        self.process = subprocess.Popen([P11_SERVER, *arguments], start_new_session=True, stdout=subprocess.DEVNULL)
        wait_until(self.socket.exists, "p11-kit listens")

    def signal(self, number: int) -> None:
        """Send it, and the processes of its connections, a signal."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it."""
        self.signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenDaemon]:
    """A new token."""
    token = soft_token(tmp_path / "token", monkeypatch)
    if not P11_SERVER.exists() or P11_CLIENT is None:
        missing("p11-kit's server and client are not installed")
    made = TokenDaemon(token, tmp_path / "p11-kit")
    yield made
    made.kill()


def test_remote_token(daemon: TokenDaemon, tmp_path: Path) -> None:
    """A module that hangs and one whose daemon was restarted: 503 meanwhile, and recovery without a restart here."""
    changes = {**daemon.token.settings(ec="pikachu-ec"), ("PKCS11", "module"): str(P11_CLIENT)}
    made = make_server(tmp_path / "server", changes=changes)
    daemon.token.import_key(made.files.issuers["ec"].key, "pikachu-ec")
    (made.folder / "ec.key").unlink()
    try:
        made.start(variables={"P11_KIT_SERVER_ADDRESS": daemon.address})
        LiveEST(made).account("alice")
        listed = enroll(made)
        assert listed.status == 200
        wait_until(lambda: made.ask("http", "/readyz").status == 200, "the server is ready")
        daemon.signal(signal.SIGSTOP)
        refused = enroll(made)
        assert (refused.status, "Retry-After" in refused.headers) == (503, True)
        assert made.ask("http", "/healthz").status == 200
        wait_until(lambda: made.ask("http", "/readyz").status == 503, "/readyz notices")
        daemon.signal(signal.SIGCONT)
        wait_until(lambda: enroll(made).status == 200, "the CA issues again")
        daemon.kill()
        assert enroll(made).status == 503
        daemon.start()
        wait_until(lambda: enroll(made).status == 200, "the CA has found the token again")
    finally:
        end(made)


def enroll(server: Server) -> Answer:
    """Enroll over EST, as alice."""
    credentials = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/pkcs10"}
    body = base64.b64encode(make_csr()[1])
    return server.ask("https", f"{PREFIX}/simpleenroll", "POST", body, headers)


def test_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to a working CA, and a rotation."""
    require("softhsm2-util", "pkcs11-tool")
    module = library()
    site = empty_site(tmp_path, capsys)
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL))
    for heading in ("From nothing to a working CA", "Rotation"):
        for kind, text in BLOCK.findall(sections[heading]):
            text = text.replace("/usr/lib/softhsm/libsofthsm2.so", str(module))
            if kind == "ini":
                site.configure(text)
                continue
            for line in text.splitlines():
                do(site, line, monkeypatch)
            forget_tokens(module)
    assert "PRIVATE" not in "".join(path.read_text() for path in site.path("var/pki").glob("*ca_*.key*"))
    assert (
        str(read_reference(site.path("var/pki/root.key"), "the setting")) == "pkcs11:token=pikachu;object=pikachu-root"
    )
    assert [row[1] for row in site.rows("ca", "list") if row[0] == "ec"] == ["former", "current"]
    assert len(site.rows("crl")) == 4


def do(site: Site, line: str, environment: pytest.MonkeyPatch) -> None:
    """Do one line of a shell."""
    if line.startswith("export "):
        name, _, value = line.removeprefix("export ").partition("=")
        environment.setenv(name, value.replace("$PWD", str(site.folder)))
    elif line.startswith("pikachu "):
        site.do(*line.replace("--rsa-bits 4096", "--rsa-bits 2048").split()[1:])
    else:
        done = subprocess.run(
            ["bash", "-c", line], cwd=site.folder, env=dict(os.environ), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        if line.startswith("pkcs11-tool"):
            assert done.stdout.count("never extractable") == 3
