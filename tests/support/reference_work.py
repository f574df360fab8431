"""Cost as a multiple of reference work: how much a call costs beside RSA-2048 signatures made in the same run.

A time alone says nothing on a machine that other processes share.  Both sides are measured in turns, in CPU time of
the thread, and of each the best of several attempts counts: what disturbs can only add to it.

Processors with wide vector units sign several times faster than others, but interpret Python no faster.  A signature
therefore counts as at least the Python that takes as long elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.pki import make_key

BATCH: Final = 128
"""Signatures of a batch, which takes 50 ms or more: what no single message of a stranger may cost."""

ATTEMPTS: Final = 5
_SIGNATURES_PER_ATTEMPT: Final = 8
_INTERPRETED: Final = "a" * 18_000

Clock = Callable[[], float]


def signature_seconds(clock: Clock = time.thread_time) -> float:
    """Return the time of one RSA-2048 signature, from a few made now, or of as much Python, whichever is longer."""
    key = _reference_key()
    start = clock()
    for _ in range(_SIGNATURES_PER_ATTEMPT):
        key.sign(b"reference work", padding.PKCS1v15(), hashes.SHA256())
    signed = clock()
    for _ in range(_SIGNATURES_PER_ATTEMPT):
        sum(ord(character) for character in _INTERPRETED)
    return max(signed - start, clock() - signed) / _SIGNATURES_PER_ATTEMPT


def cost_in_signatures(work: Callable[[], object], *, clock: Clock = time.thread_time) -> float:
    """Return the cost of one call of *work* as a multiple of one RSA-2048 signature.

    An error that *work* is expected to raise must be caught in it.

    :param clock: other than the thread's CPU time where the cost is paid elsewhere, such as in another process.
    """
    work_seconds = reference_seconds = float("inf")
    for _ in range(ATTEMPTS):
        reference_seconds = min(reference_seconds, signature_seconds(clock))
        start = clock()
        work()
        work_seconds = min(work_seconds, clock() - start)
        if work_seconds < reference_seconds:
            break
    return work_seconds / reference_seconds


@contextlib.contextmanager
def costs_at_most(signatures: float) -> Iterator[None]:
    """Assert that the block costs this thread no more than so many RSA-2048 signatures; it runs once.

    The limit is a multiple of what the block costs, so that one disturbed attempt passes.
    """
    reference = max(signature_seconds(), signature_seconds())
    start = time.thread_time()
    yield
    cost = (time.thread_time() - start) / reference
    assert cost <= signatures, f"it cost {cost:.0f} RSA-2048 signatures"


@functools.cache
def _reference_key() -> rsa.RSAPrivateKey:
    key = make_key("rsa2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    return key
