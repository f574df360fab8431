"""Reads and checks what a configuration names: the database, SECRET_KEY, folders and certificates."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pikachu.config.configuration import Configuration
from pikachu.config.setting_types import Secret
from pikachu.core.errors import ConfigError
from pikachu.operations.rekey import next_file
from pikachu.signers.files import load_trust_anchors
from pikachu.signers.key_files import check_permissions, read_file
from pikachu.x509.certificate import Certificate

Warn = Callable[[str], None]


def database_url(config: Configuration) -> str:
    """Return the SQLAlchemy URL of the database."""
    if config.database.url is not None:
        return config.database.url.reveal()
    return f"sqlite:///{config.paths.db_path}"


def secret_key(config: Configuration, warn: Warn) -> bytes:
    """Return SECRET_KEY, from the configuration or its file.

    :raises ConfigError: when the file is missing, too short, or readable by others, or is being replaced.
    """
    source = config.secret_key_source
    if isinstance(source, Path) and next_file(source).exists():
        raise ConfigError(
            f"[DEFAULT] secret_key_file: {next_file(source)} is there: `pikachu rekey` is at work or was interrupted; "
            "run it again to complete it"
        )
    return present_secret_key(config, warn)


def present_secret_key(config: Configuration, warn: Warn) -> bytes:
    """Return SECRET_KEY even while `pikachu rekey` is replacing it.

    :raises ConfigError: when the file is missing, too short, or readable by others.
    """
    source = config.secret_key_source
    if isinstance(source, Secret):
        return source.reveal().encode()
    setting = "[DEFAULT] secret_key_file"
    content = read_file(source, setting).strip()
    check_permissions(source, setting, config.ca.key_permissions.value, warn)
    if len(content) < 16:
        raise ConfigError(f"{setting}: {source} holds fewer than 16 characters; remove it and run `pikachu init`")
    return content


def check_folders(config: Configuration) -> None:
    """Check that the configured folders can be written.

    Nothing is made here: twistd may be about to become another user.

    :raises ConfigError: one line for the first folder that can't be written.
    """
    folders = [("[PATHS] crl_path", config.paths.crl_path.parent)]
    if config.paths.crl_dir is not None:
        folders.append(("[PATHS] crl_dir", config.paths.crl_dir))
    if config.scep.enabled and config.scep.dump_dir is not None:
        folders.append(("[SCEP] dump_dir", config.scep.dump_dir))
    for setting, folder in folders:
        nearest = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
        if not nearest.is_dir():
            raise ConfigError(f"{setting}: {nearest} is not a folder; remove it, or name another one")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise ConfigError(f"{setting}: {nearest} can't be written; fix its owner or mode, or name another folder")


def growing_folders(config: Configuration) -> dict[str, Path]:
    """Return the folders whose disk may fill up, by what they hold."""
    folders = {"CRLs": config.paths.crl_dir or config.paths.crl_path.parent}
    if config.database.url is None:
        folders["database"] = config.paths.db_path.parent
    if config.logging.log_file is not None:
        folders["log"] = config.logging.log_file.parent
    return folders


def load_manufacturers(config: Configuration) -> tuple[Certificate, ...]:
    """Load the further CAs of ``client_ca``: a file, or all files of a folder.

    :raises ConfigError: when one can't be read.
    """
    path = config.trusted_https.client_ca
    setting = "[TRUSTED_HTTPS] client_ca"
    if path is None:
        return ()
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix in {".pem", ".crt", ".cer", ".der"})
        return tuple(certificate for one in files for certificate in load_trust_anchors(one, setting))
    return tuple(load_trust_anchors(path, setting))


def https_certificates(config: Configuration) -> list[Path]:
    """Return the certificate files of the HTTPS listeners that are on."""
    https, trusted = config.https, config.trusted_https
    files = (https.ssl_cert if https.port else None, trusted.trusted_ssl_cert if trusted.trusted_port else None)
    return [path for path in files if path is not None]
