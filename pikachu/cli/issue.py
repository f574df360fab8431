"""``pikachu issue``."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import DAYS, IDENTIFIER

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``issue``."""
    issue = commands.add_parser(
        "issue",
        help="issue a certificate for names, with a key stored here; prints the certificate, PEM",
        description="Issues a certificate without a CSR: the key is created and stored here, or is a stored one. "
        "Prints the certificate, without its chain, as PEM, and `key ID` on standard error. Under a policy with manual "
        "approval it prints `pending approval ID` there instead of the certificate, and ends with 0.",
    )
    issue.add_argument("--subject", default="", metavar="NAME", help="such as CN=device.example.com,O=Example")
    issue.add_argument(
        "--san",
        action="append",
        default=[],
        metavar="NAME",
        help="DNS:…, IP:…, email:… or URI:…; may be repeated",
    )
    key = issue.add_mutually_exclusive_group()
    key.add_argument(
        "--key-type", default="prime256v1", metavar="TYPE", help="of a new key, such as rsa3072 (default: prime256v1)"
    )
    key.add_argument("--key-id", type=IDENTIFIER, metavar="ID", help="of a stored key of the same user")
    issue.add_argument("--user", metavar="NAME", help="the user who gets it (default: nobody; only admins see it)")
    issue.add_argument("--policy", metavar="NAME", help="None: no extensions (default: the default policy)")
    issue.add_argument("--days", type=DAYS, metavar="N", help="validity (default: as the policy says)")
    issue.add_argument("--issuer", metavar="NAME", help="ec, rsa or mldsa (default: as policy and configuration say)")
    issue.set_defaults(run=issue_certificate)


def issue_certificate(arguments: Namespace) -> int:
    """Issue a certificate for names and print it."""
    from pikachu.cli.session import configuration, done, opened, operator, owner_id
    from pikachu.core.model.certificates import Method
    from pikachu.inventory.keys import key_name
    from pikachu.inventory.new_certificates import CertificateNames, CertificateOrder, GeneratedKey
    from pikachu.ra.enrollment import Pending
    from pikachu.x509.pem import certificates_pem

    names = CertificateNames.of(arguments.subject, arguments.san)
    key = GeneratedKey(key_name(arguments.key_type)) if arguments.key_id is None else arguments.key_id
    with opened(configuration(arguments)) as app:
        order = CertificateOrder(
            names,
            key,
            arguments.policy,
            arguments.days,
            arguments.issuer,
            owner_id(app, arguments.user),
        )
        ordered = done(app.new_certificates.issue(operator(), order, Method.CLI))
    if ordered.key is not None:
        print(f"key {ordered.key.id}", file=sys.stderr)
    if isinstance(ordered.result, Pending):
        print(f"pending approval {ordered.result.request_id}", file=sys.stderr)
    else:
        print(certificates_pem([ordered.result.record.der]), end="")
    return 0
