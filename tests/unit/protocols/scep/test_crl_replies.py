"""CertReps with CRLs: few are built at a time, and those that are being sent share the encrypted CRL."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from pikachu.cms.algorithms import Cipher, Digest
from pikachu.cms.identity import identify
from pikachu.core.concurrency import ImmediatePool
from pikachu.core.errors import Overloaded
from pikachu.http.responses import Content
from pikachu.protocols.scep.crl_replies import CONCURRENT, MAX_WAITING, CRLReplies
from pikachu.protocols.scep.messages import Reply, decode
from pikachu.va.crl_files import PublishedCRL
from tests.support import scep_client
from tests.support.deferreds import failure_of, result_of
from tests.support.people import HeldPool
from tests.support.scep_client import SCEPClient, rsa_key, self_signed
from tests.support.signature_algorithms import rsa_signature_algorithm

AUTHORITY = self_signed(rsa_key(0), "RA", 77)
CLIENT = SCEPClient(rsa_key(1), self_signed(rsa_key(1)), AUTHORITY)
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SIZE = 1_000_000


class Signer:
    """A key that signs at once."""

    def sign(self, to_be_signed: bytes) -> Deferred[bytes]:
        """Return the signature."""
        return succeed(rsa_key(0).sign(to_be_signed, padding.PKCS1v15(), hashes.SHA256()))


def published(folder: Path, content: bytes) -> PublishedCRL:
    """A CRL on disk."""
    path = folder / "ca.crl"
    path.write_bytes(content)
    values: dict[str, Any] = dict.fromkeys(PublishedCRL.__dataclass_fields__)
    return PublishedCRL(**{**values, "number": 1, "etag": "x", "der_path": path})


def build(replies: CRLReplies, crl: PublishedCRL, cipher: Cipher = Cipher.AES128) -> Deferred[Content]:
    """Begin a CertRep for CLIENT."""
    message = decode(CLIENT.get_crl(scep_client.name("CA"), 1))
    algorithm = rsa_signature_algorithm(Digest.SHA256)
    reply = Reply(message.transaction_id, message.sender_nonce, b"n" * 16, NOW, identify(AUTHORITY), algorithm)
    signer: Any = Signer()
    return Deferred.fromCoroutine(replies.build(crl, message.verify(), cipher, reply, signer))


def test_every_recipient_reads_it(tmp_path: Path) -> None:
    """Each reply is whole, whatever the cipher, and in pieces the same as at once."""
    crl = published(tmp_path, scep_client.tlv(0x30, bytes(range(256)) * 1000))
    replies = CRLReplies(ImmediatePool())
    kept = []
    for cipher in (Cipher.AES128, Cipher.AES256, Cipher.AES128):
        content = result_of(build(replies, crl, cipher))
        kept.append(content)
        whole = content.read(0, content.size)
        assert len(whole) == content.size
        assert b"".join(content.read(at, min(at + 999, content.size)) for at in range(0, content.size, 999)) == whole
        assert CLIENT.read(whole, AUTHORITY).crls == [crl.der_path.read_bytes()]


def test_memory(tmp_path: Path) -> None:
    """Replies that are being sent hold one encrypted CRL together, and nothing afterwards."""
    crl = published(tmp_path, scep_client.tlv(0x30, bytes(SIZE)))
    replies = CRLReplies(ImmediatePool())
    result_of(build(replies, crl))
    tracemalloc.start()
    try:
        sent = [result_of(build(replies, crl)) for _ in range(10)]
        held, _ = tracemalloc.get_traced_memory()
        assert SIZE < held < 2 * SIZE
        assert len(sent) == 10
        sent.clear()
        left, _ = tracemalloc.get_traced_memory()
        assert left < SIZE / 2
    finally:
        tracemalloc.stop()


def test_few_at_a_time(tmp_path: Path) -> None:
    """Others wait for their turn, and what is too much is refused at once; a failure gives its turn to the next."""
    pool = HeldPool()
    replies = CRLReplies(pool)
    crl = published(tmp_path, b"\x30\x00")
    building = [build(replies, crl) for _ in range(CONCURRENT + MAX_WAITING)]
    assert len(pool.waiting) == CONCURRENT
    assert failure_of(build(replies, crl), Overloaded).retry_after > 0
    crl.der_path.unlink()
    failed = pool.waiting.pop(0)
    failed.callback(None)
    failure_of(building[0], FileNotFoundError)
    crl.der_path.write_bytes(b"\x30\x00")
    assert len(pool.waiting) == CONCURRENT
    # One whose client has gone leaves the queue.
    building[-1].cancel()
    failure_of(building[-1], CancelledError)
    while pool.waiting:
        assert len(pool.waiting) <= CONCURRENT
        pool.waiting.pop(0).callback(None)
    for one in building[1:-1]:
        assert result_of(one).size
