"""The commands of the page APIs work as they stand there (UI-8)."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from cryptography import x509

from pikachu.auth.authenticator import account_principal
from pikachu.core.model.people import SYSTEM, AccountState, Role
from tests.support.deferreds import result_of
from tests.support.interop import require
from tests.support.server import Client, Server, running_server

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(300)]

PASSWORD = "correct horse battery"
#: Paths of the reference that answer with another file than JSON, and its first bytes.
FILES = {
    "/reports/": b"Report,",
    "/audit-checkpoint": b"pikachu-ca/",
    "/audit-consistency": b"pikachu-ca/consistency-proof@v1",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Browser:
    """Just enough of one to read a page."""

    client: Client
    host: str
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, fields: dict[str, str] | None = None) -> str:
        """The page."""
        headers = {"Host": self.host, "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        body = None
        if fields is not None:
            headers |= FORM
            body = urlencode(fields).encode()
        self.client.connection.request("GET" if body is None else "POST", path, body, headers)
        answer = self.client.connection.getresponse()
        for line in answer.headers.get_all("Set-Cookie") or []:
            name, _, rest = line.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return answer.read().decode()

    def sign_in(self, name: str) -> None:
        """By the form."""
        found = re.search(r'name="csrf" value="([^"]*)"', self.ask("/login"))
        assert found
        self.ask("/login", {"username": name, "password": PASSWORD, "csrf": html.unescape(found[1]), "next": "/"})


def commands(page: str) -> list[tuple[str, str]]:
    """(program, text) in the order in which they stand there."""
    found = re.findall(
        r'<div class="command"><span class="badge mute">(\w+)</span><pre[^>]*>(.*?)</pre>', page, re.DOTALL
    )
    return [(program, html.unescape(text)) for program, text in found]


@pytest.fixture(scope="module", params=["rsa", "ra"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With an RSA CA that speaks SCEP by itself, or an RA that does."""
    kinds = ("p256", "rsa2048") if request.param == "rsa" else ("p256",)
    with running_server(tmp_path_factory.mktemp("server"), kinds) as running:
        yield running


@pytest.fixture(scope="module")
def folder(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are run; with a token and a challenge password of alice's."""
    place = tmp_path_factory.mktemp("commands")
    with server.application() as app:
        alice = result_of(
            app.accounts.add_user(SYSTEM, "alice", "alice@example.com", Role.USER, AccountState.ACTIVE, PASSWORD)
        )
        principal = account_principal(alice, "127.0.0.1")
        _, token = result_of(app.tokens.create(SYSTEM, alice.id, "commands", None, 1))
        challenge, text = result_of(app.challenge_passwords.create(principal))
        assert challenge
    (place / "token").write_text(f"Authorization: Bearer {token}\n", encoding="ascii")
    (place / "challenge").write_text(f"{text}\n", encoding="ascii")
    return place


def test_reference(server: Server, folder: Path) -> None:
    """API-2: every question of the REST reference that is about no single object is answered."""
    require("curl", "bash")
    with server.application() as app:
        adding = app.accounts.add_user(SYSTEM, "admin", "admin@example.com", Role.ADMIN, AccountState.ACTIVE, PASSWORD)
        _, token = result_of(app.tokens.create(SYSTEM, result_of(adding).id, "reference", None, 1))
    (folder / "root.crt").write_bytes(server.files.root.pem)
    with server.client() as client:
        browser = Browser(client, f"localhost:{server.ports['https']}")
        browser.sign_in("admin")
        found = commands(browser.ask("/apis/reference"))
    questions = [text for _, text in found if not re.search(r"--request|--data|/[A-Z]+\b", text)]
    assert len(questions) > 10
    for text in questions:
        filled = text.replace("--header @token", f"--header 'Authorization: Bearer {token}'")
        result = subprocess.run(["bash", "-ec", filled], cwd=folder, capture_output=True, timeout=60, check=False)
        assert result.returncode == 0, (text, result.stdout[-500:], result.stderr[-2000:])
        # Reports, checkpoints and proofs are files.
        start = next((start for part, start in FILES.items() if part in text), None)
        assert json.loads(result.stdout) if start is None else result.stdout.startswith(start), text


def test_every_command(server: Server, folder: Path) -> None:
    """From the top, in one folder; passwords are typed by a person, so they are filled in here."""
    require("curl", "openssl", "pki", "bash")
    with server.client() as client:
        browser = Browser(client, f"localhost:{server.ports['https']}")
        browser.sign_in("alice")
        found = commands(browser.ask("/apis"))
    assert {program for program, _ in found} == {"curl", "openssl", "pki", "sscep", "estclient", "powershell"}
    done = 0
    for program, text in found:
        if program in ("sscep", "estclient", "powershell"):
            continue
        filled = text.replace("--user alice", f"--user 'alice:{PASSWORD}'").replace(":PASSWORD", f":'{PASSWORD}'")
        issued = folder / "issued.json"
        if issued.exists():
            filled = filled.replace("/certificates/ID", f"/certificates/{json.loads(issued.read_text())['id']}")
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-ec", filled], cwd=folder, capture_output=True, timeout=60, check=False
        )
        assert result.returncode == 0, (text, result.stdout[-500:], result.stderr[-2000:])
        done += 1
    assert done > 30
    names = ("device.crt", "second.crt", "challenged.crt", "renewed.crt", "scep.crt", "estca.pem", "cacerts.pem")
    for name in (*names, "serverkeygen", "crl.pem", "device.pfx", "stored.csr"):
        assert list(folder.glob(f"{name.partition('.')[0]}*")), name
        assert (folder / name).exists() or name == "estca.pem"
    said = subprocess.run(
        ["openssl", "verify", "-CAfile", "root.crt", "-untrusted", "ec.crt", "device.crt", "renewed.crt"],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stderr


def test_commands_for_a_device(server: Server, folder: Path, tmp_path: Path) -> None:
    """ISS-1: from the form to a certificate on the device; each way with a challenge password of its own."""
    require("curl", "openssl", "pki", "bash")
    fields = {"source": "device", "common_name": "pump.example.com", "adds_name": "1", "sans": "192.0.2.1"}
    with server.client() as client:
        browser = Browser(client, f"localhost:{server.ports['https']}")
        browser.sign_in("alice")
        for way in ("curl", "pki-est", "pki-scep"):
            found = re.search(r'name="csrf" value="([^"]*)"', browser.ask("/certificates/new"))
            assert found
            browser.ask("/certificates/new", {**fields, "csrf": html.unescape(found[1])})
            newest = re.search(r'href="(/challenge-passwords/\d+)"', browser.ask("/challenge-passwords"))
            assert newest
            page = browser.ask(f"{newest[1]}/commands")
            place = tmp_path / way
            place.mkdir()
            for name in ("trust", way):
                section = page.partition(f'<h2 id="{name}">')[2].partition("</section>")[0]
                for _, text in commands(section):
                    result = subprocess.run(
                        ["bash", "-o", "pipefail", "-ec", text], cwd=place, capture_output=True, timeout=60, check=False
                    )
                    assert result.returncode == 0, (text, result.stdout[-500:], result.stderr[-2000:])
            certificate = x509.load_pem_x509_certificate((place / "device.crt").read_bytes())
            assert certificate.subject.rfc4514_string() == "CN=pump.example.com"
            sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert [str(name.value) for name in sans] == ["pump.example.com", "192.0.2.1"]
