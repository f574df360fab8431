"""``pikachu init``: create what a CA lacks, and report what exists already (INIT-1)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from pikachu.cli.arguments import DAYS

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands

# As pikachu.x509.keys.KEY_NAMES; importing that module is slow (a test compares).
KEY_NAMES = (
    "rsa2048",
    "rsa3072",
    "rsa4096",
    "prime256v1",
    "secp384r1",
    "secp521r1",
    "secp256k1",
    "ed25519",
    "mldsa44",
    "mldsa65",
    "mldsa87",
)
CURVES = ("prime256v1", "secp384r1", "secp521r1", "secp256k1")

_ABOUT = """\
Makes what is missing of: the secret key, a root CA, the issuing CAs that config.ini names with their chains, the files
of the default policy, the database, a certificate for HTTPS, certificate templates, and the account admin. What exists
is left as it is."""


def add_commands(commands: Commands) -> None:
    """Declare ``init``."""
    parser = commands.add_parser("init", help="make the CA, or what is missing of it", description=_ABOUT)
    parser.add_argument(
        "--hostname",
        action="append",
        default=[],
        metavar="NAME",
        help="a name or address of this server for its HTTPS certificate; may be repeated; localhost is always in it "
        "(default: the machine's name)",
    )
    parser.add_argument(
        "--admin-password-file",
        metavar="FILE",
        help="its first line is admin's password, - reads standard input (default: a random one, printed once)",
    )
    parser.add_argument(
        "--public-url",
        metavar="URL",
        help="the plain HTTP address that devices reach, such as http://ca.example.org; certificates name it for CRL "
        "and OCSP; it is set as [CA] public_url in config.ini",
    )
    parser.add_argument(
        "--pkcs11",
        action="store_true",
        help="make the keys of CAs with a label in [PKCS11], or with a key reference file, in the token; they can't be "
        "read or copied",
    )
    parser.add_argument("--quiet", action="store_true", help="say only what was created, not what was left")
    names = parser.add_argument_group("names")
    names.add_argument("--organization", metavar="TEXT", help="O of the CAs' names")
    names.add_argument("--country", metavar="CC", help="C of the CAs' names, two letters")
    names.add_argument("--root-name", metavar="TEXT", default="Pikachu Root CA", help="CN of the root (%(default)s)")
    names.add_argument("--ec-name", metavar="TEXT", default="Pikachu EC CA", help="CN of the EC CA (%(default)s)")
    names.add_argument("--rsa-name", metavar="TEXT", default="Pikachu RSA CA", help="CN of the RSA CA (%(default)s)")
    names.add_argument(
        "--mldsa-name", metavar="TEXT", default="Pikachu ML-DSA CA", help="CN of the ML-DSA CA (%(default)s)"
    )
    keys = parser.add_argument_group("keys")
    keys.add_argument(
        "--root-algorithm",
        choices=KEY_NAMES,
        default="prime256v1",
        metavar="NAME",
        help=f"the root's key (%(default)s): {', '.join(KEY_NAMES)}",
    )
    keys.add_argument(
        "--ec-algorithm",
        choices=CURVES,
        default="prime256v1",
        metavar="NAME",
        help=f"the EC CA's key (%(default)s): {', '.join(CURVES)}",
    )
    keys.add_argument(
        "--rsa-bits", choices=("2048", "3072", "4096"), default="4096", help="the RSA CA's key (%(default)s)"
    )
    keys.add_argument(
        "--mldsa",
        choices=("44", "65", "87"),
        nargs="?",
        const="65",
        help="make an ML-DSA issuing CA too (65); where config.ini does not name its files, they are created "
        "beside the root's, and the lines for config.ini are printed",
    )
    days = parser.add_argument_group("validity")
    days.add_argument("--root-days", type=DAYS, default=3650, metavar="N", help="of the root (%(default)s)")
    days.add_argument("--sub-days", type=DAYS, default=1825, metavar="N", help="of issuing CAs (%(default)s)")
    days.add_argument("--https-days", type=DAYS, default=825, metavar="N", help="of HTTPS certificates (%(default)s)")
    parser.set_defaults(run=run_init)


def run_init(arguments: Namespace) -> int:
    """Create what is missing."""
    from pikachu.cli.bootstrap import Initialization, set_public_url
    from pikachu.cli.session import configuration

    config = configuration(arguments)
    if arguments.public_url is not None and set_public_url(config, arguments.public_url):
        config = configuration(arguments)
    Initialization(config, arguments).run()
    return 0
