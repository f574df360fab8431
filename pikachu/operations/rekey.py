"""Another SECRET_KEY for everything that is sealed under the present one (KEY-4).

The order is such that a kill at any moment loses nothing, and that the same command, run again, completes what was
begun:

1. The new key is written whole and onto the disk beside the present one (``secret_key.next``).  Nothing uses it yet.
2. One transaction seals everything anew: private keys, challenge passwords with the digests by which they are found,
   and the keys of OCSP responders and SCEP RAs.  What is sealed under the new key already is left alone, so that the
   step can be repeated.  From here on both files are needed to know which key the database has, and no server or
   command starts while both are there.
3. The former key gets a second name with a date (backups of the database from before need it), and the new one takes
   its place by a rename, which is atomic.
4. What a command that ran meanwhile has sealed under the former key is sealed anew by another transaction.

No server may work with the database at that time: it would go on with the former key.  The caller holds the lock of a
SQLite database; for PostgreSQL the transaction refuses to run beside other connections.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from twisted.internet.defer import Deferred

from pikachu.auth.authenticator import challenge_lookup
from pikachu.ca.bootstrap import PRIVATE_FILE, new_secret_key, write_new
from pikachu.core.errors import ConfigError, SecretKeyChanged
from pikachu.core.interfaces import ISealedStore, Resealed, Resealing, Sealed
from pikachu.core.model.events import Event
from pikachu.core.model.people import Principal
from pikachu.core.sealing import Sealer


def next_file(path: Path) -> Path:
    """Where the new key lies until it takes the place of *path*."""
    return path.with_name(f"{path.name}.next")


def prepare(path: Path) -> bytes:
    """Step 1: the new key in the file *path*; what a run that was killed has left there is taken again.

    :raises ConfigError: when it can't be written or read.
    """
    if not path.exists():
        write_new(path, new_secret_key(), PRIVATE_FILE)
    try:
        content = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    if len(content) < 16:
        raise ConfigError(f"{path} holds fewer than 16 characters; remove it and run the command again")
    return content


def promote(path: Path, now: datetime) -> Path:
    """Step 3: the file beside *path* takes its place; where the former key is kept now.

    :raises ConfigError: when that can't be done.
    """
    former = path.with_name(f"{path.name}.former-{now:%Y%m%dT%H%M%SZ}")
    try:
        former.unlink(missing_ok=True)
        os.link(path, former)
        next_file(path).replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"{path} can't be replaced: {error.strerror}; mend that and run the command again") from None
    return former


def open_sealed(sealer: Sealer, value: Sealed) -> bytes:
    """What was sealed.

    :raises SecretKeyChanged: it was sealed under another key.
    """
    return sealer.open(_purpose(value), value.sealed)


def _purpose(value: Sealed) -> str:
    if value.kind == "challenge password":
        return "challenge"
    return f"service key {value.name}" if value.kind == "service key" else "key"


def reseal(
    store: ISealedStore, actor: Principal, former: bytes, new: bytes, now: datetime, *, drop: bool = False
) -> Deferred[Resealing]:
    """Steps 2 and 4: seal everything anew.

    :param drop: remove what opens under neither key.  Else such a value fails it with Conflict, and nothing is changed.
    """
    before, after = Sealer(former), Sealer(new)

    def change(value: Sealed) -> Resealed | None:
        try:
            open_sealed(after, value)
        except SecretKeyChanged:
            plain = open_sealed(before, value)
        else:
            return None
        sealed = after.seal(_purpose(value), plain)
        if value.kind != "challenge password":
            return Resealed(sealed)
        return Resealed(sealed, challenge_lookup(after, plain.decode()))

    event = Event("update", "configuration", "SECRET_KEY", actor.name, {}, actor_id=actor.owner_id)
    return store.reseal(change, event, now, drop=drop)
