"""Keys that transit and the PKI engine share (docs/adr/0030); made here, since neither gives a key to the other."""

from __future__ import annotations

from pikachu.signers.vault.faults import VaultRefused
from pikachu.signers.vault.pki_mount import PKIMount
from pikachu.signers.vault.transit_keys import Transit, TransitKey
from pikachu.x509.keys import generate_private_key


def create_shared(transit: Transit, mount: PKIMount, key: TransitKey, algorithm: str) -> None:
    """Make a key, or the version that is named, and put it into both engines; it is not stored here.

    The PKI engine is first: a version that transit has, it has too, so whoever is killed between can repeat this.  The
    key of the run that was killed stays there without a certificate.

    :param algorithm: one of :data:`pikachu.signers.vault.transit_keys.TYPES`.
    :raises VaultFault: there is no answer, or a refusal.
    """
    present = max(transit.versions(key)) if transit.exists(key) else 0
    version = key.version or max(present, 1)
    if present >= version:
        return
    if version != present + 1:
        raise VaultRefused(
            f"The next version of the transit key {key.mount}/{key.name} is {present + 1}, not {version}. Delete the "
            "key reference whose name ends in .next, and rotate again."
        )
    private_key = generate_private_key(algorithm)
    mount.import_key(private_key)
    if present:
        transit.import_version(key, private_key)
    else:
        transit.import_key(key, private_key)
