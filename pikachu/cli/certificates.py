"""``pikachu sign``, ``revoke``, ``release``, ``crl``, ``approval`` and ``intents``."""

from __future__ import annotations

import sys
from argparse import Namespace
from contextlib import suppress
from typing import TYPE_CHECKING

from pikachu.cli.arguments import DAYS, IDENTIFIER, add_reason, group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands


def add_commands(commands: Commands) -> None:
    """Declare ``sign``, ``revoke``, ``release``, ``crl``, ``approval`` and ``intents``."""
    sign = commands.add_parser(
        "sign",
        help="sign a request; prints the certificate, PEM",
        description="Signs a certificate signing request and prints the certificate, without its chain, as PEM. Under "
        "a policy with manual approval it prints nothing there, but `pending approval ID` on standard error, and ends "
        "with 0.",
    )
    sign.add_argument("csr", metavar="CSRFILE", help="PEM, DER or base64; - reads standard input")
    sign.add_argument("--policy", metavar="NAME", help="None: no extensions (default: the default policy)")
    sign.add_argument("--days", type=DAYS, metavar="N", help="validity (default: as the policy says)")
    sign.add_argument("--issuer", metavar="NAME", help="ec, rsa or mldsa (default: as policy and configuration say)")
    sign.set_defaults(run=sign_request)

    revoke = commands.add_parser(
        "revoke",
        help="revoke a certificate",
        description="Revokes a certificate, or puts it on hold. A running server publishes the CRL within seconds; "
        "without one, run `pikachu crl`.",
    )
    revoke.add_argument("serial", metavar="SERIAL", help="hexadecimal")
    add_reason(revoke)
    revoke.add_argument("--confirm", choices=("issuing_ca",), help="needed for an issuing CA; it can't be undone")
    revoke.set_defaults(run=revoke_certificate)

    release = commands.add_parser("release", help="release a certificate from hold")
    release.add_argument("serial", metavar="SERIAL", help="hexadecimal")
    release.set_defaults(run=release_certificate)

    crl = commands.add_parser(
        "crl", help="publish a CRL now; prints issuer, number and file of each, with tabs between"
    )
    crl.add_argument("--issuer", metavar="NAME", help="of this CA only: ec, rsa, mldsa or root (default: of all)")
    crl.add_argument(
        "--import", metavar="FILE", dest="upload", help="publish the CRL that an offline root has made, PEM or DER"
    )
    crl.set_defaults(run=publish_crl)

    approvals = group(commands, "approval", "enrollments that wait for an administrator")
    listing = approvals.add_parser(
        "list", help="print id, creation, method, policy, who and subject of each that waits, with tabs between"
    )
    listing.set_defaults(run=list_approvals)
    approve = approvals.add_parser(
        "approve",
        help="sign what waits; prints the serial number",
        description="Approves a request and prints the serial number of its certificate. Where the policy wants two "
        "approvals, commands can give one of them: if it is the first, nothing is printed there, but a line on "
        "standard error, and the command ends with 0.",
    )
    approve.add_argument("id", type=IDENTIFIER, metavar="ID")
    approve.set_defaults(run=approve_request)
    reject = approvals.add_parser("reject", help="turn a request down")
    reject.add_argument("id", type=IDENTIFIER, metavar="ID")
    reject.add_argument("--reason", default="", metavar="TEXT", help="kept with the request and in the audit log")
    reject.set_defaults(run=reject_request)

    intents = commands.add_parser(
        "intents",
        help="list what was about to be signed and has no certificate",
        description="Prints serial number, time, process and subject of each intent that no certificate followed for "
        "a minute. The signature may exist all the same: `pikachu revoke SERIAL` makes it worthless.",
    )
    intents.set_defaults(run=list_intents)


def sign_request(arguments: Namespace) -> int:
    """Sign a CSR and print the certificate."""
    from pikachu.cli.session import configuration, done, opened, operator, read_input
    from pikachu.core.model.certificates import Method
    from pikachu.ra.enrollment import Pending
    from pikachu.x509.csr import decode_csr_input
    from pikachu.x509.pem import certificates_pem

    csr = decode_csr_input(read_input(arguments.csr))
    with opened(configuration(arguments)) as app:
        result = done(
            app.registration.sign(
                operator(),
                csr,
                Method.CLI,
                policy=arguments.policy,
                days=arguments.days,
                issuer=arguments.issuer,
            )
        )
    if isinstance(result, Pending):
        print(f"pending approval {result.request_id}", file=sys.stderr)
    else:
        print(certificates_pem([result.record.der]), end="")
    return 0


def revoke_certificate(arguments: Namespace) -> int:
    """Revoke a certificate."""
    from pikachu.ca.restrictions import require_confirmed
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.errors import UnknownSerial
    from pikachu.core.model.certificates import Infrastructure, RevocationReason, format_serial, parse_serial

    serial = parse_serial(arguments.serial)
    reason = RevocationReason.from_name(arguments.reason)
    with opened(configuration(arguments)) as app:
        # The intent of a certificate that nobody knows of may have that serial.
        with suppress(UnknownSerial):
            known = done(app.store.certificate_by_serial(serial, deleted=True))
            require_confirmed(known, reason, confirmed=arguments.confirm is not None)
        record = done(app.authority.revoke(serial, reason, operator()))
        issuer = app.issuers.by_id(record.issuer_id)
        if record.infrastructure is Infrastructure.ISSUING_CA and issuer is not None:
            done(app.publisher.make(issuer))
    print(f"revoked {format_serial(serial)}")
    return 0


def release_certificate(arguments: Namespace) -> int:
    """Release a certificate from hold."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.certificates import format_serial, parse_serial

    serial = parse_serial(arguments.serial)
    with opened(configuration(arguments)) as app:
        done(app.authority.release(serial, operator()))
    print(f"released {format_serial(serial)}")
    return 0


def publish_crl(arguments: Namespace) -> int:
    """Publish or upload CRLs."""
    from pikachu.cli.session import configuration, done, opened, operator, read_input, table
    from pikachu.core.errors import NotFound

    with opened(configuration(arguments)) as app:
        if arguments.upload is not None:
            crl = done(app.publisher.uploads.upload(operator(), read_input(arguments.upload)))
            table([("root", crl.number, crl.der_path)])
            return 0
        now = app.authority.now()
        name = arguments.issuer
        issuers = [one for one in app.issuers.all() if name is None or one.name == name]
        if not issuers:
            known = ", ".join(sorted({one.name for one in app.issuers.all()}))
            raise NotFound(f"there is no issuing CA named {name!r}; there are {known}")
        for issuer in issuers:
            if name is not None or issuer.certificate.not_after > now:
                crl = done(app.publisher.make(issuer))
                done(app.publisher.parts.publish(issuer))
                parts = app.publisher.parts.published(issuer).values()
                table((issuer.name, one.number, one.der_path) for one in (crl, *parts))
    return 0


def list_approvals(arguments: Namespace) -> int:
    """Print the pending approvals."""
    from functools import partial

    from pikachu.cli.session import configuration, every, opened, operator, table
    from pikachu.core.model.list_queries import ListQuery
    from pikachu.core.model.requests import RequestState
    from pikachu.core.model.times import rfc3339

    query = ListQuery(sort="id", filters={"state": RequestState.PENDING.value})
    with opened(configuration(arguments)) as app:
        table(
            (one.id, rfc3339(one.created_at), one.method, one.policy, one.principal, one.subject)
            for one in every(partial(app.inventory.approvals, operator()), query)
        )
    return 0


def approve_request(arguments: Namespace) -> int:
    """Approve a pending request and print the serial number."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.core.model.certificates import format_serial

    with opened(configuration(arguments)) as app:
        record = done(app.registration.approve(operator(), arguments.id))
    if record is None:
        print(f"first of two approvals of {arguments.id} recorded; another person must approve it too", file=sys.stderr)
    else:
        print(format_serial(record.serial))
    return 0


def reject_request(arguments: Namespace) -> int:
    """Reject a pending request."""
    from pikachu.cli.session import configuration, done, opened, operator

    with opened(configuration(arguments)) as app:
        done(app.registration.reject(operator(), arguments.id, arguments.reason))
    print(f"rejected {arguments.id}")
    return 0


def list_intents(arguments: Namespace) -> int:
    """Print the issuance intents without a certificate."""
    from pikachu.ca.issuance import ABANDONED_AFTER
    from pikachu.cli.session import configuration, done, opened, table
    from pikachu.core.model.certificates import format_serial
    from pikachu.core.model.times import rfc3339

    with opened(configuration(arguments)) as app:
        orphans = done(app.store.orphans(None, app.authority.now() - ABANDONED_AFTER))
        table((format_serial(one.serial or 0), rfc3339(one.created_at), one.process, one.subject) for one in orphans)
    return 0
