"""Downloads over HTTP (VA-2, CRT-8, UI-6, CFG-8, RUN-8) and the way from HTTP to HTTPS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pikachu.ca.issuers import IssuingCA
from pikachu.cli.main import main
from pikachu.core.model.certificates import RevocationReason
from pikachu.core.model.times import rfc3339, utc
from pikachu.http.redirect import HTTPSRedirect
from pikachu.http.request import Site
from pikachu.http.resources import NotFoundResource
from pikachu.http.responses import Part, SliceProducer
from pikachu.http.tree import Tree
from pikachu.protocols.download.crl import cache_fields, crl_dates
from pikachu.server.downloads import download_tree
from tests.support.connections import Plain
from tests.support.deferreds import result_of
from tests.support.pki import brought, make_ca
from tests.support.stack import Response, Stack, ask, build_core
from tests.unit.va.test_ocsp import signer_of

DAY = 86400
SOME_CRL = brought(make_ca("p256", "Some CA"))


class Server:
    """Everything below the root of a plain HTTP listener."""

    def __init__(self, stack: Stack, **checks: Any) -> None:
        self.stack = stack
        tree = Tree(NotFoundResource())
        for name, resource in download_tree(stack.app, checks).items():
            tree.putChild(name, resource)
        self.site: Site = stack.site(tree)

    def get(self, path: str, method: str = "GET", **headers: str) -> Response:
        """One request; header names have underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.site, self.stack.clock, path, method, headers=fields)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An EC and an RSA CA below a root whose key is here; CRLs are published."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    result_of(stack.app.publisher.begin())
    yield Server(stack)
    stack.close()


def hex_of(stack: Stack, name: str | None = None) -> str:
    """The key identifier of a CA."""
    return stack.issuer(name).key_identifier.hex()


# --- CRLs --------------------------------------------------------------------------------


def test_crls_by_name_and_by_key(server: Server) -> None:
    """VA-2: DER and PEM with their types; the same by the key's identifier; whatever Accept says."""
    stack = server.stack
    for name, issuer in (("ec", "Test ec CA"), ("rsa", "Test rsa CA"), ("root", "Test root")):
        key = stack.files.root.key_identifier.hex() if name == "root" else hex_of(stack, name)
        for stem in (name, key):
            for accept in ("*/*", "application/json", "text/html"):
                der = server.get(f"/crl/{stem}.crl", Accept=accept, Accept_Encoding="gzip")
                pem = server.get(f"/crl/{stem}.pem", Accept=accept)
                assert (der.status, der.headers["Content-Type"]) == (200, "application/pkix-crl")
                assert (pem.status, pem.headers["Content-Type"]) == (200, "application/x-pem-file")
                assert "Content-Encoding" not in der.headers
                crl = x509.load_der_x509_crl(der.body)
                assert crl == x509.load_pem_x509_crl(pem.body)
                assert crl.issuer.rfc4514_string() == f"CN={issuer}"


@pytest.fixture(scope="module")
def parts_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A CA with delta CRLs and three shards."""
    changes = {("CRL", "delta"): "1h", ("CRL", "shards"): "3", ("CA", "public_url"): "http://ca.example.com"}
    stack = build_core(tmp_path_factory.mktemp("parts") / "ca", changes=changes)
    result_of(stack.app.publisher.begin())
    yield Server(stack)
    stack.close()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("ec-delta.crl", 200),
        ("{key}-delta.crl", 200),
        ("ec-delta.pem", 200),
        ("{key}-0.crl", 200),
        ("ec-2.pem", 200),
        ("{key}-3.crl", 404),
        ("{key}-03.crl", 404),
        ("{key}--1.crl", 404),
        ("{key}-.crl", 404),
        ("root-delta.crl", 404),
        ("root-0.crl", 404),
        ("none-delta.crl", 404),
        ("ec-delta-delta.crl", 404),
        ("ec-delta-chain.pem", 404),
        ("ec-999999999999999999999.crl", 404),
    ],
)
def test_delta_and_sharded_crls(parts_server: Server, path: str, status: int) -> None:
    """CRL-D: by name and by key; nothing that was never a shard."""
    response = parts_server.get(f"/crl/{path.format(key=hex_of(parts_server.stack))}")
    assert response.status == status
    if status == 200:
        assert response.headers["Content-Type"] == (
            "application/pkix-crl" if path.endswith(".crl") else "application/x-pem-file"
        )


def test_the_crls_of_a_chain(server: Server) -> None:
    """The issuing CA's, then the root's."""
    response = server.get("/crl/ec-chain.pem")
    assert response.body == server.get("/crl/ec.pem").body + server.get("/crl/root.pem").body
    assert server.get("/crl/root-chain.pem").body == server.get("/crl/root.pem").body
    assert server.get(f"/crl/{hex_of(server.stack)}-chain.pem").body == response.body
    etag = response.headers["ETag"]
    assert server.get("/crl/ec-chain.pem", If_None_Match=etag).status == 304
    server.stack.revoke(server.stack.issue())
    server.stack.clock.advance(1)
    assert server.get("/crl/ec-chain.pem", If_None_Match=etag).status == 200
    part = server.get("/crl/ec-chain.pem", Range=f"bytes=300-{len(response.body) - 1}")
    assert part.status == 206
    assert part.body == server.get("/crl/ec-chain.pem").body[300 : len(response.body)]


def test_a_revocation_is_on_the_next_answer(server: Server) -> None:
    """VA-3."""
    leaf = server.stack.issue()
    first = server.get("/crl/ec.crl")
    server.stack.revoke(leaf)
    server.stack.clock.advance(1)
    second = server.get("/crl/ec.crl", If_None_Match=first.headers["ETag"])
    assert second.status == 200
    assert x509.load_der_x509_crl(second.body).get_revoked_certificate_by_serial_number(leaf.serial) is not None


def test_conditions(server: Server) -> None:
    """304 with what caches need, and 200 for dates that mean nothing."""
    first = server.get("/crl/ec.crl")
    crl = x509.load_der_x509_crl(first.body)
    assert first.headers["Last-Modified"] == f"{crl.last_update_utc:%a, %d %b %Y %H:%M:%S} GMT"
    assert first.headers["Cache-Control"] == "max-age=300, public"
    etag = first.headers["ETag"]
    for value in (etag, "*", f'"x", {etag}'):
        response = server.get("/crl/ec.crl", If_None_Match=value)
        assert (response.status, response.body, response.headers["ETag"]) == (304, b"", etag)
        assert "Content-Length" not in response.headers
    assert server.get("/crl/ec.crl", If_Modified_Since=first.headers["Last-Modified"]).status == 304
    for date in ("Tue, 01 Jan 2199 00:00:00 GMT", "yesterday", "0", "Mon, 01 Jan 2001 00:00:00 GMT"):
        assert server.get("/crl/ec.crl", If_Modified_Since=date).status == 200
    assert len(first.raw) - len(first.body) < 1000


def test_parts(server: Server) -> None:
    """206, 416, or the whole."""
    whole = server.get("/crl/ec.crl")
    size = len(whole.body)
    one = server.get("/crl/ec.crl", Range="bytes=0-0")
    assert (one.status, one.body, one.headers["Content-Range"]) == (206, b"0", f"bytes 0-0/{size}")
    assert server.get("/crl/ec.crl", Range="bytes=10-").body == whole.body[10:]
    beyond = server.get("/crl/ec.crl", Range="bytes=99999999-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    for several in ("bytes=0-0,5-9", "lines=1-2", "bytes=9-3", "bytes"):
        assert server.get("/crl/ec.crl", Range=several).status == 200


def test_head_and_other_methods(server: Server) -> None:
    """HEAD is a GET without a body; other methods give 405."""
    whole, head = server.get("/crl/ec.crl"), server.get("/crl/ec.crl", "HEAD")
    assert head.headers == whole.headers
    for path in ("/crl/ec.crl", "/ca/root.crt", "/downloads/chain", "/status/1", "/expired", "/healthz", "/readyz"):
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            response = server.get(path, method)
            assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD"), path
            assert response.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "path",
    [
        "/crl",
        "/crl/",
        "/crl/../../etc/passwd",
        "/crl/..%2f..%2fetc%2fpasswd",
        "/crl/%2e%2e",
        "/crl/mldsa.crl",
        "/crl/ec",
        "/crl/ec.txt",
        "/crl/ec.crl/",
        "/crl/ec.crl/x",
        "/crl/.crl",
        "/crl/-chain.pem",
        "/crl/EC.crl",
        "/crl/%00.crl",
        "/crl/%ff.crl",
        "/crl/.lock",
        "/crl/" + "ab" * 20 + ".crl",
        "/ca",
        "/ca/",
        "/ca/x.crt",
        "/ca/ec.pem",
        "/ca/ec/chain",
        "/ca/ec/x/chain.pem",
        "/ca/secret_key",
        "/downloads",
        "/downloads/other",
        "/downloads/manufacturers",
        "/status",
        "/status/1/2",
        "/expired/1",
        "/healthz/x",
        "/readyz/x",
    ],
)
def test_what_is_not_there(server: Server, path: str) -> None:
    """404 in plain text."""
    response = server.get(path)
    assert (response.status, response.headers["Content-Type"]) == (404, "text/plain; charset=utf-8")


def test_before_the_first_crl(tmp_path: Path) -> None:
    """A server that has just started lets clients wait for its first list; never an empty file."""
    stack = build_core(tmp_path / "ca")
    server = Server(stack)
    connections = [Plain(server.site, stack.clock) for _ in range(3)]
    for connection in connections:
        assert connection.send(b"GET /crl/ec-chain.pem HTTP/1.1\r\nHost: a\r\n\r\n") == b""
    transport: Any = connections[0].transport
    transport.loseConnection()
    stack.clock.advance(4)
    result_of(stack.app.publisher.begin())
    for connection in connections[1:]:
        response = Response.parse(connection.received())
        assert (response.status, response.body.count(b"BEGIN X509 CRL")) == (200, 2)
    stack.close()


def test_when_the_first_crl_does_not_come(tmp_path: Path) -> None:
    """Come again soon."""
    stack = build_core(tmp_path / "ca")
    server = Server(stack)
    before = list(stack.app.publisher._subscribers)
    connection = Plain(server.site, stack.clock)
    assert connection.send(b"GET /crl/ec.crl HTTP/1.1\r\nHost: a\r\n\r\n") == b""
    stack.clock.advance(6)
    response = Response.parse(connection.received())
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert stack.app.publisher._subscribers == before
    stack.close()


def test_a_root_that_is_kept_elsewhere(tmp_path: Path) -> None:
    """An offline root's CRL is the uploaded one; until the upload it gives 404, and so does the chain."""
    stack = build_core(tmp_path / "ca", root_key=False)
    result_of(stack.app.publisher.begin())
    server = Server(stack)
    key = stack.files.root.key_identifier.hex()
    for path in ("/crl/root.crl", f"/crl/{key}.crl", "/crl/ec-chain.pem"):
        response = server.get(path)
        assert response.status == 404
        assert b"upload" in response.body
    crl = brought(stack.files.root)
    result_of(stack.app.publisher.uploads.accept(crl))
    assert server.get("/crl/root.crl").body == server.get(f"/crl/{key}.crl").body == crl
    assert server.get("/crl/ec-chain.pem").body.count(b"BEGIN X509 CRL") == 2
    stack.close()


def test_caches_hold_no_crl_beyond_its_end(server: Server) -> None:
    """Also when publishing has stopped."""
    server.stack.app.publisher.stop()
    end = server.stack.app.publisher.published(server.stack.issuer()).next_update
    server.stack.clock.rightNow = end.timestamp() - 100
    response = server.get("/crl/ec.crl")
    assert response.headers["Cache-Control"] == "max-age=99, public"
    server.stack.clock.advance(200)
    response = server.get("/crl/ec.crl")
    assert response.headers["Cache-Control"] == "max-age=0, public"
    assert cache_fields(None, utc(0))[b"Cache-Control"] == b"max-age=300, public"


def test_dates_are_read_from_the_beginning() -> None:
    """Of large lists nothing else is looked at."""
    ca = make_ca("p256")
    crl = x509.load_der_x509_crl(brought(ca, revoked=5))
    for data in (brought(ca), brought(ca)[:120], crl.public_bytes(Encoding.PEM)):
        assert (crl_dates(data).made, crl_dates(data).next) == (crl.last_update_utc, crl.next_update_utc)
    for data in (b"", b"\x30", b"\x30\x80", b"garbage", b"-----BEGIN X509 CRL-----\n", brought(ca)[:20]):
        assert crl_dates(data).made is None


@given(data=st.binary(max_size=200), armoured=st.booleans(), cut=st.integers(0, 300))
def test_dates_of_any_bytes(data: bytes, armoured: bool, cut: int) -> None:
    """An unreadable CRL has no dates; it is served without them."""
    crl_dates(b"-----BEGIN X509 CRL-----\n" + data if armoured else data)
    head = SOME_CRL[:cut] + data
    crl_dates(head)


def test_the_list_of_a_former_key(server: Server) -> None:
    """The old key's CRL remains at the URL its certificates name; the CA's name leads to the new key's CRL."""
    stack = server.stack
    before, leaf = hex_of(stack), stack.issue()
    identity = make_ca("p256", "Test ec CA", issuer=stack.files.root, path_length=0)
    record = stack.app.store.register_issuer("ec", identity.key_identifier, identity.der, utc(stack.clock.seconds()))
    stack.app.issuers.switch_to(IssuingCA(record, signer_of(stack, identity)))
    stack.revoke(leaf)
    stack.clock.advance(1)
    former = x509.load_der_x509_crl(server.get(f"/crl/{before}.crl").body)
    assert former.get_revoked_certificate_by_serial_number(leaf.serial) is not None
    assert server.get("/crl/ec.crl").body == server.get(f"/crl/{hex_of(stack)}.crl").body
    assert len(x509.load_der_x509_crl(server.get("/crl/ec.crl").body)) == 0
    assert server.get(f"/ca/{before}.crt").body == stack.files.issuers["ec"].pem
    assert server.get("/ca/ec.crt").body == identity.pem


def _blocks(text: bytes, label: str) -> list[bytes]:
    """The PEM blocks of a file."""
    end = f"-----END {label}-----\n".encode()
    return [block + end for block in text.split(end)[:-1]]


def test_bundles_hold_every_generation(tmp_path: Path) -> None:
    """PEM bundles hold the CRLs and certificates of all generations, newest first; DER holds one."""
    stack = build_core(tmp_path / "ca", key_types=("p256", "rsa2048"))
    server = Server(stack)
    try:
        result_of(stack.app.publisher.begin())
        oldest = hex_of(stack)
        for arguments in (["--now"], ["--now"], []):
            assert main(["ca", "rotate", "ec", "--config", str(stack.files.config), *arguments]) == 0
            result_of(stack.app.generations.update(stack.app.issuers))
        coming = stack.app.issuers.next("ec")
        assert coming is not None
        generations = stack.app.issuers.generations("ec", utc(stack.clock.seconds()))
        assert (generations[0], generations[1], generations[3].key_identifier.hex()) == (coming, stack.issuer(), oldest)
        names = [issuer.key_identifier.hex() for issuer in generations]
        crls = [server.get(f"/crl/{name}.pem").body for name in names]
        assert len(set(crls)) == 4
        root = server.get("/crl/root.pem").body
        assert _blocks(server.get("/crl/ec.pem").body, "X509 CRL") == crls
        assert _blocks(server.get("/crl/ec-chain.pem").body, "X509 CRL") == [*crls, root]
        assert server.get("/downloads/crl").body == server.get("/crl/ec.pem").body
        assert (stack.files.folder / "crl" / "ca.crl").read_bytes() == b"".join(crls)
        certificates = [server.get(f"/ca/{name}.crt").body for name in names]
        for path in ("/ca/ec/chain.pem", "/downloads/chain"):
            assert _blocks(server.get(path).body, "CERTIFICATE") == [*certificates, stack.files.root.pem]
        # An address of one key, and DER, hold one.
        assert _blocks(server.get(f"/crl/{oldest}-chain.pem").body, "X509 CRL") == [crls[3], root]
        assert _blocks(server.get(f"/ca/{oldest}/chain.pem").body, "CERTIFICATE")[1:] == [stack.files.root.pem]
        assert server.get("/crl/ec.crl").body == server.get(f"/crl/{hex_of(stack)}.crl").body
        assert server.get("/ca/ec.crt").body == certificates[1]
        # Another CA's are its own; each request sees what was published last.
        assert len(_blocks(server.get("/crl/rsa.pem").body, "X509 CRL")) == 1
        etag = server.get("/crl/ec.pem").headers["ETag"]
        result_of(stack.app.publisher.make(generations[3]))
        assert server.get("/crl/ec.pem").headers["ETag"] != etag
        assert (stack.files.folder / "crl" / "ca.crl").read_bytes() == server.get("/crl/ec.pem").body
        # A generation whose own end has come is left out.
        stack.clock.rightNow = generations[3].certificate.not_after.timestamp() + 1
        for path in ("/crl/ec.pem", "/ca/ec/chain.pem"):
            assert server.get(f"/ca/{oldest}.crt").body not in server.get(path).body
    finally:
        stack.close()


class _Shrinking:
    """A content that can't be read to its end."""

    size = 1_000_000

    def read(self, start: int, stop: int) -> bytes:
        """One piece only."""
        if start:
            raise OSError("the file is shorter than it was")
        return b"x" * stop


def test_a_body_that_ends_too_soon(server: Server) -> None:
    """The connection is cut, so that nobody takes a part for the whole."""
    aborted: list[bool] = []
    written: list[bytes] = []

    class Channel:
        """The HTTP channel, as the producer uses it."""

        def forceAbortClient(self) -> None:  # noqa: N802 - Twisted's name
            aborted.append(True)

    class Asking:
        """A request that is being answered."""

        channel = Channel()

        def notifyFinish(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
            return Deferred()

        def write(self, data: bytes) -> None:
            written.append(data)

    slices = SliceProducer(Asking(), _Shrinking(), Part(0, _Shrinking.size))
    for _ in range(3):
        slices.resumeProducing()
    assert aborted == [True]
    assert len(written) == 1


# --- certificates of CAs -----------------------------------------------------------------


def test_ca_certificates(server: Server) -> None:
    """PEM, DER and chains, by name and by key."""
    stack = server.stack
    for name in ("ec", hex_of(stack, "ec")):
        pem, der = server.get(f"/ca/{name}.crt"), server.get(f"/ca/{name}.cer")
        assert der.headers["Content-Type"] == "application/pkix-cert"
        assert pem.headers["Content-Type"] == "application/x-pem-file"
        assert der.body == stack.files.issuers["ec"].der
        assert pem.body == stack.files.issuers["ec"].pem
    assert server.get("/ca/root.crt").body == stack.files.root.pem
    assert server.get("/ca/root.cer").body == stack.files.root.der
    assert server.get("/ca/rsa/chain.pem").body == stack.files.issuers["rsa"].chain_pem
    assert server.get("/ca/root/chain.pem").body == stack.files.root.pem
    etag = server.get("/ca/root.crt").headers["ETag"]
    assert server.get("/ca/root.crt", If_None_Match=etag).status == 304


def test_downloads(server: Server, tmp_path: Path) -> None:
    """VA-2, UI-6, CFG-8: the default CA's; names for whom the address has none."""
    stack = server.stack
    chain = server.get("/downloads/chain")
    assert chain.body == stack.files.issuers["ec"].chain_pem
    assert chain.headers["Content-Disposition"] == 'attachment; filename="ec-chain.pem"'
    crl = server.get("/downloads/crl")
    assert crl.body == server.get("/crl/ec.pem").body
    assert server.get("/downloads/crl", If_None_Match=crl.headers["ETag"]).status == 304
    folder = tmp_path / "manufacturers"
    folder.mkdir()
    makers = [make_ca("p256", f"Maker {number}") for number in range(2)]
    for number, maker in enumerate(makers):
        (folder / f"{number}.pem").write_bytes(maker.pem)
    other = build_core(tmp_path / "other", changes={("TRUSTED_HTTPS", "client_ca"): str(folder)})
    response = Server(other).get("/downloads/manufacturers")
    assert response.body == makers[0].pem + makers[1].pem
    assert response.headers["Content-Type"] == "application/x-pem-file"
    other.close()


# --- status ------------------------------------------------------------------------------


def test_status(server: Server) -> None:
    """CRT-8."""
    stack = server.stack
    valid, revoked, short = stack.issue(), stack.issue(), stack.issue(days=1)
    now = rfc3339(utc(stack.clock.seconds()))
    stack.revoke(revoked, RevocationReason.CERTIFICATE_HOLD)
    stack.clock.advance(2 * DAY)
    serial = f"{valid.serial:x}"
    for text in (serial, f"0x{serial}", f"0X{serial.upper()}", f"00{serial}"):
        response = server.get(f"/status/{text}")
        assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
        assert json.loads(response.body) == {"serial": serial, "status": "valid"}
    assert json.loads(server.get(f"/status/{revoked.serial:x}").body) == {
        "serial": f"{revoked.serial:x}",
        "status": "revoked",
        "revoked_at": now,
        "reason": "certificateHold",
    }
    assert json.loads(server.get(f"/status/{short.serial:x}").body)["status"] == "expired"
    assert json.loads(server.get("/status/abc").body) == {"serial": "abc", "status": "not found"}
    for text in ("xyz", "0", "-1", "f" * 60, "%00", "1%202"):
        assert server.get(f"/status/{text}").status == 400, text
    assert json.loads(server.get("/expired").body) == [short.record.id]


def test_expired_in_pages(server: Server) -> None:
    """CRT-8."""
    ids = [server.stack.issue(days=1).record.id for _ in range(5)]
    server.stack.clock.advance(2 * DAY)
    assert json.loads(server.get("/expired").body) == ids
    assert json.loads(server.get(f"/expired?after={ids[1]}&limit=2").body) == ids[2:4]
    for query in ("limit=0", "limit=10001", "limit=x", "after=-1", "after=1&after=2", "after=" + "9" * 40, "limit="):
        assert server.get(f"/expired?{query}").status == 400, query


# --- health ------------------------------------------------------------------------------


def test_alive(server: Server) -> None:
    """RUN-8."""
    response = server.get("/healthz")
    assert (response.status, json.loads(response.body)) == (200, {"status": "ok"})
    assert response.headers["Cache-Control"] == "no-store"


# --- from HTTP to HTTPS ------------------------------------------------------------------


def redirect(server: Server, port: int, path: str, method: str = "GET", **headers: str) -> Response:
    """An answer of the plain listener's fallback."""
    site = server.stack.site(HTTPSRedirect(port))
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(site, server.stack.clock, path, method, headers=fields)


def test_browsers_are_sent_to_https(server: Server) -> None:
    """With the path and the query as they were, and the configured port."""
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for host, port, expected in (
        ("ca.example.org", 443, "https://ca.example.org/a/%2F?b=c"),
        ("ca.example.org:8080", 8443, "https://ca.example.org:8443/a/%2F?b=c"),
        ("[::1]:80", 443, "https://[::1]/a/%2F?b=c"),
        ("192.0.2.1", 443, "https://192.0.2.1/a/%2F?b=c"),
    ):
        for method in ("GET", "HEAD"):
            response = redirect(server, port, "/a/%2F?b=c", method, Host=host, Accept=browser)
            assert (response.status, response.headers["Location"]) == (308, expected)
    assert (
        redirect(server, 443, "//evil.example/x", Accept="text/html")
        .headers["Location"]
        .startswith("https://ca.example.org//evil")
    )


@pytest.mark.parametrize(
    ("external_url", "public_url", "expected"),
    [
        ("https://ca.example.org", None, "https://ca.example.org/a?b"),
        ("https://ca.example.org:8443", "http://status.example.org", "https://ca.example.org:8443/a?b"),
        (None, "http://status.example.org:8080", "https://status.example.org:8444/a?b"),
        (None, "http://[2001:db8::7]/base", "https://[2001:db8::7]:8444/a?b"),
    ],
)
@pytest.mark.parametrize("host", ["evil.example", "ca.example.org", "", "x" * 300])
def test_redirect_where_the_address_is_known(
    server: Server, external_url: str | None, public_url: str | None, expected: str, host: str
) -> None:
    """The Host header, which anybody can make up, decides nothing then."""
    site = server.stack.site(HTTPSRedirect(8444, external_url, public_url))
    response = ask(site, server.stack.clock, "/a?b", "GET", headers={"Host": host, "Accept": "text/html"})
    assert (response.status, response.headers["Location"]) == (308, expected)


def test_everything_else_stays(server: Server) -> None:
    """No redirect that leaks credentials."""
    html = "text/html"
    for path in ("/.well-known/est", "/.well-known/est/simpleenroll", "/api", "/api/v1/certificates"):
        assert redirect(server, 443, path, Accept=html).status == 403
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "FOO"):
        assert redirect(server, 443, "/", method, Accept=html).status == 403
    for accept in ("*/*", "application/json", "text/html;q=0", "", "text/plain"):
        assert redirect(server, 443, "/", Accept=accept).status == 404, accept
    for host in ("", "a b", "user@evil.example", "evil.example/x", "a:b:c", "[::1", "ex\\ample", "x" * 300):
        assert redirect(server, 443, "/", Host=host, Accept=html).status == 404, host
    assert redirect(server, 0, "/", Accept=html).status == 404
    assert redirect(server, 443, "/apix", Accept=html).status == 308
