"""CA certificates that other programs made, of every string type and with encodings that libraries refuse.

They serve as root, as issuing CA, in ``client_ca`` and in the chain of HTTPS (INIT-2, INIT-4): read, and byte for byte
what they are in what is issued; or refused in one line with the setting and the file.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from pikachu.core.errors import ConfigError
from pikachu.core.model.people import SYSTEM
from pikachu.server.listener_tls import listener_tls
from pikachu.x509 import der
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.crl import parse_crl_summary
from pikachu.x509.names import read_name
from pikachu.x509.pem import certificates_pem, pem
from tests.support import odd_certificates as odd
from tests.support.deferreds import result_of
from tests.support.odd_certificates import EQUAL_NAMES, FORMS, NAMES, Form, certificate
from tests.support.pki import key_pem, make_csr, make_key
from tests.support.server import Client, Server, end, make_server
from tests.support.site import SMALL, Site, empty_site
from tests.support.stack import Files, Stack, make_files, open_stack

PLAIN: Final = NAMES["IA5String"]
OTHER: Final = NAMES["no common name"]
LISTENERS: Final = {
    ("HTTPS", "port"): "18443",
    ("HTTPS", "request_client_certificate"): "true",
    ("TRUSTED_HTTPS", "trusted_port"): "18444",
}
WITHOUT_TLS: Final = {("HTTPS", "port"): "0", ("TRUSTED_HTTPS", "trusted_port"): "0"}


class Hierarchy:
    """A root, the issuing CA below it, and a device below that, of any form.

    :param issuer: the issuer's name in the issuing CA's certificate; without one the root's.
    """

    def __init__(
        self,
        root: bytes,
        sub: bytes,
        root_form: Form | None = None,
        sub_form: Form | None = None,
        *,
        issuer: bytes | None = None,
    ) -> None:
        self.root_key, self.sub_key = make_key("p256"), make_key("p256")
        self.root = certificate(self.root_key, root, root_form or Form())
        self.sub = certificate(
            self.sub_key, sub, sub_form or Form(), issuer_key=self.root_key, issuer=root if issuer is None else issuer
        )

    def write(self, folder: Path, names: Mapping[str, str]) -> None:
        """Write the files under their names: ``root``, ``sub``, ``chain`` and, optionally, those of HTTPS."""
        contents = {"root.crt": [self.root], "sub.crt": [self.sub], "chain": [self.sub, self.root]}
        keys = {"root.key": self.root_key, "sub.key": self.sub_key}
        for part, name in names.items():
            path = folder / name
            path.write_bytes(key_pem(keys[part]) if part in keys else certificates_pem(contents[part]).encode())
            path.chmod(0o600)

    def install(self, files: Files) -> None:
        """Put them in the place of a stack's CAs; the issuing CA's certificate serves HTTPS as well."""
        self.write(
            files.folder,
            {
                "root.crt": "root.crt",
                "root.key": "root.key",
                "sub.crt": "ec.crt",
                "sub.key": "ec.key",
                "chain": "ec-chain.crt",
            },
        )
        self.write(files.folder, {"chain": "https.crt", "sub.key": "https.key"})


@contextmanager
def running(folder: Path, hierarchy: Hierarchy, changes: Mapping[tuple[str, str], str]) -> Iterator[Stack]:
    """Run the server's objects over these CAs; a warning fails the test."""
    files = make_files(folder, changes=changes)
    hierarchy.install(files)
    stack = open_stack(files)
    try:
        yield stack
    finally:
        stack.close()


def check(stack: Stack, hierarchy: Hierarchy) -> None:
    """Everything that leans on the CA's certificate works, and names stay byte for byte what they are."""
    root, sub = parse_certificate(hierarchy.root), parse_certificate(hierarchy.sub)
    issuer = stack.issuer()
    assert issuer.chain == (hierarchy.sub, hierarchy.root)
    leaf = parse_certificate(stack.issue().der)
    assert leaf.issuer_der == sub.subject_der
    assert leaf.authority_key_identifier == sub.key_identifier
    crl = result_of(stack.app.ca_directory.make_crl(SYSTEM, "ec")).crl
    assert crl is not None
    assert parse_crl_summary(crl.der_path.read_bytes()).issuer_der == sub.subject_der
    described = {ca.name: (ca.subject, ca.issuer) for ca in stack.app.ca_directory.all()}
    assert described["ec"] == (read_name(sub.subject_der).text, read_name(sub.issuer_der).text)
    assert described["root"][0] == read_name(root.subject_der).text
    assert all("\n" not in text and "\0" not in text for pair in described.values() for text in pair)


PLACES: Final = ("root", "issuing CA")


def place(where: str, name: bytes = PLAIN, form: Form | None = None) -> Hierarchy:
    """Put an odd name or form at one level of the chain; the certificates above and below it are ordinary."""
    return Hierarchy(name, OTHER, form) if where == "root" else Hierarchy(OTHER, name, None, form)


READABLE: Final = [
    *((f"name: {title}", name, Form()) for title, name in NAMES.items()),
    *((f"form: {title}", PLAIN, form) for title, form in FORMS.items()),
]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("name", "form"), [case[1:] for case in READABLE], ids=[case[0] for case in READABLE])
def test_readable(tmp_path: Path, where: str, name: bytes, form: Form) -> None:
    """As root and issuing CA, in the chain of HTTPS, and in ``client_ca``, with TLS that trusts it."""
    hierarchy = place(where, name, form)
    odd_one = hierarchy.root if where == "root" else hierarchy.sub
    (tmp_path / "clients.pem").write_text(certificates_pem([odd_one]))
    client_ca = {("TRUSTED_HTTPS", "client_ca"): str(tmp_path / "clients.pem")}
    with running(tmp_path / "server", hierarchy, {**LISTENERS, **client_ca}) as stack:
        for listener in ("https", "trusted_https"):
            assert listener_tls(stack.app, listener) is not None
        assert [anchor.der for anchor in stack.app.manufacturers] == [odd_one]
        check(stack, hierarchy)


@pytest.mark.parametrize("title", odd.ROOT_FORMS)
def test_roots_without_extensions(tmp_path: Path, title: str) -> None:
    """A root of version 1 has no basicConstraints; an issuing CA needs them."""
    form = odd.ROOT_FORMS[title]
    hierarchy = place("root", form=form)
    with running(tmp_path / "root", hierarchy, LISTENERS) as stack:
        check(stack, hierarchy)
    with refused(r"\[CA\] SUBCA_CERT_PATH_EC: .*ec.crt: basicConstraints does not say CA:TRUE"):
        start(tmp_path / "sub", place("issuing CA", form=form), LISTENERS)


WITHOUT_OPENSSL: Final = [
    *((title, name, Form()) for title, name in odd.NAMES_WITHOUT_TLS.items()),
    *((title, PLAIN, form) for title, form in odd.FORMS_WITHOUT_TLS.items()),
]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("name", "form"), [case[1:] for case in WITHOUT_OPENSSL], ids=[case[0] for case in WITHOUT_OPENSSL]
)
def test_without_tls(tmp_path: Path, where: str, name: bytes, form: Form) -> None:
    """A certificate that OpenSSL does not read serves where no TLS needs it; elsewhere one line names the file."""
    hierarchy = place(where, name, form)
    odd_one = hierarchy.root if where == "root" else hierarchy.sub
    with running(tmp_path / "without", hierarchy, WITHOUT_TLS) as stack:
        check(stack, hierarchy)

    (tmp_path / "clients.pem").write_text(certificates_pem([odd_one]))
    client_ca = {("TRUSTED_HTTPS", "client_ca"): str(tmp_path / "clients.pem")}
    with refused(rf"^\[TRUSTED_HTTPS\] client_ca: {tmp_path}/clients.pem holds the CA .* can't be used for TLS: "):
        start(tmp_path / "anchor", hierarchy, {**LISTENERS, **client_ca})

    with running(tmp_path / "https", hierarchy, LISTENERS) as stack:
        with refused(rf"^\[HTTPS\] ssl_cert: certificate . of {tmp_path}/https/https.crt can't be used for TLS: "):
            listener_tls(stack.app, "https")
        ordinary = place("root")
        ordinary.write(stack.files.folder, {"chain": "https.crt", "sub.key": "https.key"})
        # The issuing CA's certificate has its issuer's name, too.
        if where == "issuing CA" or name != PLAIN:
            with refused(r"^\[CA\] SUBCA_CERT_PATH_EC: the certificate can't be used to verify clients in TLS: "):
                listener_tls(stack.app, "trusted_https")
        else:
            assert listener_tls(stack.app, "trusted_https") is not None


@contextmanager
def refused(reason: str) -> Iterator[None]:
    """Require a ConfigError of one line that matches *reason*."""
    with pytest.raises(ConfigError, match=reason) as caught:
        yield
    assert "\n" not in str(caught.value)


def start(folder: Path, hierarchy: Hierarchy, changes: Mapping[tuple[str, str], str]) -> None:
    """Start and stop."""
    with running(folder, hierarchy, changes):
        pass


@pytest.mark.parametrize("title", odd.REFUSED_FORMS)
def test_refused(tmp_path: Path, title: str) -> None:
    """One line with setting, file and reason: as root, as issuing CA, in ``client_ca`` and in the chain of HTTPS."""
    form, reason = odd.REFUSED_FORMS[title]
    for where, setting, file in (
        ("root", r"\[CA\] CHAIN_FILE_PATH_EC", "ec-chain.crt"),
        ("issuing CA", r"\[CA\] SUBCA_CERT_PATH_EC", "ec.crt"),
    ):
        with refused(f"^{setting}: .*{file} can't be read: .*{reason}"):
            start(tmp_path / where, place(where, form=form), WITHOUT_TLS)
    (tmp_path / "bad.pem").write_text(certificates_pem([place("root", form=form).root]))
    client_ca = {("TRUSTED_HTTPS", "client_ca"): str(tmp_path / "bad.pem")}
    with refused(rf"^\[TRUSTED_HTTPS\] client_ca: .*bad.pem can't be read: .*{reason}"):
        start(tmp_path / "clients", place("root"), {**LISTENERS, **client_ca})
    https = {("HTTPS", "ssl_cert"): str(tmp_path / "bad.pem")}
    told = rf"^\[HTTPS\] ssl_cert: .*bad.pem can't be read: .*{reason}"
    with running(tmp_path / "https", place("root"), {**LISTENERS, **https}) as stack, refused(told):
        listener_tls(stack.app, "https")


@pytest.mark.parametrize("title", EQUAL_NAMES)
def test_equal_names(tmp_path: Path, title: str) -> None:
    """RFC 5280 section 7.1: case, string types and spaces do not matter to a chain."""
    root, issuer = EQUAL_NAMES[title]
    hierarchy = Hierarchy(root, OTHER, issuer=issuer)
    with running(tmp_path, hierarchy, LISTENERS) as stack:
        check(stack, hierarchy)
        assert listener_tls(stack.app, "trusted_https") is not None


def test_other_names(tmp_path: Path) -> None:
    """A key that signed is not enough: the names must match."""
    with refused("no certificate in it has issued 'O=Odd CA'"):
        start(tmp_path, Hierarchy(PLAIN, OTHER, issuer=NAMES["BMPString"]), LISTENERS)


def test_rsa_without_null(tmp_path: Path) -> None:
    """RFC 4055 section 5: decoders accept RSA algorithms without NULL."""
    hierarchy = Hierarchy(PLAIN, OTHER)
    hierarchy.root_key = make_key("rsa2048")
    for title, form in odd.RSA_FORMS.items():
        hierarchy.root = certificate(hierarchy.root_key, PLAIN, form)
        hierarchy.sub = certificate(hierarchy.sub_key, OTHER, form, issuer_key=hierarchy.root_key, issuer=PLAIN)
        with running(tmp_path / title, hierarchy, LISTENERS) as stack:
            check(stack, hierarchy)


LABELS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "X509 CERTIFICATE": lambda one: pem("X509 CERTIFICATE", one).encode(),
    "TRUSTED CERTIFICATE": lambda one: pem("TRUSTED CERTIFICATE", one + der.sequence(der.sequence())).encode(),
    "UTF-16": lambda one: pem("CERTIFICATE", one).encode("utf-16"),
    "UTF-16, no mark": lambda one: pem("CERTIFICATE", one).encode("utf-16-le"),
    "DER": lambda one: one,
    "Base64": lambda one: pem("", one).partition("\n")[2].rpartition("-----END")[0].encode(),
    "text around": lambda one: b"Certificate:\r\n  Version: 3\r\n" + pem("CERTIFICATE", one).encode() + b"the end",
}


@pytest.mark.parametrize("label", LABELS)
def test_files(tmp_path: Path, label: str) -> None:
    """Files in other forms than plain PEM, at each place."""
    hierarchy = place("root")
    encode = LABELS[label]
    files = make_files(tmp_path, changes={**LISTENERS, ("TRUSTED_HTTPS", "client_ca"): "root.crt"})
    hierarchy.install(files)
    for name, one in (("root.crt", hierarchy.root), ("ec.crt", hierarchy.sub), ("https.crt", hierarchy.sub)):
        (files.folder / name).write_bytes(encode(one))
    (files.folder / "ec-chain.crt").write_bytes(encode(hierarchy.root))
    stack = open_stack(files)
    try:
        check(stack, hierarchy)
        assert listener_tls(stack.app, "trusted_https") is not None
    finally:
        stack.close()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (pem("PKCS7", b"1").encode(), "holds no certificate, but: PKCS7; extract .* `openssl pkcs7 -print_certs`"),
        (pem("PRIVATE KEY", b"1").encode(), "holds no certificate, but: PRIVATE KEY$"),
        (pem("CERTIFICATE REQUEST", b"1").encode("utf-16"), "holds no certificate, but: CERTIFICATE REQUEST$"),
        (b"", "holds no certificate$"),
        (b"nonsense", "holds no certificate$"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB", "holds no certificate that can be read: a PEM block has no END line"),
        (b"\x30\x03\x02\x01\x05", "can't be read: this is not a certificate"),
    ],
)
def test_files_that_hold_none(tmp_path: Path, content: bytes, told: str) -> None:
    """The error names the file's actual content."""
    files = make_files(tmp_path)
    (files.folder / "ec.crt").write_bytes(content)
    with refused(rf"^\[CA\] SUBCA_CERT_PATH_EC: .*ec.crt {told}"):
        open_stack(files)


SPOKEN: Final = {
    "T61String": (NAMES["T61String in Latin-1"], Form()),
    "PrintableString": (NAMES["PrintableString with &"], Form()),
    "BMPString": (NAMES["BMPString"], Form()),
    "C=USA": (NAMES["C=USA"], Form()),
    "control characters": (NAMES["control characters"], Form()),
    "critical FALSE": (PLAIN, FORMS["critical FALSE"]),
    "negative serial": (PLAIN, FORMS["negative serial"]),
    "zero serial": (PLAIN, FORMS["zero serial"]),
    "end of time": (PLAIN, FORMS["end of time"]),
    "version 2": (PLAIN, FORMS["version 2"]),
}


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return empty_site(tmp_path, capsys)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("title", SPOKEN)
def test_commands(site: Site, where: str, title: str) -> None:
    """INIT-2: every command works over such a CA, and prints no warning."""
    hierarchy = place(where, *SPOKEN[title])
    pki = site.path("var/pki")
    pki.mkdir(parents=True, mode=0o700)
    names = {"root.crt": "root.crt", "root.key": "root.key", "sub.crt": "subca_ec.crt", "sub.key": "subca_ec.key"}
    hierarchy.write(pki, names)
    site.config(
        lambda text: "".join(line for line in text.splitlines(keepends=True) if not line.split(" ")[0].endswith("_RSA"))
    )
    site.write("device.csr", make_csr()[1])
    for command in (
        ("init", *SMALL),
        ("init",),
        ("config",),
        ("crl",),
        ("sign", "device.csr"),
        ("ca", "rotate", "ec", "--now"),
    ):
        site.do(*command)
        assert site.err == "", command
    assert [row[0] for row in site.rows("crl")][:1] == ["ec"]
    assert site.err == ""


def test_server(tmp_path: Path) -> None:
    """A real server starts without a warning, and authenticates clients of such CAs by TLS."""
    root, issuer = EQUAL_NAMES["all of them"]
    hierarchy = Hierarchy(root, NAMES["T61String in Latin-1"], issuer=issuer)
    maker = Hierarchy(*EQUAL_NAMES["T61String and UTF8String"])
    server = make_server(
        tmp_path, changes={("TRUSTED_HTTPS", "client_ca"): "makers.pem", ("CA", "public_url"): "http://ca.example.com"}
    )
    hierarchy.install(server.files)
    (tmp_path / "makers.pem").write_text(certificates_pem([maker.root]))
    key, csr = make_csr(sans=["localhost"])
    (tmp_path / "client.csr").write_bytes(csr)
    client = server.run("sign", "client.csr", "--policy", "System")
    (tmp_path / "client.pem").write_bytes(key_pem(key) + client.encode())
    # A device whose issuer's name has another string type than its manufacturer's CA.
    name = odd.EQUAL_NAMES["T61String and UTF8String"][1]
    device_key = make_key("p256")
    device = certificate(device_key, OTHER, Form(serial=b"\x02\x02\x10\x05"), issuer_key=maker.root_key, issuer=name)
    (tmp_path / "device.pem").write_bytes(key_pem(device_key) + certificates_pem([device]).encode())
    try:
        server.start()
        for name_of_client in ("client", "device"):
            answer = request(server, tmp_path / f"{name_of_client}.pem")
            assert answer == 200, (name_of_client, server.log)
        assert server.stop() == 0
    finally:
        end(server)
    for text in (server.console, server.log):
        assert "arning" not in text
        assert "Traceback" not in text
        assert " WARN " not in text


def request(server: Server, identity: Path) -> int:
    """Ask on the trusted port with that client certificate; return the status."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(identity)
    with Client(server.ports["trusted_https"], context) as client:
        return client.ask("/.well-known/est/cacerts").status
