"""The command ``pikachu``: subcommands, exit codes and one-line errors (INT-1).

Each module of a group declares its arguments at the start of the program, and imports its implementation when it runs,
so that ``pikachu --help`` is quick.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from pikachu import __version__
from pikachu.cli import accounts as people
from pikachu.cli import (
    audit,
    backup,
    batches,
    ca,
    certificates,
    crl_agent,
    csrs,
    devices,
    diagnostics,
    health,
    housekeeping,
    imports,
    init,
    issue,
    keys,
    ldap,
    notices,
    policies,
    recovered,
    rekey,
    reports,
    service,
    vault,
)
from pikachu.cli.arguments import DEFAULT_CONFIG, Parser

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands

FAILED = 1

_ABOUT = """\
Pikachu CA, a certificate authority. Commands work on the database that the configuration names, beside a running server
or without one; who runs them acts as an administrator."""
_CODES = """\
exit codes: 0 done; 1 failed, refused or wrong configuration; 2 wrong usage. Errors are one line on standard error."""

_GROUPS: tuple[Callable[[Commands], None], ...] = (
    init.add_commands,
    service.add_commands,
    people.add_commands,
    batches.add_commands,
    policies.add_commands,
    issue.add_commands,
    certificates.add_commands,
    csrs.add_commands,
    devices.add_commands,
    keys.add_commands,
    ca.add_commands,
    crl_agent.add_commands,
    vault.add_commands,
    recovered.add_commands,
    audit.add_commands,
    imports.add_commands,
    housekeeping.add_commands,
    notices.add_commands,
    diagnostics.add_commands,
    health.add_commands,
    reports.add_commands,
    ldap.add_commands,
    rekey.add_commands,
    backup.add_commands,
)


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser(prog="pikachu", description=_ABOUT, epilog=_CODES)
    top.set_defaults(config=DEFAULT_CONFIG)
    top.add_argument("--version", action="version", version=f"Pikachu CA {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for add_commands in _GROUPS:
        add_commands(commands)
    return top


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        parsed = parser().parse_args(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    return _run(parsed)


def _run(arguments: Namespace) -> int:
    from pikachu.core.errors import ConfigError, PikachuError

    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except (ConfigError, PikachuError) as error:
        print(f"pikachu {arguments.command}: {_one_line(str(error))}", file=sys.stderr)
    except BrokenPipeError:
        # The reader of the pipe has closed it, so Python's final flush must go to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"pikachu {arguments.command}: {_one_line(str(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"pikachu {arguments.command}: interrupted", file=sys.stderr)
    else:
        return code
    return FAILED


def _one_line(text: str) -> str:
    return " ".join(text.split())


def run() -> NoReturn:
    """Run the command line's command and exit."""
    # Without a handler, they would end the process before it has removed its temporary files, which may have keys.
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
