"""``pikachu recovered``: revocations that were taken from a published CRL, since the database is an older copy."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands

_PAGE = 500
_ABOUT = """\
After an older copy of the database was restored, the server takes the revocations that only the published CRL still has
from there: they stay revoked, on CRLs and in OCSP, until you decide. """
_KEEP = f"{_ABOUT}Keeps them permanently."
_DROP = f"""{_ABOUT}Ends them: these certificates count as valid again where the database has them, as on hold where it
had them on hold, and otherwise as unknown. Drop only what you know was never to be revoked."""


def add_commands(commands: Commands) -> None:
    """Declare ``recovered``."""
    commands = group(commands, "recovered", "revocations that only a published CRL had, after a restore")
    listing = commands.add_parser(
        "list",
        help="print what waits for a decision",
        description=f"{_ABOUT}Prints, with tabs between: serial number, issuing CA, time and reason of the revocation, "
        "and the subject of the certificate, - where the database has none.",
    )
    listing.set_defaults(run=list_recovered)
    for name, about, description in (("keep", "keep them permanently", _KEEP), ("drop", "end them", _DROP)):
        command = commands.add_parser(name, help=about, description=description)
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("serials", metavar="SERIAL", nargs="*", default=[], help="hexadecimal")
        which.add_argument("--all", action="store_true", help="all that wait for a decision")
        command.set_defaults(run=decide_recovered, decision=name)


def list_recovered(arguments: Namespace) -> int:
    """Print the recovered revocations without a decision."""
    from pikachu.cli.session import configuration, done, opened, operator, table
    from pikachu.core.model.certificates import format_serial
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.times import rfc3339
    from pikachu.core.recovery_interfaces import UNDECIDED

    with opened(configuration(arguments)) as app:
        query = ListQuery(limit=_PAGE, sort="id", filters={"decision": UNDECIDED})
        cursor: str | None = ""
        while cursor is not None:
            page = done(app.recovery.page(operator(), replace(query, cursor=cursor or None)))
            cursor = page.next_cursor
            rows = []
            for one in page.items:
                issuer = app.issuers.by_id(one.issuer_id)
                name = None if issuer is None else issuer.name
                rows.append(
                    (format_serial(one.serial), name, rfc3339(one.revoked_at), one.reason.wire_name, one.subject)
                )
            table(rows)
    return 0


def decide_recovered(arguments: Namespace) -> int:
    """Keep or drop recovered revocations."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.certificates import parse_serial
    from pikachu.core.recovery_interfaces import RecoveryDecision

    decision = RecoveryDecision(arguments.decision)
    serials = [parse_serial(text) for text in arguments.serials]
    with opened(configuration(arguments)) as app:
        if arguments.all:
            count = done(app.recovery.decide_all(operator(), decision)).decided
        else:
            count = len(done(app.recovery.decide(operator(), serials, decision)))
    print(f"{'kept' if decision is RecoveryDecision.KEEP else 'dropped'} {count}")
    return 0
