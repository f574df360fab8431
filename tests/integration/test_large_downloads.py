"""A CRL of 40 MB on a real server (VA-3)."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pikachu.core.atomic_files import replace_file
from pikachu.va.crl_files import CRLFolder
from pikachu.x509.crl import assemble_crl, crl_entry, crl_pem, tbs_cert_list
from tests.support.pki import Identity, sign, signature_algorithm
from tests.support.server import Server, end, make_server, wait_until

pytestmark = pytest.mark.slow

ENTRIES = 1_000_000


def large_crl(ca: Identity, number: int, count: int = ENTRIES) -> bytes:
    """A CRL of *count* entries, DER; they repeat, which no reader of it here minds."""
    now = datetime.now(UTC).replace(microsecond=0)
    some = b"".join(crl_entry((1 << 158) + one, now, None) for one in range(1000))
    tbs = tbs_cert_list(
        algorithm=signature_algorithm(ca.key),
        issuer_der=ca.subject_der,
        updates=(now, now + timedelta(days=7)),
        entries=some * (count // 1000),
        number=number,
        authority_key_identifier=ca.key_identifier,
    )
    return assemble_crl(tbs, signature_algorithm(ca.key), sign(ca.key, tbs))


@dataclass
class Large:
    """A server under an offline root whose CRL was uploaded."""

    server: Server
    der: bytes
    der_path: Path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """The server, with the list in its place."""
    server = make_server(tmp_path_factory.mktemp("large") / "server", root_key=False)
    root = server.files.root
    der = large_crl(root, 1)
    folder = CRLFolder(server.folder / "crl")
    folder.path.mkdir(exist_ok=True)
    der_path, pem_path = folder.paths(root.key_identifier)
    replace_file(pem_path, crl_pem(der))
    replace_file(der_path, der)
    try:
        server.start()
        yield Large(server, der, der_path)
    finally:
        end(server)


def begin(server: Server, path: str) -> socket.socket:
    """Ask, with a small buffer, and read nothing."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    one.connect(("127.0.0.1", server.ports["http"]))
    one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("ascii"))
    return one


def rest(one: socket.socket) -> bytes:
    """Everything up to the end of the connection; without the header."""
    parts = []
    one.settimeout(60)
    while part := one.recv(1 << 20):
        parts.append(part)
    one.close()
    return b"".join(parts).partition(b"\r\n\r\n")[2]


def test_a_large_list_arrives_whole(large: Large) -> None:
    """By HTTP and HTTPS, with its length; one part of it; not again when it is known."""
    for listener in ("http", "https"):
        answer = large.server.ask(listener, "/crl/root.crl")
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) == len(large.der) > 35_000_000
        assert answer.body == large.der
        assert answer.headers["ETag"] == f'"{hashlib.sha256(large.der).hexdigest()}"'
        again = large.server.ask(listener, "/crl/root.crl", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        part = large.server.ask(listener, "/crl/root.crl", headers={"Range": "bytes=30000000-30999999"})
        assert (part.status, part.body) == (206, large.der[30_000_000:31_000_000])
    pem = large.server.ask("http", "/crl/root.pem")
    assert pem.body == crl_pem(large.der)


def longest_wait(server: Server) -> float:
    """Return the longest time that one of fifty requests takes, seconds."""
    longest = 0.0
    for _ in range(50):
        began = time.monotonic()
        assert server.ask("http", "/healthz").status == 200
        longest = max(longest, time.monotonic() - began)
    return longest


def test_slow_readers_hold_nobody_up(large: Large) -> None:
    """While thirty read nothing, others are answered, and the list is in memory for none of them."""
    server = large.server
    server.ask("http", "/crl/root.crl")
    alone = longest_wait(server)
    before = server.memory()
    slow = [begin(server, "/crl/root.crl") for _ in range(30)]
    try:
        assert longest_wait(server) < max(1, 5 * alone)
        assert server.memory() - before < 100_000_000
        assert server.ask("http", "/crl/root.crl").body == large.der
        assert rest(slow.pop()) == large.der
    finally:
        for one in slow:
            one.close()


def test_who_hangs_up_leaves_no_open_file(large: Large) -> None:
    """A broken download lets go of the file."""
    pid = large.server.running.pid

    def descriptors() -> list[str]:
        found = []
        for one in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.append(os.readlink(one))
            except OSError:
                continue
        return [path for path in found if path.split(" ")[0].endswith((".crl", ".pem"))]

    gone = [begin(large.server, "/crl/root-chain.pem") for _ in range(10)]
    wait_until(lambda: len(descriptors()) == 10, "ten downloads have begun")
    for one in gone:
        one.close()
    wait_until(lambda: not descriptors(), "the files are closed")


def test_a_reader_during_publication_gets_one_list(large: Large) -> None:
    """Whole and old, or whole and new; never some of each."""
    newer = large_crl(large.server.files.root, 2)
    halfway = begin(large.server, "/crl/root.crl")
    time.sleep(0.2)
    found: list[bytes] = []

    def read() -> None:
        found.extend(large.server.ask("http", "/crl/root.crl").body for _ in range(6))

    reading = threading.Thread(target=read)
    reading.start()
    replace_file(large.der_path, newer)
    reading.join()
    assert rest(halfway) == large.der
    assert found[-1] == newer
    assert set(found) <= {large.der, newer}
    replace_file(large.der_path, large.der)
