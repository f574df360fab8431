"""``pikachu csr``: stored certificate signing requests, one and many (CSR-2, JOB-1)."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import DAYS, IDENTIFIER, group, whole_number

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands

# As pikachu.core.model.requests.CSR_STATES; importing that module is slower (a test compares).
STATES = ("pending", "signed", "rejected")


def add_commands(commands: Commands) -> None:
    """Declare ``csr``."""
    csrs = group(commands, "csr", "stored certificate signing requests")
    listing = csrs.add_parser(
        "list", help="print id, name, state, subject, key type, creation and user of each, with tabs between"
    )
    listing.add_argument("--state", choices=STATES, help="those in this state only")
    listing.add_argument("--search", metavar="TEXT", help="words of name, subject, key type, template or user")
    listing.set_defaults(run=list_csrs)
    sign = csrs.add_parser(
        "sign",
        help="sign pending CSRs under one policy; prints id and serial number of each, with a tab between",
        description="Issues a certificate for each CSR; its owner is that of the CSR. Prints id and serial number as "
        "soon as it is issued. A line on standard error names each CSR that awaits approval under its policy, and each "
        "that was not signed, with the reason; the others are signed nevertheless, and the command then ends with 1.",
    )
    which = sign.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "ids", type=IDENTIFIER, nargs="*", metavar="ID", default=[], help="as `pikachu csr list` prints it"
    )
    which.add_argument(
        "--pending",
        type=whole_number(1, 1_000_000),
        metavar="N",
        help="all that are pending; nothing is signed unless there are N of them",
    )
    sign.add_argument("--policy", metavar="NAME", help="None: no extensions (default: the default policy)")
    sign.add_argument("--days", type=DAYS, metavar="N", help="validity (default: as the policy says)")
    sign.add_argument("--issuer", metavar="NAME", help="ec, rsa or mldsa (default: as policy and configuration say)")
    sign.set_defaults(run=sign_csrs)


def list_csrs(arguments: Namespace) -> int:
    """Print the stored CSRs."""
    from functools import partial

    from pikachu.cli.session import configuration, every_owned, opened, operator, table
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.times import rfc3339

    filters = {} if arguments.state is None else {"state": arguments.state}
    query = ListQuery(sort="id", q=arguments.search, filters=filters)
    with opened(configuration(arguments)) as app:
        rows = every_owned(app, partial(app.requests.list, operator()), query, lambda csr: csr.owner_id)
        table(
            (one.id, one.name, one.state, one.subject, one.key_type, rfc3339(one.created_at), owner)
            for one, owner in rows
        )
    return 0


def sign_csrs(arguments: Namespace) -> int:
    """Sign CSRs and print their serial numbers; return 1 when one was not signed."""
    from functools import partial

    from pikachu.cli.session import configuration, done, every, opened, operator
    from pikachu.core.errors import Conflict, PikachuError, StoreUnavailable
    from pikachu.core.model.certificates import Method, format_serial
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.sentences import sentence
    from pikachu.ra.enrollment import Pending

    failed = False
    with opened(configuration(arguments)) as app:
        ids = list(dict.fromkeys(arguments.ids))
        if arguments.pending is not None:
            query = ListQuery(sort="id", filters={"state": "pending"})
            ids = [one.id for one in every(partial(app.requests.list, operator()), query)]
            if len(ids) != arguments.pending:
                raise Conflict(f"{len(ids):,} CSRs are pending now, not {arguments.pending:,}; nothing was signed")
        for csr_id in ids:
            try:
                stored = done(app.requests.get(operator(), csr_id))
                if stored.state != "pending":
                    raise Conflict(f"it was {stored.state} before")
                result = done(
                    app.registration.sign(
                        operator(),
                        csr_id,
                        Method.CLI,
                        policy=arguments.policy,
                        days=arguments.days,
                        issuer=arguments.issuer,
                    )
                )
            except StoreUnavailable:
                raise
            except PikachuError as error:
                print(f"CSR {csr_id}: {sentence(error.public)}", file=sys.stderr)
                failed = True
                continue
            if isinstance(result, Pending):
                print(f"CSR {csr_id}: pending approval {result.request_id}", file=sys.stderr)
            else:
                print(f"{csr_id}\t{format_serial(result.record.serial)}", flush=True)
    return 1 if failed else 0
