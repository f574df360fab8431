"""``pikachu backup`` and ``pikachu restore``: the whole CA in one encrypted file (OPS-3)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pikachu.backup.restoration import BackupRestoration
    from pikachu.cli.arguments import Commands, Parser
    from pikachu.config.configuration import Configuration
    from pikachu.core.model.events import Event

PASSPHRASE_VARIABLE: Final = "PIKACHU_BACKUP_PASSPHRASE"  # noqa: S105 - a name
_MIN_PASSPHRASE: Final = 12
_VERIFY: Final = "verify"

_ABOUT = """\
Writes one encrypted file with the database, the keys and certificates of the CAs, the secret key, the CRLs and the
configuration, while the server is running. `pikachu backup verify FILE` decrypts it and verifies the database and its
audit log, and changes nothing."""
_RESTORE_ABOUT = """\
Restores a backup into a new or empty folder, all of it or nothing. Copy the newest published CRLs into it before the
first start, so that revocations since the backup are not lost."""
_PASSPHRASE_ABOUT = f"""\
its first line is the passphrase, - reads standard input (default: the variable {PASSPHRASE_VARIABLE}, or a prompt)"""


def add_commands(commands: Commands) -> None:
    """Declare ``backup`` and ``restore``."""
    backup = commands.add_parser(
        "backup",
        help="write the whole CA into one encrypted file, or verify such a file",
        description=_ABOUT,
        usage="pikachu backup [verify] FILE [options]",
    )
    backup.add_argument("words", metavar="[verify] FILE", nargs="+", help="the file; with verify, one to be verified")
    _add_options(backup)
    backup.add_argument("--work-folder", metavar="DIR", help="where verify makes a temporary folder for the database")
    backup.set_defaults(run=run_backup)
    restore = commands.add_parser("restore", help="restore a backup into a new folder", description=_RESTORE_ABOUT)
    restore.add_argument("file", metavar="FILE", help="the backup")
    restore.add_argument("--into", metavar="DIR", required=True, help="the folder; missing or empty")
    restore.add_argument(
        "--database-url",
        metavar="URL",
        help="an empty PostgreSQL database in place of the one in the backup's config.ini; write its password as "
        "${NAME}, the name of a variable",
    )
    _add_options(restore)
    restore.set_defaults(run=run_restore)


def _add_options(parser: Parser) -> None:
    parser.add_argument("--passphrase-file", metavar="FILE", help=_PASSPHRASE_ABOUT)
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run_backup(arguments: Namespace) -> int:
    """Make or verify a backup."""
    from pathlib import Path

    from pikachu.core.errors import MalformedRequest

    *verb, name = arguments.words
    if verb not in ([], [_VERIFY]):
        raise MalformedRequest("name one file; `pikachu backup verify FILE` verifies one")
    return _verify(arguments, Path(name)) if verb else _create(arguments, Path(name))


def _create(arguments: Namespace, path: Path) -> int:
    from pikachu.backup.creation import BackupCreation
    from pikachu.cli.session import CommandClock, configuration, operator, warn
    from pikachu.core.errors import PikachuError
    from pikachu.core.model.events import Event
    from pikachu.core.model.times import utc
    from pikachu.server.files import database_url, secret_key

    config = configuration(arguments)
    # Reading it also refuses while `pikachu rekey` is at work.
    key = secret_key(config, warn)
    now = utc(CommandClock().seconds())
    try:
        passphrase = _passphrase(arguments, is_new=True)
        with _Progress(arguments) as report:
            made = BackupCreation(config, database_url(config), report, now).create(path.absolute(), passphrase)
    except (PikachuError, OSError) as error:
        reason = error.public if isinstance(error, PikachuError) else error.strerror or type(error).__name__
        try:
            _record(config, key, Event("fail", "backup", path.name, operator().name, {"error": reason}))
        except PikachuError as unrecorded:
            warn(f"this failure was not recorded in the database: {unrecorded.public}")
        raise
    print(f"{made.path}\t{made.size} bytes\t{made.files} files and the database")
    _warn_of_missing(config, warn)
    try:
        _record(config, key, Event("back up", "configuration", made.path.name, operator().name))
    except PikachuError as error:
        warn(f"the backup is complete, but this was not recorded in the database: {error.public}")
    return 0


def _record(config: Configuration, key: bytes, event: Event) -> None:
    """Record that a backup was made or has failed, unless the database has an older schema, which a backup does not
    migrate.
    """
    from pikachu.cli.session import CommandClock, done, warn
    from pikachu.core.model.times import utc
    from pikachu.core.sealing import Sealer
    from pikachu.server.files import database_url
    from pikachu.storage.migrate import SchemaState, schema_state
    from pikachu.storage.store import open_store

    url = database_url(config)
    if schema_state(url) is SchemaState.OLDER:
        warn("the database has the schema of an earlier version, so this backup is not recorded in it")
        return
    now = utc(CommandClock().seconds())
    store = open_store(url)
    try:
        store.unlock(Sealer(key), now)
        record = store.record_failed_backup if event.type == "fail" else store.record_backup
        done(record(event, now))
    finally:
        done(store.close())


def _verify(arguments: Namespace, path: Path) -> int:
    from pathlib import Path

    passphrase = _passphrase(arguments, is_new=False)
    with _Progress(arguments) as report:
        folder = None if arguments.work_folder is None else Path(arguments.work_folder)
        verified = _restoration(path, passphrase, report).verify(folder)
    about = verified.description
    print(f"made\t{about.created_at}\non\t{about.node}\nby\tPikachu CA {about.version}, schema {about.revision}")
    print(f"files\t{verified.files}, all as they were written")
    print(f"audit log\t{verified.events} events, none changed or removed")
    return 0


def run_restore(arguments: Namespace) -> int:
    """Restore a backup."""
    from pathlib import Path

    from pikachu.cli.session import configuration, operator, warn
    from pikachu.core.errors import MalformedRequest
    from pikachu.core.model.events import Event

    url = arguments.database_url
    if url is not None and _has_password(url):
        raise MalformedRequest("--database-url: others can read arguments; write the password as ${NAME}")
    passphrase = _passphrase(arguments, is_new=False)
    path, into = Path(arguments.file), Path(arguments.into)
    event = Event("restore", "configuration", path.name, operator().name)
    with _Progress(arguments) as report:
        restored = _restoration(path, passphrase, report).restore(into, event, url)
    print(f"{into}\t{restored.files} files and the database, as of {restored.description.created_at}")
    arguments.config = str(into / "config.ini")
    config = configuration(arguments)
    _warn_of_missing(config, warn)
    folder = config.paths.crl_dir or config.paths.crl_path.parent
    print(f"Copy CRLs that were published since into {folder} before the first start, to keep their revocations.")
    return 0


def _restoration(path: Path, passphrase: bytes, report: Callable[[str], None]) -> BackupRestoration:
    import os

    from pikachu.backup.restoration import BackupRestoration
    from pikachu.cli.session import CommandClock, warn
    from pikachu.core.model.times import utc
    from pikachu.server.files import present_secret_key

    now = utc(CommandClock().seconds())
    return BackupRestoration(path, passphrase, os.environ, lambda config: present_secret_key(config, warn), report, now)


class _Progress:
    """Shows the steps of a long command on standard error: in one line of a terminal, else a line each 10 seconds."""

    def __init__(self, arguments: Namespace) -> None:
        import sys

        self._quiet: bool = arguments.quiet
        self._terminal = sys.stderr.isatty()
        self._shown_at = 0.0
        self._width = 0

    def __enter__(self) -> Callable[[str], None]:
        return self._show

    def __exit__(self, *_: object) -> None:
        import sys

        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)

    def _show(self, step: str) -> None:
        import sys
        import time

        now = time.monotonic()
        if self._quiet or now - self._shown_at < (0.2 if self._terminal else 10):
            return
        self._shown_at = now
        if self._terminal:
            self._width = max(self._width, len(step))
            print(f"\r{step:{self._width}}", end="", file=sys.stderr, flush=True)
        else:
            print(step, file=sys.stderr)


def _passphrase(arguments: Namespace, *, is_new: bool) -> bytes:
    """Return the passphrase from the file, the variable or a prompt.

    :raises MalformedRequest: when there is none, a new one is too short, or was typed differently the second time.
    """
    import getpass
    import os
    import sys

    from pikachu.cli.session import read_password
    from pikachu.core.errors import MalformedRequest

    if arguments.passphrase_file is not None:
        text = read_password(arguments.passphrase_file)
    elif PASSPHRASE_VARIABLE in os.environ:
        text = os.environ[PASSPHRASE_VARIABLE]
    elif sys.stdin.isatty():
        text = getpass.getpass("Passphrase of the backup: ")
        if is_new and getpass.getpass("Again: ") != text:
            raise MalformedRequest("the two passphrases differ")
    else:
        raise MalformedRequest(f"no passphrase; name a file with --passphrase-file, or set {PASSPHRASE_VARIABLE}")
    if is_new and len(text) < _MIN_PASSPHRASE:
        raise MalformedRequest(
            f"the passphrase has fewer than {_MIN_PASSPHRASE} characters; anyone who guesses it has the CA's keys"
        )
    return text.encode()


def _has_password(url: str) -> bool:
    """Return whether a database URL has a password that is no variable."""
    import re
    from urllib.parse import urlsplit

    variable = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
    credentials = urlsplit(url).netloc.rpartition("@")[0]
    password = credentials.partition(":")[2]
    return bool(password and not re.fullmatch(variable, password)) or "password=" in re.sub(
        f"password={variable}", "", url
    )


def _warn_of_missing(config: Configuration, warn: Callable[[str], None]) -> None:
    """Tell what a restoration needs besides the backup."""
    import re

    names = sorted(
        set(re.findall(r"^[^;#\n]*\$\{([A-Za-z_][A-Za-z0-9_]*)\}", config.path.read_text("utf-8"), re.MULTILINE))
    )
    if names:
        warn(f"config.ini takes values from variables, which are not in the backup: {', '.join(names)}")
    if config.vault.enabled or config.pkcs11.module is not None:
        warn("keys in Vault or in a token are not in the backup; see to their own")
