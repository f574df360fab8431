"""``pikachu batch``: challenge passwords for a list of names (ENR-1)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import IDENTIFIER, group, minutes

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``batch``."""
    batches = group(commands, "batch", "challenge passwords for a list of devices")
    create = batches.add_parser(
        "create",
        help="create a challenge password for each of a list of names; prints the id of the batch",
        description="Creates a challenge password for each name in a CSV file: in each line a common name, or a "
        "subject such as CN=pump-001,O=Example in quotation marks, and any number of subject alternative names. Prints "
        "the id of the batch; `pikachu batch csv ID` prints the passwords.",
    )
    create.add_argument("names", metavar="CSVFILE", help="- reads standard input")
    create.add_argument("--label", required=True, metavar="TEXT", help="a name to recognize the batch by")
    create.add_argument("--policy", metavar="NAME", help="under which they enroll (default: the default policy)")
    create.add_argument("--user", metavar="NAME", help="who owns the certificates (default: nobody)")
    create.add_argument("--attributes", default="", metavar="NAME", help="added to each common name: O=Example,C=DE")
    create.add_argument(
        "--validity", type=minutes, metavar="TIME", help="60m, 10h, 7d; a bare number is minutes (default: 7d)"
    )
    create.set_defaults(run=create_batch)
    listing = batches.add_parser(
        "list",
        help="print id, label, state, enrolled and all names, policy, user and expiry of each, with tabs between",
    )
    listing.set_defaults(run=list_batches)
    table = batches.add_parser(
        "csv",
        help="print subject, names, challenge password, expiry and certificate of each device as CSV",
        description="Prints the devices of a batch as CSV. Who has run it is recorded in the audit log.",
    )
    table.add_argument("id", type=IDENTIFIER, metavar="ID", help="as `pikachu batch list` prints it")
    table.add_argument("--not-enrolled", action="store_true", help="only the devices that have no certificate yet")
    table.set_defaults(run=print_passwords)


def create_batch(arguments: Namespace) -> int:
    """Create a batch and print its id."""
    from pikachu.accounts.batches import DEFAULT_VALIDITY, BatchOrder
    from pikachu.cli.session import configuration, done, opened, operator, owner_id, read_text
    from pikachu.ra.default_policy import DEFAULT_POLICY_NAME

    names = read_text(arguments.names)
    with opened(configuration(arguments)) as app:
        order = BatchOrder(
            arguments.label,
            arguments.policy or DEFAULT_POLICY_NAME,
            names,
            arguments.attributes,
            owner_id(app, arguments.user),
            arguments.validity or DEFAULT_VALIDITY,
        )
        batch = done(app.batches.create(operator(), order))
        done(app.batches.fill())
    print(batch.id)
    return 0


def list_batches(arguments: Namespace) -> int:
    """Print the batches."""
    from functools import partial

    from pikachu.cli.session import configuration, every_owned, opened, operator, table
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.times import rfc3339

    with opened(configuration(arguments)) as app:
        now = app.authority.now()
        read = partial(app.batches.list, operator())
        rows = every_owned(app, read, ListQuery(sort="id"), lambda batch: batch.owner_id)
        table(
            (one.id, one.label, one.state(now), one.enrolled, one.total, one.policy, owner, rfc3339(one.expires_at))
            for one, owner in rows
        )
    return 0


def print_passwords(arguments: Namespace) -> int:
    """Print the challenge passwords of a batch as CSV."""
    import csv
    import sys

    from twisted.internet.defer import Deferred

    from pikachu.accounts.batches import BatchPassword, PasswordPages
    from pikachu.cli.session import configuration, done, every, opened, operator
    from pikachu.core.model.certificates import format_serial
    from pikachu.core.model.list_queries import ListQuery, Page
    from pikachu.core.model.times import rfc3339

    async def page(fetch: PasswordPages, query: ListQuery) -> Page[BatchPassword]:
        return await fetch(query)

    with opened(configuration(arguments)) as app:
        fetch = done(app.batches.passwords(operator(), arguments.id))
        writer = csv.writer(sys.stdout)
        writer.writerow(
            ("Subject", "Subject alternative names", "Challenge password", "Policy", "Expires (UTC)", "Certificate")
        )
        for one in every(lambda query: Deferred.fromCoroutine(page(fetch, query)), ListQuery(sort="id")):
            challenge = one.challenge
            if arguments.not_enrolled and challenge.consumed_at is not None:
                continue
            names = challenge.names
            writer.writerow(
                (
                    "" if names is None else names.subject,
                    "" if names is None else " ".join(names.sans),
                    one.text,
                    challenge.policy or "",
                    rfc3339(challenge.expires_at),
                    "" if challenge.consumed_serial is None else format_serial(challenge.consumed_serial),
                )
            )
    return 0
