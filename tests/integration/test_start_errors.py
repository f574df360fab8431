"""A start that can't work: one line, exit code 1, nothing left (RUN-4, INIT-4)."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from pikachu.x509.pem import pem
from tests.support import forked_twistd, hostile_keys
from tests.support.pki import Identity, key_pem, make_ca, make_key, make_leaf
from tests.support.server import DEADLINE, Server, accepts, command, environment, make_server

Change = Callable[[Server], None]
PAST = datetime.now(UTC) - timedelta(days=2)
_NOBODY: Final = 65534
_UNPRIVILEGED: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@dataclass(frozen=True)
class Case:
    """A change to a good folder, and the expected error line."""

    name: str
    change: Change
    says: tuple[str, ...]


def setting(section: str, key: str, value: str | None) -> Change:
    """Set a key, or remove it."""

    def change(server: Server) -> None:
        path = server.files.config
        lines, found, here = [], False, False
        for line in path.read_text().splitlines():
            if line.startswith("["):
                here = line == f"[{section}]"
                lines.append(line)
                if here and value is not None:
                    lines.append(f"{key} = {value}")
                    found = True
            elif not (here and line.partition(" = ")[0].lower() == key.lower()):
                lines.append(line)
        if not found and value is not None:
            lines += [f"[{section}]", f"{key} = {value}"]
        path.write_text("\n".join(lines) + "\n")

    return change


def settings(*changes: Change) -> Change:
    """One after the other."""

    def change(server: Server) -> None:
        for one in changes:
            one(server)

    return change


def content(name: str, data: bytes | None, mode: int | None = None) -> Change:
    """Write a file, or remove it."""

    def change(server: Server) -> None:
        path = server.folder / name
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        if mode is not None:
            path.chmod(mode)

    return change


def mode(name: str, bits: int) -> Change:
    """Change a file's mode."""
    return lambda server: (server.folder / name).chmod(bits)


def config_text(change_text: Callable[[str], str]) -> Change:
    """Change the text of config.ini."""

    def change(server: Server) -> None:
        server.files.config.write_text(change_text(server.files.config.read_text()))

    return change


def other_key(server: Server) -> None:
    """The key of another CA."""
    (server.folder / "ec.key").write_bytes(key_pem(make_key("p256")))


def encrypted_key(server: Server) -> None:
    """The right key, under a passphrase that nobody named."""
    (server.folder / "ec.key").write_bytes(key_pem(server.files.issuers["ec"].key, b"a passphrase"))


def ca(server: Server, identity: Identity, chain: Identity | None = None) -> None:
    """Put another issuing CA in place."""
    identity.write(server.folder, "ec")
    above = chain or identity
    (server.folder / "ec-chain.crt").write_bytes(above.chain_pem)


def expired_ca(server: Server) -> None:
    """A CA that ended."""
    before = PAST - timedelta(days=10)
    ca(server, make_ca("p256", "Old CA", issuer=server.files.root, path_length=0, not_before=before, not_after=PAST))


def future_ca(server: Server) -> None:
    """A CA that has not begun."""
    ca(server, make_ca("p256", "New CA", issuer=server.files.root, not_before=datetime.now(UTC) + timedelta(days=3)))


def leaf_as_ca(server: Server) -> None:
    """A certificate that is no CA's."""
    ca(server, make_leaf(server.files.root, "No CA"))


def foreign_chain(server: Server) -> None:
    """A chain to a root that did not issue it."""
    other = make_ca("p256", "Other root")
    (server.folder / "ec-chain.crt").write_bytes(server.files.issuers["ec"].pem + other.pem)
    (server.folder / "root.crt").write_bytes(other.pem)
    other.write(server.folder, "root")


def chain_of_another(server: Server) -> None:
    """A chain file that is another CA's, beside the right root."""
    other = make_ca("p256", "Other root")
    (server.folder / "ec-chain.crt").write_bytes(server.files.issuers["ec"].pem + other.pem)


def root_of_another(server: Server) -> None:
    """A root that did not issue the CA, beside the right chain."""
    (server.folder / "root.crt").write_bytes(make_ca("p256", "Other root").pem)


def sub_as_root(server: Server) -> None:
    """An issuing CA where its root should be."""
    (server.folder / "root.crt").write_bytes(server.files.issuers["ec"].pem)


def short_root(server: Server) -> None:
    """A root with pathlen 0 above a sub CA."""
    root = make_ca("p256", "Short root", path_length=0)
    root.write(server.folder, "root")
    ca(server, make_ca("p256", "Sub CA", issuer=root, path_length=0))


def other_root_key(server: Server) -> None:
    """A root key that is another's."""
    (server.folder / "root.key").write_bytes(key_pem(make_key("p256")))


def foreign_database(server: Server) -> None:
    """A database of something else."""
    path = server.folder / "pikachu.sqlite"
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE pictures (id INTEGER)")
        database.commit()


def newer_database(server: Server) -> None:
    """A database of a Pikachu to come."""
    with closing(sqlite3.connect(server.folder / "pikachu.sqlite")) as database:
        database.execute("UPDATE pikachu_schema SET version_num = '9999'")
        database.commit()


def ports_alike(server: Server) -> None:
    """Two listeners on one port."""
    setting("DEFAULT", "http_port", str(server.ports["scep"]))(server)


def folder_instead(name: str) -> Change:
    """A folder where a file should be."""

    def change(server: Server) -> None:
        (server.folder / name).unlink(missing_ok=True)
        (server.folder / name).mkdir()

    return change


CASES: Final = [
    Case("no config", content("config.ini", None), ("config.ini: there is no such configuration file", "pikachu init")),
    Case("config is a folder", folder_instead("config.ini"), ("config.ini: can't be read",)),
    Case("config is binary", content("config.ini", b"\xff\xfe\x00"), ("config.ini: line 1 is not UTF-8",)),
    Case("config is no ini", content("config.ini", b"hello\n"), ("config.ini: line 1 stands before any section",)),
    Case("config is empty", content("config.ini", b""), ("config.ini: [DEFAULT] SECRET_KEY",)),
    Case("twice", config_text(lambda text: text + "[CA]\nmode = EC\n"), ("[CA] begins a second time in line",)),
    Case("port is text", setting("HTTPS", "port", "many"), ("[HTTPS] port",)),
    Case("port too large", setting("HTTPS", "port", "70000"), ("[HTTPS] port",)),
    Case("ports alike", ports_alike, ("is also that of", "another port, or 0")),
    Case("address is text", setting("DEFAULT", "listen", "everywhere"), ("[DEFAULT] listen",)),
    Case("address of others", setting("DEFAULT", "listen", "192.0.2.1"), ("can't listen on 192.0.2.1", "ip address")),
    Case("unknown mode", setting("CA", "mode", "DSA"), ("[CA] mode",)),
    Case("mode without files", setting("CA", "mode", "RSA"), ("[CA] mode: RSA is the default issuing CA",)),
    Case("no level", setting("LOGGING", "log_level", "LOUD"), ("[LOGGING] log_level",)),
    Case("no log folder", setting("LOGGING", "log_file", "/proc/pikachu/x.log"), ("[LOGGING] log_file",)),
    Case("log is a folder", setting("LOGGING", "log_file", "."), ("[LOGGING] log_file",)),
    Case(
        "no issuing CA",
        settings(setting("CA", "SUBCA_KEY_PATH_EC", ""), setting("CA", "SUBCA_CERT_PATH_EC", "")),
        ("[CA]", "EC"),
    ),
    Case("no CA key", content("ec.key", None), ("[CA] SUBCA_KEY_PATH_EC", "ec.key does not exist", "pikachu init")),
    Case("no CA certificate", content("ec.crt", None), ("[CA] SUBCA_CERT_PATH_EC", "ec.crt does not exist")),
    Case("no chain", content("ec-chain.crt", None), ("[CA] CHAIN_FILE_PATH_EC", "ec-chain.crt does not exist")),
    Case("no root", content("root.crt", None), ("[CA] ROOT_CERT_PATH", "root.crt does not exist")),
    Case("CA key of another", other_key, ("[CA] SUBCA_KEY_PATH_EC", "is not the key of the certificate")),
    Case("CA key open to all", mode("ec.key", 0o644), ("[CA] SUBCA_KEY_PATH_EC", "mode 0644", "chmod 600")),
    Case("CA key encrypted", encrypted_key, ("[CA] SUBCA_KEY_PATH_EC", "passphrase")),
    Case("CA key garbage", content("ec.key", b"\x00" * 100), ("[CA] SUBCA_KEY_PATH_EC",)),
    Case("CA key empty", content("ec.key", b""), ("[CA] SUBCA_KEY_PATH_EC",)),
    Case("CA certificate garbage", content("ec.crt", b"\x30\x82garbage"), ("[CA] SUBCA_CERT_PATH_EC",)),
    Case("CA key is a folder", folder_instead("ec.key"), ("[CA] SUBCA_KEY_PATH_EC", "can't be read")),
    Case("chain garbage", content("ec-chain.crt", b"-----BEGIN CERTIFICATE-----\nx\n"), ("[CA] CHAIN_FILE_PATH_EC",)),
    Case("chain of others", foreign_chain, ("[CA] CHAIN_FILE_PATH_EC", "does not verify")),
    Case("chain of another", chain_of_another, ("[CA] CHAIN_FILE_PATH_EC", "does not verify", "Other root")),
    Case("root of another", root_of_another, ("[CA] ROOT_CERT_PATH", "root.crt is not the root of any issuing CA")),
    Case("sub CA as root", sub_as_root, ("[CA] ROOT_CERT_PATH", "root.crt is not the root of any issuing CA")),
    Case("CA expired", expired_ca, ("[CA] SUBCA_CERT_PATH_EC", "the CA expired on")),
    Case("CA of the future", future_ca, ("[CA] SUBCA_CERT_PATH_EC", "not valid before")),
    Case("CA is none", leaf_as_ca, ("[CA] SUBCA_CERT_PATH_EC", "CA:TRUE")),
    Case("root too short", short_root, ("pathlen 0",)),
    Case("root key of another", other_root_key, ("[CA] ROOT_KEY_PATH", "is not the key of")),
    Case("root key open to all", mode("root.key", 0o640), ("[CA] ROOT_KEY_PATH", "chmod 600")),
    Case("no secret key", content("secret_key", None), ("[DEFAULT] secret_key_file", "pikachu init")),
    Case("secret key open to all", mode("secret_key", 0o604), ("[DEFAULT] secret_key_file", "chmod 600")),
    Case("secret key short", content("secret_key", b"abc"), ("[DEFAULT] secret_key_file", "16 characters")),
    Case("secret key twice", setting("DEFAULT", "SECRET_KEY", "x" * 32), ("[DEFAULT] SECRET_KEY",)),
    Case("secret key a folder", folder_instead("secret_key"), ("[DEFAULT] secret_key_file", "can't be read")),
    Case("no database", content("pikachu.sqlite", None), ("pikachu.sqlite", "does not exist yet", "pikachu init")),
    Case("database of others", foreign_database, ("pikachu.sqlite",)),
    Case("database garbage", content("pikachu.sqlite", b"garbage" * 1000), ("pikachu.sqlite",)),
    Case("database is a folder", folder_instead("pikachu.sqlite"), ("pikachu.sqlite",)),
    Case("newer database", newer_database, ("newer",)),
    Case("unknown database", setting("DATABASE", "url", "mysql://x"), ("[DATABASE] url",)),
    Case("no TLS certificate", content("https.crt", None), ("[HTTPS] ssl_cert",)),
    Case("no TLS key", content("https.key", None), ("[HTTPS] ssl_key",)),
    Case("TLS certificate garbage", content("https.crt", b"garbage"), ("[HTTPS] ssl_cert",)),
    Case("TLS key of another", content("https.key", key_pem(make_key("p256"))), ("[HTTPS] ssl_key", "is not the key")),
    Case("TLS not named", setting("HTTPS", "ssl_cert", ""), ("[HTTPS] ssl_cert",)),
    Case(
        "client_ca garbage",
        settings(content("makers.pem", b"garbage"), setting("TRUSTED_HTTPS", "client_ca", "makers.pem")),
        ("[TRUSTED_HTTPS] client_ca",),
    ),
    *(
        Case(
            f"client_ca with a key of {name}",
            settings(
                content("makers.pem", pem("CERTIFICATE", hostile_keys.certificate(public, is_ca=True)).encode()),
                setting("TRUSTED_HTTPS", "client_ca", "makers.pem"),
            ),
            ("[TRUSTED_HTTPS] client_ca", "makers.pem", "CN=hostile", "take it out"),
        )
        for name, public in hostile_keys.PUBLIC_KEYS.items()
        if name
        in ("DH 9941", "DSA 4423", "RSA 512", "RSA 16384", "EC, explicit P-256", "Ed448 of 57", "mldsa65 of 1951")
    ),
    Case("no client_ca", setting("TRUSTED_HTTPS", "client_ca", "makers.pem"), ("[TRUSTED_HTTPS] client_ca",)),
    Case("validity garbage", content("validity.conf", b"forever\n"), ("[PATHS] validity_conf", "line 1")),
    Case("validity empty", content("validity.conf", b""), ("[PATHS] validity_conf",)),
    Case("no validity", content("validity.conf", None), ("validity.conf can't be read (No such file", "pikachu init")),
    Case("extensions garbage", content("server_ext.cnf", b"\xff\xff"), ("[PATHS] server_ext_cfg",)),
    Case("extensions wrong", content("server_ext.cnf", b"[ v3_ext ]\nkeyUsage = x\n"), ("server_ext_cfg", "line 2")),
    Case("no extensions", content("server_ext.cnf", None), ("[PATHS] server_ext_cfg", "pikachu init")),
    Case(
        "CRLs in a file", setting("PATHS", "crl_path", "ec.crt/ca.crl"), ("[PATHS] crl_path", "ec.crt is not a folder")
    ),
    Case("dump into a file", setting("SCEP", "dump_dir", "config.ini"), ("[SCEP] dump_dir", "is not a folder")),
    Case("RA never", setting("SCEP", "ra", "never"), ("[SCEP] ra",)),
]
#: One of the configuration, of the keys, of the database and of the ports.
IN_A_NEW_PROCESS: Final = ("no config", "CA key of another", "newer database", "address of others")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """One that would start."""
    return make_server(tmp_path)


def start_forked(server: Server, user: int | None = None) -> subprocess.CompletedProcess[str]:
    """Try to start it, without the time that an interpreter needs."""
    line = command(server.files.config, "-n", "--pidfile=refused.pid")
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        code = forked_twistd.launch(line, server.folder, environment(), out, err, user=user).wait(DEADLINE)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(line, code, out.read(), err.read())


def start(server: Server, *before: str, options: tuple[str, ...] = ("-n",)) -> subprocess.CompletedProcess[str]:
    """Try to start it."""
    return subprocess.run(
        [*before, *command(server.files.config, *options, "--pidfile=refused.pid")],
        cwd=server.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def check_refused(server: Server, found: subprocess.CompletedProcess[str], says: tuple[str, ...]) -> None:
    """One line, code 1, and nothing left."""
    assert found.stdout == ""
    assert found.stderr.startswith("twistd pikachu: "), found.stderr
    assert found.stderr.count("\n") == 1, found.stderr
    for text in says:
        assert text in found.stderr
    assert found.returncode == 1
    assert len(found.stderr) < 600
    assert not (server.folder / "refused.pid").exists()
    assert not any(accepts(port) for port in server.ports.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(server: Server, case: Case) -> None:
    """RUN-4: the line names the setting or the file, and the remedy."""
    case.change(server)
    check_refused(server, start_forked(server), case.says)


@pytest.mark.parametrize("case", [case for case in CASES if case.name in IN_A_NEW_PROCESS], ids=lambda case: case.name)
def test_refused_in_a_new_process(server: Server, case: Case) -> None:
    """RUN-4: the program itself refuses as its forks do."""
    case.change(server)
    check_refused(server, start(server), case.says)


@pytest.mark.parametrize("listener", ["http", "scep", "https", "trusted_https"])
def test_busy_port(server: Server, listener: str) -> None:
    """RUN-4: the line names the port, its setting, and how to find the process that uses it."""
    port = server.ports[listener]
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", port))
        busy.listen()
        found = start_forked(server)
        del server.ports[listener]
        check_refused(server, found, (f"= {port}: can't listen on 127.0.0.1 port {port}", "in use", "ss -ltnp"))


def test_daemon_is_refused_too(server: Server) -> None:
    """RUN-4: the server exits before it forks, so its caller sees the line and the exit code."""
    mode("ec.key", 0o644)(server)
    check_refused(server, start(server, options=()), ("[CA] SUBCA_KEY_PATH_EC", "chmod 600"))


def test_low_port() -> None:
    """RUN-4: a refused low port names what helps."""
    if os.getuid() or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to become somebody who may not")
    if int(_UNPRIVILEGED.read_text()) <= 80:
        pytest.skip("this machine lets everybody have low ports")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = make_server(folder, changes={("DEFAULT", "http_port"): "80"})
        for path in (folder, *folder.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)
        found = start(server, "setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
        del server.ports["http"]
        check_refused(server, found, ("[DEFAULT] http_port = 80", "setcap", "systemd unit", "1024"))


def test_unreadable_files() -> None:
    """RUN-4: files that the server's user can't read or write."""
    if os.getuid():
        pytest.skip("needs root, to become somebody who may not")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = make_server(folder)
        for path in (folder, *folder.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)
        for file in ("config.ini", "secret_key", "ec.key", "https.key", "pikachu.sqlite"):
            path = folder / file
            os.chown(path, 0, 0)
            path.chmod(0o600)
            found = start_forked(server, _NOBODY)
            check_refused(server, found, (file,))
            os.chown(path, _NOBODY, _NOBODY)
        (folder / "locked").mkdir(mode=0o755)
        setting("PATHS", "crl_path", "locked/crl/ca.crl")(server)
        found = start_forked(server, _NOBODY)
        check_refused(server, found, ("[PATHS] crl_path", "locked can't be written"))


def test_usage(server: Server) -> None:
    """Errors of the command line are reported by twistd."""
    found = subprocess.run(
        [*command(server.files.config, "-n"), "--nonsense"],
        cwd=server.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert found.returncode == 1
    assert "Traceback" not in found.stderr + found.stdout
