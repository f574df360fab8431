"""Storage of a tree's hashes in tiles of 256: a proof in a log of ten million leaves reads a handful of them.

A tile of level 0 has leaf hashes, one of level n the hashes of complete tiles of level n - 1.  Only the last tile of a
level may have fewer than 256; the nodes between are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from pikachu.core.errors import Conflict
from pikachu.transparency.merkle import HASH_SIZE, NodeReader, root_of

_HEIGHT: Final = 8
#: Hashes in a complete tile.
TILE: Final = 1 << _HEIGHT

#: Returns the hashes of the tile (level, position), concatenated; empty if there is none.
TileReader = Callable[[int, int], bytes]


def hashes_of(tile: bytes) -> list[bytes]:
    """Return the hashes of a tile."""
    return [tile[at : at + HASH_SIZE] for at in range(0, len(tile), HASH_SIZE)]


def append(read: TileReader, size: int, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """Return the tiles, by level and position, that change when leaves are appended to a tree of *size* leaves.

    :raises Conflict: when a tile has not as many hashes as it must have.
    """
    changed: dict[tuple[int, int], bytes] = {}
    level, hashes = 0, list(leaves)
    while hashes:
        position, held = divmod(size, TILE)
        tile = read(level, position) if held else b""
        if len(tile) != held * HASH_SIZE:
            raise Conflict(f"the transparency log was changed: tile {position} of level {level} is incomplete")
        complete: list[bytes] = []
        for one in hashes:
            tile += one
            if len(tile) == TILE * HASH_SIZE:
                changed[level, position] = tile
                complete.append(root_of(hashes_of(tile)))
                position, tile = position + 1, b""
        if tile:
            changed[level, position] = tile
        level, hashes, size = level + 1, complete, size // TILE
    return changed


def node_reader(read: TileReader) -> NodeReader:
    """Return what reads nodes from tiles, each of which is read once.

    Reading raises Conflict for a hash that is missing.
    """
    known: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        tile_level, inner = divmod(level, _HEIGHT)
        position, first = divmod(index << inner, TILE)
        where = (tile_level, position)
        if where not in known:
            known[where] = read(*where)
        hashes = hashes_of(known[where][first * HASH_SIZE : (first + (1 << inner)) * HASH_SIZE])
        if len(hashes) != 1 << inner:
            raise Conflict(f"the transparency log was changed: tile {position} of level {tile_level} is incomplete")
        return root_of(hashes)

    return node
