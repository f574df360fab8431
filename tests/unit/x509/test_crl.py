"""CRLs: read back by pyca/cryptography, asn1crypto and other programs, and read here."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import crl as asn1
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import MalformedRequest
from pikachu.core.model.certificates import RevocationReason
from pikachu.x509 import crl, der
from tests.support import pki
from tests.support.interop import require
from tests.support.reference_work import BATCH, costs_at_most

THIS = datetime(2026, 5, 1, 12, tzinfo=UTC)
NEXT = THIS + timedelta(days=7)
ECDSA = bytes.fromhex("300a06082a8648ce3d040302")
NAME = pki.make_name("Test CA").public_bytes()
CLASSICAL = ("rsa2048", "p256", "p384", "ed25519")


def make_crl(
    ca: pki.Identity,
    entries: bytes | bytearray | memoryview,
    number: int = 1,
    this_update: datetime = THIS,
    next_update: datetime = NEXT,
) -> bytes:
    algorithm = pki.signature_algorithm(ca.key)
    to_be_signed = crl.tbs_cert_list(
        algorithm=algorithm,
        issuer_der=ca.subject_der,
        updates=(this_update, next_update),
        entries=entries,
        number=number,
        authority_key_identifier=ca.key_identifier,
    )
    return crl.assemble_crl(to_be_signed, algorithm, pki.sign(ca.key, to_be_signed))


def unsigned(
    entries: bytes | bytearray | memoryview = b"",
    number: int = 1,
    this_update: datetime = THIS,
    next_update: datetime = NEXT,
) -> bytes:
    to_be_signed = crl.tbs_cert_list(
        algorithm=ECDSA,
        issuer_der=NAME,
        updates=(this_update, next_update),
        entries=entries,
        number=number,
        authority_key_identifier=bytes(20),
    )
    return crl.assemble_crl(to_be_signed, ECDSA, b"signature")


@pytest.mark.parametrize("key_type", pki.KEY_TYPES)
def test_pyca_reads_and_verifies(key_type: str) -> None:
    """VA-2: version 2, issuer byte for byte, authority key, number, signature by every kind of key."""
    ca = pki.make_ca(key_type)
    entries = b"".join(
        crl.crl_entry(serial, THIS - timedelta(days=1), reason)
        for serial, reason in ((1, None), (2**159 - 1, RevocationReason.SUPERSEDED))
    )
    data = make_crl(ca, entries, 2**64)
    read = x509.load_der_x509_crl(data)
    assert read.is_signature_valid(ca.key.public_key())
    assert read.issuer.public_bytes() == ca.subject_der
    assert (read.last_update_utc, read.next_update_utc) == (THIS, NEXT)
    assert [found.serial_number for found in read] == [1, 2**159 - 1]
    number, key = (
        read.extensions.get_extension_for_class(kind) for kind in (x509.CRLNumber, x509.AuthorityKeyIdentifier)
    )
    assert number.value == x509.CRLNumber(2**64)
    assert key.value == x509.AuthorityKeyIdentifier(ca.key_identifier, None, None)
    assert not any(extension.critical for extension in read.extensions)
    assert len(list(read.extensions)) == 2
    summary = crl.parse_crl_summary(data)
    assert bytes(summary.tbs) == read.tbs_certlist_bytes
    assert summary.signature == read.signature


@pytest.mark.parametrize("reason", [None, *RevocationReason])
def test_reasons(reason: RevocationReason | None) -> None:
    """Not critical, and ``unspecified`` is left out with the whole list of extensions."""
    [entry] = x509.load_der_x509_crl(unsigned(crl.crl_entry(5, THIS, reason)))
    if not reason:
        assert not list(entry.extensions)
        return
    [extension] = entry.extensions
    assert not extension.critical
    assert isinstance(extension.value, x509.CRLReason)
    assert extension.value.reason.value == reason.wire_name


def test_no_entries() -> None:
    """The field is absent, since an empty list is not allowed."""
    data = unsigned(b"")
    tbs = der.parse(data).sub()[0]
    assert [part.tag for part in tbs.children()] == [2, 0x30, 0x30, der.UTC_TIME, der.UTC_TIME, 0xA0]
    assert len(x509.load_der_x509_crl(data)) == 0
    assert crl.parse_crl_summary(data).entries == 0


@pytest.mark.parametrize(
    ("moment", "tag"),
    [
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), der.UTC_TIME),
        (datetime(2050, 1, 1, tzinfo=UTC), der.GENERALIZED_TIME),
        (datetime(1950, 1, 1, tzinfo=UTC), der.UTC_TIME),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), der.GENERALIZED_TIME),
    ],
)
def test_times_by_year(moment: datetime, tag: int) -> None:
    """UTCTime to 2049, GeneralizedTime from 2050."""
    data = unsigned(crl.crl_entry(5, moment, None), 1, moment - timedelta(seconds=1), moment)
    fields = der.parse(data).sub()[0].sub()
    assert fields[4].tag == tag
    assert fields[5].sub()[0].sub()[1].tag == tag
    read = x509.load_der_x509_crl(data)
    assert read.next_update_utc == moment
    assert next(iter(read)).revocation_date_utc == moment
    assert crl.parse_crl_summary(data).next_update == moment


def test_high_serials_stay_positive() -> None:
    """20 octets with the highest bit set."""
    serial = 2**160 - 1
    entry = der.parse(crl.crl_entry(serial, THIS, None))
    assert entry.sub()[0].content == b"\x00" + b"\xff" * 20
    assert (
        asn1.CertificateList.load(unsigned(entry.whole), strict=True).native["tbs_cert_list"]["revoked_certificates"][
            0
        ]["user_certificate"]
        == serial
    )


@pytest.mark.parametrize("serial", [0, -1])
def test_serials_are_positive(serial: int) -> None:
    """RFC 5280 section 4.1.2.2."""
    with pytest.raises(ValueError, match="positive"):
        crl.crl_entry(serial, THIS, None)


@pytest.mark.parametrize("number", [-1, 2**159])
def test_numbers_that_no_crl_has(number: int) -> None:
    """At most 20 octets."""
    with pytest.raises(ValueError, match="20 octets"):
        unsigned(b"", number)


def test_the_largest_number() -> None:
    """RFC 5280 section 5.2.3: 20 octets."""
    number = 2**159 - 1
    assert crl.parse_crl_summary(unsigned(b"", number)).number == number


def test_next_update_follows() -> None:
    """A list that has ended when it begins is a mistake of the caller."""
    with pytest.raises(ValueError, match="follows"):
        unsigned(b"", 1, THIS, THIS)


moments = st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 30), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)


@given(
    st.lists(
        st.tuples(st.integers(1, 2**160 - 1), moments, st.none() | st.sampled_from(RevocationReason)), max_size=30
    ),
    moments,
    st.integers(1, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    st.integers(0, 2**159 - 1),
    st.sampled_from([bytes, bytearray, memoryview]),
)
def test_round_trip(
    revocations: list[tuple[int, datetime, RevocationReason | None]],
    this_update: datetime,
    validity: timedelta,
    number: int,
    kind: type[bytes] | type[bytearray] | type[memoryview],
) -> None:
    entries = kind(b"".join(crl.crl_entry(*revocation) for revocation in revocations))
    data = unsigned(entries, number, this_update, this_update + validity)
    summary = crl.parse_crl_summary(data)
    assert summary == crl.CRLSummary(
        issuer_der=NAME,
        number=number,
        this_update=this_update,
        next_update=this_update + validity,
        entries=len(revocations),
        authority_key_identifier=bytes(20),
        critical_extensions=(),
        algorithm=ECDSA,
        tbs=memoryview(data)[der.parse(data).start : -len(ECDSA) - 12],
        signature=b"signature",
        extensions={
            crl.AUTHORITY_KEY_IDENTIFIER: der.sequence(der.implicit(0, bytes(20))),
            crl.CRL_NUMBER: der.integer(number),
        },
    )
    listed = asn1.CertificateList.load(data, strict=True)["tbs_cert_list"]["revoked_certificates"]
    assert [
        (
            entry["user_certificate"].native,
            entry["revocation_date"].native,
            entry.crl_reason_value and int(entry.crl_reason_value),
        )
        for entry in listed
    ] == [(serial, at, reason or None) for serial, at, reason in revocations]


# --- PEM ---------------------------------------------------------------------------------


def check_pem(data: bytes) -> None:
    assert crl.crl_pem(data).decode("ascii") == ssl.DER_cert_to_PEM_cert(data).replace("CERTIFICATE", "X509 CRL")


@given(st.binary(min_size=1, max_size=300))
def test_pem(data: bytes) -> None:
    """Lines of 64 columns with LF, also at the end."""
    check_pem(data)


@pytest.mark.parametrize("size", [48 * 512 - 1, 48 * 512, 48 * 512 + 1, 48 * 1024, 100_000])
def test_long_pem(size: int) -> None:
    """Around the pieces that it is made in."""
    check_pem(os.urandom(size))


def test_pyca_reads_pem() -> None:
    data = unsigned(crl.crl_entry(5, THIS, None))
    assert x509.load_pem_x509_crl(crl.crl_pem(data)).public_bytes(Encoding.DER) == data


# --- reading -----------------------------------------------------------------------------


def assemble(*fields: bytes, outside: bytes = ECDSA, signature: bytes = b"\x03\x02\x00x") -> bytes:
    return der.sequence(der.sequence(*fields), outside, signature)


def crl_extension(oid: str, value: bytes, critical: bool = False) -> bytes:
    return der.sequence(der.oid(oid), b"\x01\x01\xff" if critical else b"", der.octet_string(value))


def extensions(*found: bytes) -> bytes:
    return der.explicit(0, der.sequence(*found))


VERSION = der.integer(1)
UTC_TIME = der.time(THIS)
HEAD = (VERSION, ECDSA, NAME, UTC_TIME, UTC_TIME)
NUMBER = crl_extension(crl.CRL_NUMBER, der.integer(7))


def test_version_1() -> None:
    """A version 1 CRL has no number, and may promise no next update."""
    summary = crl.parse_crl_summary(assemble(ECDSA, NAME, UTC_TIME))
    assert (summary.number, summary.next_update, summary.entries) == (None, None, 0)


def test_partial_crls_show() -> None:
    """Critical extensions of a partial CRL are named."""
    data = assemble(*HEAD, extensions(NUMBER, crl_extension("2.5.29.27", der.integer(1), critical=True)))
    assert crl.parse_crl_summary(data).critical_extensions == ("2.5.29.27",)


def test_reads_what_pyca_writes() -> None:
    ca = pki.make_ca()
    builder = x509.CertificateRevocationListBuilder().issuer_name(ca.certificate.subject)
    builder = builder.last_update(THIS).next_update(NEXT).add_extension(x509.CRLNumber(99), critical=False)
    for serial in range(1, 201):
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(THIS)
        if serial % 2:
            # An entry of more than 127 octets.
            names = [x509.UniformResourceIdentifier("http://example.com/" + "x" * 150)]
            revoked = revoked.add_extension(x509.CertificateIssuer(names), critical=True)
        builder = builder.add_revoked_certificate(revoked.build())
    data = builder.sign(ca.key, pki.digest_for(ca.key)).public_bytes(Encoding.DER)
    summary = crl.parse_crl_summary(data)
    assert (summary.number, summary.entries, summary.issuer_der) == (99, 200, ca.subject_der)
    assert summary.authority_key_identifier is None


MALFORMED = {
    "empty": b"",
    "PEM": b"-----BEGIN X509 CRL-----\n",
    "a certificate": pki.make_ca().der,
    "bytes at the end": assemble(*HEAD) + b"\x00",
    "a fourth field": der.sequence(der.sequence(*HEAD), ECDSA, b"\x03\x02\x00x", der.null()),
    "no signature": der.sequence(der.sequence(*HEAD), ECDSA),
    "signature of 7 bits": assemble(*HEAD, signature=b"\x03\x02\x01x"),
    "signature without octets": assemble(*HEAD, signature=b"\x03\x00"),
    "C1: algorithms differ": assemble(*HEAD, outside=bytes.fromhex("300506032b6570")),
    "version 3": assemble(der.integer(2), *HEAD[1:]),
    "nothing inside": assemble(),
    "no time": assemble(VERSION, ECDSA, NAME),
    "time of another form": assemble(VERSION, ECDSA, NAME, der.tlv(der.UTC_TIME, b"2605011200Z")),
    "time with a fraction": assemble(VERSION, ECDSA, NAME, der.tlv(der.GENERALIZED_TIME, b"20260501120000.5Z")),
    "time with a zone": assemble(VERSION, ECDSA, NAME, der.tlv(der.UTC_TIME, b"260501120000+0100")),
    "the 31st of February": assemble(VERSION, ECDSA, NAME, der.tlv(der.UTC_TIME, b"260231120000Z")),
    "the year 0": assemble(VERSION, ECDSA, NAME, der.tlv(der.GENERALIZED_TIME, b"00000101000000Z")),
    "second 61": assemble(VERSION, ECDSA, NAME, der.tlv(der.UTC_TIME, b"260501120061Z")),
    "time that is a string": assemble(VERSION, ECDSA, NAME, der.utf8_string("260501120000Z")),
    "C6: a list without an entry": assemble(*HEAD, der.sequence()),
    "entry that is no sequence": assemble(*HEAD, der.sequence(der.integer(1))),
    "entry that ends behind the list": assemble(*HEAD, der.tlv(0x30, b"\x30\x05\x02\x01\x01"), extensions(NUMBER)),
    "entry of one octet": assemble(*HEAD, der.tlv(0x30, b"\x30")),
    "long entry that is no sequence": assemble(*HEAD, der.sequence(der.octet_string(bytes(200)))),
    "long entry cut short": assemble(*HEAD, der.tlv(0x30, b"\x30\x81\xff")),
    "extensions in version 1": assemble(*HEAD[1:], extensions(NUMBER)),
    "extensions that are two lists": assemble(*HEAD, der.explicit(0, der.sequence(NUMBER) * 2)),
    "extension twice": assemble(*HEAD, extensions(NUMBER, NUMBER)),
    "extension of one field": assemble(*HEAD, extensions(der.sequence(der.oid(crl.CRL_NUMBER)))),
    "extension without a field": assemble(*HEAD, extensions(der.sequence())),
    "number negative": assemble(*HEAD, extensions(crl_extension(crl.CRL_NUMBER, der.integer(-1)))),
    "number of 22 octets": assemble(*HEAD, extensions(crl_extension(crl.CRL_NUMBER, der.integer(2**170)))),
    "number that is a string": assemble(*HEAD, extensions(crl_extension(crl.CRL_NUMBER, der.utf8_string("7")))),
    "authority key that is none": assemble(*HEAD, extensions(crl_extension("2.5.29.35", b"\x04\x00"))),
    "a field too many": assemble(*HEAD, extensions(NUMBER), der.null()),
    "nesting 10,000 deep": b"\x30\x80" * 10_000,
    "length of 2**32": b"\x30\x85\x01\x00\x00\x00\x00",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_hostile_crls_are_malformed(data: bytes) -> None:
    """Each at once, with a message of one line."""
    with costs_at_most(2 * BATCH), pytest.raises(MalformedRequest) as caught:
        crl.parse_crl_summary(data)
    assert "\n" not in caught.value.public


@given(st.binary(max_size=200))
def test_any_bytes_give_malformed_request(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        crl.parse_crl_summary(data)


VALID = unsigned(crl.crl_entry(5, THIS, RevocationReason.KEY_COMPROMISE))


@given(st.integers(0, len(VALID) - 1), st.integers(0, 255))
def test_a_changed_octet_is_read_or_refused(place: int, octet: int) -> None:
    with contextlib.suppress(MalformedRequest):
        crl.parse_crl_summary(VALID[:place] + bytes((octet,)) + VALID[place + 1 :])


@pytest.mark.parametrize("size", range(len(VALID)))
def test_cut_short(size: int) -> None:
    with pytest.raises(MalformedRequest):
        crl.parse_crl_summary(VALID[:size])


def test_a_million_entries() -> None:
    """VA-3: the cost is that of copying memory, with nothing per entry."""
    entries = crl.crl_entry(2**150 + 1, THIS, RevocationReason.SUPERSEDED) * 1_000_000
    # Ten times what it takes: a loop over the entries takes more.
    with costs_at_most(10 * BATCH):
        data = unsigned(entries)
    with costs_at_most(100 * BATCH):
        summary = crl.parse_crl_summary(data)
        text = crl.crl_pem(data)
    assert summary.entries == 1_000_000
    assert len(text) > 4 / 3 * len(data)


# --- other programs ----------------------------------------------------------------------


def run(arguments: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(one) for one in arguments], capture_output=True, text=True, check=False)


@pytest.mark.interop
@pytest.mark.parametrize("key_type", CLASSICAL)
def test_openssl_reads_and_checks(tmp_path: Path, key_type: str) -> None:
    """VA-2: the good certificate verifies, the revoked one does not."""
    require("openssl")
    ca = pki.make_ca(key_type)
    good, revoked = (pki.make_leaf(ca, name, key_type=key_type) for name in ("good", "revoked"))
    now = datetime.now(UTC)
    entry = crl.crl_entry(revoked.certificate.serial_number, now, RevocationReason.KEY_COMPROMISE)
    data = make_crl(ca, entry, 0x1000, now, now + timedelta(days=7))
    path = tmp_path / "ca.pem"
    path.write_bytes(crl.crl_pem(data))
    (tmp_path / "ca.crl").write_bytes(data)
    ca_path, _ = ca.write(tmp_path, "ca")

    shown = run(["openssl", "crl", "-inform", "DER", "-in", tmp_path / "ca.crl", "-text", "-noout", "-CAfile", ca_path])
    assert "verify OK" in shown.stderr
    assert "Key Compromise" in shown.stdout
    assert "0x1000" in shown.stdout or "4096" in shown.stdout

    check: list[str | Path] = ["openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", ca_path, "-CRLfile", path]
    passed = run([*check, good.write(tmp_path, "good")[0]])
    assert passed.returncode == 0, passed.stderr
    refused = run([*check, revoked.write(tmp_path, "revoked")[0]])
    assert refused.returncode != 0
    assert "certificate revoked" in refused.stderr


@pytest.mark.interop
def test_openssl_accepts_an_empty_one(tmp_path: Path) -> None:
    """RFC 5280 section 5.1.2.6: then revokedCertificates is absent."""
    require("openssl")
    ca = pki.make_ca()
    now = datetime.now(UTC)
    (tmp_path / "ca.pem").write_bytes(crl.crl_pem(make_crl(ca, b"", 1, now, now + timedelta(days=7))))
    ca_path, _ = ca.write(tmp_path, "ca")
    leaf_path, _ = pki.make_leaf(ca).write(tmp_path, "leaf")
    done = run(["openssl", "verify", "-crl_check", "-CAfile", ca_path, "-CRLfile", tmp_path / "ca.pem", leaf_path])
    assert done.returncode == 0, done.stderr


@pytest.mark.interop
@pytest.mark.parametrize("key_type", CLASSICAL)
def test_gnutls_reads_and_verifies(tmp_path: Path, key_type: str) -> None:
    """A second implementation, for every kind of key."""
    require("certtool")
    ca = pki.make_ca(key_type)
    now = datetime.now(UTC)
    entry = crl.crl_entry(2**158 + 1, now, RevocationReason.CERTIFICATE_HOLD)
    path = tmp_path / "ca.pem"
    path.write_bytes(crl.crl_pem(make_crl(ca, entry, 3, now, now + timedelta(days=7))))
    done = run(["certtool", "--verify-crl", "--load-ca-certificate", ca.write(tmp_path, "ca")[0], "--infile", path])
    assert done.returncode == 0, done.stderr
    assert "Verified" in done.stdout
