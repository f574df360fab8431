"""``pikachu vault``: prepare Vault, move a key into it, and show how it is (VLT-1)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli import vault_server
from pikachu.cli.arguments import group

if TYPE_CHECKING:
    from collections.abc import Callable

    from pikachu.cli.arguments import Commands, Parser
    from pikachu.config.configuration import Configuration
    from pikachu.signers.files import CAFiles
    from pikachu.signers.references import KeyReference
    from pikachu.signers.vault.client import VaultClient
    from pikachu.signers.vault.transit_keys import TransitKey

_OPERATOR = """\
The operator's token is read from the environment variable VAULT_TOKEN or BAO_TOKEN, or from --token-file; it needs the
rights of an administrator of Vault and is not stored."""
_ABOUT_SETUP = f"""\
Prepares the Vault or OpenBao that [VAULT] address names: the transit engine, the keys of the issuing CAs that have no
key file, a policy, an AppRole; with signer = pki, the mounts and roles of the PKI engine too. What exists is left as it
is. Prints the settings for config.ini, with the secret id when it is new. {_OPERATOR}"""
_ABOUT_IMPORT = f"""\
Copies the key file of an issuing CA into the transit engine, wrapped for Vault, from where it can't be exported again.
A signature made in Vault is verified with the CA's certificate before the command says that the file may be deleted.
With signer = pki, key and certificate become an issuer of the PKI engine too. {_OPERATOR}"""
_ABOUT_CREDENTIALS = """\
Writes the AppRole's role id and secret id into the file that [VAULT] credentials_file names, mode 0600, after Vault has
accepted a login with them; a running server uses them from its next login on. They are prompted for on a terminal, or
read from two lines of standard input or of a file, and are never part of a command line."""
_CURVES = ("prime256v1", "secp384r1", "secp521r1")


def add_commands(commands: Commands) -> None:
    """Declare ``vault``."""
    vault = group(commands, "vault", "keys in HashiCorp Vault or OpenBao")
    setup = vault.add_parser("setup", help="prepare an empty Vault", description=_ABOUT_SETUP)
    _add_token(setup)
    setup.add_argument(
        "--ec-algorithm", choices=_CURVES, default=_CURVES[0], metavar="NAME", help="the EC CA's key (%(default)s)"
    )
    setup.add_argument(
        "--rsa-bits", choices=("2048", "3072", "4096"), default="4096", help="the RSA CA's key (%(default)s)"
    )
    setup.add_argument("--new-secret-id", action="store_true", help="make another secret id; the earlier ones stay")
    setup.set_defaults(run=set_up)
    load = vault.add_parser("import", help="move the key file of an issuing CA into Vault", description=_ABOUT_IMPORT)
    load.add_argument("name", metavar="NAME", choices=("ec", "rsa"), help="ec or rsa")
    _add_token(load)
    load.set_defaults(run=import_key)
    status = vault.add_parser(
        "status",
        help="whether Vault signs",
        description="Prints, with tabs between, a line for Vault, for each issuing CA whose key is there, and for each "
        "mount of the PKI engine in use: ok, or what is wrong. Ends with 1 when anything is.",
    )
    status.set_defaults(run=print_status)
    credentials = vault.add_parser(
        "credentials", help="set the AppRole's role id and secret id", description=_ABOUT_CREDENTIALS
    )
    credentials.add_argument(
        "--file", metavar="FILE", default="-", help="two lines, the role id and the secret id (default: standard input)"
    )
    credentials.add_argument(
        "--no-login",
        action="store_true",
        help="write them without a login, when Vault is down or secret ids are used once",
    )
    credentials.set_defaults(run=set_credentials)
    vault_server.add_commands(vault)


def _add_token(parser: Parser) -> None:
    parser.add_argument(
        "--token-file", metavar="FILE", help="its first line is the operator's token, - reads standard input"
    )


def _operator_client(config: Configuration, arguments: Namespace) -> VaultClient:
    import os

    from pikachu.cli.session import read_password
    from pikachu.core.errors import ConfigError
    from pikachu.server.key_sources import vault_client
    from pikachu.signers.vault.tokens import OperatorToken

    token = os.environ.get("VAULT_TOKEN") or os.environ.get("BAO_TOKEN")
    if arguments.token_file is not None:
        token = read_password(arguments.token_file)
    if not token:
        raise ConfigError("no token of an operator: set VAULT_TOKEN in the environment, or name --token-file")
    return vault_client(config.vault, OperatorToken(token))


def _transit_keys(config: Configuration) -> dict[str, TransitKey]:
    """Return the transit key that ``[VAULT]`` names for each configured issuing CA, whether it is enabled or not."""
    from pikachu.signers.vault.transit_keys import TransitKey

    vault = config.vault
    named = {ca: name for ca, name in vault.named_transit_keys.items() if ca in config.ca.issuers}
    return {ca: TransitKey.of(vault.transit_path, name) for ca, name in named.items()}


def set_up(arguments: Namespace) -> int:
    """Prepare Vault, and print what was done and what to set."""
    from pikachu.cli.session import configuration
    from pikachu.server.key_sources import pki_roles
    from pikachu.signers.references import read_reference
    from pikachu.signers.vault.setup import VaultSetup, policy_of

    config = configuration(arguments)

    def report(outcome: str, what: str) -> None:
        print(f"{outcome}  {what}", flush=True)

    setup = VaultSetup(_operator_client(config, arguments), report)
    keys = _transit_keys(config)
    algorithms = {"ec": arguments.ec_algorithm, "rsa": f"rsa{arguments.rsa_bits}"}
    setup.mount(config.vault.transit_path.strip("/"))
    mounts = {ca: mount for ca, mount in config.vault.named_pki_mounts.items() if ca in config.ca.issuers}
    roles = pki_roles(config.vault).names()
    for mount in dict.fromkeys(mounts.values()):
        setup.pki_mount(mount)
        for role in roles:
            setup.role(mount, role)
    for name, key in keys.items():
        path = config.ca.issuers[name].key
        if path is not None and path.exists() and read_reference(path, f"[CA] SUBCA_KEY_PATH_{name.upper()}") is None:
            report("left", f"the key file {path}; `pikachu vault import {name}` moves it into Vault")
        else:
            setup.key(key, algorithms[name], mounts.get(name))
    setup.policy(policy_of(keys, mounts, roles))
    credentials = setup.approle(new_secret=arguments.new_secret_id)
    print(f"\nIn {config.path}:\n[VAULT]\nenabled = true\nsigner = {config.vault.signer.value}")
    print(f"role_id = {credentials.role_id}")
    if credentials.secret_id is None:
        print("# secret_id stays as it is; --new-secret-id makes another one")
    else:
        print(f"secret_id = {credentials.secret_id}")
    print(
        "\nWith secret_id = ${PIKACHU_SECRET_ID} the secret id is read from the environment. Then run `pikachu init` "
        "for issuing CAs that have no certificate yet, and `pikachu vault status`."
    )
    return 0


def set_credentials(arguments: Namespace) -> int:
    """Write the file with the AppRole's credentials, once Vault accepts them."""
    import getpass
    import sys

    from pikachu.ca.bootstrap import PRIVATE_FILE
    from pikachu.cli.session import configuration, read_input
    from pikachu.core.atomic_files import create_file, rewrite_file
    from pikachu.core.errors import ConfigError, MalformedRequest
    from pikachu.server.key_sources import vault_client
    from pikachu.signers.vault.tokens import parse_credentials

    config = configuration(arguments)
    path = config.vault.credentials_file
    if path is None:
        raise ConfigError(
            "[VAULT] credentials_file: not set; name a file such as var/pki/vault_credentials, in place of role_id and "
            "secret_id"
        )
    if arguments.file == "-" and sys.stdin.isatty():
        content = f"{getpass.getpass('role id: ')}\n{getpass.getpass('secret id: ')}\n".encode()
    else:
        content = read_input(arguments.file)
    try:
        role = parse_credentials(content)
    except ValueError as error:
        raise MalformedRequest(f"the credentials: {error}") from None
    if not arguments.no_login:
        client = vault_client(config.vault, role)
        try:
            client.probe()
        finally:
            client.close()
    content = f"{role.role_id}\n{role.secret_id}\n".encode()
    if path.exists():
        # It keeps its owner, which may be the server's account.
        path.chmod(PRIVATE_FILE)
        rewrite_file(path, content)
    else:
        create_file(path, content, PRIVATE_FILE)
    print(f"set   {path}")
    return 0


def import_key(arguments: Namespace) -> int:
    """Move a key file into Vault, and prove that Vault signs with it."""
    import time
    from dataclasses import replace

    from pikachu.cli.session import configuration, warn
    from pikachu.core.errors import ConfigError
    from pikachu.core.model.times import utc
    from pikachu.server.ca_loading import ca_files, passphrase
    from pikachu.server.pools import immediate_pools
    from pikachu.signers.ca_keys import CAKeys
    from pikachu.signers.files import load_certificates, load_file_ca
    from pikachu.signers.references import KeyFile, read_reference
    from pikachu.signers.vault.pki_engine import install_issuer
    from pikachu.signers.vault.pki_mount import PKIMount
    from pikachu.signers.vault.source import VaultKeys
    from pikachu.signers.vault.transit_keys import Transit
    from pikachu.x509.keys import public_key_matches
    from pikachu.x509.profile import Addresses

    config = configuration(arguments)
    name, upper = arguments.name, arguments.name.upper()
    key, files = _transit_keys(config).get(name), config.ca.issuers.get(name)
    if key is None or files is None or files.key is None or files.certificate is None:
        raise ConfigError(
            f"[CA] SUBCA_KEY_PATH_{upper}, SUBCA_CERT_PATH_{upper} and [VAULT] transit_key_{name}: not all are set"
        )
    if read_reference(files.key, f"[CA] SUBCA_KEY_PATH_{upper}") is not None:
        raise ConfigError(f"{files.key} names a key that is kept elsewhere; there is nothing to import")
    certificate = load_certificates(files.certificate, f"[CA] SUBCA_CERT_PATH_{upper}")[0]
    secret = passphrase(files.passphrase_file, f"[CA] SUBCA_KEY_PASSPHRASE_FILE_{upper}")
    key_file = KeyFile(files.key, f"[CA] SUBCA_KEY_PATH_{upper}", secret)
    keys = CAKeys(config.ca.key_permissions.value)
    private_key = keys.load(key_file, warn)
    if not public_key_matches(private_key, certificate.spki_der):
        raise ConfigError(f"{files.key} is not the key of the certificate {files.certificate}")
    client = _operator_client(config, arguments)
    transit = Transit(client)
    if transit.exists(key):
        print(f"left  the transit key {key}")
    else:
        transit.import_key(key, private_key)
        print(f"made  the transit key {key}")
    mount = config.vault.named_pki_mounts.get(name)
    if mount is not None:
        ca = load_file_ca(replace(ca_files(config, files), reference=None), keys, utc(time.time()), warn)
        addresses = Addresses.under(config.ca.public_url, certificate)
        is_new = install_issuer(PKIMount(client, mount), private_key, [one.der for one in ca.chain], addresses)
        print(f"{'made' if is_new else 'left'}  the issuer {certificate.key_identifier.hex()} in {mount}/")
    VaultKeys(client, immediate_pools().vault).prove(key.reference(), certificate.spki_der)
    print(
        f"A signature of {key} verifies with the certificate {files.certificate}.\n"
        f"Set [VAULT] enabled = true and signer = {config.vault.signer.value}, and restart the server. Then delete "
        f"{files.key} and its copies"
        + ("." if mount is not None else "; with fallback = true the file stays, and signs while Vault is unreachable.")
    )
    return 0


def print_status(arguments: Namespace) -> int:
    """Print the state of Vault and of the keys there."""
    from functools import partial

    from pikachu.cli.session import configuration, done, table
    from pikachu.core.errors import ConfigError, PikachuError
    from pikachu.server.ca_loading import ca_files
    from pikachu.server.key_sources import approle, pki_roles, vault_client
    from pikachu.server.pools import immediate_pools
    from pikachu.signers.files import load_certificates
    from pikachu.signers.vault.pki_engine import PKIEngines
    from pikachu.signers.vault.source import VaultKeys
    from pikachu.signers.vault.transit_keys import SCHEME

    config = configuration(arguments)
    client = vault_client(config.vault, approle(config.vault))
    source = VaultKeys(client, immediate_pools().vault)

    def outcome(check: Callable[[], None]) -> str:
        try:
            check()
        except (PikachuError, ConfigError) as error:
            return str(error)
        return "ok"

    def prove(reference: KeyReference, files: CAFiles) -> None:
        source.prove(reference, load_certificates(files.certificate, files.setting("CERT"))[0].spki_der)

    engines = PKIEngines(client, config.vault.pki_mounts, pki_roles(config.vault), source.pool)

    def check_engine(files: CAFiles) -> None:
        engine = engines.engine(files.name, load_certificates(files.certificate, files.setting("CERT"))[0].der)
        if engine is not None:
            done(engine.check())

    rows = [("vault", config.vault.address, outcome(client.probe))]
    for name, issuer in config.ca.issuers.items():
        files = ca_files(config, issuer)
        reference = files.key_file.find_reference()
        if reference is not None and reference.scheme == SCHEME:
            rows.append((name, str(reference), outcome(partial(prove, reference, files))))
        if name in engines.mounts:
            rows.append((name, engines.mounts[name], outcome(partial(check_engine, files))))
    table(rows)
    return 0 if all(row[2] == "ok" for row in rows) else 1
