"""``pikachu ca``: generations of issuing CAs whose keys are files (VLT-4), their certificates, the root's responder."""

from __future__ import annotations

import time
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pikachu.cli.arguments import DAYS, add_key_file_arguments, group

if TYPE_CHECKING:
    from pikachu.ca.rotation import RotationFiles
    from pikachu.cli.arguments import Commands
    from pikachu.server.application import Application

_ABOUT = """\
Makes the next key and certificate of an issuing CA, announces them (SCEP GetNextCACert, EST cacerts), and switches on a
date. A running server follows by itself, and what it has issued before stays served. Where the root is kept elsewhere:
--csr-only writes a request, --certificate brings the answer. Run again with --at or --now, it moves the date of what is
announced."""

_RESPONDER = """\
Gives OCSP a responder for the certificates of issuing CAs whose root is kept elsewhere: --csr makes a key, which stays
here, and prints a request; the root signs it with the extended key usage OCSPSigning; --install brings the certificate.
A running server answers with it within a second. Repeat both steps before it expires."""
_REISSUE = """\
Makes a new certificate for the key of an issuing CA, with the addresses of the root's OCSP responder, certificate and
CRL ([CA] public_url). Key, subject and all that the CA has issued stay as they are, and the former certificate stays
valid; a running server follows by itself. Where the root is kept elsewhere: --csr-only prints a request, --certificate
brings the answer."""


_ABOUT_IMPORT = """\
Copies an existing issuing CA to the files that config.ini names for it: key (encrypted when its passphrase file is
configured), certificate and chain, and the root's certificate where it is missing. Refused where one of these files
exists. Start or restart the server to use the CA."""


def add_commands(commands: Commands) -> None:
    """Declare ``ca``."""
    commands = group(commands, "ca", "list, rotate, reissue or import issuing CAs")
    listing = commands.add_parser(
        "list",
        help="the generations of each issuing CA",
        description="Prints, with tabs between: name, state (current, next or former; revoked), key, key identifier, "
        "first and last day, day of the switch.",
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
    load = commands.add_parser("import", help="import an existing issuing CA", description=_ABOUT_IMPORT)
    load.add_argument("name", metavar="NAME", choices=("ec", "rsa", "mldsa"), help="ec, rsa or mldsa")
    source = load.add_mutually_exclusive_group(required=True)
    source.add_argument("--pkcs12", metavar="FILE", help="key, certificate and chain in one file")
    source.add_argument("--key", metavar="FILE", help="private key, PEM or DER; needs --cert")
    load.add_argument("--cert", metavar="FILE", help="the CA's certificate, PEM or DER")
    load.add_argument("--chain", metavar="FILE", help="the certificates above it, PEM")
    add_key_file_arguments(load)
    load.set_defaults(run=import_ca)
    responder = commands.add_parser(
        "responder", help="the OCSP responder of a root whose key is elsewhere", description=_RESPONDER
    )
    step = responder.add_mutually_exclusive_group(required=True)
    step.add_argument("--csr", action="store_true", help="make a key and print a request for the root (PEM)")
    step.add_argument("--install", metavar="FILE", help="put the certificate that the root has signed into service")
    responder.set_defaults(run=install_responder)
    reissue = commands.add_parser(
        "reissue", help="a new certificate for the same key, with addresses", description=_REISSUE
    )
    reissue.add_argument("name", metavar="NAME", help="ec, rsa or mldsa")
    reissue.add_argument("--days", type=DAYS, metavar="N", help="validity (default: as the current one's)")
    offline = reissue.add_mutually_exclusive_group()
    offline.add_argument("--csr-only", action="store_true", help="print a request for the root (PEM)")
    offline.add_argument("--certificate", metavar="FILE", help="the certificate that the root has signed")
    reissue.set_defaults(run=reissue_ca)


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
            if issuer.revoked_at is not None:
                state = f"{state}, revoked"
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
    from pikachu.ca.rotation import Rotation, complete
    from pikachu.cli.session import configuration, done, opened, operator, warn
    from pikachu.core.audit import event_by
    from pikachu.core.errors import ConfigError
    from pikachu.server.ca_loading import root_files
    from pikachu.signers.files import load_certificates

    config = configuration(arguments)
    with opened(config) as app:
        files = _rotation_files(app, arguments.name)
        if app.issuers.named(arguments.name).engine is not None:
            _require_key_for_engine(files)
            if config.ca.public_url is None:
                warn(
                    "[CA] public_url is not set, so the certificates of the next generation get the addresses of the "
                    "mount in Vault, which are those of one generation; set public_url first"
                )
        now = app.authority.now()
        switch_at = now if arguments.now else _date(arguments.at) if arguments.at else now + timedelta(days=30)
        rotation = Rotation(files, app.ca_keys, now, warn)
        if arguments.csr_only:
            print(rotation.request())
            return 0
        if arguments.certificate is not None:
            rotation.take(load_certificates(Path(arguments.certificate), "--certificate"))
        elif files.announced() is None:
            if config.ca.root_cert_path is None:
                raise ConfigError("[CA] ROOT_CERT_PATH: not set; name the root's certificate")
            rotation.certify(root_files(config, config.ca.root_cert_path), arguments.days, config.ca.public_url)
        coming = rotation.load()
        done(app.generations.install(arguments.name, coming, config.ca.public_url))
        app.own_certificates.register()
        done(app.generations.link(app.authority, arguments.name, coming, config.ca.public_url))
        identifier = coming.certificate.key_identifier.hex()
        switch = f"{switch_at:%Y-%m-%dT%H:%M:%SZ}"
        event = event_by(operator(), "rotate", "issuer", arguments.name, None, next=identifier, switch_at=switch)
        done(app.store.add_event(event, now))
        rotation.announce(switch_at)
        if complete(files, app.ca_keys, now, warn):
            print(f"{arguments.name}: {identifier} signs now")
        else:
            print(f"{arguments.name}: {identifier} signs from {switch}")
    return 0


def import_ca(arguments: Namespace) -> int:
    """Import an issuing CA."""
    from contextlib import suppress

    from pikachu.ca.importing import CAImport
    from pikachu.cli.session import configuration, done, opened, operator, read_input, read_password, warn
    from pikachu.core.audit import event_by
    from pikachu.core.errors import ConfigError, MalformedRequest
    from pikachu.core.model.times import utc
    from pikachu.server.ca_loading import ca_files
    from pikachu.signers.files import load_certificates
    from pikachu.x509.certificate import parse_certificate
    from pikachu.x509.key_files import read_key_file

    name, source = arguments.name, arguments.pkcs12 or arguments.key
    if arguments.key is not None and arguments.cert is None:
        raise MalformedRequest("--key needs --cert: the certificate of the CA")
    if arguments.pkcs12 is not None and arguments.cert is not None:
        raise MalformedRequest("--pkcs12 holds the certificate; leave --cert out")
    config = configuration(arguments)
    if name in config.pkcs11.key_labels:
        raise ConfigError(
            f"[PKCS11] key_label_{name}: the key of this CA is in a token, where an import can't put it; import it "
            "with the token's own tool (docs/hsm.md), and copy certificate and chain to their files"
        )
    if config.vault.enabled:
        raise ConfigError(f"the key of the CA {name} is not kept in a file; import it where it is kept")
    if name not in config.ca.issuers:
        raise ConfigError(f"[CA] SUBCA_KEY_PATH_{name.upper()}: not set; name the files of the CA in {config.path}")
    root_key, root = config.ca.root_key_path, config.ca.root_cert_path
    if root_key is not None and root_key.exists() and root is not None and not root.exists():
        raise ConfigError(f"[CA] ROOT_CERT_PATH: {root} does not exist, but its key {root_key} does; move the key away")
    work = CAImport(ca_files(config, config.ca.issuers[name]), source, lambda path: print(f"made  {path}"), warn)
    work.check_absent()
    passphrase = None if arguments.passphrase_file is None else read_password(arguments.passphrase_file)
    file = read_key_file(read_input(source), passphrase, arguments.alias)
    certificates = [parse_certificate(one) for one in file.certificates]
    for option, path in (("--cert", arguments.cert), ("--chain", arguments.chain)):
        if path is not None:
            certificates += load_certificates(Path(path), option)
    now = utc(time.time())
    certificate = work.store(file.private_key, certificates, now)
    # Before `pikachu init` there is no audit log yet.
    with suppress(ConfigError), opened(config) as app:
        identifier = certificate.key_identifier.hex()
        done(app.store.add_event(event_by(operator(), "import", "issuer", name, None, key=identifier), now))
    return 0


def reissue_ca(arguments: Namespace) -> int:
    """Replace the certificate of an issuing CA."""
    from pikachu.ca.reissue import Reissue
    from pikachu.cli.session import configuration, done, opened, operator, warn
    from pikachu.core.audit import event_by
    from pikachu.core.errors import ConfigError
    from pikachu.core.model.certificates import format_serial
    from pikachu.server.ca_loading import root_files
    from pikachu.signers.files import load_certificates, load_file_ca
    from pikachu.x509.profile import Addresses

    config = configuration(arguments)
    with opened(config) as app:
        files = _rotation_files(app, arguments.name)
        app.issuers.named(arguments.name).require_unrevoked()
        if config.ca.root_cert_path is None:
            raise ConfigError("[CA] ROOT_CERT_PATH: not set; name the root's certificate")
        root = root_files(config, config.ca.root_cert_path)
        reissue = Reissue(files, root, app.ca_keys, app.authority.now(), warn)
        if arguments.csr_only:
            print(reissue.request(), end="")
            return 0
        if arguments.certificate is not None:
            certificate = reissue.install(load_certificates(Path(arguments.certificate), "--certificate")[0])
        else:
            addresses = Addresses.under(
                config.ca.public_url, load_certificates(config.ca.root_cert_path, "[CA] ROOT_CERT_PATH")[0]
            )
            if addresses is None:
                raise ConfigError("[CA] public_url: not set; name the base of the addresses in the certificate")
            certificate = reissue.certify(addresses, arguments.days)
        loaded = load_file_ca(files.ca, app.ca_keys, app.authority.now(), warn)
        done(app.generations.install(arguments.name, loaded, config.ca.public_url))
        app.own_certificates.register()
        serial = format_serial(certificate.serial)
        event = event_by(operator(), "reissue", "issuer", arguments.name, None, serial=serial)
        done(app.store.add_event(event, app.authority.now()))
    print(f"{arguments.name}: {serial} is valid until {certificate.not_after:%Y-%m-%d}")
    return 0


def install_responder(arguments: Namespace) -> int:
    """Request or install the OCSP responder of an offline root."""
    from pikachu.cli.session import configuration, done, opened, operator
    from pikachu.signers.files import load_certificates

    with opened(configuration(arguments)) as app:
        if arguments.csr:
            print(done(app.offline.request(operator())), end="")
            return 0
        certificate = load_certificates(Path(arguments.install), "--install")[0]
        ca = done(app.offline.install(operator(), certificate))
    print(f"{ca.name}: OCSP answers until {certificate.not_after:%Y-%m-%d}")
    return 0


def _rotation_files(app: Application, name: str) -> RotationFiles:
    from pikachu.core.errors import NotFound

    files = app.generations.files(name)
    if files is None:
        known = ", ".join(sorted(app.issuers.current))
        raise NotFound(f"there is no issuing CA named {name!r} with its key in a file; there are {known}")
    return files


def _require_key_for_engine(files: RotationFiles) -> None:
    """Require that the next key can be where the current one is, and in Vault's PKI engine too.

    :raises ConfigError: it can't.
    """
    from pikachu.core.errors import ConfigError
    from pikachu.signers.vault.transit_keys import SCHEME

    reference = files.ca.key_file.find_reference()
    if reference is not None and reference.scheme != SCHEME:
        raise ConfigError(
            f"the key of the CA {files.ca.name} is {reference}, which gives no copy of the next one to Vault's PKI "
            f"engine; set [VAULT] pki_{files.ca.name}_path = none, with which the key signs everything, and rotate"
        )


def _date(text: str) -> datetime:
    from pikachu.core.errors import MalformedRequest

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedRequest(f"--at: {text!r} is no date; write 2026-12-31 or 2026-12-31T12:00:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
