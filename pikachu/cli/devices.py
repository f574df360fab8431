"""``pikachu device``: names with their certificates over time (DEV-1, DEV-2)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import IDENTIFIER, REASONS, group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``device``."""
    devices = group(commands, "device", "devices: names with their certificates")
    listing = devices.add_parser(
        "list",
        help="print id, name, state, renewal date, expiry, last enrollment, method, policy and user of each, with tabs "
        "between",
    )
    listing.add_argument("--state", choices=("ok", "due", "overdue", "retired"), help="those in this state only")
    listing.add_argument("--search", metavar="TEXT", help="words of any of their names")
    listing.set_defaults(run=list_devices)
    retire = devices.add_parser(
        "retire",
        help="revoke all certificates of a device, end its challenge passwords, and refuse it from now on",
        description="Retires a device. A running server publishes the CRL within seconds; without one, run `pikachu "
        "crl`.",
    )
    retire.add_argument("id", type=IDENTIFIER, metavar="ID", help="as `pikachu device list` prints it")
    reasons = tuple(name for name in REASONS if name != "certificateHold")
    retire.add_argument(
        "--reason", choices=reasons, default="cessationOfOperation", metavar="R", help=", ".join(reasons)
    )
    retire.set_defaults(run=retire_device)
    reinstate = devices.add_parser(
        "reinstate", help="put a retired device back in service; its certificates stay revoked"
    )
    reinstate.add_argument("id", type=IDENTIFIER, metavar="ID", help="as `pikachu device list` prints it")
    reinstate.set_defaults(run=reinstate_device)


def list_devices(arguments: Namespace) -> int:
    """Print the devices."""
    from functools import partial

    from pikachu.cli.session import configuration, every_owned, opened, operator, table
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.times import rfc3339

    filters = {} if arguments.state is None else {"state": arguments.state}
    with opened(configuration(arguments)) as app:
        now = app.authority.now()
        query = ListQuery(sort="id", q=arguments.search, filters=filters)
        rows = every_owned(app, partial(app.devices.list, operator()), query, lambda device: device.owner_id)
        table(
            (
                one.id,
                one.name,
                one.state(now),
                None if one.due_at is None else rfc3339(one.due_at),
                rfc3339(one.not_after),
                rfc3339(one.enrolled_at),
                one.method,
                one.policy,
                owner,
            )
            for one, owner in rows
        )
    return 0


def retire_device(arguments: Namespace) -> int:
    """Retire a device, and print the numbers of revoked certificates and ended challenge passwords."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.certificates import RevocationReason

    with opened(configuration(arguments)) as app:
        retired = done(app.devices.retire(operator(), arguments.id, RevocationReason.from_name(arguments.reason)))
    print(
        f"retired {retired.device.name}: revoked certificates: {retired.certificates}, ended challenge passwords: "
        f"{retired.challenge_passwords}"
    )
    return 0


def reinstate_device(arguments: Namespace) -> int:
    """Put a device back in service."""
    from pikachu.cli.session import configuration, done, opened, operator

    with opened(configuration(arguments)) as app:
        device = done(app.devices.reinstate(operator(), arguments.id))
    print(f"back in service: {device.name}")
    return 0
