"""Key reference files: one line, in the place of a CA's key file, that names a key which is kept elsewhere.

A line is a URI such as ``pkcs11:token=ca;object=pikachu-ec`` (RFC 7512) or ``vault:transit/pikachu-ec?version=1``;
lines that begin with ``#`` are comments.  Such a file contains no secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pikachu.core.errors import ConfigError

_URI: Final = re.compile(r"([a-z][a-z0-9.+-]*):([!-~]+)")
#: Bytes; key files are larger or contain more than one line.
_MAXIMUM_SIZE: Final = 4096


@dataclass(frozen=True, slots=True)
class KeyReference:
    """The name of a key that is kept elsewhere.

    :ivar scheme: selects the key source, such as ``pkcs11``.
    :ivar rest: the URI behind the colon; its form is the key source's.
    """

    scheme: str
    rest: str

    def __str__(self) -> str:
        """Return the URI."""
        return f"{self.scheme}:{self.rest}"

    def content(self) -> bytes:
        """Return the content of a reference file."""
        return f"{self}\n".encode("ascii")


def parse_reference(text: str) -> KeyReference | None:
    """Return the reference in a URI, or None when *text* is none."""
    match = _URI.fullmatch(text)
    return None if match is None else KeyReference(match[1], match[2])


def reference_in(content: bytes) -> KeyReference | None:
    """Return the reference in the content of a key file, or None when it is a key or something else."""
    if len(content) > _MAXIMUM_SIZE or not content.isascii():
        return None
    lines = [line.strip() for line in content.decode("ascii").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    return parse_reference(lines[0]) if len(lines) == 1 else None


def read_reference(path: Path, setting: str) -> KeyReference | None:
    """Return the reference in a file, or None when the file is missing or no reference file.

    :param setting: the setting that names the file, for messages.
    :raises ConfigError: when the file can't be read.
    """
    try:
        return reference_in(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{setting}: {path} can't be read: {error.strerror}; fix its owner or mode") from None


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The place of a CA's key: a key file, or a reference file.

    :param setting: the name of its setting, for messages.
    :param reference: the key that other settings name; it counts unless the file is a reference file.
    """

    path: Path
    setting: str
    passphrase: bytes | None = None
    reference: KeyReference | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a key file or a reference."""
        return self.reference is not None or self.path.exists()

    def find_reference(self) -> KeyReference | None:
        """Return the reference to the key, or None when the key is in the file.

        :raises ConfigError: when the file can't be read.
        """
        return read_reference(self.path, self.setting) or self.reference
