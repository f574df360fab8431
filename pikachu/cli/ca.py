"""``pikachu ca list`` and ``pikachu ca rotate``: the generations of issuing CAs whose keys are files (VLT-4)."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pikachu.cli.arguments import DAYS, group

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands

_ABOUT = """\
Makes the next key and certificate of an issuing CA, announces them (SCEP GetNextCACert, EST cacerts), and switches on a
date. A running server follows by itself, and what it has issued before stays served. Where the root is kept elsewhere:
--csr-only writes a request, --certificate brings the answer. Run again with --at or --now, it moves the date of what is
announced."""


def add_commands(commands: Commands) -> None:
    """Declare ``ca``."""
    commands = group(commands, "ca", "list or rotate issuing CAs")
    listing = commands.add_parser(
        "list",
        help="the generations of each issuing CA",
        description="Prints, with tabs between: name, state (current, next or former), key, key identifier, first and "
        "last day, day of the switch.",
    )
    listing.set_defaults(run=list_generations)
    rotate = commands.add_parser("rotate", help="make, announce and switch to the next generation", description=_ABOUT)
    rotate.add_argument("name", metavar="NAME", help="ec, rsa or mldsa")
    when = rotate.add_mutually_exclusive_group()
    when.add_argument(
        "--at", metavar="DATE", help="when to switch: 2026-12-31 or 2026-12-31T12:00:00Z (default: in 30 days)"
    )
    when.add_argument("--now", action="store_true", help="switch at once")
    rotate.add_argument("--days", type=DAYS, metavar="N", help="validity (default: as the current one's)")
    how = rotate.add_mutually_exclusive_group()
    how.add_argument("--csr-only", action="store_true", help="make the key and a request for the root; prints its path")
    how.add_argument("--certificate", metavar="FILE", help="what the root has signed; PEM, with or without its chain")
    rotate.set_defaults(run=rotate_ca)


def list_generations(arguments: Namespace) -> int:
    """Print the generations of each issuing CA."""
    from pikachu.cli.session import configuration, opened, table

    with opened(configuration(arguments)) as app:
        rows = []
        for issuer in sorted(app.issuers.all(), key=lambda one: (one.name, one.certificate.not_before, one.id)):
            state, switch = "former", None
            if app.issuers.current.get(issuer.name) is issuer:
                state = "current"
            elif app.issuers.next(issuer.name) is issuer:
                state = "next"
                files = app.generations.files(issuer.name)
                announced = None if files is None else files.announced()
                switch = None if announced is None else f"{announced.switch_at:%Y-%m-%dT%H:%M:%SZ}"
            elif issuer.name == "root":
                state = "root"
            certificate = issuer.certificate
            rows.append(
                (
                    issuer.name,
                    state,
                    issuer.key.text,
                    issuer.key_identifier.hex(),
                    f"{certificate.not_before:%Y-%m-%d}",
                    f"{certificate.not_after:%Y-%m-%d}",
                    switch,
                )
            )
        table(rows)
    return 0


def rotate_ca(arguments: Namespace) -> int:
    """Rotate an issuing CA."""
    from pikachu.ca.bootstrap import RootFiles
    from pikachu.ca.rotation import Rotation, complete
    from pikachu.cli.session import configuration, done, opened, operator, warn
    from pikachu.core.audit import event_by
    from pikachu.core.errors import ConfigError, NotFound
    from pikachu.server.composition import passphrase
    from pikachu.signers.files import load_certificates

    config = configuration(arguments)
    permissions = config.ca.key_permissions.value
    with opened(config) as app:
        files = app.generations.files(arguments.name)
        if files is None:
            known = ", ".join(sorted(app.issuers.current))
            raise NotFound(f"there is no issuing CA named {arguments.name!r} with its key in a file; there are {known}")
        now = app.authority.now()
        switch_at = now if arguments.now else _date(arguments.at) if arguments.at else now + timedelta(days=30)
        rotation = Rotation(files, permissions, now, warn)
        if arguments.csr_only:
            print(rotation.request())
            return 0
        if arguments.certificate is not None:
            rotation.take(load_certificates(Path(arguments.certificate), "--certificate"))
        elif files.announced() is None:
            if config.ca.root_cert_path is None:
                raise ConfigError("[CA] ROOT_CERT_PATH: not set; name the root's certificate")
            root_passphrase = passphrase(config.ca.root_key_passphrase_file, "[CA] ROOT_KEY_PASSPHRASE_FILE")
            root = RootFiles(config.ca.root_key_path, config.ca.root_cert_path, root_passphrase)
            rotation.certify(root, arguments.days, config.ca.public_url)
        coming = rotation.load()
        done(app.generations.link(app.authority, arguments.name, coming, config.ca.public_url))
        identifier = coming.certificate.key_identifier.hex()
        switch = f"{switch_at:%Y-%m-%dT%H:%M:%SZ}"
        event = event_by(operator(), "rotate", "issuer", arguments.name, None, next=identifier, switch_at=switch)
        done(app.store.add_event(event, now))
        rotation.announce(switch_at)
        if complete(files, permissions, now, warn):
            print(f"{arguments.name}: {identifier} signs now")
        else:
            print(f"{arguments.name}: {identifier} signs from {switch}")
    return 0


def _date(text: str) -> datetime:
    from pikachu.core.errors import MalformedRequest

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedRequest(f"--at: {text!r} is no date; write 2026-12-31 or 2026-12-31T12:00:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
