"""Real clients of certificate status against a real server (OCSP-1, OCSP-2, VA-2, VA-3)."""

from __future__ import annotations

import contextlib
import functools
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.task import Clock

import pytest

from pikachu.core.model.certificates import RevocationReason
from pikachu.x509.certificate import EXTENDED_KEY_USAGE
from pikachu.x509.der import oid, sequence
from pikachu.x509.extension import Extension
from pikachu.x509.pem import certificates_pem
from tests.support.interop import require
from tests.support.pki import key_pem
from tests.support.ports import free_port
from tests.support.server import Server, accepts, end, make_server, wait_until
from tests.support.stack import Leaf, Stack

pytestmark = pytest.mark.interop

CLIENT_AUTH, SERVER_AUTH = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"


def run(*command: str | Path, ok: bool | None = True, stdin: bytes = b"", seconds: float = 30) -> str:
    """Run a program; return its output on both streams.

    :param ok: whether it has to succeed, or to fail; ``None``: it doesn't matter.
    """
    done = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )
    text = done.stdout.decode("utf-8", "replace")
    assert ok is None or (done.returncode == 0) is ok, f"{command[0]} ended with {done.returncode}:\n{text}"
    return text


@dataclass
class Site:
    """A running server, and a second process that issues and revokes."""

    server: Server
    folder: Path
    number: int = 0

    @property
    def http(self) -> str:
        """The address of the plain listener."""
        return f"http://127.0.0.1:{self.server.ports['http']}"

    @property
    def chain(self) -> Path:
        """The EC CA and the root, PEM."""
        return self.server.folder / "ec-chain.crt"

    @contextlib.contextmanager
    def stack(self) -> Iterator[Stack]:
        """Another process on the same database, which the server has to notice."""
        with self.server.application() as app:
            yield Stack(self.server.files, app, Clock())

    def issue(
        self,
        ca: str = "ec",
        common_name: str = "device.example.com",
        purposes: Iterable[str] = (SERVER_AUTH, CLIENT_AUTH),
    ) -> tuple[Leaf, Path, Path]:
        """A certificate that names this server's responder and CRL, with the paths of certificate and key."""
        extension = Extension(EXTENDED_KEY_USAGE, False, sequence(*map(oid, purposes)))
        with self.stack() as stack:
            issuer = stack.issuer(ca)
            addresses = stack.app.enrollment.addresses(issuer)
            leaf = stack.issue(common_name, ca=ca, addresses=addresses, extensions=[extension])
        self.number += 1
        certificate, key = self.folder / f"{self.number}.crt", self.folder / f"{self.number}.key"
        certificate.write_text(certificates_pem([leaf.der]))
        key.write_bytes(key_pem(leaf.key))
        return leaf, certificate, key

    def revoke(self, leaf: Leaf, reason: RevocationReason = RevocationReason.KEY_COMPROMISE) -> None:
        """Revoke, and wait until the server's list has it."""
        with self.stack() as stack:
            stack.revoke(leaf, reason)
        wait_until(lambda: self.listed(leaf), "the certificate is on the CRL")

    def listed(self, leaf: Leaf) -> bool:
        """Whether a serial is on its CA's list."""
        issuer = "ec"
        text = run("openssl", "crl", "-inform", "DER", "-noout", "-text", stdin=self.get(f"/crl/{issuer}.crl"))
        return f"{leaf.serial:X}" in text.replace(":", "")

    def get(self, path: str) -> bytes:
        """A download."""
        answer = self.server.ask("http", path)
        assert answer.status == 200, answer
        return answer.body


def _published(server: Server, name: str) -> bool:
    return server.ask("http", f"/crl/{name}.crl").status == 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with an EC and an RSA CA."""
    require("openssl")
    folder = tmp_path_factory.mktemp("status")
    port = free_port()
    changes = {("CA", "public_url"): f"http://127.0.0.1:{port}", ("DEFAULT", "http_port"): str(port)}
    server = make_server(folder / "server", ("p256", "rsa2048"), changes=changes)
    (folder / "files").mkdir()
    try:
        server.start()
        for name in ("ec", "rsa", "root"):
            wait_until(functools.partial(_published, server, name), f"the CRL of {name} is published")
        yield Site(server, folder / "files")
    finally:
        end(server)


@contextlib.contextmanager
def process(*command: str | Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server of another project, which listens on *port*."""
    running = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), f"{command[0]} listens")
        yield running
    finally:
        running.terminate()
        running.wait(20)


# --- OCSP --------------------------------------------------------------------------------


def openssl_ocsp(site: Site, *certificates: str | Path, ca: str = "ec", path: str = "/ocsp", options: str = "") -> str:
    """``openssl ocsp``; it has to find the answer's signature good."""
    folder = site.server.folder
    text = run(
        "openssl",
        "ocsp",
        *("-issuer", folder / f"{ca}.crt", "-CAfile", folder / f"{ca}-chain.crt", "-url", site.http + path),
        *options.split(),
        *certificates,
    )
    assert "Response verify OK" in text, text
    return text


@pytest.mark.parametrize("path", ["/ocsp", "/ocsp/"])
@pytest.mark.parametrize("digest", ["", "-sha256", "-sha384", "-sha512"])
@pytest.mark.parametrize("ca", ["ec", "rsa"])
def test_openssl_asks(site: Site, ca: str, digest: str, path: str) -> None:
    """OCSP-1: good, each digest, either address, nonce echoed."""
    _, certificate, _ = site.issue(ca)
    asked = [digest] if digest else []
    text = openssl_ocsp(site, *asked, "-cert", certificate, ca=ca, path=path)
    assert f"{certificate}: good" in text
    assert "no nonce in response" not in text


def test_openssl_is_told_of_a_revocation(site: Site) -> None:
    """OCSP-1: revoked with time and reason; unknown; many in one request."""
    revoked, revoked_path, _ = site.issue()
    _, good_path, _ = site.issue()
    for options in ("", "-no_nonce"):
        assert f"{revoked_path}: good" in openssl_ocsp(site, "-cert", revoked_path, options=options)
    site.revoke(revoked)
    for options in ("", "-no_nonce"):
        text = openssl_ocsp(site, "-cert", revoked_path, "-cert", good_path, "-serial", "0x1234", options=options)
        assert f"{revoked_path}: revoked" in text
        assert "Reason: keyCompromise" in text
        assert f"{good_path}: good" in text
        assert "0x1234: unknown" in text


def test_openssl_knows_the_responder_by_its_chain(site: Site) -> None:
    """OCSP-2: delegated, found by -VAfile, with nothing but the CA trusted."""
    _, certificate, _ = site.issue()
    text = openssl_ocsp(site, "-cert", certificate, options=f"-resp_text -VAfile {site.chain} -no_nonce")
    assert "OCSP Signing" in text
    assert "OCSP No Check" in text


def test_ocsptool_asks(site: Site) -> None:
    """OCSP-1, with GnuTLS: nonce, good and revoked."""
    require("ocsptool")
    for ca in ("ec", "rsa"):
        leaf, certificate, _ = site.issue(ca)
        folder = site.server.folder
        command = (
            "ocsptool",
            f"--ask={site.http}/ocsp",
            f"--load-cert={certificate}",
            f"--load-issuer={folder / f'{ca}.crt'}",
            f"--load-trust={folder / f'{ca}-chain.crt'}",
            "--nonce",
        )
        text = run(*command)
        assert "Verifying OCSP Response: Success" in text
        assert "Certificate Status: good" in text
        if ca == "ec":
            site.revoke(leaf)
            text = run(*command, ok=None)
            assert "Certificate Status: revoked" in text
            assert "Verifying OCSP Response: Success" in text


def test_strongswan_verifies_online(site: Site) -> None:
    """OCSP-1: by the addresses in the certificate."""
    require("pki")
    leaf, certificate, _ = site.issue()
    folder = site.server.folder
    command = ("pki", "--verify", "--in", certificate, "--cacert", folder / "ec.crt", "--cacert", folder / "root.crt")
    text = run(*command, "--online")
    assert "ocsp response correctly signed" in text
    assert "certificate status is good" in text
    site.revoke(leaf)
    text = run(*command, "--online", ok=False)
    assert "revoked" in text


# --- CRLs --------------------------------------------------------------------------------


def test_openssl_verifies_with_the_lists_of_a_chain(site: Site) -> None:
    """-crl_check_all needs the root's list too."""
    leaf, certificate, _ = site.issue()
    root, sub = site.server.folder / "root.crt", site.server.folder / "ec.crt"
    lists = site.folder / "chain-crl.pem"
    lists.write_bytes(site.get("/crl/ec-chain.pem"))
    command = (
        "openssl",
        "verify",
        "-crl_check_all",
        "-CRLfile",
        lists,
        "-CAfile",
        root,
        "-untrusted",
        sub,
        certificate,
    )
    assert f"{certificate}: OK" in run(*command)
    site.revoke(leaf)
    lists.write_bytes(site.get("/crl/ec-chain.pem"))
    assert "certificate revoked" in run(*command, ok=False)


def test_openssl_fetches_by_the_certificates_address(site: Site) -> None:
    """-crl_download takes DER of the exact type."""
    leaf, certificate, _ = site.issue()
    root, sub = site.server.folder / "root.crt", site.server.folder / "ec.crt"
    command = ("openssl", "verify", "-crl_check", "-crl_download", "-CAfile", root, "-untrusted", sub, certificate)
    assert f"{certificate}: OK" in run(*command)
    site.revoke(leaf)
    assert "certificate revoked" in run(*command, ok=False)


def test_openssl_and_gnutls_read_the_list(site: Site) -> None:
    """The signature verifies; number and key identifier are there."""
    require("certtool")
    for ca in ("ec", "rsa", "root"):
        path = site.folder / f"{ca}.pem"
        path.write_bytes(site.get(f"/crl/{ca}.pem"))
        text = run("openssl", "crl", "-in", path, "-noout", "-text", "-CAfile", site.server.folder / f"{ca}.crt")
        assert "verify OK" in text
        assert "X509v3 CRL Number" in text
        assert "X509v3 Authority Key Identifier" in text
        assert "Version: 2" in run("certtool", "--crl-info", "--infile", path)
        run("openssl", "crl", "-inform", "DER", "-noout", "-nextupdate", stdin=site.get(f"/crl/{ca}.crl"))


def test_certtool_verifies_with_the_list(site: Site) -> None:
    """With GnuTLS."""
    require("certtool")
    leaf, certificate, _ = site.issue()
    lists = site.folder / "certtool.pem"
    command = (
        "certtool",
        "--verify",
        "--load-ca-certificate",
        site.chain,
        "--load-crl",
        lists,
        "--infile",
        certificate,
    )
    lists.write_bytes(site.get("/crl/ec-chain.pem"))
    assert "The certificate is trusted" in run(*command)
    site.revoke(leaf)
    lists.write_bytes(site.get("/crl/ec-chain.pem"))
    assert "revoked" in run(*command, ok=None)


def test_curl_asks_again_only_for_what_is_new(site: Site) -> None:
    """ETag, date and range, by HTTP and HTTPS."""
    require("curl")
    etag, body = site.folder / "etag", site.folder / "list.crl"
    trust = ("--cacert", site.server.folder / "root.crt")
    for base in (site.http, f"https://localhost:{site.server.ports['https']}"):
        etag.unlink(missing_ok=True)
        curl = ("curl", "-sS", *trust, "-o", body, "-w", "%{http_code} %{size_download}")
        url = f"{base}/crl/ec.crl"
        first = run(*curl, "--etag-save", etag, url)
        assert first == f"200 {len(site.get('/crl/ec.crl'))}"
        assert run(*curl, "--etag-compare", etag, url) == "304 0"
        assert run(*curl, "-z", "2199-01-01", url).startswith("200")
        assert run(*curl, "-r", "0-9", url) == "206 10"
        leaf, _, _ = site.issue()
        site.revoke(leaf)
        assert run(*curl, "--etag-compare", etag, url).startswith("200")
        head = run("curl", "-sSI", *trust, url)
        assert "content-type: application/pkix-crl" in head.lower()


# --- servers that use them ---------------------------------------------------------------


def nginx_configuration(folder: Path, server: str) -> Path:
    """A configuration for nginx in the foreground, all of whose files are in *folder*."""
    folder.mkdir(exist_ok=True)
    paths = "".join(
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; worker_processes 1; pid {folder / 'pid'}; error_log {folder / 'error.log'} info;\n"
        f"events {{}}\nhttp {{ access_log off; {paths}\n"
        f"server {{ {server}\n location / {{ return 200 hello; }} }} }}\n"
    )
    return path


def test_nginx_staples(site: Site) -> None:
    """nginx staples a good response; it staples none for a revoked certificate."""
    require("nginx")
    leaf, certificate, key = site.issue(common_name="localhost")
    port = free_port()
    whole = site.folder / "stapled.crt"
    whole.write_bytes(certificate.read_bytes() + (site.server.folder / "ec.crt").read_bytes())
    folder = site.folder / "nginx-staple"
    configuration = nginx_configuration(
        folder,
        f"listen 127.0.0.1:{port} ssl; ssl_certificate {whole}; ssl_certificate_key {key}; ssl_stapling on; "
        f"ssl_stapling_verify on; ssl_trusted_certificate {site.chain};",
    )
    command = ("nginx", "-c", configuration, "-p", folder, "-e", folder / "error.log")

    def status() -> str:
        root = site.server.folder / "root.crt"
        return run(
            "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-status", "-CAfile", root, stdin=b"Q\n", ok=None
        )

    with process(*command, port=port):
        # The first connection makes nginx ask.
        wait_until(lambda: "Cert Status: good" in status(), "nginx staples")
        text = status()
        assert "OCSP Response Status: successful" in text
        assert "Verify return code: 0" in text
    site.revoke(leaf)
    with process(*command, port=port):
        log = folder / "error.log"
        wait_until(lambda: status() and "revoked" in log.read_text("utf-8", "replace"), "nginx is told")
        assert "no response sent" in status()


def test_nginx_refuses_who_is_on_the_list(site: Site) -> None:
    """With ssl_crl: the lists of the whole chain, read again at a reload."""
    require("nginx", "curl")
    folder = site.folder / "nginx-crl"
    folder.mkdir()
    leaf, certificate, key = site.issue(common_name="a")
    _, other_certificate, other_key = site.issue(common_name="b")
    port = free_port()
    lists = folder / "chain-crl.pem"
    lists.write_bytes(site.get("/crl/ec-chain.pem"))
    files = site.server.folder
    configuration = nginx_configuration(
        folder,
        f"listen 127.0.0.1:{port} ssl; ssl_certificate {files / 'https.crt'}; ssl_certificate_key "
        f"{files / 'https.key'}; ssl_client_certificate {site.chain}; ssl_verify_client on; ssl_verify_depth 2; "
        f"ssl_crl {lists}; ssl_session_cache off; ssl_session_tickets off;",
    )

    def status(client: Path, client_key: Path) -> str:
        return run(
            *("curl", "-sS", "-o", folder / "out", "-w", "%{http_code}", "--cacert", files / "root.crt"),
            *("--cert", client, "--key", client_key, f"https://localhost:{port}/"),
            ok=None,
        )

    command = ("nginx", "-c", configuration, "-p", folder, "-e", folder / "error.log")
    with process(*command, port=port):
        assert status(certificate, key) == "200"
        site.revoke(leaf)
        lists.write_bytes(site.get("/crl/ec-chain.pem"))
        run(*command, "-s", "reload")
        wait_until(lambda: status(certificate, key) == "400", "nginx refuses it")
        assert status(other_certificate, other_key) == "200"
    assert "certificate revoked" in (folder / "error.log").read_text("utf-8", "replace")


def test_haproxy_refuses_who_is_on_the_list(site: Site) -> None:
    """With crl-file: the lists of the whole chain."""
    require("haproxy", "curl")
    folder = site.folder / "haproxy"
    folder.mkdir()
    leaf, certificate, key = site.issue(common_name="a")
    _, other_certificate, other_key = site.issue(common_name="b")
    files = site.server.folder
    own, lists = folder / "own.pem", folder / "chain-crl.pem"
    own.write_bytes((files / "https.crt").read_bytes() + (files / "https.key").read_bytes())
    port = free_port()
    configuration = folder / "haproxy.cfg"
    configuration.write_text(
        "defaults\n mode http\n timeout client 5s\n timeout connect 5s\n timeout server 5s\nfrontend one\n"
        f" bind 127.0.0.1:{port} ssl crt {own} ca-file {site.chain} verify required crl-file {lists}\n"
        " http-request return status 200\n"
    )

    def status(client: Path, client_key: Path) -> str:
        return run(
            *("curl", "-s", "-o", folder / "out", "-w", "%{http_code}", "--cacert", files / "root.crt"),
            *("--cert", client, "--key", client_key, f"https://localhost:{port}/"),
            ok=None,
        )

    lists.write_bytes(site.get("/crl/ec-chain.pem"))
    with process("haproxy", "-q", "-f", configuration, port=port):
        assert status(certificate, key) == status(other_certificate, other_key) == "200"
    site.revoke(leaf)
    lists.write_bytes(site.get("/crl/ec-chain.pem"))
    with process("haproxy", "-q", "-f", configuration, port=port):
        assert status(certificate, key) == "000"
        assert status(other_certificate, other_key) == "200"


def test_mosquitto_refuses_who_is_on_the_list(site: Site) -> None:
    """VA-2: it reads ``crl_path`` itself, again at SIGHUP."""
    require("mosquitto", "mosquitto_pub")
    folder = site.folder / "mosquitto"
    folder.mkdir()
    leaf, certificate, key = site.issue(common_name="a")
    _, other_certificate, other_key = site.issue(common_name="b")
    port = free_port()
    files = site.server.folder
    configuration = folder / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nuser root\ncafile {site.chain}\ncertfile {files / 'https.crt'}\n"
        f"keyfile {files / 'https.key'}\nrequire_certificate true\nuse_identity_as_username true\n"
        f"crlfile {files / 'crl' / 'ca.crl'}\nlog_dest file {folder / 'log'}\n"
    )

    def accepted(client: Path, client_key: Path) -> bool:
        done = subprocess.run(
            [
                *("mosquitto_pub", "-h", "localhost", "-p", str(port), "--cafile", str(files / "root.crt")),
                *("--cert", str(client), "--key", str(client_key), "-t", "x", "-m", "hi", "-q", "1"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert done.returncode in (0, 1, 7, 14), done.stderr
        return done.returncode == 0

    with process("mosquitto", "-c", configuration, port=port) as broker:
        assert accepted(certificate, key)
        site.revoke(leaf)
        broker.send_signal(1)
        wait_until(lambda: not accepted(certificate, key), "Mosquitto refuses it")
        assert accepted(other_certificate, other_key)
