"""Merkle trees against a naive one that follows the definitions of RFC 9162 section 2.1."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pikachu.core.errors import Conflict, MalformedRequest
from pikachu.transparency import merkle, tiles
from pikachu.transparency.merkle import RightEdge, leaf_hash

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 255, 256, 257, 511, 512, 513, 70_000)
# RFC 6962's test vectors, as certificate-transparency-go and others have them.
ENTRIES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def naive_root(entries: list[bytes]) -> bytes:
    """MTH of section 2.1.1."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return hashlib.sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def split(n: int) -> int:
    """The largest power of two below n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def naive_path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k])]


def naive_subproof(m: int, entries: list[bytes], is_whole: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1."""
    if m == len(entries):
        return [] if is_whole else [naive_root(entries)]
    k = split(len(entries))
    if m <= k:
        return [*naive_subproof(m, entries[:k], is_whole), naive_root(entries[k:])]
    return [*naive_subproof(m - k, entries[k:], False), naive_root(entries[:k])]


def entries(size: int) -> list[bytes]:
    """Entries of a log."""
    return [b"entry %d" % number for number in range(size)]


class Tiled:
    """A tree in tiles, which counts what is read."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.size = 0
        self.reads = 0

    def read(self, level: int, position: int) -> bytes:
        """Read a tile."""
        self.reads += 1
        return self.tiles.get((level, position), b"")

    def append(self, leaves: list[bytes]) -> None:
        """Append leaf hashes."""
        self.tiles |= tiles.append(self.read, self.size, leaves)
        self.size += len(leaves)


def tiled(leaves: list[bytes], step: int) -> Tiled:
    """The tree of *leaves*, appended *step* at a time."""
    tree = Tiled()
    for at in range(0, len(leaves), step):
        tree.append(leaves[at : at + step])
    return tree


def test_vectors() -> None:
    """The roots are those that other implementations compute."""
    edge = RightEdge()
    assert edge.root() == naive_root([])
    for entry, root in zip(ENTRIES, ROOTS, strict=True):
        edge.append(leaf_hash(bytes.fromhex(entry)))
        assert edge.root().hex() == root


@given(size=st.integers(1, 600), data=st.data())
def test_naive_tree(size: int, data: st.DataObject) -> None:
    """Roots and proofs at any size, and of any older size, are those of the definitions, and verify."""
    logged = entries(size)
    tree = tiled(list(map(leaf_hash, logged)), data.draw(st.integers(1, 300)))
    node = tiles.node_reader(tree.read)
    old = data.draw(st.integers(0, size))
    index = data.draw(st.integers(0, size - 1))
    root, old_root = naive_root(logged), naive_root(logged[:old])
    assert merkle.range_hash(0, size, node) == root
    assert merkle.range_hash(0, old, node) == old_root
    path = merkle.inclusion_proof(index, size, node)
    assert path == naive_path(index, logged)
    merkle.verify_inclusion(leaf_hash(logged[index]), index, size, path, root)
    proof = merkle.consistency_proof(old, size, node)
    assert proof == (naive_subproof(old, logged, True) if old else [])
    merkle.verify_consistency(old, size, proof, old_root, root)


@pytest.mark.parametrize("size", SIZES)
def test_edges(size: int) -> None:
    """First and last leaves of trees around powers of two are proved with few reads."""
    leaves = list(map(leaf_hash, entries(size)))
    tree, edge = tiled(leaves, 256), RightEdge()
    for leaf in leaves:
        edge.append(leaf)
    assert {level for level, _ in tree.tiles} <= {0, 1, 2}
    for index in {0, size // 2, size - 1}:
        tree.reads = 0
        path = merkle.inclusion_proof(index, size, tiles.node_reader(tree.read))
        assert tree.reads <= 2 * 3
        merkle.verify_inclusion(leaves[index], index, size, path, edge.root())
        tree.reads = 0
        node = tiles.node_reader(tree.read)
        proof = merkle.consistency_proof(index + 1, size, node)
        assert tree.reads <= 2 * 3
        merkle.verify_consistency(
            index + 1, size, proof, merkle.root_of(leaves[: index + 1]), merkle.range_hash(0, size, node)
        )


@given(size=st.integers(1, 70), data=st.data())
def test_hostile_proofs(size: int, data: st.DataObject) -> None:
    """Whatever is altered in a proof, it no longer verifies."""
    logged = entries(size)
    leaves = list(map(leaf_hash, logged))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    path = naive_path(index, logged)
    root = naive_root(logged)
    other = leaf_hash(b"another")
    wrong = {
        "altered leaf": (other, index, size, path, root),
        "other root": (leaves[index], index, size, path, other),
        "longer": (leaves[index], index, size, [*path, other], root),
        "beyond the size": (leaves[index], size, size, path, root),
        "negative": (leaves[index], -1, size, path, root),
        "inner node as leaf": (root, 0, 1 << 62, [], root),
    }
    if size > 1:
        at = data.draw(st.integers(0, len(path) - 1))
        wrong["truncated"] = (leaves[index], index, size, path[:-1], root)
        wrong["altered node"] = (leaves[index], index, size, [*path[:at], other, *path[at + 1 :]], root)
        wrong["other index"] = (leaves[index], (index + 1) % size, size, path, root)
    if len(path) > 1:
        wrong["swapped nodes"] = (leaves[index], index, size, [path[1], path[0], *path[2:]], root)
    for leaf, position, count, hashes, top in wrong.values():
        with pytest.raises(MalformedRequest):
            merkle.verify_inclusion(leaf, position, count, hashes, top)
    proof, old_root = naive_subproof(old, logged, True), naive_root(logged[:old])
    hostile = {
        "other old root": (old, size, proof, other, root),
        "other root": (old, size, proof, old_root, other),
        "longer": (old, size, [*proof, other], old_root, root),
        "backwards": (size + 1, size, proof, old_root, root),
        "nonempty start": (0, size, proof, other, root),
    }
    if proof:
        hostile["truncated"] = (old, size, proof[:-1], old_root, root)
        hostile["without hashes"] = (old, size, [], old_root, root)
        hostile["altered node"] = (old, size, [other, *proof[1:]], old_root, root)
    for former, count, hashes, old_top, top in hostile.values():
        with pytest.raises(MalformedRequest):
            merkle.verify_consistency(former, count, hashes, old_top, top)


def test_missing_hashes() -> None:
    """Tiles that somebody has cut or removed are noticed by appending and by reading."""
    tree = tiled(list(map(leaf_hash, entries(300))), 300)
    tree.tiles[0, 1] = tree.tiles[0, 1][:-32]
    with pytest.raises(Conflict, match="tile 1 of level 0 is incomplete"):
        tree.append([leaf_hash(b"more")])
    with pytest.raises(Conflict, match="tile 1 of level 0 is incomplete"):
        merkle.range_hash(0, 300, tiles.node_reader(tree.read))
