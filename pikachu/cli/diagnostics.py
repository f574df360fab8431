"""``pikachu config``, ``pikachu audit`` and ``pikachu version``."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``config``, ``audit`` and ``version``."""
    config = commands.add_parser(
        "config",
        help="show the configuration in force, with secrets masked",
        description="Prints section, key, value and origin (file or default) of each setting in force, with tabs "
        "between; secrets are masked.",
    )
    config.add_argument("--sample", action="store_true", help="print a config.ini to start from instead")
    config.set_defaults(run=show_configuration)
    audit = group(commands, "audit", "the audit log")
    verify = audit.add_parser("verify", help="check that no event was changed or removed")
    verify.set_defaults(run=verify_events)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=show_version)


def show_configuration(arguments: Namespace) -> int:
    """Print the active configuration (CFG-11)."""
    from pikachu.cli.session import configuration, table, warn
    from pikachu.config.masking import masked
    from pikachu.config.sample import sample

    if arguments.sample:
        print(sample(), end="")
        return 0
    config = configuration(arguments)
    for line in (*config.warnings, *config.risks):
        warn(line)
    table((f"[{one.section}]", one.key, one.value, one.origin) for one in masked(config))
    return 0


def verify_events(arguments: Namespace) -> int:
    """Verify the audit log."""
    from pikachu.cli.session import configuration, done, opened
    from pikachu.core.audit_interfaces import CHAIN_START

    positions = [CHAIN_START]
    with opened(configuration(arguments)) as app:
        count = done(app.store.verify_events(positions.append))
        origin = app.store.audit_key_origin()
    head = f"The hash of the last event is {positions[-1].hash.hex()}."
    if origin.finding:
        print(f"{count - origin.unkeyed} events after event {origin.unkeyed}, none changed or removed")
        print(f"Events 1 to {origin.unkeyed} are not intact, as was found when the key was created: {origin.finding}.")
        print(head)
        return 0
    print(f"{count} events, none changed or removed")
    print(head)
    if origin.unkeyed:
        print(
            f"Events 1 to {origin.unkeyed} are older than the key of the audit log. They are as they were when it was "
            "created; anyone who could write to the database before may have rewritten them."
        )
    return 0


def show_version(arguments: Namespace) -> int:
    """Print the version."""
    from pikachu import __version__

    print(f"Pikachu CA {__version__}")
    return 0
