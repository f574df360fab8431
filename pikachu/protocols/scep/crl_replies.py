"""The CertReps with a CRL that answer GetCRL (RFC 8894 section 3.3.5).

Anyone can request one with a small message, and a CRL may have many megabytes.  So few are built at a time, and those
that are being sent share one encrypted CRL: a CRL is public, so only its key is encrypted for each recipient.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

from pikachu.cms.algorithms import Cipher
from pikachu.cms.enveloped import EncryptedContent
from pikachu.cms.identity import CertificateIdentity
from pikachu.cms.signed import Unsigned
from pikachu.core.concurrency import Turns
from pikachu.core.interfaces import ISigner, IWorkerPool
from pikachu.http.files import Joined
from pikachu.http.responses import Content, InMemory
from pikachu.protocols.scep.messages import Reply, encrypt_crl
from pikachu.va.crl_files import PublishedCRL

#: CertReps that are built at the same time; while it is built, each takes a few times the size of its CRL.
CONCURRENT: Final = 2
#: CertReps that wait to be built; further requests are refused.
MAX_WAITING: Final = 64


class _SharedCRL(InMemory):
    """An encrypted CRL, as a part of the CertReps that contain it."""

    def __init__(self, encrypted: EncryptedContent) -> None:
        super().__init__(encrypted.ciphertext)
        self.encrypted = encrypted


class CRLReplies:
    """Builds CertReps with CRLs.

    :param pool: the pool in which CRLs are read and encrypted.
    """

    def __init__(self, pool: IWorkerPool) -> None:
        self._pool = pool
        refusal = "Too many CRLs are requested at this moment. Try again later."
        self._turns = Turns(CONCURRENT, MAX_WAITING, CONCURRENT + MAX_WAITING, refusal)
        # An entry lives as long as a CertRep with it is being sent.
        self._encrypted: WeakValueDictionary[tuple[PublishedCRL, Cipher], _SharedCRL] = WeakValueDictionary()

    async def build(
        self, crl: PublishedCRL, recipient: CertificateIdentity, cipher: Cipher, reply: Reply, signer: ISigner
    ) -> Content:
        """Return the signed CertRep with a CRL for *recipient*.

        Fails with UnsupportedAlgorithm for a recipient without a suitable RSA key, and with Unavailable.
        """

        async def work() -> Content:
            shared = self._encrypted.get((crl, cipher))
            if shared is None:
                shared = await self._pool.run(lambda: _SharedCRL(encrypt_crl(crl.der_path.read_bytes(), cipher)))
                self._encrypted[crl, cipher] = shared
            unsigned = await self._pool.run(reply.crl_success, recipient, shared.encrypted)
            signature = await signer.sign(unsigned.to_be_signed)
            return await self._pool.run(_assemble, unsigned, signature, shared)

        # Anyone may ask, so requesters can't be told from each other.
        return await self._turns.run(None, work)


def _assemble(unsigned: Unsigned, signature: bytes, shared: _SharedCRL) -> Joined:
    """Return the CertRep without a copy of the encrypted CRL of its own."""
    message = unsigned.assemble(signature)
    begin = message.index(shared.encrypted.ciphertext)
    return Joined((InMemory(message[:begin]), shared, InMemory(message[begin + shared.size :])))
