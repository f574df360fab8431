"""Import of an existing issuing CA into the files that the configuration names.

Existing files are never replaced.  Everything is checked before the first file is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from pikachu.ca.bootstrap import PRIVATE_FILE, PRIVATE_FOLDER, PUBLIC_FILE, Write, make_folder, write_new
from pikachu.core.errors import ConfigError
from pikachu.signers.files import CAFiles, build_chain, check_ca_certificate, check_chain_above, load_certificates
from pikachu.signers.key import check_key_pair
from pikachu.signers.key_files import Warn
from pikachu.x509.certificate import Certificate
from pikachu.x509.keys import PrivateKey, describe_private_key, private_key_pem, public_key_matches
from pikachu.x509.pem import certificates_pem
from pikachu.x509.spki import KeyFamily

#: The families of keys that each issuing CA may have.
FAMILIES: Final = {
    "ec": (KeyFamily.EC, KeyFamily.ED25519),
    "rsa": (KeyFamily.RSA,),
    "mldsa": (KeyFamily.ML_DSA,),
}


class CAImport:
    """Stores a key, its certificate and its chain as an issuing CA.

    :param source: the name of the imported file, for messages.
    :param report: called with each file that was written.
    :param write: creates one file; see :func:`pikachu.ca.bootstrap.write_new`.
    """

    def __init__(
        self, files: CAFiles, source: str, report: Callable[[Path], None], warn: Warn, write: Write = write_new
    ) -> None:
        self._files = files
        self._source = source
        self._report = report
        self._warn = warn
        self._write = write

    def check_absent(self) -> None:
        """Check that no file of the CA exists.

        :raises ConfigError: naming the file.
        """
        for path in (self._files.certificate, self._files.key, self._files.chain):
            if path is not None and path.exists():
                raise ConfigError(f"{path} exists, and an import replaces no file; move it away to import another CA")

    def store(self, private_key: PrivateKey, certificates: Sequence[Certificate], now: datetime) -> Certificate:
        """Check the CA, write its files, and return its certificate.

        :param certificates: the CA's own and those above it, in any order.
        :raises ConfigError: when the CA can't be used, or a file exists or can't be written.
        """
        self.check_absent()
        chain = self._checked(private_key, certificates, now)
        contents: dict[Path, tuple[str, int]] = {}
        contents[self._files.key] = (private_key_pem(private_key, self._files.passphrase), PRIVATE_FILE)
        if self._files.chain is not None:
            contents[self._files.chain] = (certificates_pem(one.der for one in chain), PUBLIC_FILE)
        root = self._files.root
        if root is not None and not root.exists():
            contents[root] = (certificates_pem([chain[-1].der]), PUBLIC_FILE)
        # The last file: without it the CA is not complete.
        contents[self._files.certificate] = (certificates_pem([chain[0].der]), PUBLIC_FILE)
        written: list[Path] = []
        try:
            for path, (text, mode) in contents.items():
                make_folder(path.parent, PRIVATE_FOLDER)
                self._write(path, text.encode(), mode)
                written.append(path)
        except ConfigError:
            for path in written:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        for path in written:
            self._report(path)
        return chain[0]

    def _checked(
        self, private_key: PrivateKey, certificates: Sequence[Certificate], now: datetime
    ) -> tuple[Certificate, ...]:
        """Return the chain of the CA, from its certificate to the root."""
        described = describe_private_key(private_key)
        if described.family not in FAMILIES[self._files.name]:
            raise ConfigError(
                f"{self._source}: the key is {described.text}, which is none for the CA {self._files.name}"
            )
        own = [one for one in certificates if public_key_matches(private_key, one.spki_der)]
        if not own:
            raise ConfigError(f"{self._source}: no certificate belongs to the private key; name it with --cert")
        check_key_pair(private_key)
        # Renewed certificates have the same key.
        certificate = max(own, key=lambda one: one.not_after)
        check_ca_certificate(certificate, now, self._source, self._warn)
        root = self._files.root
        known = load_certificates(root, "[CA] ROOT_CERT_PATH") if root is not None and root.exists() else []
        chain = build_chain(certificate, [*certificates, *known], self._source)
        check_chain_above(chain, now, self._source, self._warn)
        if self._files.chain is None and chain[-1].der not in [one.der for one in known] and len(chain) > 1:
            raise ConfigError(
                f"{self._files.setting('CHAIN')}: not set, so the chain can't be stored; name a file for it"
            )
        return chain
