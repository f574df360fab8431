"""``pikachu config`` and ``pikachu version``."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``config`` and ``version``."""
    config = commands.add_parser(
        "config",
        help="show the configuration in force, with secrets masked",
        description="Prints section, key, value and origin (file or default) of each setting in force, with tabs "
        "between; secrets are masked.",
    )
    config.add_argument("--sample", action="store_true", help="print a config.ini to start from instead")
    config.set_defaults(run=show_configuration)
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


def show_version(arguments: Namespace) -> int:
    """Print the version."""
    from pikachu import __version__

    print(f"Pikachu CA {__version__}")
    return 0
