"""``pikachu rekey``: change SECRET_KEY, and reseal everything that the present one seals (KEY-4)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands
    from pikachu.config.configuration import Configuration

_ABOUT = """\
Makes a new SECRET_KEY and seals everything again that is sealed under the present one: stored private keys, challenge
passwords, and the keys of OCSP responders and SCEP RAs. Stop the server first, on every machine. A run that was
interrupted is completed by running the command again. The former key is kept beside the new one: backups of the
database from before need it."""


def add_commands(commands: Commands) -> None:
    """Declare ``rekey``."""
    parser = commands.add_parser("rekey", help="change SECRET_KEY without losing a key", description=_ABOUT)
    parser.add_argument(
        "--new-key-file",
        metavar="FILE",
        help="where the new key is written; only where SECRET_KEY stands in config.ini itself: replace that line by "
        "secret_key_file = FILE afterwards",
    )
    parser.add_argument(
        "--drop-unreadable",
        action="store_true",
        help="remove what does not open with the present SECRET_KEY; it can't be restored without the key that it was "
        "sealed under",
    )
    parser.set_defaults(run=run_rekey)


def run_rekey(arguments: Namespace) -> int:
    """Change SECRET_KEY."""
    from contextlib import ExitStack
    from pathlib import Path

    from pikachu.cli.session import configuration
    from pikachu.config.features import require_features
    from pikachu.core.errors import ConfigError
    from pikachu.server.files import database_url
    from pikachu.storage.lock import lock_database
    from pikachu.storage.nodes import without_servers

    config = configuration(arguments)
    require_features(config)
    inline = not isinstance(config.secret_key_source, Path)
    if inline and arguments.new_key_file is None:
        raise ConfigError(
            "[DEFAULT] SECRET_KEY: it stands in config.ini, which this command does not change; name a file for the "
            "new one with --new-key-file"
        )
    if not inline and arguments.new_key_file is not None:
        raise ConfigError("--new-key-file: [DEFAULT] secret_key_file names the file already; leave the option out")
    with ExitStack() as stack:
        if config.database.url is not None:
            stack.enter_context(without_servers(database_url(config)))
        elif config.paths.db_path.exists():
            stack.enter_context(lock_database(config.paths.db_path))
        _rekey(config, arguments)
    return 0


def _rekey(config: Configuration, arguments: Namespace) -> None:
    from pathlib import Path

    from pikachu.cli.session import CommandClock, done, operator, warn
    from pikachu.core.errors import Conflict
    from pikachu.core.model.times import utc
    from pikachu.operations.rekey import next_file, prepare, promote, reseal
    from pikachu.server.files import database_url, present_secret_key
    from pikachu.storage.store import open_store

    present_key = present_secret_key(config, warn)
    source, drop = config.secret_key_source, arguments.drop_unreadable
    store = open_store(database_url(config))
    try:
        # The store's idle connections must not count as those of a server.
        store.release_connections()
        now = utc(CommandClock().seconds())
        path = next_file(source) if isinstance(source, Path) else Path(arguments.new_key_file)
        existed = path.exists()
        new_key = prepare(path)
        try:
            result = done(reseal(store, operator(), present_key, new_key, now, drop=drop))
        except Conflict:
            # Refused before anything was written, so a key file of this run is removed.
            if not existed:
                path.unlink(missing_ok=True)
            raise
        if isinstance(source, Path):
            former = promote(source, now)
            # Reseal what another command has sealed between the two steps.
            done(reseal(store, operator(), present_key, new_key, now, drop=drop))
            note = f"the former key is kept in {former}"
        else:
            note = f"replace the line SECRET_KEY in {config.path} by: secret_key_file = {arguments.new_key_file}"
    finally:
        done(store.close())
    if config.database.url is not None:
        note += "; every other server of this database needs the new key too"
    for kind, count in result.dropped.items():
        warn(f"{count} of kind {kind} did not open and were removed")
    summary = ", ".join(f"{count} of kind {kind}" for kind, count in result.changed.items()) or "nothing was sealed"
    print(f"changed SECRET_KEY; sealed again: {summary}; {note}")
