"""TPL-2: certificate templates give the same bytes as the real openssl does for the same text."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pikachu.inventory.template_files import SHIPPED_FOLDER
from pikachu.web.x509_rendering import JinjaText
from pikachu.x509 import der
from pikachu.x509.extension import Extension, parse_extensions
from pikachu.x509.template import ExtensionContext, certification_request_info, parse
from tests.support.interop import require
from tests.support.template_texts import EXTENSIONS, REQUESTS, WHOLE_TEXTS

pytestmark = pytest.mark.interop

_AUTOMATIC = ("2.5.29.14", "2.5.29.35")


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Authority:
    """An issuing CA below a root, a request, and what both mean for the extensions."""

    folder: Path
    context: ExtensionContext
    spki: bytes


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    require("openssl")
    folder = tmp_path_factory.mktemp("openssl")
    config = folder / "empty.cnf"
    config.write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n[sub]\nsubjectKeyIdentifier=hash\n"
        "basicConstraints=critical,CA:TRUE\nsubjectAltName=email:ca@example.com,DNS:ca.example.com\n"
    )
    for name in ("root", "ca", "leaf"):
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", folder / f"{name}.key")
    _openssl(
        "req",
        "-x509",
        "-config",
        config,
        "-key",
        folder / "root.key",
        "-subj",
        "/C=DE/CN=Root",
        "-days",
        "30",
        "-out",
        folder / "root.crt",
    )
    _openssl(
        "req",
        "-new",
        "-config",
        config,
        "-key",
        folder / "ca.key",
        "-subj",
        "/O=Example/CN=Sub",
        "-out",
        folder / "ca.csr",
    )
    _openssl(
        "x509",
        "-req",
        "-in",
        folder / "ca.csr",
        "-CA",
        folder / "root.crt",
        "-CAkey",
        folder / "root.key",
        "-set_serial",
        "0x80abcdef",
        "-days",
        "30",
        "-extfile",
        config,
        "-extensions",
        "sub",
        "-out",
        folder / "ca.crt",
    )
    _openssl(
        "req",
        "-new",
        "-config",
        config,
        "-key",
        folder / "leaf.key",
        "-out",
        folder / "leaf.csr",
        "-subj",
        "/CN=leaf/emailAddress=a@example.com/emailAddress=b@example.com",
    )
    _openssl("x509", "-in", folder / "ca.crt", "-outform", "DER", "-out", folder / "ca.der")
    _openssl("req", "-in", folder / "leaf.csr", "-outform", "DER", "-out", folder / "leaf.der")
    issuer = _certificate_fields(folder / "ca.der")
    extensions = {e.oid: e for e in parse_extensions(issuer[-1].sub()[0].whole)}
    info = der.parse((folder / "leaf.der").read_bytes()).sub()[0].sub()
    context = ExtensionContext(
        subject_spki=info[2].whole,
        subject_der=info[1].whole,
        issuer_key_identifier=der.parse(extensions["2.5.29.14"].value).content,
        issuer_issuer_der=issuer[3].whole,
        issuer_serial=issuer[1].integer(),
        issuer_names=extensions["2.5.29.17"].value,
    )
    return Authority(folder, context, info[2].whole)


def _certificate_fields(path: Path) -> list[der.Element]:
    """version, serial, algorithm, issuer, validity, subject, key, extensions."""
    return der.parse(path.read_bytes()).sub()[0].sub()


def _by_openssl(authority: Authority, text: str, section: str | None, folder: Path) -> tuple[Extension, ...]:
    config, out = folder / "ext.cnf", folder / "out.der"
    config.write_bytes(text.encode("utf-8"))
    of = authority.folder
    _openssl(
        "x509",
        "-req",
        "-in",
        of / "leaf.csr",
        "-CA",
        of / "ca.crt",
        "-CAkey",
        of / "ca.key",
        "-set_serial",
        "1",
        "-days",
        "2",
        "-extfile",
        config,
        *(["-extensions", section] if section else []),
        "-outform",
        "DER",
        "-out",
        out,
    )
    last = _certificate_fields(out)[-1]
    return parse_extensions(last.sub()[0].whole) if last.tag == 0xA3 else ()


def _compare(authority: Authority, text: str, section: str | None, folder: Path) -> None:
    ours = parse(text).extensions(authority.context)
    named = {extension.oid for extension in ours}
    theirs = [e for e in _by_openssl(authority, text, section, folder) if e.oid in named or e.oid not in _AUTOMATIC]
    # openssl moves a subjectKeyIdentifier before an authorityKeyIdentifier; the order is no part of the value.
    assert sorted((e.oid, e.der.hex()) for e in ours) == sorted((e.oid, e.der.hex()) for e in theirs)


@pytest.mark.parametrize("text", EXTENSIONS)
def test_extensions_equal_those_of_openssl(authority: Authority, text: str, tmp_path: Path) -> None:
    """TPL-2: every extension, as inline list and with sections."""
    _compare(authority, f"[ v3_ext ]\n{text}\n", "v3_ext", tmp_path)


@pytest.mark.parametrize("text", WHOLE_TEXTS)
def test_whole_texts_are_read_as_openssl_reads_them(authority: Authority, text: str, tmp_path: Path) -> None:
    """TPL-2: comments, continued lines, quotation, variables, sections, and texts without a section."""
    _compare(authority, text, "v3_ext" if "v3_ext" in text else None, tmp_path)


def test_the_table_is_wide_enough() -> None:
    """TPL-2: at least a hundred configurations are compared."""
    assert len(set(EXTENSIONS)) >= 100
    assert len(set(REQUESTS)) >= 10


@pytest.mark.parametrize("text", ["subjectKeyIdentifier = none", "authorityKeyIdentifier = none"])
def test_none_leaves_the_extension_out(authority: Authority, text: str, tmp_path: Path) -> None:
    """TPL-2: as openssl does."""
    text = f"[ v3_ext ]\n{text}\nnsComment = x\n"
    named = {"2.5.29.14" if "subject" in text else "2.5.29.35"}
    assert not named & {extension.oid for extension in parse(text).extensions(authority.context)}
    assert not named & {extension.oid for extension in _by_openssl(authority, text, "v3_ext", tmp_path)}


@pytest.mark.parametrize("text", REQUESTS)
def test_requests_equal_those_of_openssl(authority: Authority, text: str, tmp_path: Path) -> None:
    """TPL-1: the CertificationRequestInfo, with names, attributes and extensions."""
    _compare_request(authority, text, tmp_path)


def _compare_request(authority: Authority, text: str, folder: Path) -> None:
    config, out = folder / "req.cnf", folder / "out.der"
    config.write_bytes(text.encode("utf-8"))
    _openssl(
        "req",
        "-new",
        "-batch",
        "-config",
        config,
        "-key",
        authority.folder / "leaf.key",
        "-outform",
        "DER",
        "-out",
        out,
    )
    theirs = der.parse(out.read_bytes()).sub()[0].whole
    assert certification_request_info(parse(text).request(), authority.spki).hex() == theirs.hex()


@pytest.mark.parametrize("name", sorted(path.name for path in SHIPPED_FOLDER.glob("*.cnf.j2")))
def test_shipped_templates_are_read_as_openssl_reads_them(authority: Authority, name: str, tmp_path: Path) -> None:
    """TPL-4: each shipped file, rendered with its defaults and with other values."""
    jinja = JinjaText((SHIPPED_FOLDER / name).read_text(encoding="utf-8"))
    other = {
        "organization": 'Acme # 1 [x] "y" $z\\',
        "country": "DE",
        "dns_names": "a.example.org, *.example.org",
        "ip_addresses": "192.0.2.1, 2001:db8::1",
        "email": "someone@example.org",
        "path_length": "1",
        "permitted_dns": "example.org, example.net",
        "no_check": "false",
        "also_server": "true",
        "also_client": "true",
        "also_email": "true",
        "must_staple": "true",
    }
    known = {variable.name for variable in jinja.variables}
    for values in ({}, {name: value for name, value in other.items() if name in known}):
        text = jinja.render(values)
        usages = parse(text).usages
        if "ext" in usages:
            _compare(authority, text, "v3_ext", tmp_path)
        if "req" in usages:
            _compare_request(authority, text, tmp_path)
