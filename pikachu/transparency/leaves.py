"""The entries of the log, whose hashes are its leaves; see docs/transparency.md.

An entry is one line of ASCII.  It contains hashes only, so that a proof tells nothing of other entries: an event's is
keyed, and a certificate's needs nothing but the certificate.
"""

from __future__ import annotations

import hashlib

from pikachu.transparency.merkle import leaf_hash


def event_leaf(number: int, digest: bytes) -> bytes:
    """Return the leaf hash of an audit event.

    :param number: its number in the audit log.
    :param digest: its hash in the chain, which covers its content and all events before.
    """
    return leaf_hash(b"event %d %s\n" % (number, digest.hex().encode("ascii")))


def certificate_leaf(certificate: bytes) -> bytes:
    """Return the leaf hash of a DER certificate."""
    return leaf_hash(b"certificate %s\n" % hashlib.sha256(certificate).hexdigest().encode("ascii"))
