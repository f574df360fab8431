"""``pikachu import``: certificates, revocations and profiles of another CA program (OPS-7)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands

_ABOUT = """\
Imports certificates that this server's issuing CAs have signed elsewhere, with their revocations and CRL numbers, from
a folder of `openssl ca` or easy-rsa (index.txt) or of cfssl (its SQLite database, or the rows of the table certificates
as JSON), or one of certificates and CRLs in PEM or DER at any depth. Import the CA itself before, with
`pikachu ca import`. Profiles (openssl.cnf, x509-types, cfssl's configuration) become system policies for operators and
administrators; extensions and [ req ] sections become certificate templates. What is imported again changes nothing.
Prints, with tabs between: what is not imported (foreign, conflict, unreadable, skipped), its file, and its serial
number and subject, or why; each profile (policy, template), and what a policy does not have of it (note). Foreign ones
were signed by another CA; in a conflict, something else has the serial number or the name. Exit code 1 with
conflicts."""


def add_commands(commands: Commands) -> None:
    """Declare ``import``."""
    parser = commands.add_parser(
        "import", help="take over certificates, revocations and profiles of another CA program", description=_ABOUT
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--dry-run", action="store_true", help="write nothing; print what would be imported")
    parser.add_argument("--no-profiles", action="store_true", help="create no policies and certificate templates")
    parser.set_defaults(run=import_folder)


def import_folder(arguments: Namespace) -> int:
    """Import a folder and print what was done."""
    from pathlib import Path

    from pikachu.cli.session import configuration, done, opened, operator, table
    from pikachu.core.import_interfaces import Finding, ImportOutcome
    from pikachu.operations.folder_import import ImportLine

    def report(line: ImportLine) -> None:
        table([[line.finding.value, printable(line.path), printable(line.about)]])

    with opened(configuration(arguments)) as app:
        work = app.folder_import.run(
            operator(),
            Path(arguments.folder),
            report,
            dry_run=arguments.dry_run,
            with_profiles=not arguments.no_profiles,
        )
        summary = done(work)
    new, known = summary.outcomes[ImportOutcome.NEW], summary.outcomes[ImportOutcome.KNOWN]
    would = "would be " if arguments.dry_run else ""
    print(f"{new} certificates {would}imported, {summary.revoked} of them revoked; {known} known before")
    if summary.outcomes[ImportOutcome.REVOKED]:
        print(f"{summary.outcomes[ImportOutcome.REVOKED]} known certificates {would}revoked")
    if summary.revocations:
        print(f"{summary.revocations} revocations of certificates that are not in the folder {would}imported")
    for name, number in summary.crl_numbers.items():
        print(f"the next CRL of {name} has a number above {number}")
    if summary.findings[Finding.FOREIGN]:
        print(f"{summary.findings[Finding.FOREIGN]} certificates of other CAs, not imported")
    policies, templates = (summary.profiles.added[kind] for kind in (Finding.POLICY, Finding.TEMPLATE))
    if policies or templates or summary.profiles.known:
        print(
            f"{policies} policies and {templates} certificate templates {would}created; "
            f"{summary.profiles.known} known before"
        )
    return 1 if summary.findings[Finding.CONFLICT] else 0


def printable(text: str) -> str:
    """Replace what would break a line or a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
