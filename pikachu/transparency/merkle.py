"""Merkle trees and their proofs (RFC 9162 section 2.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from pikachu.core.errors import MalformedRequest

HASH_SIZE: Final = 32
#: The hash of a tree without leaves.
EMPTY_ROOT: Final = hashlib.sha256().digest()

#: Returns the hash of a complete subtree: of the 2^level leaves from index · 2^level on.
NodeReader = Callable[[int, int], bytes]

_WRONG: Final = "the proof does not lead to the root hash of the checkpoint"


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


class RightEdge:
    """The complete subtrees of a growing tree: what its root is computed from, without its leaves."""

    def __init__(self) -> None:
        # Hashes of complete subtrees, the largest first; the bits of the size are their sizes.
        self._hashes: list[bytes] = []
        self.size = 0

    def append(self, leaf: bytes) -> None:
        """Append the hash of a leaf."""
        size, node = self.size, leaf
        while size & 1:
            node = node_hash(self._hashes.pop(), node)
            size >>= 1
        self._hashes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root hash."""
        if not self._hashes:
            return EMPTY_ROOT
        node = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            node = node_hash(left, node)
        return node


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root hash of a tree with these leaf hashes."""
    edge = RightEdge()
    for leaf in leaves:
        edge.append(leaf)
    return edge.root()


def _split(size: int) -> int:
    """Return the largest power of two below *size*, which is at least 2."""
    return 1 << (size - 1).bit_length() - 1


def range_hash(start: int, end: int, node: NodeReader) -> bytes:
    """Return the hash of the leaves from *start* up to *end*, a subtree of a tree of at least *end* leaves."""
    size = end - start
    if size == 0:
        return EMPTY_ROOT
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(size)
    return node_hash(range_hash(start, middle, node), range_hash(middle, end, node))


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """Return the proof that a leaf is in a tree of *size* leaves (section 2.1.3.1)."""
    start, end = 0, size
    proof: list[bytes] = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(start, middle, node))
            start = middle
    proof.reverse()
    return proof


def consistency_proof(old: int, new: int, node: NodeReader) -> list[bytes]:
    """Return the proof that a tree of *new* leaves begins with the one of *old* leaves (section 2.1.4.1)."""
    if old in (0, new):
        return []
    start, end, is_whole = 0, new, True
    proof: list[bytes] = []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(start, middle, node))
            start, is_whole = middle, False
    if not is_whole:
        proof.append(range_hash(start, end, node))
    proof.reverse()
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that the leaf with that hash is in the tree (section 2.1.3.2).

    :raises MalformedRequest: when the proof does not show it.
    """
    if not 0 <= index < size:
        raise MalformedRequest(f"leaf {index} is not in a log of {size} entries")
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise MalformedRequest(_WRONG)
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    if last or node != root:
        raise MalformedRequest(_WRONG)


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Verify that the new tree begins with the old one (section 2.1.4.2).

    :raises MalformedRequest: when the proof does not show it.
    """
    if old > new:
        raise MalformedRequest(f"a log of {new} entries can't begin with one of {old}")
    if old in (0, new):
        expected = EMPTY_ROOT if old == 0 else new_root
        if proof or old_root != expected:
            raise MalformedRequest(_WRONG)
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        raise MalformedRequest(_WRONG)
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    former = current = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise MalformedRequest(_WRONG)
        if position & 1 or position == last:
            former, current = node_hash(sibling, former), node_hash(sibling, current)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            current = node_hash(current, sibling)
        position >>= 1
        last >>= 1
    if last or former != old_root or current != new_root:
        raise MalformedRequest(_WRONG)
