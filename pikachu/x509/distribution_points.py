"""The CRLs that certificates name: a shard of the CRL, by serial number, and the delta CRL."""

from __future__ import annotations

from pikachu.x509.certificate import Certificate
from pikachu.x509.crl_scope import freshest_crl
from pikachu.x509.extension import Extension
from pikachu.x509.profile import Addresses, crl_distribution_point


class DistributionPoints:
    """Puts a shard or the delta CRL into certificates (docs/adr/0051).

    :param public_url: the base of addresses; ``None`` leaves certificates as they are.
    :param shards: among how many CRLs new certificates are divided; 0: they are not.
    :param delta: whether certificates that name the full CRL name the delta CRL, too.
    """

    def __init__(self, public_url: str | None = None, shards: int = 0, *, delta: bool = False) -> None:
        self._public_url = public_url if shards or delta else None
        self._shards = shards
        self._delta = delta
        # By the DER of the issuer's certificate: the extension that names the full CRL, and what replaces it.
        self._known: dict[bytes, tuple[Extension, list[tuple[Extension, ...]]]] = {}

    def place(self, issuer: Certificate, serial: int, extensions: tuple[Extension, ...]) -> tuple[Extension, ...]:
        """Return a certificate's extensions with its shard's address in place of that of the issuer's full CRL.

        A policy's own addresses stay.
        """
        if self._public_url is None:
            return extensions
        known = self._known.get(issuer.der)
        if known is None:
            known = self._known[issuer.der] = self._make(self._public_url, issuer)
        usual, replacements = known
        if usual not in extensions:
            return extensions
        index = extensions.index(usual)
        return (*extensions[:index], *replacements[serial % len(replacements)], *extensions[index + 1 :])

    def _make(self, public_url: str, issuer: Certificate) -> tuple[Extension, list[tuple[Extension, ...]]]:
        addresses = Addresses.under(public_url, issuer)
        assert addresses is not None  # noqa: S101 - public_url is set
        usual = crl_distribution_point(addresses.crl)
        if not self._shards:
            return usual, [(usual, freshest_crl(addresses.delta))]
        # A delta CRL has another scope than a shard, so that no client may use both (RFC 5280 section 6.3.3).
        points = [crl_distribution_point.__wrapped__(addresses.shard(number)) for number in range(self._shards)]
        return usual, [(point,) for point in points]
