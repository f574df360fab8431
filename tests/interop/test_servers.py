"""Servers of other projects that check client certificates with the CRLs, each with a good and a revoked client."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.test_status_clients import Site, process, run, site
from tests.support.apache import apache_configuration, readable_folder
from tests.support.interop import require
from tests.support.ports import free_port
from tests.support.server import accepts, wait_until

__all__ = ("site",)

pytestmark = pytest.mark.interop


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that servers under another user can read."""
    with readable_folder() as made:
        yield made


def test_apache(site: Site, folder: Path) -> None:
    """With SSLUseStapling, its own status is good; with SSLCARevocationFile, a revoked client is refused."""
    require("apache2", "curl", "openssl")
    _, own, own_key = site.issue(common_name="localhost")
    whole = folder / "own.pem"
    whole.write_bytes(own.read_bytes() + (site.server.folder / "ec.crt").read_bytes())
    revoked, *revoked_files = site.issue(common_name="a")
    _, *good_files = site.issue(common_name="b")
    port = free_port()
    settings = (
        f"SSLUseStapling on\nSSLStaplingCache shmcb:{folder / 'stapling'}(65536)\nSSLCACertificateFile {site.chain}\n"
        f"SSLCARevocationFile {folder / 'lists.pem'}\nSSLCARevocationCheck chain"
    )
    configuration = apache_configuration(folder, port, whole, own_key, settings)
    root = site.server.folder / "root.crt"

    def status(certificate: Path, key: Path) -> str:
        return run(
            *("curl", "-s", "-o", folder / "out", "-w", "%{http_code}", "--cacert", root, "-k"),
            *("--cert", certificate, "--key", key, f"https://localhost:{port}/"),
            ok=None,
        )

    def stapled() -> str:
        return run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-status", stdin=b"Q\n", ok=None)

    command = ("apache2", "-f", configuration, "-DFOREGROUND")
    (folder / "lists.pem").write_bytes(site.get("/crl/ec-chain.pem"))
    with process(*command, port=port):
        assert status(*revoked_files) == status(*good_files) == "200"
        wait_until(lambda: "Cert Status: good" in stapled(), "Apache staples")
    site.revoke(revoked)
    (folder / "lists.pem").write_bytes(site.get("/crl/ec-chain.pem"))
    with process(*command, port=port):
        assert status(*good_files) == "200"
        assert status(*revoked_files) == "000"


@contextmanager
def postgresql(folder: Path, port: int, settings: str) -> Iterator[None]:
    """A PostgreSQL server on *port* that admits the user ``device`` by a certificate only.

    :param folder: readable by its user.
    """
    programs = Path(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
    user = "postgres" if os.getuid() == 0 else None
    data = folder / "data"

    def control(program: str, *arguments: str | Path) -> None:
        subprocess.run([programs / program, *arguments], check=True, user=user, capture_output=True, cwd="/")

    control("initdb", "-D", data, "-A", "trust", "--no-locale", "-E", "UTF8", "--no-sync", "-U", "device")
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 cert\n")
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write(
            f"{settings}\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nssl = on\n"
        )
    running = subprocess.Popen(
        [programs / "postgres", "-D", data], user=user, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
    )
    try:
        wait_until(lambda: accepts(port), "PostgreSQL listens")
        yield
    finally:
        running.terminate()
        running.wait(20)


def test_postgresql(site: Site, folder: Path) -> None:
    """With ``ssl_crl_file`` and the method ``cert``: the user's certificate signs in, unless it is revoked."""
    require("psql")
    if not glob.glob("/usr/lib/postgresql/*/bin"):
        require("initdb")
    _, own, own_key = site.issue(common_name="localhost")
    revoked, *revoked_files = site.issue(common_name="device")
    _, *good_files = site.issue(common_name="device")
    port = free_port()
    (folder / "own.pem").write_bytes(own.read_bytes() + (site.server.folder / "ec.crt").read_bytes())
    shutil.copy(own_key, folder / "own.key")
    shutil.copy(site.chain, folder / "chain.pem")
    site.revoke(revoked)
    (folder / "lists.pem").write_bytes(site.get("/crl/ec-chain.pem"))
    (folder / "own.key").chmod(0o600)
    if os.getuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "postgres")
    settings = (
        f"ssl_cert_file = '{folder / 'own.pem'}'\nssl_key_file = '{folder / 'own.key'}'\n"
        f"ssl_ca_file = '{folder / 'chain.pem'}'\nssl_crl_file = '{folder / 'lists.pem'}'"
    )

    def answer(certificate: Path, key: Path) -> str:
        key.chmod(0o600)
        target = (
            f"host=127.0.0.1 port={port} user=device dbname=postgres sslmode=verify-ca "
            f"sslrootcert={site.server.folder / 'root.crt'} sslcert={certificate} sslkey={key}"
        )
        return run("psql", target, "-Atc", "SELECT current_user", ok=None)

    with postgresql(folder, port, settings):
        wait_until(lambda: answer(*good_files).strip() == "device", "the good client signs in")
        assert "certificate revoked" in answer(*revoked_files)
