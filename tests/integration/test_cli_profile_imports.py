"""``pikachu import``: profiles become policies and certificate templates, and databases of cfssl are read (OPS-7)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pikachu.cli.session import done, opened, operator
from pikachu.config.loading import load
from pikachu.core.errors import BadTemplate
from pikachu.core.model.account_objects import CertificateTemplate
from pikachu.core.model.certificates import CertificateRecord, Method, RevocationReason
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import Role
from pikachu.core.model.policies import Policy
from pikachu.operations import cfssl_records, profile_import
from tests.support.pki import Identity, make_ca, make_csr, make_leaf
from tests.support.site import SMALL, Site, empty_site, founded_site
from tests.unit.x509.ca_profiles.test_openssl import CONFIG

CFSSL: dict[str, Any] = {
    "signing": {
        "default": {"expiry": "720h", "usages": ["signing", "client auth"]},
        "profiles": {
            "www": {"usages": ["signing", "key encipherment", "server auth"], "expiry": "2160h", "auth_key": "k"},
            "inter": {"usages": ["cert sign", "crl sign"], "ca_constraint": {"is_ca": True}},
            "far": {"remote": "https://other.example.com"},
        },
    }
}
ROOT_FILES = ("root.key", "root.crt", "subca_ec.crt")
# The schema of cfssl's SQLite database, as its migrations leave it.
SCHEMA = """\
CREATE TABLE certificates (
    serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL,
    reason int, expiry timestamp, revoked_at timestamp, pem blob NOT NULL, issued_at timestamp, not_before timestamp,
    metadata text, sans text, common_name text,
    PRIMARY KEY (serial_number, authority_key_identifier));
CREATE TABLE ocsp_responses (
    serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, body blob NOT NULL, expiry timestamp,
    PRIMARY KEY (serial_number, authority_key_identifier));
"""


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    return founded_site(folder, capsys, tmp_path_factory)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "other"
    made.mkdir()
    return made


def policies(site: Site) -> dict[str, Policy]:
    """The stored policies by name."""
    with opened(load(site.path("config.ini"), {})) as app:
        return {one.name: one for one in done(app.policy_administration.list(operator(), ListQuery(limit=100))).items}


def templates(site: Site) -> dict[str, CertificateTemplate]:
    """The imported ones by name."""
    with opened(load(site.path("config.ini"), {})) as app:
        page = done(app.templates.list(operator(), ListQuery(limit=100)))
    return {one.name: one for one in page.items if one.origin in ("ca.cnf", "ca-config.json", "ca")}


def lines_of(site: Site, *kinds: str) -> list[tuple[str, ...]]:
    """The lines about files that the last command printed: all, or of these kinds."""
    rows = [tuple(line.split("\t")) for line in site.out.splitlines() if "\t" in line]
    return [row for row in rows if not kinds or row[0] in kinds]


def test_profiles(site: Site, folder: Path) -> None:
    """A dry run writes nothing; an import creates each once, and what was changed here since is a conflict."""
    (folder / "ca.cnf").write_text(CONFIG.replace("$ENV::CA_DIR", "."))
    (folder / "ca-config.json").write_text(json.dumps(CFSSL))
    (folder / "x509-types").mkdir()
    for name, text in (("server", "extendedKeyUsage = serverAuth\n"), ("ca", "basicConstraints = CA:TRUE\n")):
        (folder / "x509-types" / name).write_text(text)
    (folder / "vars").write_text("set_var EASYRSA_CERT_EXPIRE 60\n")
    (folder / "device.cnf.j2").write_text("[ v3_ext ]\n")
    (folder / "latin.cnf").write_bytes(b"# \xe9\n[ ca ]\n")
    (folder / "broken.cnf").write_text("[ req ]\ndistinguished_name\n")
    before = policies(site)
    told = site.do("import", "--dry-run", str(folder))
    assert "5 policies and 4 certificate templates would be created; 0 known before" in told
    dry = lines_of(site)
    assert (policies(site), templates(site)) == (before, {})
    told = site.do("import", str(folder))
    assert "5 policies and 4 certificate templates created; 0 known before" in told
    assert lines_of(site) == dry
    assert {("policy", "ca.cnf", "devices: 90 days"), ("policy", "x509-types/server", "server: 60 days")} <= set(dry)
    assert [row[1:] for row in dry if row[0] == "skipped"] == [
        ("device.cnf.j2", "copy it into the folder that [PATHS] x509_templates names"),
        ("latin.cnf", "the text is not UTF-8"),
        ("broken.cnf", 'line 2: expected name = value, found "distinguished_name"'),
        ("ca-config.json", "far: another cfssl signs for it (remote)"),
    ]
    assert ("template", "x509-types/ca", "ca: with CA:TRUE, which is no policy's") in dry
    notes = [about for kind, _, about in dry if kind == "note"]
    assert any(one.startswith("www: auth_key") for one in notes)
    assert any("that C, O are as the CA has them is not checked" in one for one in notes)
    added = policies(site)
    assert added.keys() - before.keys() == {"devices", "plain", "default", "www", "server"}
    assert (added["devices"].days, added["devices"].limits.honour_names) == (90, True)
    assert (added["plain"].days, added["plain"].limits.honour_names) == (365, False)
    for name in added.keys() - before.keys():
        assert added[name].system
        assert added[name].roles == (Role.OPERATOR, Role.ADMIN)
        assert not added[name].use_for_est
    assert templates(site).keys() == {"sub_ca", "ca req", "inter", "ca"}
    assert templates(site)["sub_ca"].profile_type == "Sub CA"
    assert "5 policies" not in site.do("import", str(folder))
    assert "0 policies and 0 certificate templates created; 9 known before" in site.out
    with opened(load(site.path("config.ini"), {})) as app:
        www = added["www"]
        done(app.policy_administration.change(operator(), www.id, lambda one: replace(one, days=7)))
    assert site.run("import", str(folder)) == 1
    assert ("conflict", "ca-config.json", "www: another policy has this name") in lines_of(site)
    assert policies(site)["www"].days == 7
    assert "policies" not in site.do("import", "--no-profiles", str(folder))
    assert "none changed" in site.do("audit", "verify")


def test_an_interrupted_import_continues(site: Site, folder: Path) -> None:
    """Only the rest is created."""
    part = {"signing": {"profiles": {"www": CFSSL["signing"]["profiles"]["www"]}}}
    (folder / "ca-config.json").write_text(json.dumps(part))
    site.do("import", str(folder))
    (folder / "ca-config.json").write_text(json.dumps(CFSSL))
    assert "1 policies and 1 certificate templates created; 1 known before" in site.do("import", str(folder))


def test_a_subject_as_the_ca_has_it(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the CA's name begins with what must match, requests are held to it; else it is said."""
    site = empty_site(tmp_path, capsys)
    site.do("init", "--organization", "Example", "--country", "DE", *SMALL)
    sections = []
    for name, attributes in (("both", "CO"), ("swapped", "OC"), ("one", "O"), ("other", "CL")):
        keys = {"C": "countryName", "O": "organizationName", "L": "localityName"}
        lines = "".join(f"{keys[one]} = match\n" for one in attributes)
        ca = f"[{name}]\ndatabase = x\ndefault_days = 9\npolicy = p_{name}\nx509_extensions = e\n"
        sections.append(f"{ca}[p_{name}]\n{lines}")
    (folder / "ca.cnf").write_text("".join(sections) + "[e]\nkeyUsage = digitalSignature\n")
    site.do("import", str(folder))
    notes = {row[2].partition(":")[0]: row[2] for row in lines_of(site, "note")}
    assert "subjects must begin with C, O of the CA" in notes["both"]
    assert "not checked" in notes["one"]
    assert "not checked" in notes["other"]
    patterns = {name: one.limits.subject for name, one in policies(site).items()}
    assert [patterns[name] for name in ("both", "swapped", "one", "other")] == ["*,O=Example,C=DE"] * 2 + [None] * 2
    for subject, is_issued in (("C=DE,O=Example,CN=a", True), ("C=DE,O=Other,CN=a", False), ("CN=a", False)):
        subject_name = x509.Name.from_rfc4514_string(",".join(reversed(subject.split(","))))
        site.write("a.csr", make_csr(subject=subject_name)[1])
        assert site.run("sign", "a.csr", "--policy", "both") == (0 if is_issued else 1), site.err


def rows(site: Site) -> list[dict[str, Any]]:
    """The rows of certificates of the EC CA, and of another one."""
    key_pem, pem = (site.path(f"var/pki/subca_ec.{suffix}").read_bytes() for suffix in ("key", "crt"))
    key: Any = serialization.load_pem_private_key(key_pem, None)
    ca = Identity(key, x509.load_pem_x509_certificate(pem))
    other = make_ca(name="Another CA")
    made = {name: make_leaf(ca, f"{name}.example.com") for name in ("good", "revoked", "held")}
    made["foreign"] = make_leaf(other, "foreign.example.com")
    table = []
    for name, leaf in made.items():
        issuer = (other if name == "foreign" else ca).certificate
        key_identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        status = {"revoked": ("revoked", 1), "held": ("revoked", 6)}.get(name, ("good", 0))
        table.append(
            {
                "serial_number": str(leaf.certificate.serial_number),
                "authority_key_identifier": key_identifier.hex(),
                "ca_label": "",
                "status": status[0],
                "reason": status[1],
                "expiry": "2030-01-01 00:00:00+00:00",
                "revoked_at": "2026-11-02 03:04:05+00:00" if status[0] == "revoked" else "0001-01-01 00:00:00+00:00",
                "pem": leaf.pem.decode(),
            }
        )
    return table


def write_database(path: Path, table: list[dict[str, Any]]) -> None:
    """Write cfssl's SQLite file."""
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    for row in table:
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        connection.execute(f"INSERT INTO certificates ({names}) VALUES ({marks})", row)
    connection.execute("INSERT INTO ocsp_responses VALUES ('1', '00', 'x', NULL)")
    connection.commit()
    connection.close()


def write_array(path: Path, table: list[dict[str, Any]]) -> None:
    """Write an array, as sqlite3 -json does."""
    path.write_text(json.dumps(table, indent=1))


def write_lines(path: Path, table: list[dict[str, Any]]) -> None:
    """Write an object a line, as psql does with row_to_json."""
    path.write_text("".join(json.dumps(row) + "\n" for row in table))


def write_postgres(path: Path, table: list[dict[str, Any]]) -> None:
    """Write an object a line with the columns as PostgreSQL's schema has them: of bytes, in hexadecimal."""
    names = ("serial_number", "authority_key_identifier", "ca_label", "status", "pem")
    write_lines(path, [row | {name: f"\\x{row[name].encode().hex()}" for name in names} for row in table])


def inventory(site: Site) -> dict[str, CertificateRecord]:
    """The imported certificates by common name."""
    with opened(load(site.path("config.ini"), {})) as app:
        query = ListQuery(limit=100, filters={"method": Method.IMPORT.value})
        page = done(app.inventory.certificates(operator(), query))
        found = [done(app.store.certificate_by_serial(one.serial)) for one in page.items]
    return {one.common_name: one for one in found}


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("certs.db", write_database),
        ("certs.json", write_array),
        ("rows.json", write_lines),
        ("bytes.json", write_postgres),
    ],
)
def test_cfssl_database(
    site: Site, folder: Path, name: str, write: Callable[[Path, list[dict[str, Any]]], None]
) -> None:
    """SQLite, or the rows as JSON: certificates with their status; another CA's are foreign."""
    table = rows(site)
    write(folder / name, table)
    told = site.do("import", "--dry-run", str(folder))
    assert "3 certificates would be imported, 2 of them revoked; 0 known before" in told
    assert inventory(site) == {}
    told = site.do("import", str(folder))
    assert "3 certificates imported, 2 of them revoked; 0 known before" in told
    assert [row[:2] for row in lines_of(site)] == [("foreign", name)]
    found = inventory(site)
    assert found["good.example.com"].revoked_at is None
    assert found["revoked.example.com"].reason is RevocationReason.KEY_COMPROMISE
    assert found["revoked.example.com"].revoked_at == datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)
    assert found["held.example.com"].reason is RevocationReason.CERTIFICATE_HOLD
    assert "0 certificates imported, 0 of them revoked; 3 known before" in site.do("import", str(folder))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"serial_number": "x"}, "serial_number"),
        ({"serial_number": "0"}, "serial_number"),
        ({"serial_number": "9" * 60}, "serial_number"),
        ({"authority_key_identifier": "xyz"}, "authority_key_identifier"),
        ({"status": "lost"}, "status"),
        ({"reason": 7}, "reason"),
        ({"reason": "x"}, "reason"),
        ({"revoked_at": "yesterday"}, "revoked_at"),
        ({"revoked_at": "0001-01-01 00:00:00+00:00"}, "revoked_at"),
    ],
)
def test_a_damaged_record_ends_the_import(site: Site, folder: Path, change: dict[str, Any], reason: str) -> None:
    """Nothing is written: what is revoked could be missed."""
    table = rows(site)
    table[1] |= change
    write_database(folder / "certs.db", table)
    write_lines(folder / "certs.json", table)
    error = site.refused("import", str(folder))
    assert "certs.db, record 2" in error
    assert reason in error
    (folder / "certs.db").unlink()
    assert "certs.json, record 2" in site.refused("import", str(folder))
    assert inventory(site) == {}


@pytest.mark.parametrize("identifier", ["", "0102"])
def test_the_signature_tells_the_issuer(site: Site, folder: Path, identifier: str) -> None:
    """Where the key identifier is of no CA; a revocation that no certificate tells the CA of is reported."""
    table = [row | {"authority_key_identifier": identifier, "status": "revoked"} for row in rows(site)]
    table = [row | {"revoked_at": "2026-11-02 03:04:05+00:00"} for row in table]
    lost = table[1] | {"serial_number": "4660", "pem": ""}
    write_lines(folder / "rows.json", [*table, lost])
    assert "3 certificates imported, 3 of them revoked" in site.do("import", str(folder))
    told = [row[2] for row in lines_of(site, "foreign")]
    assert len(told) == 2
    assert told[0] == "1234 is revoked, by a CA that is not known"
    assert inventory(site)["good.example.com"].revoked_at is not None


def test_a_profile_that_is_refused_ends_nothing(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are imported."""

    def granted_power(text: str, _: object) -> None:
        if "email" in text:
            raise BadTemplate(2, "unlucky")

    monkeypatch.setattr(profile_import, "_granted_power", granted_power)
    text = "[ one ]\nextendedKeyUsage = emailProtection\n[ two ]\nkeyUsage = digitalSignature\n"
    (folder / "ca.cnf").write_text(text)
    assert "1 certificate templates created" in site.do("import", str(folder))
    assert ("skipped", "ca.cnf", "one: line 2: unlucky") in lines_of(site)


def test_an_issuing_ca_is_revoked_by_crls_only(site: Site, folder: Path) -> None:
    """A row is not signed: one with the issuing CA's serial number, as of the root, is a conflict."""
    key_pem, root_pem, pem = (site.path(f"var/pki/{name}").read_bytes() for name in ROOT_FILES)
    authority, root = x509.load_pem_x509_certificate(pem), x509.load_pem_x509_certificate(root_pem)
    identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    row = rows(site)[1] | {
        "serial_number": str(authority.serial_number),
        "authority_key_identifier": identifier,
        "pem": pem.decode(),
    }
    write_lines(folder / "rows.json", [row])
    for options in (["--dry-run"], []):
        assert site.run("import", *options, str(folder)) == 1
        (line,) = lines_of(site)
        assert line[0] == "conflict"
        assert "an issuing CA of this server, which no CRL revokes" in line[2]
        assert "revocations of certificates" not in site.out

    def revoked_at() -> datetime | None:
        with opened(load(site.path("config.ini"), {})) as app:
            return done(app.store.certificate_by_serial(authority.serial_number)).revoked_at

    assert revoked_at() is None
    key: Any = serialization.load_pem_private_key(key_pem, None)
    moment = datetime(2026, 11, 3, tzinfo=UTC)
    entry = x509.RevokedCertificateBuilder(authority.serial_number, moment).build()
    builder = x509.CertificateRevocationListBuilder(root.subject, moment, datetime(2036, 1, 1, tzinfo=UTC), [], [entry])
    crl = builder.sign(key, hashes.SHA256())
    (folder / "root.crl").write_bytes(crl.public_bytes(serialization.Encoding.PEM))
    assert "1 revocations" in site.do("import", str(folder))
    assert revoked_at() == moment


@pytest.mark.parametrize("beside", [True, False], ids=["with its certificate", "without it"])
def test_own_certificates_are_revoked_by_crls_only(site: Site, folder: Path, beside: bool) -> None:
    """An index is not signed: clients would refuse what this server presents."""
    own = x509.load_pem_x509_certificates(site.path("var/pki/https.crt").read_bytes())[0]
    for name in ("ec", "rsa"):
        pem = site.path(f"var/pki/subca_{name}.crt").read_bytes()
        if x509.load_pem_x509_certificate(pem).subject == own.issuer:
            (folder / "ca.crt").write_bytes(pem)
    serial = f"{own.serial_number:X}"
    row = f"R\t361102030405Z\t261103030405Z,keyCompromise\t{'0' * (len(serial) % 2)}{serial}\tunknown\t/CN=own\n"
    (folder / "index.txt").write_text(row)
    if beside:
        (folder / "own.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    for options in (["--dry-run"], []):
        assert site.run("import", *options, str(folder)) == 1
        (line,) = lines_of(site, "conflict")
        assert "one of this server's own certificates, which no CRL revokes" in line[2]
    with opened(load(site.path("config.ini"), {})) as app:
        assert done(app.store.certificate_by_serial(own.serial_number)).revoked_at is None


def test_a_row_under_another_ca_than_its_certificate(site: Site, folder: Path) -> None:
    """Its revocation would be that CA's, and the certificate would come in as valid."""
    row = rows(site)[1]
    others = [
        found
        for name in ("ec", "rsa")
        if (found := key_identifier(site.path(f"var/pki/subca_{name}.crt"))) != row["authority_key_identifier"]
    ]
    write_lines(folder / "rows.json", [row | {"authority_key_identifier": others[0]}])
    assert site.run("import", str(folder)) == 1
    (line,) = lines_of(site)
    assert line[:2] == ("conflict", "rows.json")
    assert "the row names another CA of this server than its certificate does" in line[2]
    assert inventory(site) == {}


def key_identifier(path: Path) -> str:
    """The subjectKeyIdentifier of a CA, in hex."""
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


@pytest.mark.parametrize("damage", ["torn", "indented", "utf-16"])
def test_rows_that_cannot_be_read_end_the_import(site: Site, folder: Path, damage: str) -> None:
    """The certificates beside would come in as valid."""
    table = rows(site)
    lines = [json.dumps(row, indent=2 if damage == "indented" else None) for row in table]
    text = "\n".join(lines)
    (folder / "rows.json").write_bytes(
        text.encode("utf-16") if damage == "utf-16" else text[: -9 if damage == "torn" else None].encode()
    )
    (folder / "revoked.pem").write_text(table[1]["pem"])
    assert "rows.json is neither" in site.refused("import", str(folder))
    assert inventory(site) == {}


def test_other_databases(site: Site, folder: Path) -> None:
    """Other programs' are passed over; a damaged one, one in use and a view are not read as cfssl's."""
    connection = sqlite3.connect(folder / "other.db")
    connection.execute("CREATE TABLE things (name)")
    connection.commit()
    connection.close()
    connection = sqlite3.connect(folder / "view.sqlite")
    connection.execute("CREATE VIEW certificates AS SELECT 1 AS serial_number")
    connection.commit()
    connection.close()
    for name, content in (("no.db", b"x"), ("a.json", b"[1]"), ("b.json", b"{"), ("c.json", b"\xff"), ("d.json", b"")):
        (folder / name).write_bytes(content)
    assert "0 certificates imported" in site.do("import", str(folder))
    assert [row for row in lines_of(site) if row[1] != "b.json"] == []
    (folder / "bad.db").write_bytes(b"SQLite format 3\0" + bytes(4096))
    assert "bad.db: the SQLite database is damaged" in site.refused("import", str(folder))
    (folder / "bad.db").unlink()
    connection = sqlite3.connect(folder / "wal.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA)
    assert "journal_mode = DELETE" in site.refused("import", str(folder))
    connection.close()
    assert "journal_mode = DELETE" in site.refused("import", str(folder))
    (folder / "wal.db").unlink()
    write_database(folder / "large.db", [rows(site)[0] | {"pem": " " * (2 << 20)}])
    assert "large.db: the SQLite database is damaged" in site.refused("import", str(folder))


def test_a_database_of_another_program_ends_nothing(site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a write-ahead log, or a large one, is skipped; cfssl's is refused."""
    for name, mode in (("wal.db", "WAL"), ("large.db", "DELETE")):
        connection = sqlite3.connect(folder / name)
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE things (name)")
        connection.close()
    monkeypatch.setattr(cfssl_records, "MAX_DATABASE", 4096)
    site.do("import", str(folder))
    assert {row[1] for row in lines_of(site, "skipped")} == {"wal.db", "large.db"}
    write_database(folder / "cfssl.db", rows(site))
    assert "cfssl.db: larger than" in site.refused("import", str(folder))
