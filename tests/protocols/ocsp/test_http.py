"""OCSP over HTTP (OCSP-1, OCSP-3) and what hostile clients send."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.times import utc
from pikachu.x509 import der
from pikachu.x509.ocsp import NONCE, SHA1, SHA256, SHA384, SHA512
from tests.protocols.ocsp.server import OCSPServer
from tests.support import ocsp
from tests.support.ocsp import INTERNAL, MALFORMED, TRY_LATER, UNAUTHORIZED
from tests.support.reference_work import BATCH, costs_at_most
from tests.support.stack import ask, build_core

UNKNOWN_SERIAL = 0x1234


@pytest.mark.parametrize("null", [True, False])
@pytest.mark.parametrize("algorithm", [SHA1, SHA256, SHA384, SHA512])
@pytest.mark.parametrize("ca", ["ec", "rsa"])
def test_every_digest_names_a_certificate(server: OCSPServer, ca: str, algorithm: str, null: bool) -> None:
    """OCSP-1: the CertID comes back as it was sent."""
    leaf = server.stack.issue(ca=ca)
    asked = server.cert_id(leaf, ca, algorithm, null=null)
    response = server.post(ocsp.request(asked))
    assert server.verify(response, ca).status == "good"
    assert asked in response.body


def test_revoked_tells_time_and_reason_and_hold_ends(server: OCSPServer) -> None:
    """Unspecified is left out; released is good again."""
    leaf = server.stack.issue()
    now = utc(server.stack.clock.seconds())
    server.stack.revoke(leaf, RevocationReason.CERTIFICATE_HOLD)
    (single,) = server.verify(server.post(ocsp.request(server.cert_id(leaf)))).singles
    assert (single.status, single.revoked_at, single.reason) == ("revoked", now, "certificateHold")
    server.stack.release(leaf)
    assert server.status(leaf) == "good"
    server.stack.revoke(leaf)
    (single,) = server.verify(server.post(ocsp.request(server.cert_id(leaf)))).singles
    assert (single.status, single.reason) == ("revoked", None)


def test_unknown_deleted_and_expired(server: OCSPServer) -> None:
    """Deleted is unknown, deleted and revoked is revoked, expired is still answered."""
    stack = server.stack
    assert server.status(UNKNOWN_SERIAL) == "unknown"
    deleted, revoked, short = stack.issue(), stack.issue(), stack.issue(days=1)
    assert server.status(deleted) == "good"
    stack.delete(deleted)
    stack.revoke(revoked)
    stack.delete(revoked)
    assert (server.status(deleted), server.status(revoked)) == ("unknown", "revoked")
    stack.clock.advance(2 * 86400)
    assert server.status(short) == "good"


@pytest.mark.parametrize("path", ["/ocsp", "/ocsp/"])
def test_post_to_either_address(server: OCSPServer, path: str) -> None:
    """OCSP-1: with and without the slash."""
    leaf = server.stack.issue()
    for quick in (False, True):
        response = server.post(ocsp.request(server.cert_id(leaf)), path, quick=quick)
        assert server.verify(response).status == "good"


def test_get_in_all_its_spellings(server: OCSPServer) -> None:
    """Escapes, bare base64, the URL alphabet, no padding, many slashes, a query."""
    leaf = server.stack.issue()
    body = ocsp.request(server.cert_id(leaf))
    text = base64.b64encode(body).decode("ascii")
    spellings = [
        text,
        text.rstrip("="),
        "/" + text,
        "///" + text,
        text.replace("+", "-").replace("/", "_"),
        text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        text.replace("+", "%20"),
        text + "?x=1",
        text[:20] + "%0d%0a" + text[20:],
    ]
    for quick in (False, True):
        for spelling in spellings:
            site = server.quick_site if quick else server.site
            assert server.verify(ask(site, server.stack.clock, "/ocsp/" + spelling)).status == "good", spelling


def test_content_type_is_no_matter(server: OCSPServer) -> None:
    """Clients name many types; the body decides."""
    body = ocsp.request(server.cert_id(server.stack.issue()))
    for kind in ("text/plain", "Application/OCSP-Request; charset=x", "multipart/form-data; boundary=x", ""):
        assert server.verify(server.post(body, headers={"Content-Type": kind})).status == "good"


def test_http_1_0(server: OCSPServer) -> None:
    """A length, then the connection is closed."""
    body = ocsp.request(server.cert_id(server.stack.issue()))
    for quick in (False, True):
        response = server.post(body, quick=quick, version="1.0")
        assert server.verify(response).status == "good"
        assert response.headers["Connection"] == "close"


def test_other_methods(server: OCSPServer) -> None:
    """405 with Allow; HEAD is a GET without a body."""
    body = ocsp.request(server.cert_id(server.stack.issue()))
    for method in ("PUT", "DELETE", "OPTIONS"):
        response = ask(server.site, server.stack.clock, "/ocsp", method)
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, POST")
    whole, head = server.get(body), server.get(body, method="HEAD")
    assert head.status == 200
    assert head.headers["Content-Length"] == str(len(whole.body))
    assert ask(server.site, server.stack.clock, "/ocspx").status == 404


def test_cacheable_answers(server: OCSPServer) -> None:
    """OCSP-3: caching headers and 304 responses."""
    body = ocsp.request(server.cert_id(server.stack.issue()))
    first = server.get(body)
    answer = server.verify(first)
    single = answer.singles[0]
    assert first.headers["Cache-Control"] == "max-age=3600, public, no-transform, must-revalidate"
    assert first.headers["Expires"] == f"{single.next_update:%a, %d %b %Y %H:%M:%S} GMT"
    assert first.headers["Last-Modified"] == f"{single.this_update:%a, %d %b %Y %H:%M:%S} GMT"
    etag = first.headers["ETag"]
    assert re.fullmatch('"[0-9a-f]{64}"', etag)
    assert len(first.raw) - len(first.body) < 1000
    for value in (etag, "*", f'"x", W/{etag}'):
        again = server.get(body, headers={"If-None-Match": value})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
    for value in ('"other"', "garbage", '"', ""):
        assert server.get(body, headers={"If-None-Match": value}).status == 200
    assert server.get(body, headers={"If-Modified-Since": first.headers["Last-Modified"]}).status == 304
    for response in (server.post(body), server.get(ocsp.request())):
        assert response.headers["Cache-Control"] == "no-store"
        assert "ETag" not in response.headers


@pytest.mark.parametrize("octets", [1, 16, 23, 32, 128])
def test_nonce_comes_back(server: OCSPServer, octets: int) -> None:
    """Echoed, not critical, and nobody keeps the answer."""
    leaf = server.stack.issue()
    nonce = bytes(range(1, octets + 1))
    body = ocsp.request(server.cert_id(leaf), extensions=[ocsp.nonce_extension(nonce)])
    for quick in (False, True):
        for response in (server.post(body, quick=quick), server.get(body, quick=quick)):
            answer = server.verify(response)
            assert (answer.status, answer.nonce) == ("good", nonce)
            assert response.headers["Cache-Control"] == "no-store"
    other = ocsp.request(server.cert_id(leaf), extensions=[ocsp.nonce_extension(b"x" * octets)])
    assert server.verify(server.post(other, quick=True)).nonce == b"x" * octets


def test_several_certificates(server: OCSPServer) -> None:
    """Each in order, repeated ones too; of another CA's: unknown; not kept by caches."""
    stack = server.stack
    good, revoked, other = stack.issue(), stack.issue(), stack.issue(ca="rsa")
    stack.revoke(revoked, RevocationReason.KEY_COMPROMISE)
    asked = [
        server.cert_id(good),
        server.cert_id(revoked),
        server.cert_id(good),
        server.cert_id(UNKNOWN_SERIAL),
        server.cert_id(other, "rsa"),
    ]
    response = server.get(ocsp.request(*asked))
    singles = server.verify(response).singles
    assert [single.status for single in singles] == ["good", "revoked", "good", "unknown", "unknown"]
    assert [single.serial for single in singles[:2]] == [good.serial, revoked.serial]
    assert response.headers["Cache-Control"] == "no-store"
    # The first of ours decides who signs.
    singles = server.verify(server.post(ocsp.request(asked[4], asked[0])), "rsa").singles
    assert [single.status for single in singles] == ["good", "unknown"]


def test_at_most_so_many_certificates(server: OCSPServer) -> None:
    """50 are answered, 51 are too many."""
    leaf = server.stack.issue()
    asked = [server.cert_id(leaf)] * 51
    assert len(server.verify(server.post(ocsp.request(*asked[:50]))).singles) == 50
    assert ocsp.status_of(server.post(ocsp.request(*asked)).body) == MALFORMED


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("size", [1, 20, 21, 22, 1000])
def test_a_serial_number_that_no_certificate_has(server: OCSPServer, size: int, quick: bool) -> None:
    """It is unknown, alone and beside one that is good; only what is not DER is malformed."""
    good = server.cert_id(server.stack.issue())
    number = ocsp.cert_id(server.stack.issuer().certificate, 1)[:-3]
    prefix = number[2 + (number[1] > 0x80) :]
    for content in (bytes(size)[:1], b"\x80" + b"\x01" * (size - 1), b"\x7f" * size, b"\xff"):
        asked = der.sequence(prefix, der.tlv(der.INTEGER, content))
        for response in (server.post(ocsp.request(asked), quick=quick), server.get(ocsp.request(asked), quick=quick)):
            answer = server.verify(response)
            assert (answer.status, answer.singles[0].serial) == ("unknown", int.from_bytes(content, "big", signed=True))
        both = server.verify(server.post(ocsp.request(asked, good), quick=quick))
        assert [single.status for single in both.singles] == ["unknown", "good"]
    padded = der.sequence(prefix, der.tlv(der.INTEGER, bytes(size) + b"\x01"))
    assert ocsp.status_of(server.post(ocsp.request(padded), quick=quick).body) == MALFORMED


def _hostile(server: OCSPServer) -> dict[str, tuple[bytes, int | None]]:
    """Requests by their defect, with the expected status; ``None``: answered as any other."""
    leaf = server.stack.issue()
    good = server.cert_id(leaf)
    ca = server.stack.issuer().certificate
    wrong_key = good.replace(ocsp.cert_id(ca, 1)[-25:-3], b"\x04\x14" + b"k" * 20)
    md5 = der.sequence(
        der.sequence(der.oid("1.2.840.113549.2.5"), der.null()),
        der.octet_string(b"n" * 16),
        der.octet_string(b"k" * 16),
        der.integer(5),
    )
    short = der.sequence(
        der.sequence(der.oid(SHA1), der.null()),
        der.octet_string(b"n" * 19),
        der.octet_string(b"k" * 20),
        der.integer(5),
    )
    signature = der.explicit(
        0, der.sequence(bytes.fromhex("300a06082a8648ce3d040302"), der.bit_string(b"not a signature"))
    )
    raw_nonce = ocsp.extension(NONCE, b"bare")
    return {
        "empty": (b"", MALFORMED),
        "one octet": (b"\x30", MALFORMED),
        "random": (bytes(range(200)), MALFORMED),
        "version 2": (ocsp.request(good, before=der.explicit(0, der.integer(1))), MALFORMED),
        "trailing": (ocsp.request(good) + b"\x00", MALFORMED),
        "no certificate": (ocsp.request(), MALFORMED),
        "MD5": (ocsp.request(md5), UNAUTHORIZED),
        "a digest too short": (ocsp.request(short), UNAUTHORIZED),
        "another key": (ocsp.request(wrong_key), UNAUTHORIZED),
        "nonce of 0": (ocsp.request(good, extensions=[ocsp.nonce_extension(b"")]), MALFORMED),
        "nonce of 129": (ocsp.request(good, extensions=[ocsp.nonce_extension(b"n" * 129)]), MALFORMED),
        "nonce of 9000": (ocsp.request(good, extensions=[ocsp.nonce_extension(b"n" * 9000)]), MALFORMED),
        "nonce unwrapped": (ocsp.request(good, extensions=[raw_nonce]), MALFORMED),
        "nonce twice": (ocsp.request(good, extensions=[ocsp.nonce_extension(b"n" * 16)] * 2), MALFORMED),
        "critical": (ocsp.request(good, extensions=[ocsp.extension("1.2.3.4", b"x", critical=True)]), MALFORMED),
        "not critical": (ocsp.request(good, extensions=[ocsp.extension("1.2.3.4", b"x")]), None),
        "requestorName": (ocsp.request(good, before=der.explicit(1, b"\x9f\x99\x7fgarbage"[:2] + b"\x30\x00")), None),
        "a bad signature": (ocsp.request(good, after=signature), None),
        "odd response types": (
            ocsp.request(good, extensions=[ocsp.extension("1.3.6.1.5.5.7.48.1.4", der.sequence(der.oid("1.2.3")))]),
            None,
        ),
    }


def test_hostile_requests(server: OCSPServer) -> None:
    """Each has its answer, by POST and GET, on either path, and is quick."""
    for what, (body, expected) in _hostile(server).items():
        for quick in (False, True):
            with costs_at_most(10 * BATCH):
                responses = [server.post(body, quick=quick), *([server.get(body, quick=quick)] if body else [])]
            for response in responses:
                if expected is None:
                    assert server.verify(response).status == "good", what
                else:
                    assert (response.status, ocsp.status_of(response.body)) == (200, expected), what
                    assert response.headers["Cache-Control"] == "no-store"
                    assert len(response.body) == 5, "errors are not signed"


def test_bodies_and_addresses_that_are_too_large(server: OCSPServer) -> None:
    """413 for a body, malformedRequest for what is no base64."""
    assert server.post(b"\x30" * 11_000).status == 413
    clock = server.stack.clock
    for target in ("/ocsp/%%%", "/ocsp/ab=cd", "/ocsp/%FF", "/ocsp/A", "/ocsp/", "/ocsp", "/ocsp?x"):
        response = ask(server.site, clock, target)
        assert (response.status, ocsp.status_of(response.body)) == (200, MALFORMED), target
    assert ask(server.site, clock, "/ocsp/" + "A" * 20_000).status == 413


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.binary(max_size=300), quick=st.booleans())
def test_any_bytes(server: OCSPServer, data: bytes, quick: bool) -> None:
    """Any body gets an OCSPResponse."""
    response = server.post(data, quick=quick)
    assert response.status == 200
    assert ocsp.status_of(response.body) in (MALFORMED, UNAUTHORIZED)


def test_a_serial_of_another_ca_here(server: OCSPServer) -> None:
    """One CA says nothing of another's certificates."""
    leaf = server.stack.issue(ca="rsa")
    server.stack.revoke(leaf)
    assert server.status(leaf, "rsa") == "revoked"
    assert server.status(leaf.serial, "ec") == "unknown"


def test_the_quick_path_gives_what_the_ordinary_one_gives(server: OCSPServer) -> None:
    """OCSP-3: the same bytes, apart from the signature and its ETag where the response is signed again."""
    stack = server.stack
    good, revoked = stack.issue(), stack.issue()
    stack.revoke(revoked, RevocationReason.SUPERSEDED)
    for leaf in (good, revoked):
        body = ocsp.request(server.cert_id(leaf))
        for send in (server.post, server.get):
            ordinary = send(body)
            for _ in range(2):
                served = server.quick.served
                quick = send(body, quick=True)
                assert server.quick.served == served + 1
                assert quick.body == ordinary.body
                assert quick.status == ordinary.status
                assert quick.headers == ordinary.headers
    nonce = ocsp.request(server.cert_id(good), extensions=[ocsp.nonce_extension(b"n" * 16)])
    ordinary, quick = server.post(nonce), server.post(nonce, quick=True)
    assert server.verify(ordinary).tbs == server.verify(quick).tbs
    assert {**ordinary.headers, "Content-Length": ""} == {**quick.headers, "Content-Length": ""}


def test_a_kept_answer_is_for_its_own_question_only(server: OCSPServer) -> None:
    """A body that looks like an address, or an address beside ours, is not answered from memory."""
    body = ocsp.request(server.cert_id(server.stack.issue()))
    server.get(body)
    assert server.get(body, quick=True).status == 200
    text = "/ocsp/" + base64.b64encode(body).decode("ascii").replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    assert ocsp.status_of(server.post(text.encode("ascii"), quick=True).body) == MALFORMED
    server.post(body, quick=True)
    assert server.post(body, "/ocspx", quick=True).status == 404


@pytest.mark.parametrize("key_type", ["mldsa44", "mldsa65", "mldsa87"])
def test_ml_dsa(tmp_path: Path, key_type: str) -> None:
    """Responses fit the 16 KiB that nginx reads; cached ones take the fast path though signing is slow."""
    server = OCSPServer(build_core(tmp_path / "ca", key_types=[key_type]))
    leaf = server.stack.issue()
    body = ocsp.request(server.cert_id(leaf))
    response = server.get(body)
    assert server.verify(response).status == "good"
    assert len(response.raw) < 16 * 1024
    server.get(body, quick=True)
    assert server.quick.served == 1
    server.stack.revoke(leaf)
    assert server.status(leaf, quick=True) == "revoked"
    server.stack.close()


def test_max_age_stays_short_of_the_end(tmp_path: Path) -> None:
    """The max-age is less than nextUpdate - now, on the fast path too."""
    server = OCSPServer(build_core(tmp_path / "ca", changes={("OCSP", "ocsp_validity"): "20m"}))
    body = ocsp.request(server.cert_id(server.stack.issue()))
    server.get(body)
    for _ in range(30):
        response = server.get(body, quick=True)
        single = server.verify(response).singles[0]
        left = single.next_update.timestamp() - server.stack.clock.seconds()
        age = re.match(r"max-age=(\d+)", response.headers["Cache-Control"])
        assert age is not None
        assert int(age[1]) < left
        server.stack.clock.advance(60)
    server.stack.close()


def test_when_the_database_is_gone(server: OCSPServer) -> None:
    """Without the database the response is tryLater (five bytes), never good."""
    leaf = server.stack.issue()
    server.stack.app.store.close()
    response = server.post(ocsp.request(server.cert_id(leaf)))
    assert response.body == bytes.fromhex("30030a0103")
    assert ocsp.status_of(response.body) == TRY_LATER


def test_when_the_ca_has_ended(server: OCSPServer) -> None:
    """Nothing is signed with what has expired; the clients are not to blame."""
    leaf = server.stack.issue()
    assert server.status(leaf) == "good"
    server.stack.clock.advance(3700 * 86400)
    for quick in (False, True):
        response = server.post(ocsp.request(server.cert_id(leaf)), quick=quick)
        assert (response.status, ocsp.status_of(response.body)) == (200, INTERNAL)


def test_foreign_issuers(server: OCSPServer, tmp_path: Path) -> None:
    """OCSP-1: unauthorized, or unknown where that is set."""
    other = OCSPServer(build_core(tmp_path / "other", changes={("OCSP", "foreign_issuer"): "unknown"}))
    leaf = server.stack.issue()
    body = ocsp.request(server.cert_id(leaf))
    assert other.verify(other.post(body)).status == "unknown"
    other.stack.close()
    foreign = ocsp.request(other.cert_id(7))
    assert ocsp.status_of(server.post(foreign).body) == UNAUTHORIZED
    mixed = ocsp.request(other.cert_id(7), server.cert_id(leaf))
    assert [single.status for single in server.verify(server.post(mixed)).singles] == ["unknown", "good"]
