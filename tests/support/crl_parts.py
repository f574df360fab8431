"""Delta CRLs and shards of a CA in memory, verified (CRL-D)."""

from __future__ import annotations

from typing import Final

from cryptography import x509

from pikachu.ca.issuers import IssuingCA
from pikachu.va.crl_files import DELTA
from pikachu.x509.crl_verification import check_signed
from pikachu.x509.profile import Addresses
from tests.support.stack import Changes, Leaf, Stack

URL: Final = "http://ca.example.com"
#: A CA with delta CRLs of an hour, and two shards.
WITH_PARTS: Final[Changes] = {("CRL", "delta"): "1h", ("CRL", "shards"): "2", ("CA", "public_url"): URL}


def shard_of(leaf: Leaf) -> int:
    """Return the shard that a certificate names."""
    points = x509.load_der_x509_certificate(leaf.der).extensions.get_extension_for_class(x509.CRLDistributionPoints)
    ((name,),) = [point.full_name or [] for point in points.value]
    return int(name.value.removesuffix(".crl").rpartition("-")[2])


def issue_named(stack: Stack, issuer: IssuingCA) -> Leaf:
    """Return a certificate that names its shard."""
    return stack.issue(ca=issuer.name, addresses=Addresses.under(URL, issuer.certificate))


def check_listed(stack: Stack, issuer: IssuingCA, *leaves: Leaf) -> None:
    """Check that the delta CRL and each shard have these certificates of a CA and no others, and its signature."""
    parts = stack.app.publisher.parts.published(issuer)
    assert parts.keys() == {DELTA, "0", "1"}
    for part, crl in parts.items():
        der = crl.der_path.read_bytes()
        check_signed(der, issuer.certificate)
        listed = {entry.serial_number for entry in x509.load_der_x509_crl(der)}
        assert listed == {leaf.serial for leaf in leaves if part in (DELTA, str(shard_of(leaf)))}


def check_revocation(stack: Stack, name: str | None = None) -> Leaf:
    """Check that a certificate is on the delta CRL and its shard when it is revoked; return it."""
    issuer = stack.issuer(name)
    leaf = issue_named(stack, issuer)
    check_listed(stack, issuer)
    stack.revoke(leaf)
    # The delay of revocations.
    stack.clock.advance(1)
    check_listed(stack, issuer, leaf)
    return leaf
