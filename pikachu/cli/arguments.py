"""Argument declarations of the commands.  Nothing that is slow to load is imported here."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pikachu.core.number_parsing import MAX_ID, parse_number

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Commands = _SubParsersAction["Parser"]

# As pikachu.core.model.certificates.RevocationReason; importing that module is slower (a test compares).
REASONS = (
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
    "aACompromise",
)

USAGE = 2
DEFAULT_CONFIG = "config.ini"


class Parser(ArgumentParser):
    """Parser that accepts ``--config`` everywhere, reports errors in one line, and accepts no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)
        self.add_argument(
            "--config", metavar="FILE", default=SUPPRESS, help=f"the configuration (default: {DEFAULT_CONFIG} here)"
        )

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with 2."""
        self.exit(USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def group(commands: Commands, name: str, about: str) -> Commands:
    """Add a command with subcommands."""
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest=f"{name}_command")


def add_key_file_arguments(parser: Parser) -> None:
    """Declare what opens the file of a private key."""
    parser.add_argument(
        "--passphrase-file",
        metavar="FILE",
        help="its first line is the passphrase of an encrypted file, - reads standard input",
    )
    parser.add_argument(
        "--alias", metavar="NAME", default="", help="friendly name of the key in a PKCS#12 file with several keys"
    )


def add_reason(parser: Parser) -> None:
    """Declare the reason of a revocation."""
    parser.add_argument("--reason", choices=REASONS, default="unspecified", metavar="R", help=", ".join(REASONS))


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return an argument type for a number in a range."""

    def parse(text: str) -> int:
        number = parse_number(text, maximum, minimum=minimum)
        if number is None:
            raise ArgumentTypeError(f"expected a number from {minimum} to {maximum}, found {text!r}")
        return number

    return parse


def minutes(text: str) -> timedelta:
    """Parse a duration argument such as ``60m``; a bare number is minutes."""
    from pikachu.config.setting_types import duration

    try:
        return timedelta(seconds=duration("m").parse(text, Path()))
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


DAYS = whole_number(1, 36500)
IDENTIFIER = whole_number(1, MAX_ID)
