"""``pikachu notices``: rules and messages of notices (OPS-5)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import IDENTIFIER, group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``notices``."""
    notices = group(commands, "notices", "notices of what expires, by mail, webhook and MQTT")
    listing = notices.add_parser(
        "list", help="print id, channel, recipient, state, count, creation and answer of messages, with tabs between"
    )
    listing.add_argument(
        "--state", choices=("collecting", "waiting", "sent", "failed"), help="only those in this state"
    )
    listing.set_defaults(run=list_messages)
    rules = notices.add_parser("rules", help="print id, name, kind, state and days of each rule, with tabs between")
    rules.set_defaults(run=list_rules)
    add = notices.add_parser("add", help="create a rule; prints its id")
    add.add_argument("name", metavar="NAME")
    kinds = ("certificates", "authority", "crls", "devices", "batches", "backups")
    add.add_argument("--kind", choices=kinds, default="certificates", help="what it is about (default: certificates)")
    add.add_argument(
        "--days",
        default="",
        metavar="DAYS",
        help="before the end, or since the last backup, such as 30,7,1",
    )
    add.add_argument("--policy", default="", metavar="NAME", help="only of that policy")
    add.add_argument("--device", default="", metavar="NAME", help="only of that device; pump-* is a prefix")
    add.add_argument("--user", default="", metavar="NAME", help="only of that account")
    add.add_argument("--to-owner", action="store_true", help="mail to each owner, or to administrators without one")
    add.add_argument("--to-admins", action="store_true", help="mail to the administrators")
    add.add_argument("--address", action="append", default=[], metavar="ADDRESS", help="mail to it; may be repeated")
    add.add_argument("--webhook", default="", metavar="URL", help="call it")
    add.add_argument("--mqtt", action="store_true", help="publish to the MQTT broker")
    add.set_defaults(run=add_rule)
    delete = notices.add_parser("delete", help="delete a rule")
    delete.add_argument("id", type=IDENTIFIER, metavar="ID", help="as `pikachu notices rules` prints it")
    delete.set_defaults(run=delete_rule)
    run = notices.add_parser(
        "run",
        help="apply the rules now and send what is due",
        description="Applies the rules now and sends what is due, beside a running server too. Messages to the MQTT "
        "broker are left to the server.",
    )
    run.set_defaults(run=run_rules)
    test = notices.add_parser(
        "test",
        help="send one message now and print the server's answer",
        description="Tests the settings of a channel.",
    )
    test.add_argument("channel", choices=("mail", "webhook"))
    test.add_argument("recipient", metavar="RECIPIENT", help="a mail address, or the URL of a webhook")
    test.set_defaults(run=send_test)


def list_messages(arguments: Namespace) -> int:
    """Print the messages."""
    from functools import partial

    from pikachu.cli.session import configuration, every, opened, operator, table
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.times import rfc3339
    from pikachu.operations.notice_rules import shown_recipient

    filters = {"state": arguments.state} if arguments.state else {}
    with opened(configuration(arguments)) as app:
        read = partial(app.notices.rules.messages, operator())
        table(
            (
                one.id,
                one.channel.value,
                shown_recipient(one),
                one.state.value,
                one.count,
                rfc3339(one.created_at),
                one.answer,
            )
            for one in every(read, ListQuery(filters=filters))
        )
    return 0


def list_rules(arguments: Namespace) -> int:
    """Print the rules."""
    from functools import partial

    from pikachu.cli.session import configuration, every, opened, operator, table
    from pikachu.core.model.list_queries import ListQuery

    with opened(configuration(arguments)) as app:
        read = partial(app.notices.rules.rules, operator())
        table(
            (
                one.id,
                one.order.name,
                one.order.kind.value,
                "on" if one.order.enabled else "off",
                ",".join(map(str, one.order.days)),
            )
            for one in every(read, ListQuery(sort="name"))
        )
    return 0


def run_rules(arguments: Namespace) -> int:
    """Apply the rules, and send what is due."""
    from pikachu.cli.session import configuration, done, opened

    with opened(configuration(arguments)) as app:
        found = done(app.notices.runs.apply())
        sent = done(app.notices.delivery.deliver())
    print(f"{found} notices found, {sent} messages sent")
    return 0


def send_test(arguments: Namespace) -> int:
    """Send one message, and print the answer."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.notices import Channel

    with opened(configuration(arguments)) as app:
        print(done(app.notices.rules.test(operator(), Channel(arguments.channel), arguments.recipient)))
    return 0


def add_rule(arguments: Namespace) -> int:
    """Create a rule, and print its id."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.notices import NoticeKind, NoticeOrder
    from pikachu.operations.notice_rules import parse_days

    order = NoticeOrder(
        name=arguments.name,
        kind=NoticeKind(arguments.kind),
        days=parse_days(arguments.days),
        policy=arguments.policy,
        device=arguments.device,
        owner=arguments.user,
        to_owner=arguments.to_owner,
        to_admins=arguments.to_admins,
        addresses=tuple(arguments.address),
        webhook=arguments.webhook,
        mqtt=arguments.mqtt,
    )
    with opened(configuration(arguments)) as app:
        print(done(app.notices.rules.create(operator(), order)).id)
    return 0


def delete_rule(arguments: Namespace) -> int:
    """Delete a rule."""
    from pikachu.cli.session import configuration, done, opened, operator

    with opened(configuration(arguments)) as app:
        done(app.notices.rules.delete(operator(), arguments.id))
    return 0
