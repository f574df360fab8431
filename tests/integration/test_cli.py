"""The commands at work (INT-1), in process, beside another user of the same database too."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pikachu.auth.authenticator import account_principal
from pikachu.auth.second_factor import PURPOSE
from pikachu.cli.session import done, opened
from pikachu.config.loading import load
from pikachu.core.model.certificates import Method, RevocationReason
from pikachu.core.model.passkeys import NewPasskey
from pikachu.core.model.people import SYSTEM
from pikachu.core.model.second_factors import NewTOTP
from pikachu.core.sealing import totp_row
from pikachu.ra.enrollment import Issued
from pikachu.storage.lock import lock_database
from pikachu.storage.migrate import SchemaState, schema_state
from pikachu.x509 import der
from tests.hostile.target import sampled
from tests.support.databases import AS_0002, NOW, event, execute
from tests.support.odd_requests import GOOD_NAME, KERBEROS, ODD_ATTRIBUTES, signed_csr, vector
from tests.support.pdf import page_texts
from tests.support.pki import make_csr
from tests.support.site import Site, founded_site
from tests.unit.x509.requests import san

KEY = ec.derive_private_key(0x1F2E3D4C5B6A7988, ec.SECP256R1())
USA = der.sequence(der.set_of((der.sequence(der.oid("2.5.4.6"), der.printable_string("USA")),)))
EXTENSIONS = "var/pki/server_ext.cnf"


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    return founded_site(tmp_path, capsys, tmp_path_factory)


@pytest.fixture
def alice(site: Site) -> Site:
    """A site with a user."""
    site.write("pw", "secret99\n")
    site.do("user", "add", "alice", "--email", "alice@example.com", "--role", "user", "--password-file", "pw")
    return site


def csr(site: Site, name: str = "device.csr", slot: int = 1, subject: str = "device.example.com") -> str:
    """A request in a file of that name."""
    _, der = make_csr(subject=subject, slot=slot)
    site.write(name, der)
    return name


def serial_of(pem: str) -> str:
    return f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:x}"


def test_accounts(alice: Site) -> None:
    """INT-1: user add; user list."""
    assert alice.out == "added alice\n"
    assert [row[1:6] for row in alice.rows("user", "list")] == [
        ["admin", "admin@localhost", "admin", "active", "local"],
        ["alice", "alice@example.com", "user", "active", "local"],
    ]
    assert [row[1] for row in alice.rows("user", "list", "--state", "active")] == ["admin", "alice"]
    assert alice.rows("user", "list", "--state", "deleted") == []
    assert "taken" in alice.refused("user", "add", "Alice", "--email", "b@example.com", "--password-file", "pw")


def test_locks_and_second_factors(alice: Site) -> None:
    """ROL-2: a server that runs beside the command ends its lock; second factors are listed and removed."""
    with opened(load(alice.path("config.ini"), {})) as app:
        account = done(app.accounts.find(SYSTEM, "alice"))
        done(app.sign_in_locks.follow())
        limits = app.nodes.guess_limits
        for _ in range(20):
            limits.password_failed("alice", "192.0.2.1")
        assert alice.do("user", "unlock", "Alice") == "unlocked alice"
        assert limits.locked_seconds("alice") > 0
        done(app.sign_in_locks.follow())
        assert limits.locked_seconds("alice") == 0

        def seal(row_id: int) -> bytes:
            return app.sealer.seal(PURPOSE, b"secret", totp_row(row_id, account.id))

        done(app.store.put_totp(NewTOTP(account.id, seal, 1, ()), event(), NOW))
        for number in (1, 2, 3):
            device = NewPasskey(account.id, f"key {number}", "ca.example.com", b"%d" % number, b"", 0, b"", number, ())
            done(app.store.add_passkey(device, 9, event(), NOW))
    factors = alice.rows("user", "list-second-factors", "alice")
    assert [row[0] for row in factors] == ["authenticator app", "passkey", "passkey", "passkey"]
    assert factors[1][2:] == ["key 1", "ca.example.com", factors[1][4], "-"]
    assert "no passkey" in alice.refused("user", "remove-second-factor", "admin", "--passkey", factors[1][1])
    alice.do("user", "remove-second-factor", "alice", "--passkey", factors[1][1])
    assert alice.rows("user", "list-second-factors", "alice") == [factors[0], *factors[2:]]
    assert alice.do("user", "remove-second-factor", "alice") == "removed the second factors of alice"
    assert alice.rows("user", "list-second-factors", "alice") == []
    assert "no account" in alice.refused("user", "unlock", "nobody")


def test_revoking_what_an_account_holds(alice: Site) -> None:
    """The certificates of an account that is not active, by the number that the list prints."""
    number = alice.rows("user", "list")[1][0]
    assert "Suspend" in alice.refused("user", "revoke-certificates", number)
    alice.refused("user", "revoke-certificates", "999")
    with opened(load(alice.path("config.ini"), {})) as app:
        owner = account_principal(done(app.accounts.find(SYSTEM, "alice")), "192.0.2.1")
        held = done(app.registration.sign(owner, make_csr()[1], Method.UI))
        done(app.accounts.delete(SYSTEM, int(number)))
    assert isinstance(held, Issued)
    assert [row[0] for row in alice.rows("user", "list", "--state", "deleted")] == [number]
    alice.do("user", "revoke-certificates", number, "--reason", "superseded")
    with opened(load(alice.path("config.ini"), {})) as app:
        assert done(app.store.certificate_by_serial(held.record.serial)).reason is RevocationReason.SUPERSEDED


@pytest.mark.parametrize("command", [["user", "list"], ["init", "--quiet"], ["rekey"]], ids=["list", "init", "rekey"])
def test_an_older_database_is_left_to_its_server(site: Site, command: list[str]) -> None:
    """A running server of the older version would write again the rows that the migration has just fixed."""
    database = site.path("var/db/pikachu.sqlite")
    url = f"sqlite:///{database}"
    execute(url, *AS_0002)
    with lock_database(database):
        assert "stop it first" in site.refused(*command)
        assert schema_state(url) is SchemaState.OLDER
    site.do(*command)
    assert schema_state(url) is SchemaState.CURRENT


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("\nsecret99\n", "first line is empty"),
        ("short\n", "at least 6"),
        (b"\xff\xfe", "UTF-8"),
        (None, "can't be read"),
    ],
)
def test_bad_password_files(site: Site, content: str | bytes | None, told: str) -> None:
    """The first line counts."""
    if content is not None:
        site.write("pw", content)
    line = site.refused("user", "add", "bob", "--email", "b@example.com", "--password-file", "pw")
    assert told in line
    assert "secret99" not in line


def test_a_password_from_standard_input(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin\nrest\n")))
    site.do("user", "add", "bob", "--email", "b@example.com", "--password-file", "-")


def test_tokens(alice: Site) -> None:
    """INT-1: the token and nothing else is on standard output."""
    assert re.fullmatch(r"pik_\S{43}\n", alice.do("token", "create", "--user", "alice", "--name", "ci") + "\n")
    alice.do("token", "create", "--user", "admin", "--name", "ci", "--days", "3", "--scope", "read")
    rows = alice.rows("token", "list")
    assert [row[:4] for row in rows] == [
        ["1", "alice", "ci", "enroll,read,revoke"],
        ["2", "admin", "ci", "read"],
    ]
    assert alice.rows("token", "list", "--user", "alice") == rows[:1]
    alice.do("token", "revoke", "1")
    assert [row[0] for row in alice.rows("token", "list")] == ["2"]
    for arguments in (
        ["create", "--user", "nobody", "--name", "x"],
        ["create", "--user", "alice", "--name", "x", "--scope", "admin"],
        ["create", "--user", "admin", "--name", "ci"],
        ["revoke", "77"],
    ):
        alice.refused("token", *arguments)


def test_batches(alice: Site, tmp_path: Path) -> None:
    """A batch of names: its id, its row in the list, its passwords as CSV (ENR-1)."""
    names = tmp_path / "names.csv"
    names.write_text("pump-001,pump-001.example.com\npump-002\n")
    made = alice.do("batch", "create", str(names), "--label", "Hamburg", "--user", "alice", "--attributes", "O=Example")
    (row,) = alice.rows("batch", "list")
    assert row[:7] == [made.strip(), "Hamburg", "open", "0", "2", "System", "alice"]
    lines = alice.do("batch", "csv", made.strip(), "--not-enrolled").splitlines()
    assert [line.rpartition('"')[2].split(",")[1] for line in lines[1:]] == ["DNS:pump-001.example.com", ""]
    assert all(len(line.rpartition('"')[2].split(",")[2]) == 32 for line in lines[1:])
    alice.refused("batch", "csv", "99")
    alice.refused("batch", "create", str(names), "--label", "x", "--user", "nobody")


def test_challenges(alice: Site) -> None:
    """INT-1: the password and nothing else; config.ini says how long it is good."""
    password = alice.do("challenge", "create", "--user", "alice", "--validity", "2h")
    assert re.fullmatch("[0-9A-F]{32}", password)
    (row,) = alice.rows("challenge", "list", "--user", "alice")
    assert row[1:4] == ["alice", password[:8], "available"]
    assert alice.run("challenge", "create", "--user", "alice", "--validity", "soon") == 2
    names = ("--label", "pump 1", "--subject", "CN=pump-001,O=Example", "--san", "pump-001.example.com")
    password = alice.do("challenge", "create", "--user", "alice", *names)
    (row,) = alice.rows("challenge", "list", "--label", "pump 1")
    assert row[2] == password[:8]
    assert row[5:] == ["pump 1", "CN=pump-001,O=Example"]
    alice.refused("challenge", "create", "--user", "alice", "--san", "a.example.com")
    alice.refused("challenge", "create", "--user", "nobody")


def test_policies(alice: Site) -> None:
    """INT-1: policy add needs --system or --user; --role chooses who may use it."""
    alice.do("policy", "add", "tls", "--days", "30", "--extensions", EXTENSIONS, "--system", "--est", "--issuer", "rsa")
    by_hand = ["policy", "add", "by hand", "--days", "9", "--extensions", EXTENSIONS, "--user", "alice", "--manual"]
    alice.do(*by_hand, "--role", "admin", "--role", "user")
    every = "user,operator,admin"
    assert alice.rows("policy", "list") == [
        ["0", "System", "System", "-", "365", "-", "automatic", every],
        ["1", "tls", "EST,EST default,System", "-", "30", "rsa", "automatic", every],
        ["2", "by hand", "-", "alice", "9", "-", "manual", "user,admin"],
    ]
    assert alice.do("policy", "show", "tls") + "\n" == alice.path(EXTENSIONS).read_text()
    second = ["policy", "add", "tls 2", "--days", "30", "--extensions", EXTENSIONS, "--system", "--est"]
    alice.do(*second)
    alice.do(*second[:2], "tls 3", *second[3:])
    assert "deleted" in alice.refused("policy", "delete", "System")

    def defaults() -> list[str]:
        return [row[1] for row in alice.rows("policy", "list") if "EST default" in row[2]]

    assert defaults() == ["tls"]
    assert alice.do("policy", "default", "tls 2", "--est") == "tls 2 is the default for EST"
    assert defaults() == ["tls 2"]
    alice.refused("policy", "default", "tls 2", "--scep")
    alice.refused("policy", "default", "System", "--est")
    alice.refused("policy", "delete", "tls 2", "--next-default-est", "by hand")
    alice.do("policy", "delete", "tls 2", "--next-default-est", "tls")
    assert defaults() == ["tls"]
    alice.do("policy", "delete", "tls")
    assert defaults() == []


def test_a_bad_policy_text_is_refused_with_its_line(site: Site) -> None:
    """TPL-2: errors name the line."""
    site.write("bad.cnf", "[ v3_ext ]\nbasicConstraints = CA:FALSE\nkeyUsage = nonsense\n")
    line = site.refused("policy", "add", "bad", "--days", "30", "--extensions", "bad.cnf", "--system")
    assert "line 3" in line


def test_limits_of_a_policy(site: Site) -> None:
    """POL-4: the limits set by the options are enforced."""
    limits = ["--keys", "RSA,EC/prime256v1", "--names", "DNS:*.example.com", "--subject", "CN=*.example.com"]
    limits += ["--max-days", "20", "--no-csr-names", "--own-subject", "--linked", "--new-key"]
    site.do("policy", "add", "tight", "--days", "10", "--extensions", EXTENSIONS, "--system", *limits)
    name = csr(site)
    site.do("sign", name, "--policy", "tight", "--days", "20")
    assert "at most 20 days" in site.refused("sign", name, "--policy", "tight", "--days", "21")
    other = csr(site, "other.csr", 2, "device.example.org")
    assert "subject" in site.refused("sign", other, "--policy", "tight")


def test_names_of_a_policy(site: Site) -> None:
    """``--names exact`` refuses wrong string types; other countries and otherNames are allowed one by one."""
    add = ["policy", "add", "exact", "--days", "10", "--extensions", EXTENSIONS, "--system"]
    site.do(*add, "--names", "exact", "--names", "*")
    site.write("star.csr", vector("node-forge-star"))
    assert "exact names only" in site.refused("sign", "star.csr", "--policy", "exact")
    (loaded,) = x509.load_pem_x509_certificates(site.do("sign", "star.csr").encode())
    assert loaded.subject.rfc4514_string() == "O=Test,C=US,CN=*.example.org"
    add[2] = "open"
    names = ("--other-name", "UPN", "--other-name", "1.3.6.1.5.2.2")
    assert site.run(*add, "--other-countries", *names) == 1
    assert "two letters" in site.err
    site.do(*add, "--other-countries", *names, "--override-lint", "devices have codes of three letters")
    other_names = (KERBEROS, GOOD_NAME)
    site.write("usa.csr", signed_csr(KEY, USA, (san(*other_names),)))
    assert "two letters" in site.refused("sign", "usa.csr")
    (loaded,) = x509.load_pem_x509_certificates(site.do("sign", "usa.csr", "--policy", "open").encode())
    assert loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.public_bytes() == der.sequence(
        *other_names
    )
    add[2] = "wrong"
    assert "otherName" in site.refused(*add, "--other-name", "e-mail")


@pytest.mark.parametrize("name", sampled(ODD_ATTRIBUTES, every=16))
def test_odd_requests(site: Site, name: str) -> None:
    """Attributes that don't reach the certificate don't stop ``sign``."""
    site.write("odd.csr", signed_csr(KEY, "CN=odd", ODD_ATTRIBUTES[name]))
    assert site.do("sign", "odd.csr").startswith("-----BEGIN CERTIFICATE-----")


def test_signing_and_revoking(site: Site) -> None:
    """INT-1: sign prints the certificate, revoke and release take its serial number."""
    pem = site.do("sign", csr(site), "--issuer", "rsa", "--days", "5") + "\n"
    assert site.err == ""
    (certificate,) = x509.load_pem_x509_certificates(pem.encode())
    assert certificate.issuer.rfc4514_string() == "CN=Pikachu RSA CA"
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 5
    serial = serial_of(pem)
    site.do("revoke", f"0x{serial.upper()}", "--reason", "certificateHold")
    site.do("release", serial)
    assert "hold" in site.refused("release", serial)
    site.do("revoke", serial, "--reason", "keyCompromise")
    assert site.do("revoke", serial) == f"revoked {serial}"
    (row,) = site.rows("crl", "--issuer", "rsa")
    crl = x509.load_der_x509_crl(Path(row[2]).read_bytes())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == int(row[1])
    revoked = crl.get_revoked_certificate_by_serial_number(int(serial, 16))
    assert revoked is not None
    assert revoked.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    site.refused("revoke", "77")
    site.refused("revoke", "no-hex")
    site.refused("release", "77")


def test_issuing_for_names(alice: Site) -> None:
    """ISS-1: issue prints the certificate, and the id of its key, which a second one may use again."""
    names = ("--subject", "CN=pump.example.com,O=Example", "--san", "DNS:pump.example.com", "--san", "IP:192.0.2.1")
    pem = alice.do("issue", *names, "--user", "alice", "--key-type", "ed25519", "--days", "5")
    (certificate,) = x509.load_pem_x509_certificates(f"{pem}\n".encode())
    assert certificate.subject.rfc4514_string() == "CN=pump.example.com,O=Example"
    key_id = alice.err.removeprefix("key ").strip()
    again = alice.do("issue", *names, "--user", "alice", "--key-id", key_id)
    (other,) = x509.load_pem_x509_certificates(f"{again}\n".encode())
    assert other.public_key() == certificate.public_key()
    assert "another user" in alice.refused("issue", *names, "--key-id", key_id)
    assert "Remove the underscore" in alice.refused("issue", "--san", "DNS:a_b")
    assert "Enter a subject" in alice.refused("issue")


def test_sign_refuses(site: Site) -> None:
    name = csr(site)
    site.write("not.csr", "hello")
    for arguments in (
        ["missing.csr"],
        ["not.csr"],
        [name, "--policy", "none"],
        [name, "--issuer", "none"],
        [name, "--days", "36500"],
    ):
        site.refused("sign", *arguments)
        assert site.out == ""


def test_crl_numbers_rise(site: Site) -> None:
    """INT-1: pikachu crl, of all issuers in service or one."""
    assert [row[:2] for row in site.rows("crl")] == [["ec", "1"], ["rsa", "1"], ["root", "1"]]
    assert [row[:2] for row in site.rows("crl", "--issuer", "ec")] == [["ec", "2"]]
    assert b"BEGIN X509 CRL" in site.path("var/crl/ca.crl").read_bytes()
    assert "ec, root, rsa" in site.refused("crl", "--issuer", "none")


def test_approvals(alice: Site) -> None:
    """A policy with manual approval; sign says what waits, and prints nothing else."""
    alice.do("policy", "add", "manual", "--days", "30", "--extensions", EXTENSIONS, "--system", "--manual")
    ids = []
    for slot in (1, 2):
        assert alice.run("sign", csr(alice, f"{slot}.csr", slot, f"d{slot}"), "--policy", "manual") == 0
        assert alice.out == ""
        found = re.fullmatch("pending approval ([0-9]+)\n", alice.err)
        assert found
        ids.append(found[1])
    assert [(row[0], row[5]) for row in alice.rows("approval", "list")] == [(ids[0], "CN=d1"), (ids[1], "CN=d2")]
    serial = alice.do("approval", "approve", ids[0])
    alice.do("revoke", serial)
    alice.do("approval", "reject", ids[1])
    assert alice.rows("approval", "list") == []
    for arguments in (["approve", ids[0]], ["reject", ids[1], "--reason", "x"], ["approve", "999"]):
        alice.refused("approval", *arguments)


def test_two_approvals(alice: Site) -> None:
    """ROL-1: commands give one approval of two."""
    alice.do("policy", "add", "both", "--days", "30", "--extensions", EXTENSIONS, "--system", "--four-eyes")
    assert alice.run("sign", csr(alice), "--policy", "both") == 0
    found = re.fullmatch("pending approval ([0-9]+)\n", alice.err)
    assert found
    assert alice.run("approval", "approve", found[1]) == 0
    assert (alice.out, "first of two approvals" in alice.err) == ("", True)
    assert "console" in alice.refused("approval", "approve", found[1])


def test_audit(alice: Site) -> None:
    """INT-1: ``audit verify`` counts the events; a signing command adds one."""
    count = int(alice.do("audit", "verify").split()[0])
    alice.do("sign", csr(alice))
    assert int(alice.do("audit", "verify").split()[0]) == count + 1


def test_audit_of_a_log_that_was_not_intact(alice: Site) -> None:
    """Only the events after the key are said to be unchanged."""
    count = int(alice.do("audit", "verify").split()[0])
    database = f"sqlite:///{alice.path('var/db/pikachu.sqlite')}"
    execute(database, "UPDATE audit_events SET actor = 'nobody' WHERE id = 1", "DELETE FROM audit_keys")
    first, second, entries, head = alice.do("audit", "verify").splitlines()
    assert entries.startswith("The log has ")
    assert first == f"1 events after event {count}, none changed or removed"
    assert second.startswith(f"Events 1 to {count} are not intact")
    assert re.fullmatch(r"The hash of the last event is [0-9a-f]{64}\.", head)


def test_reports(alice: Site) -> None:
    """AUD-3: a report has the verified end of the audit log; a PDF is a file, a CSV a stream."""
    certificate = alice.do("sign", csr(alice))
    lines = alice.do("report", "certificates").splitlines()
    assert lines[0] == "Report,Certificates issued"
    assert any(line.startswith("Audit log,") and "none changed or removed" in line for line in lines)
    assert any(serial_of(certificate) in line for line in lines)
    assert alice.do("report", "audit", "--format", "csv", "--output", "audit.csv") == ""
    events = Path(alice.path("audit.csv")).read_text()
    head = re.search(r"Hash of the last event,([0-9a-f]{64})", events)
    assert head
    assert alice.do("audit", "verify").splitlines()[-1] != f"The hash of the last event is {head[1]}."
    assert head[1] in alice.do("report", "audit")
    alice.do("report", "certificates", "--format", "pdf", "--output", "certificates.pdf")
    assert serial_of(certificate) in page_texts(Path(alice.path("certificates.pdf")).read_bytes())[0].replace(" ", "")
    alice.refused("report", "audit", "--from", "2026-12-31", "--to", "2026-12-01")
    alice.refused("report", "audit", "--from", "yesterday")


def test_audit_with_a_head_that_was_set_back(alice: Site) -> None:
    """``audit verify`` says so in one line, and so does a command that would record something."""
    database = f"sqlite:///{alice.path('var/db/pikachu.sqlite')}"
    execute(database, "UPDATE audit_head SET count = count - 1")
    assert "the audit log was changed" in alice.refused("audit", "verify")
    assert "run pikachu audit verify" in alice.refused("sign", csr(alice))


def test_intents(site: Site) -> None:
    """Intents without a certificate are listed; there are none after a clean run."""
    site.do("sign", csr(site))
    assert site.do("intents") == ""


def test_config_masks_secrets(site: Site) -> None:
    """CFG-11: prints the settings in force with secrets masked, and warns of unknown keys."""
    site.config(lambda text: text.replace(";ADMIN_PASSWORD =", "ADMIN_PASSWORD = hunter2\nFOO = bar"))
    rows = site.rows("config")
    assert ["[LDAP]", "ADMIN_PASSWORD", "********", "file"] in rows
    assert ["[HTTPS]", "port", "8443", "file"] in rows
    assert ["[OCSP]", "max_certificates", "50", "default"] in rows
    assert "hunter2" not in site.out
    assert site.err.startswith("warning: ")
    assert "foo" in site.err.lower()


def test_config_sample_is_the_shipped_file(site: Site) -> None:
    """CFG-10: with the package alone there is a configuration to start from."""
    assert site.do("config", "--sample") + "\n" == site.path("config.ini").read_text()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("mode = EC", "mode = DSA"), "[CA] mode: expected EC"),
        (lambda text: text.replace("http_port = 8080", "http_port = 8443"), "[HTTPS] port: port 8443 is also"),
        (lambda text: text.replace("var/pki/subca_ec.crt", "nowhere.crt"), "[CA] SUBCA_CERT_PATH_EC: "),
        (lambda text: text.replace("var/db/pikachu.sqlite", "var/none.sqlite"), "does not exist yet; run pikachu init"),
        (lambda text: text.replace("var/pki/secret_key", "var/none"), "[DEFAULT] secret_key_file: "),
        (lambda text: text.replace("var/pki/server_ext.cnf", "var/none"), "[PATHS] server_ext_cfg: "),
        (lambda text: "hello\n" + text, "line 1"),
    ],
)
def test_what_can_not_work(site: Site, change: Callable[[str], str], told: str) -> None:
    """RUN-4: exit code 1 and one line that names the setting."""
    site.config(change)
    assert told in site.refused("crl")
    # Nothing holds the database once the command is refused.
    open_files = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert [name for name in open_files if name.startswith(str(site.folder)) and ".sqlite" in name] == []


def test_a_closed_pipe_is_no_traceback(site: Site) -> None:
    """``pikachu config | head -1``."""
    command = f"'{sys.executable}' -c 'from pikachu.cli.main import run; run()' config | head -1"
    done = subprocess.run(["sh", "-c", command], cwd=site.folder, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[DEFAULT]")
    assert done.stderr == ""


def test_beside_another_user_of_the_database(site: Site) -> None:
    """INT-1: commands work on the same database at the same time."""
    command = [sys.executable, "-c", "from pikachu.cli.main import run; run()"]
    names = [csr(site, f"{slot}.csr", slot, f"d{slot}") for slot in (1, 2)]
    running = [
        subprocess.Popen([*command, "sign", name], cwd=site.folder, stdout=subprocess.PIPE, text=True) for name in names
    ]
    site.rows("crl")
    serials = {serial_of(process.communicate()[0]) for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert len(serials) == 2
    site.do("audit", "verify")


def test_devices(alice: Site) -> None:
    """DEV-1, DEV-2: device list, retire and reinstate."""
    serial = serial_of(alice.do("sign", csr(alice)))
    with opened(load(alice.path("config.ini"), {})) as app:
        account = done(app.store.account_by_name("alice"))
        assert account is not None
        _, request = make_csr(subject="pump", slot=7)
        done(app.registration.sign(account_principal(account, "192.0.2.1"), request, Method.API))
    rows = alice.rows("device", "list")
    assert [(row[1], row[2], row[6], row[8]) for row in rows] == [
        ("device.example.com", "ok", "CLI", "-"),
        ("pump", "ok", "API", "alice"),
    ]
    assert [row[1] for row in alice.rows("device", "list", "--search", "PUM", "--state", "ok")] == ["pump"]
    number = rows[0][0]
    out = alice.do("device", "retire", number, "--reason", "keyCompromise")
    assert out == "retired device.example.com: revoked certificates: 1, ended challenge passwords: 0"
    assert "retired" in alice.refused("device", "retire", number)
    assert "retired" in alice.refused("sign", csr(alice, slot=8))
    assert [row[2] for row in alice.rows("device", "list")] == ["retired", "ok"]
    assert alice.do("device", "reinstate", number) == "back in service: device.example.com"
    alice.refused("device", "retire", "999")
    with opened(load(alice.path("config.ini"), {})) as app:
        assert done(app.store.certificate_by_serial(int(serial, 16))).reason is RevocationReason.KEY_COMPROMISE


def test_proofs_without_the_database(alice: Site) -> None:
    """TLG-1: what was kept elsewhere verifies offline, and finds what was cut off; anything altered does not verify."""
    for name, arguments in {"old.txt": ("checkpoint",), "audit.pub": ("key",)}.items():
        assert alice.do("audit", *arguments, "--out", name) == ""
    certificate = alice.do("sign", csr(alice))
    Path(alice.path("one.crt")).write_text(certificate)
    alice.do("audit", "prove", serial_of(certificate), "--out", "one.proof")
    alice.do("audit", "consistency", "old.txt", "--out", "log.proof")
    alice.do("audit", "checkpoint", "--out", "new.txt")
    inclusion = ("audit", "verify-proof", "one.proof", "--key", "audit.pub", "--certificate")
    consistency = ("audit", "verify-proof", "log.proof", "--key", "audit.pub", "--checkpoint")
    assert "The certificate is entry " in alice.do(*inclusion, "one.crt")
    assert " begins with the " in alice.do(*consistency, "old.txt")
    assert "begins with the entries of the checkpoint" in alice.do("audit", "verify", "--checkpoint", "old.txt")
    other = alice.do("sign", csr(alice))
    Path(alice.path("other.crt")).write_text(other)
    assert "does not lead to" in alice.refused(*inclusion, "other.crt")
    assert "not of" in alice.refused(*consistency, "new.txt")
    database = f"sqlite:///{alice.path('var/db/pikachu.sqlite')}"
    execute(
        database,
        "DELETE FROM log_entries",
        "DELETE FROM log_tiles",
        "DELETE FROM audit_events WHERE id = (SELECT max(id) FROM audit_events)",
        "UPDATE audit_head SET count = count - 1, hash = (SELECT hash FROM audit_events ORDER BY id DESC LIMIT 1)",
        "DELETE FROM certificates WHERE id = (SELECT max(id) FROM certificates)",
        "DELETE FROM certificates WHERE id = (SELECT max(id) FROM certificates)",
    )
    alice.do("audit", "verify")
    assert "the newest entries were cut off" in alice.refused("audit", "verify", "--checkpoint", "new.txt")
