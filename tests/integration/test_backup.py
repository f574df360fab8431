"""OPS-3: one encrypted file has the whole CA, made while devices enroll; a restoration is all or nothing."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from pikachu.backup.creation import BackupCreation
from pikachu.cli.session import done, operator
from pikachu.config.loading import load
from pikachu.core.model.certificates import RevocationReason
from pikachu.server.files import database_url
from pikachu.storage.migrate import HEAD, migrate
from pikachu.x509.crl import parse_crl_summary
from tests.support.databases import AS_0027, NOW
from tests.support.fleet import Device, Records, basic, new_account, ocsp_status
from tests.support.postgresql import PostgreSQL, running_postgresql
from tests.support.server import ROOT, Server, end, environment, make_server, wait_until
from tests.support.site import Site, founded_site
from tests.support.stack import Files

PASSPHRASE = "correct horse battery staple"
PASSWORD = "a password of the fleet 4711"


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An installation in ``site``; the passphrase is in ``words``."""
    folder = tmp_path / "site"
    folder.mkdir()
    site = founded_site(folder, capsys, tmp_path_factory)
    site.write("words", PASSPHRASE + "\n")
    return site


def back_up(site: Site, name: str = "../saved") -> Path:
    site.do("backup", name, "--passphrase-file", "words", "--quiet")
    return site.folder / name


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with running_postgresql() as server:
        yield server


def modes(folder: Path) -> set[tuple[bool, int]]:
    """Whether each file is a folder, and its mode."""
    return {(one.is_dir(), one.stat().st_mode & 0o777) for one in (folder, *folder.rglob("*"))}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


# --- under load --------------------------------------------------------------------------


@contextmanager
def fleet(server: Server) -> Iterator[Records]:
    """Devices that enroll until the end."""
    records = Records()
    with server.application() as app:
        new_account(app, "fleet", PASSWORD)
    devices = [
        Device(f"device-{n}", records, server.client, headers=basic("fleet", PASSWORD), pause=0.5) for n in range(3)
    ]
    for device in devices:
        device.start()
    try:
        yield records
    finally:
        records.stop.set()
        for device in devices:
            device.join(60)
    assert records.problems == []


def restored_server(original: Server, folder: Path) -> Server:
    """The server of a restored folder, with the same ports."""
    return Server(Files(folder, original.files.root, original.files.issuers, folder / "config.ini"), original.ports)


def check_restored(server: Server, records: Records, before: int, published: int, revoked: int) -> None:
    """The restored server answers as the former one did, and continues where that was."""
    with server.application() as app:
        done(app.store.verify_events())
        for one in records.acknowledged[:before]:
            assert done(app.store.certificate_by_serial(one.serial)).der == one.der
    issuer = server.files.issuers["ec"].certificate
    server.start()

    def number() -> int:
        answer = server.ask("http", "/crl/ec.crl")
        return (parse_crl_summary(answer.body).number or 0) if answer.status == 200 else 0

    wait_until(lambda: number() > published, "a CRL is published, with a number above all of before")
    crl = x509.load_der_x509_crl(server.ask("http", "/crl/ec.crl").body)
    assert crl.get_revoked_certificate_by_serial_number(revoked) is not None
    with server.client("http") as client:
        for one in records.acknowledged[:before]:
            expected = ocsp.OCSPCertStatus.REVOKED if one.serial == revoked else ocsp.OCSPCertStatus.GOOD
            answer = ocsp_status(client, x509.load_der_x509_certificate(one.der), issuer)
            assert answer.certificate_status is expected
    # It enrolls again, too.
    again = Records()
    device = Device("after", again, server.client, headers=basic("fleet", PASSWORD))
    device.start()
    wait_until(lambda: again.acknowledged or again.problems, "the restored server enrolls")
    again.stop.set()
    device.join(60)
    assert again.problems == []


@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_while_devices_enroll(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """The backup has all that was acknowledged before it began; what came later does no harm."""
    postgresql: PostgreSQL | None = None if kind == "sqlite" else request.getfixturevalue("postgresql")
    changes = {("CRL", "crl_delay"): "0.2s"}
    if postgresql is not None:
        changes["DATABASE", "url"] = postgresql.url(postgresql.new_database())
        migrate(changes["DATABASE", "url"])
    folder = tmp_path / "first"
    folder.mkdir()
    server = make_server(folder, changes=changes)
    words = tmp_path / "words"
    words.write_text(PASSPHRASE)
    options = ("--passphrase-file", str(words), "--quiet")
    saved, restored = tmp_path / "saved", tmp_path / "restored"
    try:
        server.start()
        with fleet(server) as records:
            wait_until(lambda: len(records.acknowledged) >= 20, "devices enroll")
            revoked = records.acknowledged[0].serial
            with server.application() as app:
                done(app.authority.revoke(revoked, RevocationReason.KEY_COMPROMISE, operator()))
            before = len(records.acknowledged)
            server.run("backup", str(saved), *options)
            wait_until(lambda: len(records.acknowledged) >= before + 10, "devices go on")
        published = parse_crl_summary(server.ask("http", "/crl/ec.crl").body).number or 0
        assert "none changed" in server.run("backup", "verify", str(saved), *options)
        metrics = server.ask("http", "/metrics").text
        assert "\npikachu_backup_last_success_timestamp_seconds " in metrics
        assert server.stop() == 0
        more: tuple[str, ...] = ()
        if postgresql is not None:
            other = postgresql.url(postgresql.new_database())
            more = ("--database-url", other)
        server.run("restore", str(saved), "--into", str(restored), *options, *more)
        assert modes(restored) == {(True, 0o700), (False, 0o600)}
        second = restored_server(server, restored)
        try:
            check_restored(second, records, before, published, revoked)
        finally:
            end(second)
    finally:
        end(server)


# --- numbers and revocations ---------------------------------------------------------------


def issue(site: Site, name: str) -> str:
    """Issue a certificate and return its serial number."""
    certificate = x509.load_pem_x509_certificate(site.do("issue", "--subject", f"CN={name}").encode())
    return f"{certificate.serial_number:x}"


def crl_number(site: Site) -> int:
    """Publish, and return the number of the EC CA's CRL."""
    return next(int(row[1]) for row in site.rows("crl") if row[0] == "ec")


@pytest.mark.parametrize("copied", [True, False], ids=["newest CRLs copied", "no CRLs copied"])
def test_revocations_since(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], copied: bool) -> None:
    """ADR 25 holds: CRL numbers rise above all that were published, and a newer CRL brings its revocations along."""
    serial = issue(site, "device.example.com")
    first = crl_number(site)
    saved = back_up(site)
    site.do("revoke", serial, "--reason", "keyCompromise")
    newest = max(crl_number(site) for _ in range(3))
    assert newest > first
    site.do("restore", str(saved), "--into", "../restored", "--passphrase-file", "words", "--quiet")
    restored = Site(tmp_path / "restored", capsys)
    if copied:
        shutil.copytree(site.path("var/crl"), restored.path("var/crl"), dirs_exist_ok=True)
    assert crl_number(restored) > newest
    waiting = [row[0] for row in restored.rows("recovered", "list")]
    assert waiting == ([serial] if copied else [])
    # Further numbers follow one by one, and nothing is recovered twice.
    number = crl_number(restored)
    assert crl_number(restored) == number + 1
    assert [row[0] for row in restored.rows("recovered", "list")] == waiting
    assert "none changed" in restored.do("audit", "verify")


# --- what is in it -------------------------------------------------------------------------


def test_files_outside_of_the_folder(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that config.ini names is restored below one folder, which works after the original is gone."""
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    for name in ("pki", "db", "crl"):
        if site.path(f"var/{name}").exists():
            shutil.move(site.path(f"var/{name}"), outside / name)
    (outside / "makers").mkdir()
    shutil.copy(outside / "pki/root.crt", outside / "makers/maker.pem")
    shutil.copy(outside / "pki/secret_key", outside / "pki/secret_key.former-1")
    site.config(lambda text: text.replace("var/pki", f"{outside}/pki").replace("var/crl", str(outside / "crl")))
    site.configure(f"[PATHS]\ndb_path = {outside}/db/pikachu.sqlite\n[TRUSTED_HTTPS]\nclient_ca = {outside}/makers")
    # An absolute name below the folder must not lead to the original either.
    site.configure(f"[LOGGING]\nlog_file = {site.folder}/var/log/pikachu.log")
    serial = issue(site, "device.example.com")
    site.do("crl")
    saved = back_up(site)
    assert "events, none changed" in site.do("backup", "verify", str(saved), "--passphrase-file", "words", "--quiet")
    site.do("restore", str(saved), "--into", "../restored", "--passphrase-file", "words", "--quiet")
    original = files_of(outside)
    shutil.rmtree(outside)
    site.folder.rename(tmp_path / "gone")
    restored = Site(tmp_path / "restored", capsys)
    assert modes(restored.folder) == {(True, 0o700), (False, 0o600)}
    copied = files_of(restored.folder / "outside" / outside.relative_to("/"))
    changed = {
        "db/pikachu.sqlite",
        "db/pikachu.sqlite-wal",
        "db/pikachu.sqlite-shm",
        "db/pikachu.sqlite.lock",
        "crl/.lock",
    }
    assert {name: copied.get(name) for name in original if name not in changed} == {
        name: content for name, content in original.items() if name not in changed
    }
    assert f"= {tmp_path}" not in restored.path("config.ini").read_text()
    restored.do("revoke", serial)
    assert crl_number(restored) > 1


def test_before_an_upgrade(site: Site) -> None:
    """The database of an earlier version is saved as it is, and migrated where it is restored."""
    path = site.path("var/db/pikachu.sqlite")
    with closing(sqlite3.connect(path)) as database:
        for statement in AS_0027:
            database.execute(statement)
        database.commit()
    saved = back_up(site)
    assert "schema of an earlier version" in site.err
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT version_num FROM pikachu_schema").fetchone() == ("0027",)
    assert "schema 0027" in site.do("backup", "verify", str(saved), "--passphrase-file", "words", "--quiet")
    site.do("restore", str(saved), "--into", "../restored", "--passphrase-file", "words", "--quiet")
    with closing(sqlite3.connect(site.path("../restored/var/db/pikachu.sqlite"))) as database:
        assert database.execute("SELECT version_num FROM pikachu_schema").fetchone() == (HEAD,)


def test_it_is_recorded(site: Site) -> None:
    """In the audit log: that a backup was made, and in the restored one that it was restored."""
    saved = back_up(site)
    site.do("restore", str(saved), "--into", "../restored", "--passphrase-file", "words", "--quiet")
    for folder, expected in ((site.folder, "back up"), (site.path("../restored"), "restore")):
        with closing(sqlite3.connect(folder / "var/db/pikachu.sqlite")) as database:
            row = database.execute(
                "SELECT type, resource_type, resource_name FROM audit_events ORDER BY id DESC LIMIT 1"
            ).fetchone()
        assert row == (expected, "configuration", "saved")


# --- refusals ------------------------------------------------------------------------------


def options(*more: str) -> tuple[str, ...]:
    return (*more, "--passphrase-file", "words", "--quiet")


def test_damaged_files(site: Site) -> None:
    """One clear line each, from verify and restore alike; nothing is left behind."""
    saved = back_up(site)
    data = saved.read_bytes()
    site.write("other", "another passphrase 1\n")
    damaged = {
        "incomplete": data[: len(data) // 2],
        "damaged": data[:1000] + bytes([data[1000] ^ 4]) + data[1001:],
        "not a backup": b"SQLite format 3\0" * 100,
    }
    before = set(saved.parent.iterdir())
    for expected, content in damaged.items():
        site.write("bad", content)
        assert expected in site.refused("backup", *options("verify", "bad"))
        assert expected in site.refused("restore", *options("bad", "--into", "../restored"))
    for verb in (("backup", "verify", str(saved)), ("restore", str(saved), "--into", "../restored")):
        assert "the passphrase is wrong" in site.refused(*verb, "--passphrase-file", "other")
        assert "no passphrase" in site.refused(*verb)
    assert "No such file" in site.refused("backup", *options("verify", "missing"))
    assert set(saved.parent.iterdir()) == before


def test_a_changed_audit_log(site: Site) -> None:
    """A backup of a database whose log was changed is not restored."""
    with closing(sqlite3.connect(site.path("var/db/pikachu.sqlite"))) as database:
        database.execute("UPDATE audit_events SET actor = 'nobody' WHERE id = 3")
        database.commit()
    saved = back_up(site)
    assert "event 3" in site.refused("backup", *options("verify", str(saved)))
    assert "event 3" in site.refused("restore", *options(str(saved), "--into", "../restored"))
    assert not site.path("../restored").exists()


def test_a_newer_schema(site: Site) -> None:
    """A backup that a newer version made is refused before anything is written."""
    with closing(sqlite3.connect(site.path("var/db/pikachu.sqlite"))) as database:
        database.execute("UPDATE pikachu_schema SET version_num = '9999'")
        database.commit()
    config = load(site.path("config.ini"), {})
    saved = site.path("../saved")
    BackupCreation(config, database_url(config), lambda _: None, NOW, cost=4).create(saved, PASSPHRASE.encode())
    assert "newer" in site.refused("restore", *options(str(saved), "--into", "../restored"))
    assert not site.path("../restored").exists()


def test_nothing_is_replaced(site: Site) -> None:
    """Neither a file by a backup, nor anything by a restoration."""
    saved = back_up(site)
    content = saved.read_bytes()
    assert "exists" in site.refused("backup", *options(str(saved)))
    assert saved.read_bytes() == content
    before = files_of(site.folder)
    assert "not empty" in site.refused("restore", *options(str(saved), "--into", "."))
    assert "not a folder" in site.refused("restore", *options(str(saved), "--into", "config.ini"))
    site.path("link").symlink_to("../empty")
    assert "not a folder" in site.refused("restore", *options(str(saved), "--into", "link"))
    site.path("link").unlink()
    assert "does not exist" in site.refused("restore", *options(str(saved), "--into", "no/where"))
    assert files_of(site.folder) == before
    site.path("../empty").mkdir()
    site.do("restore", *options(str(saved), "--into", "../empty"))
    elsewhere = ("--into", "../x", "--database-url", "postgresql://db.example.com/pikachu")
    assert "SQLite" in site.refused("restore", *options(str(saved), *elsewhere))
    assert not site.path("../x").exists()


def test_passphrases(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file, standard input or a variable; never an argument; a short one is refused."""
    site.write("short", "eleven char\n")
    assert "fewer than 12" in site.refused("backup", "../saved", "--passphrase-file", "short")
    assert not site.path("../saved").exists()
    monkeypatch.setenv("PIKACHU_BACKUP_PASSPHRASE", PASSPHRASE)
    site.do("backup", "../saved", "--quiet")
    monkeypatch.delenv("PIKACHU_BACKUP_PASSPHRASE")
    assert "events" in site.do("backup", *options("verify", "../saved"))
    assert site.path("../saved").stat().st_mode & 0o777 == 0o600
    assert PASSPHRASE.encode() not in site.path("../saved").read_bytes()
    for argument in ("postgresql://pikachu:secret@db/x", "postgresql://db/x?user=a&password=secret"):
        told = site.refused("restore", *options("../saved", "--into", "../restored", "--database-url", argument))
        assert "secret" not in told.replace("--database-url", "")


def test_a_full_disk(site: Site) -> None:
    """One line, and no part of a file stays; here the limit of a file's size stands for a full disk."""
    saved = back_up(site)
    before = set(saved.parent.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for command in (("backup", "../second"), ("restore", str(saved), "--into", "../restored")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            told = site.refused(*options(*command))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "File too large" in told or "disk" in told
        assert set(saved.parent.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_ended_command_leaves_nothing(site: Site, number: signal.Signals) -> None:
    """Keys that it had written are removed, also when a service manager or a closed terminal ends it."""
    # It waits for somebody who writes.
    os.mkfifo(site.path("../saved"))
    before = set(site.folder.parent.iterdir())
    program = str(Path(sys.executable).with_name("pikachu"))
    # Whoever runs the tests may ignore signals, as nohup does, and a program that is started inherits that.
    command = ["env", "--default-signal", program, "restore", *options("../saved", "--into", "../restored")]
    with subprocess.Popen(command, cwd=site.folder, stderr=subprocess.PIPE, text=True) as running:
        wait_until(lambda: set(site.folder.parent.iterdir()) - before, "a folder is there")
        running.send_signal(number)
        assert running.communicate(timeout=30)[1] == "pikachu restore: interrupted\n"
    assert running.returncode == 1
    assert set(site.folder.parent.iterdir()) == before


def test_postgresql_that_is_not_empty(site: Site, postgresql: PostgreSQL) -> None:
    """A restoration loads into an empty database only, and leaves nothing where it fails."""
    first, other = (postgresql.url(postgresql.new_database()) for _ in range(2))
    site.path("var/db/pikachu.sqlite").unlink()
    site.configure(f"[DATABASE]\nurl = {first}")
    site.write("password", "a password 4711\n")
    site.do("init", "--admin-password-file", "password")
    saved = back_up(site)
    assert "not empty" in site.refused("restore", *options(str(saved), "--into", "../restored"))
    assert not site.path("../restored").exists()
    site.do("restore", *options(str(saved), "--into", "../restored", "--database-url", other))
    assert f"url = {other}" in site.path("../restored/config.ini").read_text()


def test_the_document(site: Site) -> None:
    """The commands of docs/backup.md, in their order."""
    site.do("crl")
    bin_folder = site.path("bin")
    bin_folder.mkdir()
    program = bin_folder / "pikachu"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from pikachu.cli.main import run; run()' \"$@\"\n")
    program.chmod(0o755)
    text = (ROOT / "docs/backup.md").read_text("utf-8")
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    environ = {**environment(), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=site.folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("none changed or removed") == 2
    assert len(list(site.path("backups").iterdir())) == 1
