"""``pikachu ldap``."""

from __future__ import annotations

from argparse import Namespace
from contextlib import closing
from typing import TYPE_CHECKING

from pikachu.cli.arguments import group

if TYPE_CHECKING:
    from pikachu.auth.ldap.client import LDAPClient
    from pikachu.cli.arguments import Commands
    from pikachu.config.ldap_section import LDAPSection
    from pikachu.core.model.directory_people import Finding


def add_commands(commands: Commands) -> None:
    """Declare ``ldap check``."""
    directory = group(commands, "ldap", "the directory whose accounts can sign in")
    check = directory.add_parser(
        "check",
        help="test the settings of [LDAP]",
        description="Connects to each server of [LDAP] LDAP_HOST, signs in as ADMIN_DN and looks up PEOPLE_DN and "
        "the groups; with USERNAME also that account. Works with enabled = false, too, and changes nothing.",
    )
    check.add_argument("username", nargs="?", metavar="USERNAME", help="look up this account")
    check.add_argument(
        "--password-file", metavar="FILE", help="verify the first line as its password; - reads standard input"
    )
    check.set_defaults(run=check_directory)


def check_directory(arguments: Namespace) -> int:
    """Test the directory and print what works and what does not; 1 if something does not."""
    from dataclasses import replace

    from pikachu.auth.ldap.client import LDAPClient
    from pikachu.cli.session import configuration, warn
    from pikachu.config.checks import Report, check
    from pikachu.core.errors import MalformedRequest

    if arguments.password_file is not None and arguments.username is None:
        raise MalformedRequest("--password-file needs the USERNAME whose password it is")
    config = configuration(arguments)
    settings = config.ldap
    if not settings.enabled:
        warn("[LDAP] enabled = false: nobody signs in with the directory yet")
        settings = replace(settings, enabled=True)
        check(replace(config, ldap=settings), Report(config.path))
    if settings.sends_plaintext:
        warn("[LDAP] use_tls = false: anyone between here and the directory can read passwords")
    with closing(LDAPClient(settings)) as client:
        return _check(client, settings, arguments)


def _check(client: LDAPClient, settings: LDAPSection, arguments: Namespace) -> int:
    """Test each server, the group and the account; 1 if something does not work."""
    from pikachu.auth.ldap.abort import Abort
    from pikachu.cli.session import read_password
    from pikachu.core.errors import DirectoryUnavailable

    working, failed = 0, False
    for host in settings.ldap_host:
        try:
            client.check_server(host, Abort())
        except DirectoryUnavailable as error:
            failed = True
            detail = error.context.get("error") or error.context.get("answer")
            print(f"{host}: {error.public}{f' ({detail})' if detail else ''}")
        else:
            working += 1
            print(f"{host}: works")
    if not working:
        return 1
    for key in client.missing_groups(Abort()):
        failed = True
        print(f"{key}: does not exist, or ADMIN_DN may not read it; nobody has a role by it")
    if arguments.username is None:
        return int(failed)
    password = None if arguments.password_file is None else read_password(arguments.password_file)
    if password is None:
        finding = client.find([arguments.username], Abort())[0]
    else:
        finding = client.authenticate(arguments.username, password, Abort())
    return int(_show(arguments.username, finding, password is not None) or failed)


def _show(username: str, finding: Finding, is_verified: bool) -> bool:
    """Print what was found; return whether the account can't sign in."""
    from pikachu.core.model.directory_people import Absent

    if isinstance(finding, Absent):
        print(f"{username}: can't sign in: {finding.reason}")
        return True
    role = finding.role or "assigned on the Users page"
    print(f"{username}: {finding.dn}")
    print(f"  user name  {finding.username}")
    print(f"  e-mail     {finding.email or '(none)'}")
    print(f"  role       {role}")
    print(f"  unique id  {finding.directory_id or '(none: a new entry of the same name counts as the same account)'}")
    if is_verified:
        print("  password   right")
    if finding.is_disabled:
        print("  disabled   yes, so it can't sign in")
    return finding.is_disabled
