"""RUN-6: clients that send much at once, or read nothing, on the listeners of a real server."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from twisted.internet.task import Clock

import pytest

from pikachu.core.atomic_files import replace_file
from pikachu.va.crl_files import CRLFolder
from pikachu.x509.certificate import parse_certificate
from pikachu.x509.crl import crl_pem
from tests.integration.test_large_downloads import large_crl
from tests.support import ocsp
from tests.support.server import Server, end, make_server, running_server, wait_until
from tests.support.stack import Stack

CRL_ENTRIES = 5_000
CONNECTIONS = 20
FEW = 400
MEGABYTE = 1024 * 1024
listeners = pytest.mark.parametrize("listener", ["http", "https"])


@dataclass
class Busy:
    """A server with a CRL of 200 KB."""

    server: Server
    crl: bytes

    def connect(self, listener: str, receive_buffer: int = 0) -> socket.socket:
        """Connect; with a small *receive_buffer* the server's writes soon wait for this client."""
        one = socket.socket()
        if receive_buffer:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        one.connect(("127.0.0.1", self.server.ports[listener]))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.settimeout(30)
        if listener == "http":
            return one
        return self.server.context().wrap_socket(one, server_hostname="localhost")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    """The server."""
    server = make_server(tmp_path_factory.mktemp("busy") / "server", root_key=False)
    root = server.files.root
    crl = large_crl(root, 1, CRL_ENTRIES)
    folder = CRLFolder(server.folder / "crl")
    folder.path.mkdir(exist_ok=True)
    der_path, pem_path = folder.paths(root.key_identifier)
    replace_file(pem_path, crl_pem(crl))
    replace_file(der_path, crl)
    try:
        yield Busy(server.start(), crl)
    finally:
        end(server)


def get(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def post(path: str, body: bytes, *fields: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *fields, method="POST") + body


NONSENSE = post("/ocsp", b"nonsense", "Content-Type: application/ocsp-request")
KINDS = {
    "one range": get("/crl/root.crl", "Range: bytes=0-99999"),
    "several ranges": get("/crl/root.crl", "Range: bytes=0-9,20-29"),
    "the whole CRL": get("/crl/root.crl"),
    "HEAD": get("/crl/root.crl", method="HEAD"),
    "304": get("/crl/root.crl", "If-None-Match: *"),
    "404": get("/nothing"),
    "OCSP POST": NONSENSE,
    "OCSP POST after 100-continue": post("/ocsp", b"nonsense", "Expect: 100-continue"),
    "chunked OCSP": get("/ocsp", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n" * 100 + b"0\r\n\r\n",
    "refused": post("/api/v1/certificates", b"{}", "Content-Type: application/json"),
}
kinds = pytest.mark.parametrize("request_bytes", KINDS.values(), ids=KINDS)


def push(one: socket.socket, data: bytes) -> int:
    """Send as much of *data* as the server takes; the bytes that it took."""
    sent = 0
    one.settimeout(0.3)
    with contextlib.suppress(TimeoutError, ssl.SSLWantWriteError, BlockingIOError):
        while sent < len(data):
            sent += one.send(data[sent : sent + 16_384])
    return sent


@kinds
@listeners
def test_who_reads_nothing_takes_little(busy: Busy, request_bytes: bytes, listener: str) -> None:
    """Twenty clients send 190 KB of requests each and read nothing: little memory, and others are answered."""
    server = busy.server
    server.ask("http", "/crl/root.crl")
    before = server.memory()
    crowd = [busy.connect(listener, 8192) for _ in range(CONNECTIONS)]
    try:
        threads = [
            threading.Thread(target=push, args=(one, request_bytes * (190_000 // len(request_bytes)))) for one in crowd
        ]
        for thread in threads:
            thread.start()
        for _ in range(10):
            assert server.ask("http", "/healthz").status == 200
            assert server.ask("http", "/ocsp", "POST", b"nonsense").status == 200
        for thread in threads:
            thread.join()
        assert server.memory() - before < 64 * MEGABYTE
    finally:
        for one in crowd:
            one.close()
    assert server.ask(listener, "/crl/root.crl").body == busy.crl


class Reader(threading.Thread):
    """Sends many requests at once, and counts the answers as they come."""

    def __init__(self, one: socket.socket, request: bytes, count: int) -> None:
        super().__init__()
        self.answers = 0
        self._socket = one
        self._writer = threading.Thread(target=one.sendall, args=(request * (count - 1),))
        self._last = request.replace(b"Host: localhost", b"Host: localhost\r\nConnection: close", 1)

    def run(self) -> None:
        self._writer.start()
        rest = b""
        self._writer.join()
        self._socket.sendall(self._last)
        while piece := self._socket.recv(65536):
            rest += piece
            found = rest.count(b"HTTP/1.1 ")
            self.answers += found
            rest = rest[-8:] if found == 0 else rest[rest.rindex(b"HTTP/1.1 ") + 9 :]
        self._socket.close()


@kinds
def test_others_are_answered_in_between(busy: Busy, request_bytes: bytes) -> None:
    """Eight clients send hundreds of requests at once; another one's ten are answered long before all of those."""
    few = FEW // 4 if request_bytes == KINDS["the whole CRL"] else FEW
    readers = [Reader(busy.connect("http"), request_bytes, few) for _ in range(8)]
    with busy.server.client("http") as client:
        for reader in readers:
            reader.start()
        wait_until(lambda: any(reader.answers for reader in readers), "the first is answered")
        begun = sum(reader.answers for reader in readers)
        for _ in range(10):
            assert client.ask("/healthz").status == 200
        between = sum(reader.answers for reader in readers) - begun
    for reader in readers:
        reader.join(60)
    answers = 2 if b"Expect" in request_bytes else 1
    assert [reader.answers for reader in readers] == [few * answers] * 8
    assert between < 8 * few * answers / 2


@listeners
def test_pipelined_requests_are_answered_in_order(busy: Busy, listener: str) -> None:
    """A thousand, of all kinds, sent in one piece by a client that reads when it has sent them all."""
    data, expected = b"", b""
    one = busy.connect(listener)
    for number in range(250):
        start = number * 100
        data += get("/crl/root.crl", f"Range: bytes={start}-{start + 99}") + NONSENSE
        data += get("/crl/root.crl", method="HEAD") + get("/crl/root.crl", "If-None-Match: *")
        expected += busy.crl[start : start + 100]
    writer = threading.Thread(target=one.sendall, args=(data + get("/healthz", "Connection: close"),))
    writer.start()
    received = b""
    while piece := one.recv(65536):
        received += piece
    writer.join()
    one.close()
    found = b""
    statuses = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        statuses.append(status)
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        is_head = len(statuses) % 4 == 3 and len(statuses) < 1000
        length = 0 if status == 304 or is_head else int(fields[b"Content-Length"])
        if status == 206:
            found += received[:length]
        received = received[length:]
    assert statuses == [206, 200, 200, 304] * 250 + [200]
    assert found == expected


def small_records(one: socket.socket, data: bytes) -> None:
    for at in range(len(data)):
        one.sendall(data[at : at + 1])


FLOODS: dict[str, bytes] = {
    "header fields": get("/healthz")[:-2] + b"a:b\r\n" * 20_000,
    "folded fields": get("/healthz")[:-2] + b"a: b\r\n" + b" \r\n" * 30_000,
    "chunks": get("/ocsp", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n" * 30_000,
    "trailers": get("/ocsp", "Transfer-Encoding: chunked", method="POST") + b"0\r\n" + b"a\r\n" * 30_000,
}


@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
@pytest.mark.parametrize("single", [False, True], ids=["at once", "byte by byte"])
@listeners
def test_floods(busy: Busy, data: bytes, single: bool, listener: str) -> None:
    """Refused with one answer, while others are answered; TLS has a record for each byte."""
    crowd = [busy.connect(listener) for _ in range(4)]

    def send(one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if single:
                small_records(one, data[:8_000])
                one.sendall(data[8_000:])
            else:
                one.sendall(data)

    threads = [threading.Thread(target=send, args=(one,)) for one in crowd]
    for thread in threads:
        thread.start()
    for _ in range(10):
        assert busy.server.ask("http", "/healthz").status == 200
    for thread in threads:
        thread.join()
    for one in crowd:
        with contextlib.suppress(ConnectionError):
            answer = one.recv(65536)
            assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413"))
            assert answer.count(b"HTTP/1.1") == 1
        one.close()


@kinds
@listeners
def test_leaving_in_the_middle(busy: Busy, request_bytes: bytes, listener: str) -> None:
    """Clients that go with requests buffered leave neither a connection nor an error."""
    faults = busy.server.log.count("Traceback")
    for half in (1, len(request_bytes) // 2):
        for _ in range(5):
            one = busy.connect(listener)
            one.sendall(request_bytes * 50 + request_bytes[:half])
            one.recv(10)
            one.close()
    assert busy.server.ask(listener, "/healthz").status == 200
    assert busy.server.log.count("Traceback") == faults


def test_requests_answered_from_memory_are_counted_in_the_log(tmp_path: Path) -> None:
    """RUN-7: a line a second and listener with exact counts, the last one when the server stops; at TRACE each one."""
    with running_server(tmp_path / "server", changes={("LOGGING", "log_level"): "TRACE"}) as server:
        with server.application() as app:
            leaf = Stack(server.files, app, Clock()).issue("device.example.com")
        issuer = parse_certificate(server.files.issuers["ec"].der)
        asked = base64.b64encode(ocsp.request(ocsp.cert_id(issuer, leaf.serial)))
        # The first one may find the responder unprepared, and is answered on the way that has a line for each request.
        server.ask("http", path := "/ocsp/" + quote(asked, safe=""))
        sent = {"http": 30, "https": 7}
        for listener, count in sent.items():
            with server.client(listener) as client:
                for _ in range(count):
                    assert client.ask(path).status == 200
        assert server.stop() == 0
        log = server.log
    counted = re.findall(r" INFO pikachu.http: (\d+) OCSP requests answered from memory on (\w+)\n", log)
    totals: Counter[str] = Counter()
    for number, listener in counted:
        totals[listener] += int(number)
    assert totals["https"] == sent["https"]
    assert sum(totals.values()) + log.count(" INFO pikachu.http: GET /ocsp/") == sum(sent.values()) + 1
    assert log.count(" TRACE pikachu.http: GET /ocsp/") == sum(totals.values())
