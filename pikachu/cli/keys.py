"""``pikachu key import``."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import add_key_file_arguments, group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``key``."""
    keys = group(commands, "key", "stored private keys")
    load = keys.add_parser(
        "import",
        help="store an existing private key; prints its id",
        description="Stores an existing private key, encrypted, as the page Keys does. Certificates in the file are "
        "ignored.",
    )
    load.add_argument("file", metavar="FILE", help="PEM, DER or PKCS#12; - reads standard input")
    load.add_argument("--name", required=True, metavar="N", help="by which it is listed")
    load.add_argument("--user", metavar="NAME", help="the user who gets it (default: nobody; only admins see it)")
    add_key_file_arguments(load)
    load.set_defaults(run=import_key)


def import_key(arguments: Namespace) -> int:
    """Store an existing private key and print its id."""
    from pikachu.cli.session import configuration, done, opened, operator, owner_id, read_input, read_password

    data = read_input(arguments.file)
    passphrase = None if arguments.passphrase_file is None else read_password(arguments.passphrase_file)
    with opened(configuration(arguments)) as app:
        owner = owner_id(app, arguments.user)
        key = done(app.keys.import_key(operator(), arguments.name, data, passphrase, arguments.alias, owner))
    print(key.id)
    return 0
