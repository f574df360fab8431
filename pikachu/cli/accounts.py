"""``pikachu user``, ``pikachu token`` and ``pikachu challenge``."""

from __future__ import annotations

import socket
from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import IDENTIFIER, add_reason, group, minutes, whole_number

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``user``, ``token`` and ``challenge``."""
    _add_user_commands(group(commands, "user", "accounts"))
    _add_token_commands(group(commands, "token", "API tokens"))
    _add_challenge_commands(group(commands, "challenge", "challenge passwords for devices"))


def _add_user_commands(users: Commands) -> None:
    add = users.add_parser("add", help="make an account")
    add.add_argument("name", metavar="NAME", help="1 to 64 letters, digits and . _ @ -")
    add.add_argument("--email", required=True, metavar="E")
    add.add_argument(
        "--role", choices=("admin", "operator", "auditor", "user"), default="user", help="default: %(default)s"
    )
    add.add_argument("--state", choices=("active", "pending"), default="active", help="default: %(default)s")
    add.add_argument(
        "--password-file", required=True, metavar="FILE", help="its first line is the password; - reads standard input"
    )
    add.add_argument(
        "--must-change-password", action="store_true", help="the user has to choose another one at the first sign-in"
    )
    add.set_defaults(run=add_user)
    listing = users.add_parser(
        "list", help="print id, name, e-mail, role, state, source and creation of each, with tabs between"
    )
    listing.add_argument(
        "--state",
        choices=("active", "pending", "suspended", "deleted"),
        help="those in this state only (default: all but deleted ones)",
    )
    listing.set_defaults(run=list_users)
    reset = users.add_parser(
        "reset-password",
        help="create a one-time link with which a user sets a new password; prints it, and nothing else",
    )
    reset.add_argument("name", metavar="NAME")
    reset.add_argument(
        "--hours", type=int, choices=(1, 24, 72, 168), default=24, help="validity of the link (default: %(default)s)"
    )
    reset.add_argument("--block", action="store_true", help="also block the current password and end all sessions")
    reset.set_defaults(run=reset_password)
    lock = users.add_parser("unlock", help="let a user try passwords again after too many wrong ones")
    lock.add_argument("name", metavar="NAME")
    lock.set_defaults(run=unlock_user)
    factors = users.add_parser(
        "list-second-factors",
        help="print kind, id, name, host, creation and last use of each second factor of a user, with tabs between",
    )
    factors.add_argument("name", metavar="NAME")
    factors.set_defaults(run=list_second_factors)
    factor = users.add_parser("remove-second-factor", help="remove a user's second factors and recovery codes")
    factor.add_argument("name", metavar="NAME")
    factor.add_argument(
        "--passkey",
        type=IDENTIFIER,
        metavar="ID",
        help="this passkey only, as `pikachu user list-second-factors` prints it",
    )
    factor.set_defaults(run=remove_second_factor)
    revoke = users.add_parser(
        "revoke-certificates", help="revoke all valid certificates of an account that is not active"
    )
    revoke.add_argument("id", type=IDENTIFIER, metavar="ID", help="as `pikachu user list` prints it")
    add_reason(revoke)
    revoke.set_defaults(run=revoke_owned)


def _add_token_commands(tokens: Commands) -> None:
    create = tokens.add_parser("create", help="make a token; prints it, and nothing else")
    create.add_argument("--user", required=True, metavar="NAME")
    create.add_argument("--name", required=True, metavar="LABEL", help="by which it is listed")
    create.add_argument("--days", type=whole_number(1, 3650), metavar="N", help="its life (default: 365)")
    create.add_argument(
        "--scope",
        action="append",
        choices=("read", "enroll", "revoke", "operate", "audit", "admin"),
        help="what it may do; may be repeated (default: all that the role has)",
    )
    create.set_defaults(run=create_token)
    listing = tokens.add_parser(
        "list", help="print id, user, label, scopes, expiry and last use of each, with tabs between"
    )
    listing.add_argument("--user", metavar="NAME", help="this user's only")
    listing.set_defaults(run=list_tokens)
    revoke = tokens.add_parser("revoke", help="end a token")
    revoke.add_argument("id", type=IDENTIFIER, metavar="ID", help="as `pikachu token list` prints it")
    revoke.set_defaults(run=revoke_token)


def _add_challenge_commands(challenges: Commands) -> None:
    create = challenges.add_parser("create", help="make a one-time password; prints it, and nothing else")
    create.add_argument("--user", required=True, metavar="NAME", help="who owns what is enrolled with it")
    create.add_argument(
        "--validity",
        type=minutes,
        metavar="TIME",
        help="2m, 60m, 4d; a bare number is minutes (default: as config.ini says)",
    )
    create.add_argument("--label", default="", metavar="TEXT", help="by which it is listed")
    create.add_argument(
        "--subject",
        metavar="NAME",
        help="the only subject that can be enrolled with it, such as CN=pump-001,O=Example; / is an empty one",
    )
    create.add_argument(
        "--san",
        action="append",
        default=[],
        metavar="NAME",
        help="DNS:, IP:, email: or URI: and a value; with --subject, the certificate gets these, and no other can be "
        "requested; may be repeated",
    )
    create.set_defaults(run=create_challenge)
    listing = challenges.add_parser(
        "list", help="print id, user, first digits, state, expiry, label and subject of each, with tabs between"
    )
    listing.add_argument("--user", metavar="NAME", help="this user's only")
    listing.add_argument("--label", metavar="TEXT", help="those with this label only")
    listing.set_defaults(run=list_challenges)


def add_user(arguments: Namespace) -> int:
    """Create an account."""
    from pikachu.cli.session import configuration, done, opened, operator, read_password
    from pikachu.core.model.people import AccountState, Role

    password = read_password(arguments.password_file)
    role, state = Role(arguments.role), AccountState(arguments.state)
    with opened(configuration(arguments)) as app:
        adding = app.accounts.add_user(
            operator(),
            arguments.name,
            arguments.email,
            role,
            state,
            password,
            must_change_password=arguments.must_change_password,
        )
        account = done(adding)
    print(f"added {account.username}")
    return 0


def list_users(arguments: Namespace) -> int:
    """Print the accounts."""
    from functools import partial

    from pikachu.cli.session import configuration, every, opened, operator, table
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.times import rfc3339

    filters = {} if arguments.state is None else {"state": arguments.state}
    with opened(configuration(arguments)) as app:
        table(
            (one.id, one.username, one.email, one.role, one.state, one.source, rfc3339(one.created_at))
            for one in every(partial(app.accounts.list_accounts, operator()), ListQuery(sort="id", filters=filters))
        )
    return 0


def reset_password(arguments: Namespace) -> int:
    """Create a one-time link with which a user sets a new password, and print it."""
    from pikachu.cli.session import configuration, done, opened, operator

    actor = operator()
    config = configuration(arguments)
    with opened(config) as app:
        account = done(app.accounts.find(actor, arguments.name))
        code, _ = done(app.password_resets.create(actor, account.id, arguments.hours, block=arguments.block))
    base = config.https.external_url or f"https://{socket.getfqdn()}:{config.https.port}"
    print(f"{base}/reset#{code}")
    return 0


def unlock_user(arguments: Namespace) -> int:
    """End the locks of an account after wrong passwords."""
    from pikachu.cli.session import configuration, done, opened, operator

    actor = operator()
    with opened(configuration(arguments)) as app:
        account = done(app.accounts.find(actor, arguments.name))
        done(app.sign_in_locks.unlock(actor, account.id))
    print(f"unlocked {account.username}")
    return 0


def list_second_factors(arguments: Namespace) -> int:
    """Print the second factors of an account."""
    from pikachu.cli.session import configuration, done, opened, operator, table
    from pikachu.core.model.times import rfc3339

    actor = operator()
    with opened(configuration(arguments)) as app:
        account = done(app.accounts.find(actor, arguments.name))
        if done(app.second_factors.of_account(actor, account.id)).has_app:
            table([("authenticator app", *[None] * 5)])
        table(
            (
                "passkey",
                one.id,
                one.name,
                one.host,
                rfc3339(one.created_at),
                None if one.last_used_at is None else rfc3339(one.last_used_at),
            )
            for one in done(app.passkeys.of_account(actor, account.id))
        )
    return 0


def remove_second_factor(arguments: Namespace) -> int:
    """Remove the second factors of an account, or one passkey."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.errors import NotFound

    actor = operator()
    with opened(configuration(arguments)) as app:
        account = done(app.accounts.find(actor, arguments.name))
        if arguments.passkey is not None:
            passkey = done(app.passkeys.get(actor, arguments.passkey))
            if passkey.account_id != account.id:
                raise NotFound(f"{account.username} has no passkey {arguments.passkey}.")
            done(app.passkeys.remove(actor, passkey.id))
        else:
            done(app.second_factors.reset(actor, account.id))
    what = "the second factors" if arguments.passkey is None else f"passkey {arguments.passkey}"
    print(f"removed {what} of {account.username}")
    return 0


def revoke_owned(arguments: Namespace) -> int:
    """Revoke all valid certificates of an account."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.certificates import RevocationReason

    reason = RevocationReason.from_name(arguments.reason)
    with opened(configuration(arguments)) as app:
        done(app.accounts.revoke_certificates(operator(), arguments.id, reason))
    print(f"revoked the certificates of account {arguments.id}")
    return 0


def create_token(arguments: Namespace) -> int:
    """Create an API token and print its text."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.people import Scope

    scopes = None if arguments.scope is None else frozenset(Scope(scope) for scope in arguments.scope)
    actor = operator()
    with opened(configuration(arguments)) as app:
        account = done(app.accounts.find(actor, arguments.user))
        _, text = done(app.tokens.create(actor, account.id, arguments.name, scopes, arguments.days))
    print(text)
    return 0


def list_tokens(arguments: Namespace) -> int:
    """Print the API tokens."""
    from functools import partial

    from pikachu.cli.session import configuration, every_owned, opened, operator, owner_id, table
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.times import rfc3339

    with opened(configuration(arguments)) as app:
        query = ListQuery(sort="id", owner_id=owner_id(app, arguments.user))
        table(
            (
                one.id,
                owner,
                one.name,
                ",".join(sorted(one.scopes)),
                one.expires_at and rfc3339(one.expires_at),
                one.last_used_at and rfc3339(one.last_used_at),
            )
            for one, owner in every_owned(app, partial(app.tokens.list, operator()), query, lambda one: one.account_id)
        )
    return 0


def revoke_token(arguments: Namespace) -> int:
    """Revoke an API token."""
    from pikachu.cli.session import configuration, done, opened, operator

    with opened(configuration(arguments)) as app:
        done(app.tokens.revoke(operator(), arguments.id))
    print(f"revoked token {arguments.id}")
    return 0


def create_challenge(arguments: Namespace) -> int:
    """Create a challenge password and print it."""
    from pikachu.accounts.challenge_passwords import Purpose
    from pikachu.cli.session import configuration, done, opened, operator

    actor = operator()
    purpose = Purpose(arguments.label, arguments.subject, tuple(arguments.san))
    with opened(configuration(arguments)) as app:
        account = done(app.accounts.find(actor, arguments.user))
        _, text = done(app.challenge_passwords.create(actor, account.id, arguments.validity, purpose))
    print(text)
    return 0


def list_challenges(arguments: Namespace) -> int:
    """Print the challenge passwords."""
    from functools import partial

    from pikachu.cli.session import configuration, every_owned, opened, operator, owner_id, table
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.times import rfc3339, utc

    filters = {} if arguments.label is None else {"label": arguments.label}
    with opened(configuration(arguments)) as app:
        query = ListQuery(sort="id", owner_id=owner_id(app, arguments.user), filters=filters)
        now = utc(app.clock.seconds())
        table(
            (
                one.id,
                owner,
                one.prefix,
                "consumed"
                if one.consumed_at or one.reserved_by
                else "expired"
                if one.expires_at <= now
                else "available",
                rfc3339(one.expires_at),
                one.label,
                None if one.names is None else one.names.subject,
            )
            for one, owner in every_owned(
                app, partial(app.challenge_passwords.list, operator()), query, lambda one: one.owner_id
            )
        )
    return 0
