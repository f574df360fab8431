"""KEY-4: ``pikachu rekey`` changes SECRET_KEY and loses nothing, wherever it is killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pikachu.ca.service_certificates import OCSP
from pikachu.cli.session import done, opened, operator
from pikachu.config.loading import load
from pikachu.core.model.list_queries import ListQuery
from pikachu.operations.rekey import next_file, prepare, promote, reseal
from pikachu.server.application import Application
from pikachu.server.files import database_url
from pikachu.storage.lock import lock_database
from pikachu.storage.store import open_store
from pikachu.x509.keys import describe_private_key, load_private_key
from tests.support.databases import NOW
from tests.support.site import Site, founded_site


class Kept:
    """A site in which something of each kind is sealed.

    :ivar challenges: the texts of challenge passwords.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.challenges = [site.do("challenge", "create", "--user", "admin") for _ in range(2)]
        with self.application() as app:
            for kind in ("ed25519", "prime256v1", "mldsa44"):
                done(app.keys.generate(operator(), kind, kind))
            done(app.credentials.get(app.issuers.default, OCSP))

    @property
    def secret(self) -> Path:
        """The file of SECRET_KEY."""
        return self.site.path("var/pki/secret_key")

    @contextmanager
    def application(self) -> Iterator[Application]:
        """Every room, as a command has it."""
        with opened(load(self.site.path("config.ini"), {})) as app:
            yield app

    def check(self) -> None:
        """That everything opens with the SECRET_KEY that is in force, and is found by it."""
        with self.application() as app:
            kept = done(app.keys.list(operator(), ListQuery())).items
            assert {key.name for key in kept} >= {"ed25519", "prime256v1", "mldsa44"}
            for key in kept:
                text = done(app.keys.private_pem(operator(), key.id))
                assert describe_private_key(load_private_key(text)).spki == key.spki
            stored = done(app.challenge_passwords.list(operator(), ListQuery())).items
            assert {done(app.challenge_passwords.reveal(operator(), one.id)) for one in stored} == set(self.challenges)
            for text in self.challenges:
                assert done(app.authenticator.challenge_id(text)) is not None
            assert len(done(app.credentials.former(app.issuers.default, OCSP))) == 1
            done(app.store.verify_events())


@pytest.fixture
def kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(founded_site(tmp_path, capsys, tmp_path_factory))


def test_rekey(kept: Kept) -> None:
    """Everything opens with the new key; the former one is kept for older backups; it can be done again."""
    former = kept.secret.read_bytes()
    told = kept.site.do("rekey")
    assert told.startswith("changed SECRET_KEY; sealed again: 3 of kind key, 2 of kind challenge password, 1 of kind")
    assert kept.secret.read_bytes() != former
    assert kept.secret.stat().st_mode & 0o777 == 0o600
    (copy,) = kept.secret.parent.glob("secret_key.former-*")
    assert copy.read_bytes() == former
    assert copy.stat().st_mode & 0o777 == 0o600
    kept.check()
    kept.site.do("rekey")
    kept.check()
    with kept.application() as app:
        events = done(app.store.events(ListQuery(filters={"resource_type": "configuration"}))).items
    assert [(one.event.type, one.event.resource_name) for one in events] == [("update", "SECRET_KEY")] * 2
    assert former.decode().strip() not in repr(events)


def test_not_beside_a_server(kept: Kept) -> None:
    """A server would go on with the former key."""
    before = kept.secret.read_bytes()
    with lock_database(kept.site.path("var/db/pikachu.sqlite")):
        assert "stop it first" in kept.site.refused("rekey")
    assert kept.secret.read_bytes() == before
    kept.check()


def test_ended_after_each_step(kept: Kept) -> None:
    """The same command completes an interrupted rekey; until then no other command starts."""
    coming = next_file(kept.secret)
    new = prepare(coming)
    assert "`pikachu rekey`" in kept.site.refused("user", "list")
    kept.site.do("rekey")
    assert kept.secret.read_bytes().strip() == new
    kept.check()

    newer = prepare(coming)
    store = open_store(database_url(load(kept.site.path("config.ini"), {})))
    done(reseal(store, operator(), new, newer, NOW))
    done(store.close())
    assert "`pikachu rekey`" in kept.site.refused("user", "list")
    kept.site.do("rekey")
    assert kept.secret.read_bytes().strip() == newer
    kept.check()

    newest = prepare(coming)
    store = open_store(database_url(load(kept.site.path("config.ini"), {})))
    done(reseal(store, operator(), newer, newest, NOW))
    done(store.close())
    promote(kept.secret, NOW)
    # As if it had been killed between the rename and the end: all is done.
    kept.check()


def test_killed_at_any_moment(kept: Kept) -> None:
    """After a SIGKILL at any moment, running the command again completes the rekey."""
    chance = random.Random(4)
    command = [sys.executable, "-c", "from pikachu.cli.main import run; run()", "rekey"]
    begun = time.monotonic()
    subprocess.run(command, cwd=kept.site.folder, check=True, capture_output=True)
    whole = time.monotonic() - begun
    for _ in range(8):
        running = subprocess.Popen(command, cwd=kept.site.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * chance.uniform(0.6, 1.0))
        running.kill()
        running.wait()
    kept.site.do("rekey")
    kept.check()


def test_another_secret_key_is_told_of(kept: Kept) -> None:
    """A changed SECRET_KEY: each command warns; secrets that can't be opened stop rekey, unless it may drop them."""
    right = kept.secret.read_bytes()
    kept.secret.write_bytes(b"another secret key\n")
    kept.site.do("user", "list")
    assert "warning: [DEFAULT] SECRET_KEY: a stored key was sealed under another one" in kept.site.err
    line = kept.site.refused("rekey")
    assert "does not open with the present SECRET_KEY" in line
    assert not next_file(kept.secret).exists()
    kept.secret.write_bytes(right)
    kept.check()

    kept.secret.write_bytes(b"another secret key\n")
    kept.site.do("rekey", "--drop-unreadable")
    assert "3 of kind key did not open and were removed" in kept.site.err
    assert kept.site.rows("challenge", "list") == []
    with kept.application() as app:
        assert done(app.keys.list(operator(), ListQuery())).items == ()


def test_a_key_in_the_configuration(kept: Kept) -> None:
    """Where SECRET_KEY stands in config.ini itself, the new one goes into a file that is named."""
    secret = kept.secret.read_text().strip()
    kept.site.config(lambda text: text.replace("secret_key_file = var/pki/secret_key", f"SECRET_KEY = {secret}"))
    kept.check()
    assert "--new-key-file" in kept.site.refused("rekey")
    told = kept.site.do("rekey", "--new-key-file", "var/pki/new_key")
    assert "secret_key_file = var/pki/new_key" in told
    assert secret not in told
    kept.site.config(lambda text: text.replace(f"SECRET_KEY = {secret}", "secret_key_file = var/pki/new_key"))
    kept.check()
    assert "leave the option out" in kept.site.refused("rekey", "--new-key-file", "var/pki/x")
    assert not os.path.lexists(kept.site.path("var/pki/x"))
