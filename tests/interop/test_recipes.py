"""The recipes of the guide, run as they are written, with the addresses and paths of a test (UI-10)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from pikachu.core.model.people import SYSTEM, AccountState, Role, Scope
from pikachu.help.guide import FOLDER
from tests.interop.test_networks import logging_process, text
from tests.interop.test_servers import postgresql
from tests.interop.test_status_clients import SERVER_AUTH, Site, nginx_configuration, process, run, site
from tests.support.apache import apache_configuration, readable_folder
from tests.support.deferreds import result_of
from tests.support.interop import require
from tests.support.ports import free_port
from tests.support.scep_live import challenge
from tests.support.server import wait_until

__all__ = ("site",)

pytestmark = pytest.mark.interop

PLACE: Final = "/etc/ssl/ca"
LISTENERS: Final = {8080: "http", 8090: "scep", 8443: "https", 4443: "trusted_https"}


def sections(name: str) -> dict[str, str]:
    """Return the sections of a document by their headings; the introduction has none."""
    parts = re.split(r"^## (.*)\n", (FOLDER / name).read_text("utf-8"), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def blocks(section: str, language: str = r"\w+") -> list[str]:
    """Return the code blocks of a section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


CLIENTS: Final = sections("20-clients.md")
SERVERS: Final = sections("21-servers.md")


def shell(site: Site, folder: Path, script: str) -> str:
    """Run commands of the guide in a folder; return their output."""
    for shipped, listener in LISTENERS.items():
        script = script.replace(f"ca.example.com:{shipped}", f"localhost:{site.server.ports[listener]}")
    script = script.replace(PLACE, str(folder))
    assert "example.com:" not in script
    finished = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert finished.returncode == 0, f"{script}\n{finished.stdout}{finished.stderr}"
    return finished.stdout


PROGRAMS: Final = {
    "curl and openssl, over EST": ("curl", "openssl"),
    "strongSwan's pki, over SCEP": ("curl", "openssl", "pki"),
    "strongSwan's pki, over EST": ("curl", "openssl", "pki"),
    "Java's keytool": ("curl", "openssl", "keytool"),
    "Status with openssl": ("curl", "openssl"),
}


def test_every_recipe_is_run_or_says_that_it_is_not() -> None:
    """A recipe with commands for a shell is run here; one without says which test there is, or that there is none."""
    assert {name for name, section in CLIENTS.items() if name and blocks(section, "sh")} == set(PROGRAMS)
    for name, section in CLIENTS.items():
        if name and name not in PROGRAMS:
            assert re.search(r"\b[Tt]est\b", section), name


@pytest.fixture(scope="module")
def token(site: Site) -> str:
    """An API token of alice's, with which devices enroll."""
    with site.server.application() as app:
        adding = app.accounts.add_user(
            SYSTEM, "alice", "alice@example.com", Role.USER, AccountState.ACTIVE, "password of alice"
        )
        return result_of(app.tokens.create(SYSTEM, result_of(adding).id, "devices", frozenset({Scope.ENROLL})))[1]


@pytest.mark.parametrize("name", PROGRAMS)
def test_client(site: Site, token: str, tmp_path: Path, name: str) -> None:
    """A device follows a recipe from nothing, and gets certificates that verify."""
    require(*PROGRAMS[name])
    (tmp_path / "challenge").write_text(challenge(site.server))
    (tmp_path / "token").write_text(token)
    introduction = "".join(blocks(CLIENTS[""], "sh"))
    before = "" if name != "Status with openssl" else blocks(CLIENTS["curl and openssl, over EST"], "sh")[0]
    output = shell(site, tmp_path, "\n".join((introduction, before, *blocks(CLIENTS[name], "sh"))))
    if before:
        assert "device.crt: good" in output
    else:
        issued = [path for path in tmp_path.glob("*.crt") if path.name not in ("root.crt", "ec.crt", "rsa.crt")]
        assert issued
        issuers = tmp_path / "issuers.pem"
        issuers.write_bytes(b"".join(site.get(f"/ca/{ca}.crt") for ca in ("ec", "rsa")))
        for path in issued:
            run("openssl", "verify", "-CAfile", tmp_path / "root.crt", "-untrusted", issuers, path)


# --- Servers -----------------------------------------------------------------------------


class Files:
    """The folder of a server, with the files that the guide names, and a good and a revoked client."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder
        _, certificate, key = site.issue(common_name="localhost", purposes=[SERVER_AUTH])
        self.revoked, *self.revoked_files = site.issue(common_name="device")
        _, *self.good_files = site.issue(common_name="device")
        chain = certificate.read_bytes() + (site.server.folder / "ec.crt").read_bytes()
        (folder / "server.crt").write_bytes(chain)
        (folder / "server.pem").write_bytes(chain + key.read_bytes())
        shutil.copy(key, folder / "server.key")
        self.update()

    def update(self) -> None:
        """Follow the guide for the files, as a timer does."""
        shell(self.site, self.folder, "\n".join(blocks(SERVERS["The files"], "sh")))

    def settings(self, name: str, language: str = r"\w+") -> str:
        """Return the settings of a server with the paths of this folder."""
        (block,) = blocks(SERVERS[name], language)
        assert block.count(PLACE) >= 3
        return block.replace(PLACE, str(self.folder))

    def status(self, port: int, files: list[Path]) -> str:
        """Return what a client gets from a web server; ``000``: no connection."""
        certificate, key = files
        return run(
            *("curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--cacert", self.folder / "root.crt"),
            *("--cert", certificate, "--key", key, f"https://localhost:{port}/"),
            ok=None,
        )


@pytest.fixture
def files(site: Site) -> Iterator[Files]:
    with readable_folder() as folder:
        yield Files(site, folder)


def nginx(files: Files, port: int) -> tuple[str | Path, ...]:
    settings = f"listen 127.0.0.1:{port} ssl;\n{files.settings('nginx')}"
    configuration = nginx_configuration(files.folder / "nginx", settings)
    return ("nginx", "-c", configuration, "-p", files.folder, "-e", files.folder / "error.log")


def haproxy(files: Files, port: int) -> tuple[str | Path, ...]:
    configuration = files.folder / "haproxy.cfg"
    bind = files.settings("HAProxy").replace("bind :443", f"bind 127.0.0.1:{port}")
    times = "timeout client 5s\n timeout connect 5s\n timeout server 5s"
    configuration.write_text(f"defaults\n mode http\n {times}\nfrontend one\n {bind} http-request return status 200\n")
    return ("haproxy", "-q", "-f", configuration)


def apache(files: Files, port: int) -> tuple[str | Path, ...]:
    place = files.folder
    own = apache_configuration(place, port, place / "server.crt", place / "server.key", files.settings("Apache"))
    return ("apache2", "-f", own, "-DFOREGROUND")


@pytest.mark.parametrize("server", [nginx, haproxy, apache])
def test_web_server(files: Files, server: Callable[[Files, int], tuple[str | Path, ...]]) -> None:
    """A good client is served, and a revoked one is refused once the files are fetched again."""
    port = free_port()
    command = server(files, port)
    require(str(command[0]), "curl")
    with process(*command, port=port):
        assert files.status(port, files.good_files) == files.status(port, files.revoked_files) == "200"
    files.site.revoke(files.revoked)
    files.update()
    with process(*command, port=port):
        assert files.status(port, files.good_files) == "200"
        assert files.status(port, files.revoked_files) in ("000", "400")


def test_mosquitto(files: Files) -> None:
    """A revoked client is refused after SIGHUP."""
    require("mosquitto", "mosquitto_pub")
    port = free_port()
    configuration = files.folder / "mosquitto.conf"
    configuration.write_text(f"user root\n{files.settings('Mosquitto').replace('8883', f'{port} 127.0.0.1')}")

    def accepted(client: list[Path]) -> bool:
        own = ("--cafile", str(files.folder / "root.crt"), "--cert", str(client[0]), "--key", str(client[1]))
        command = ["mosquitto_pub", "-h", "localhost", "-p", str(port), *own, "-t", "x", "-m", "hi", "-q", "1"]
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0

    with process("mosquitto", "-c", configuration, port=port) as broker:
        assert accepted(files.revoked_files)
        files.site.revoke(files.revoked)
        files.update()
        broker.send_signal(1)
        wait_until(lambda: not accepted(files.revoked_files), "Mosquitto refuses it")
        assert accepted(files.good_files)


def test_postgresql(files: Files) -> None:
    """The user of the certificate signs in, unless it is revoked."""
    require("psql")
    port = free_port()
    files.site.revoke(files.revoked)
    files.update()
    (files.folder / "server.key").chmod(0o600)
    if os.getuid() == 0:
        for path in (files.folder, *files.folder.iterdir()):
            shutil.chown(path, "postgres")

    def answer(client: list[Path]) -> str:
        certificate, key = client
        key.chmod(0o600)
        target = f"host=127.0.0.1 port={port} user=device dbname=postgres sslmode=verify-ca"
        own = f"sslrootcert={files.folder / 'root.crt'} sslcert={certificate} sslkey={key}"
        return run("psql", f"{target} {own}", "-Atc", "SELECT current_user", ok=None)

    with postgresql(files.folder, port, files.settings("PostgreSQL")):
        wait_until(lambda: answer(files.good_files).strip() == "device", "the good client signs in")
        assert "certificate revoked" in answer(files.revoked_files)


def test_openvpn(files: Files) -> None:
    """A good device is in, a revoked one is not."""
    require("openvpn")
    files.site.revoke(files.revoked)
    files.update()
    (files.folder / "server.key").chmod(0o600)
    configuration = files.folder / "server.conf"
    configuration.write_text(files.settings("OpenVPN"))

    @contextmanager
    def peers(client: list[Path]) -> Iterator[Callable[[], str]]:
        port = free_port()
        certificate, key = client
        key.chmod(0o600)
        whole = certificate.with_suffix(".chain")
        whole.write_bytes(certificate.read_bytes() + (files.site.server.folder / "ec.crt").read_bytes())
        logs = files.folder / "server.log", files.folder / "client.log"
        common = ("--dev", "null", "--verb", "3", "--tls-exit")
        serve = ("openvpn", "--config", configuration, *common, "--local", "127.0.0.1", "--port", str(port))
        connect = ("openvpn", *common, "--tls-client", "--remote", "127.0.0.1", str(port), "--nobind")
        own = ("--ca", files.folder / "root.crt", "--cert", whole, "--key", key, "--remote-cert-tls", "server")
        with logging_process(logs[0], *serve, until="UDPv4 link remote"), logging_process(logs[1], *connect, *own):
            yield lambda: text(logs[0]) + text(logs[1])

    with peers(files.good_files) as said:
        wait_until(lambda: "Initialization Sequence Completed" in said(), "the device is in")
    with peers(files.revoked_files) as said:
        wait_until(lambda: "certificate revoked" in said(), "the device is refused")


# --- Recipes that other tests run --------------------------------------------------------


@pytest.mark.parametrize("name", ["certmonger", "scepclient"])
def test_options_are_those_of_tests(name: str) -> None:
    """The options of a program that another test runs are among those that it runs it with."""
    folder = Path(__file__).parent
    sources = "".join((folder / file).read_text("utf-8") for file in ("test_certmonger.py", "test_scep_clients.py"))
    (block,) = blocks(CLIENTS[name])
    for option in set(re.findall(r" (-[\w-]+)", block)):
        assert f'"{option}"' in sources or f" {option} " in sources, option


def test_options_are_those_of_the_page(site: Site) -> None:
    """Commands of sscep and estclient have the options of those on the page APIs."""
    source = (Path(FOLDER).parents[1] / "pikachu" / "web" / "ui" / "client_commands.py").read_text("utf-8")
    (block,) = blocks(CLIENTS["sscep, estclient and libest"])
    for option in set(re.findall(r" (-[\w-]+)", block)):
        assert f"{option} " in source, option
