"""``pikachu housekeeping``: removes what is over (OPS-6)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import DAYS

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands
    from pikachu.operations.housekeeping import Housekeeping


def add_commands(commands: Commands) -> None:
    """Declare ``housekeeping``."""
    parser = commands.add_parser(
        "housekeeping",
        help="remove what is over; the audit log stays verifiable",
        description="Removes what [HOUSEKEEPING] does not keep, as the server does by itself, in short transactions, "
        "beside a running server. Before old events, the audit log is verified. The hashes of removed events stay in "
        "the transparency log.",
    )
    parser.add_argument(
        "--events-older-than", type=DAYS, metavar="DAYS", help="remove these events only, whatever the settings keep"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    parser.set_defaults(run=keep_house)


def keep_house(arguments: Namespace) -> int:
    """Remove what is old, or print what would be."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.times import rfc3339

    what = "would be removed" if arguments.dry_run else "removed"
    with opened(configuration(arguments)) as app:
        if arguments.events_older_than is not None:
            return _events(arguments, app.housekeeping)
        work = app.housekeeping.plan if arguments.dry_run else app.housekeeping.clean
        items = done(work(operator()))
    for item in items:
        if item.kept is None:
            print(f"{item.name}: kept")
        elif item.old.oldest is None:
            print(f"{item.name}: none is older than {item.kept.days} days")
        else:
            print(f"{item.name}: {item.old.count} {what}; the oldest is of {rfc3339(item.old.oldest)}")
    return 0


def _events(arguments: Namespace, housekeeping: Housekeeping) -> int:
    from datetime import timedelta

    from pikachu.cli.session import done, operator
    from pikachu.core.model.times import rfc3339

    age = timedelta(days=arguments.events_older_than)
    work = housekeeping.old_events if arguments.dry_run else housekeeping.prune_events
    old = done(work(operator(), age))
    if old.oldest is None:
        print("no events to remove")
        return 0
    what = "would be removed" if arguments.dry_run else "removed"
    print(f"{old.count} events {what}, {old.first} to {old.last}; the oldest is of {rfc3339(old.oldest)}")
    return 0
