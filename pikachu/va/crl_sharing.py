"""CRLs that nodes share: each node serves, and has on its disk, the CRL that one of them has published last (HA-1).

Its bytes are in the database, so that signatures with random numbers don't matter and no node has to reach another.  A
CRL is stored only if it follows the version that its maker knew before reading the entries: of two nodes that make one
at the same time, the second makes another with what the first one knew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from pikachu.core.model.certificates import CRLRecord
from pikachu.core.node_interfaces import INodeStore


class SharedCRLs:
    """The CRLs in the database, and which of them this node has."""

    def __init__(self, store: INodeStore) -> None:
        self._store = store
        # By key identifier.
        self._versions: dict[bytes, int] = {}

    async def version(self, key_identifier: bytes) -> int:
        """Return the version of a CA's newest CRL, or 0.  Fails with StoreUnavailable."""
        return (await self._store.shared_crl_versions()).get(key_identifier, 0)

    async def offer(
        self, key_identifier: bytes, der: bytes, expected: int | None = None, record: CRLRecord | None = None
    ) -> bool:
        """Make a CRL the newest one, unless another than *expected* is.  Fails with StoreUnavailable."""
        version = await self._store.share_crl(key_identifier, der, expected, record)
        if version is not None:
            self._versions[key_identifier] = version
        return version is not None

    def forget(self, key_identifier: bytes) -> None:
        """Fetch this CA's CRL again: the one on disk is missing or damaged."""
        self._versions.pop(key_identifier, None)

    async def news(self) -> AsyncIterator[tuple[bytes, bytes]]:
        """Yield (key identifier, DER) of the CRLs that are new here; one is known once the next is asked for.

        Fails with StoreUnavailable.
        """
        for key_identifier, version in (await self._store.shared_crl_versions()).items():
            if self._versions.get(key_identifier) == version:
                continue
            der = await self._store.shared_crl(key_identifier)
            if der is not None:
                yield key_identifier, der
                self._versions[key_identifier] = version
