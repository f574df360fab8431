"""Private key files and their permissions."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from pikachu.core.errors import ConfigError, PikachuError
from pikachu.x509.keys import PrivateKey, load_private_key

Warn: TypeAlias = Callable[[str], None]


def read_file(path: Path, setting: str) -> bytes:
    """Read a file that a setting refers to.

    :raises ConfigError: one line that says what to do.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{setting}: {path} does not exist; `pikachu init` makes what is missing") from None
    except OSError as error:
        raise ConfigError(f"{setting}: {path} can't be read: {error.strerror}; fix its owner or mode") from None


def check_permissions(path: Path, setting: str, policy: str, warn: Warn) -> None:
    """Reject or report a private key file that others can read.

    :param policy: ``refuse`` or ``warn``.
    :raises ConfigError: others can read the file, and *policy* is ``refuse``.
    """
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        message = f"{setting}: {path} has mode {mode:04o}, so others can read the key; run: chmod 600 {path}"
        _report(message, policy, warn)


def check_server_key_permissions(path: Path, setting: str, policy: str, warn: Warn) -> None:
    """Reject or report a key of the HTTPS listeners that every account can read.

    It signs no certificate, so its group may read it, as that of Debian's ``ssl-cert`` does.

    :param policy: ``refuse`` or ``warn``.
    :raises ConfigError: every account can read the file, and *policy* is ``refuse``.
    """
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o007:
        message = (
            f"{setting}: {path} has mode {mode:04o}, so every account on this machine can read the key and pose as "
            f"this server; run: chmod o-rwx {path}"
        )
        _report(message, policy, warn)


def _report(message: str, policy: str, warn: Warn) -> None:
    if policy == "refuse":
        raise ConfigError(message)
    warn(message)


def load_key(path: Path, setting: str, passphrase: bytes | None, policy: str, warn: Warn) -> PrivateKey:
    """Load a private key from a PEM or DER file.

    :raises ConfigError: the file or the key is unusable.
    """
    data = read_file(path, setting)
    check_permissions(path, setting, policy, warn)
    return _parse_key(data, path, setting, passphrase)


def load_server_key(path: Path, setting: str, policy: str, warn: Warn) -> PrivateKey:
    """Load the private key of an HTTPS listener from a PEM or DER file.

    :raises ConfigError: the file or the key is unusable.
    """
    data = read_file(path, setting)
    check_server_key_permissions(path, setting, policy, warn)
    return _parse_key(data, path, setting, None)


def _parse_key(data: bytes, path: Path, setting: str, passphrase: bytes | None) -> PrivateKey:
    try:
        return load_private_key(data, passphrase)
    except PikachuError as error:
        raise ConfigError(f"{setting}: {path}: {error.public}") from None
