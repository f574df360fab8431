"""The private keys of CAs, in files or elsewhere: loading, creating, and the name of the next generation's key.

A key source keeps the keys of one scheme of references.  Files are no source: they need a passphrase and permissions,
and their keys are read at start, while a source is asked when its key is needed, so that the server starts and serves
known answers while a token or a service is away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from pikachu.core.errors import ConfigError
from pikachu.core.interfaces import IWorkerPool
from pikachu.signers.key_files import Warn, load_key
from pikachu.signers.references import KeyFile, KeyReference, read_reference
from pikachu.x509.keys import PrivateKey, generate_private_key, private_key_pem, public_key_matches


class KeySource(Protocol):
    """Keeps keys elsewhere and signs with them.  Every method may block, except :meth:`load` with a public key.

    Errors: ConfigError for a wrong reference, setting or kind of key; SignerUnavailable when there is no answer.
    """

    @property
    def pool(self) -> IWorkerPool:
        """The threads in which the source is called, so that keys elsewhere don't wait for it."""

    def load(self, reference: KeyReference, spki: bytes | None) -> PrivateKey:
        """Return the key, a :class:`pikachu.signers.remote_keys.RemoteKey`.

        :param spki: the public half from the certificate, and nothing is asked now; before each signature with another
            session, the source makes sure that its key has this public half.  None: ask for it.
        """

    def generate(self, reference: KeyReference, algorithm: str) -> None:
        """Create the key, unreadable by anybody, unless there is one of that name.

        :param algorithm: one of :data:`pikachu.x509.keys.KEY_NAMES`.
        """

    def successor(self, reference: KeyReference) -> KeyReference:
        """Return a name that no key has, for the key of the generation after the one of *reference*."""

    def check(self) -> str | None:
        """Return None when every loaded key can sign, or a message when something takes the source's place.

        :raises SignerUnavailable: with a message for ``/readyz`` that says what to do.
        """


@runtime_checkable
class ReplaceableSource(Protocol):
    """A key source whose keys may be in files too, which sign while it can't be reached (VLT-2)."""

    @property
    def uses_key_files(self) -> bool:
        """Whether the setting allows it."""

    def load_with_file(self, reference: KeyReference, spki: bytes, private_key: PrivateKey) -> PrivateKey:
        """Return the key as :meth:`KeySource.load` does.

        :param private_key: the same key, of a file.
        """


class CAKeys:
    """Loads and creates keys.

    :param permissions: action for key files that others can read: ``refuse`` or ``warn``.
    :param sources: the key sources by scheme.
    :param may_create: whether :meth:`create` creates keys outside of files.
    """

    def __init__(
        self, permissions: str, sources: Mapping[str, KeySource] | None = None, *, may_create: bool = True
    ) -> None:
        self.permissions = permissions
        self._may_create = may_create
        self._sources = dict(sources or {})

    @property
    def sources(self) -> Mapping[str, KeySource]:
        """The key sources by scheme."""
        return self._sources

    def load(self, file: KeyFile, warn: Warn, spki: bytes | None = None) -> PrivateKey:
        """Load a key.

        :param spki: its public half, if known; see :meth:`KeySource.load`.
        :raises ConfigError: the file, the reference or the key is unusable.
        :raises SignerUnavailable: *spki* is None, and the key is elsewhere and can't be asked.
        """
        reference = file.find_reference()
        if reference is None:
            return load_key(file.path, file.setting, file.passphrase, self.permissions, warn)
        source = self._source(reference, file)
        if isinstance(source, ReplaceableSource) and source.uses_key_files and spki is not None:
            substitute = self._substitute(file, spki, warn)
            if substitute is not None:
                return source.load_with_file(reference, spki, substitute)
        return source.load(reference, spki)

    def _substitute(self, file: KeyFile, spki: bytes, warn: Warn) -> PrivateKey | None:
        """Return the key of a key file beside the reference that settings give, if it is the same key."""
        if not file.path.exists() or read_reference(file.path, file.setting) is not None:
            return None
        private_key = load_key(file.path, file.setting, file.passphrase, self.permissions, warn)
        if public_key_matches(private_key, spki):
            return private_key
        warn(f"{file.setting}: {file.path} is not the key of the certificate, so it signs nothing; move it away")
        return None

    def create(
        self, file: KeyFile, algorithm: str, write: Callable[[Path, Callable[[], bytes]], None], warn: Warn
    ) -> PrivateKey:
        """Return the key; unless it exists, create it in the file, or where its reference says if that is allowed.

        The reference file is written before the key is created: whoever is killed between finds the name again.

        :param algorithm: one of :data:`pikachu.x509.keys.KEY_NAMES`.
        :param write: creates a file unless it exists; its arguments are the path and a function that makes the content.
        :raises ConfigError: the key can't be created or read.
        :raises SignerUnavailable: the key is elsewhere and there is no answer.
        """
        reference = file.find_reference()
        if reference is None:
            write(file.path, lambda: private_key_pem(generate_private_key(algorithm), file.passphrase).encode("ascii"))
        elif self._may_create:
            source = self._source(reference, file)
            self.write_reference(file, write)
            source.generate(reference, algorithm)
        key = self.load(file, warn)
        self.write_reference(file, write)
        return key

    def write_reference(self, file: KeyFile, write: Callable[[Path, Callable[[], bytes]], None]) -> None:
        """Write the reference that other settings give to its file, whose name a rotation can move.

        :param write: as for :meth:`create`.
        :raises ConfigError: the file is a key file.
        """
        if file.reference is None or read_reference(file.path, file.setting) is not None:
            return
        if file.path.exists():
            raise ConfigError(
                f"{file.setting}: {file.path} holds a key, but the key {file.reference} is used instead; move the file "
                "away, so that a reference to that key can take its place"
            )
        write(file.path, file.reference.content)

    def successor(self, file: KeyFile) -> KeyReference | None:
        """Return a name for the key that follows the one of *file*, or None when that is a key in a file.

        :raises ConfigError: when the reference can't be used.
        """
        reference = file.find_reference()
        return None if reference is None else self._source(reference, file).successor(reference)

    def _source(self, reference: KeyReference, file: KeyFile) -> KeySource:
        source = self._sources.get(reference.scheme)
        if source is None:
            known = ", ".join(sorted(self._sources)) or "none"
            raise ConfigError(
                f"{file.setting}: {file.path} refers to the key {reference}, but no key source {reference.scheme!r} is "
                f"configured (configured: {known}); set [PKCS11] module, or [VAULT] enabled with signer = transit"
            )
        return source
