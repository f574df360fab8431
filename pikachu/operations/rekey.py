"""Replacement of SECRET_KEY, with resealing of all values (KEY-4).

The steps are crash-safe: a kill at any time loses nothing, and running the same command again completes them.

1. Write and fsync the new key beside the current one (``secret_key.next``).  Nothing uses it yet.
2. Reseal all values in one transaction: private keys, challenge passwords with their lookup digests, and the keys of
   OCSP responders and SCEP RAs.  Values that are already sealed under the new key are skipped, so that the step can be
   repeated.  From now on either key may be the database's, and no server or command starts while both files exist.
3. Link the previous key to a dated name, since older backups of the database need it, and atomically rename the new key
   into its place.
4. Reseal, in another transaction, the values that a concurrent command has sealed under the previous key.

No server may use the database meanwhile, since it would continue with the previous key.  The caller holds the lock of
a SQLite database; for PostgreSQL the transaction fails if there are other connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from twisted.internet.defer import Deferred

from pikachu.auth.authenticator import challenge_lookup
from pikachu.ca.bootstrap import PRIVATE_FILE, new_secret_key, write_new
from pikachu.core.atomic_files import exchange_file
from pikachu.core.errors import ConfigError, Conflict, SecretKeyChanged
from pikachu.core.interfaces import ISealedStore, Resealed, Resealing, Sealed
from pikachu.core.model.events import Event
from pikachu.core.model.people import Principal
from pikachu.core.sealing import Sealer


def next_file(path: Path) -> Path:
    """Return the path of the new key until it replaces *path*."""
    return path.with_name(f"{path.name}.next")


def prepare(path: Path) -> bytes:
    """Create the new key in the file *path*, or read the one of an interrupted run (step 1).

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
    """Replace the key at *path* by the new one; return the path of the previous key (step 3).

    :raises ConfigError: when it can't be replaced.
    """
    former = path.with_name(f"{path.name}.former-{now:%Y%m%dT%H%M%SZ}")
    try:
        former.unlink(missing_ok=True)
        exchange_file(next_file(path), path, former)
    except OSError as error:
        raise ConfigError(f"{path} can't be replaced: {error.strerror}; fix that and run the command again") from None
    return former


def open_sealed(sealer: Sealer, value: Sealed) -> bytes:
    """Decrypt a sealed value.

    :raises SecretKeyChanged: when it was sealed under another key.
    """
    return sealer.open(value.purpose, value.sealed, value.row)


def reseal(
    store: ISealedStore, actor: Principal, former: bytes, new: bytes, now: datetime, *, drop: bool = False
) -> Deferred[Resealing]:
    """Reseal all values (steps 2 and 4).

    :param drop: delete values that open under neither key; otherwise they cause Conflict, and nothing changes.
    """
    before, after = Sealer(former), Sealer(new)

    def change(value: Sealed) -> Resealed | None:
        try:
            open_sealed(after, value)
        except SecretKeyChanged:
            plain = open_sealed(before, value)
        else:
            return None
        sealed = after.seal(value.purpose, plain, value.row)
        if value.kind != "challenge password":
            return Resealed(sealed)
        return Resealed(sealed, challenge_lookup(after, plain.decode()))

    _unlock(store, (after, before), now, renew=drop)
    event = Event("update", "configuration", "SECRET_KEY", actor.name, {}, actor_id=actor.owner_id)
    return store.reseal(change, event, now, drop=drop)


def _unlock(store: ISealedStore, sealers: Sequence[Sealer], now: datetime, *, renew: bool) -> None:
    """Open the key of the audit log, in which the change is recorded, under the new or the former SECRET_KEY.

    :param renew: create another one under the new SECRET_KEY if it opens under neither; otherwise that is a Conflict.
    """
    for sealer in sealers:
        with suppress(SecretKeyChanged):
            store.unlock(sealer, now)
            return
    if not renew:
        raise Conflict(
            "the key of the audit log does not open with the present SECRET_KEY; put the one back that it was sealed "
            "under, or create another one with --drop-unreadable"
        )
    store.unlock(sealers[0], now, renew=True)
