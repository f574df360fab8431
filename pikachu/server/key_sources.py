"""The key sources that the configuration enables: what keeps keys of CAs outside of files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from pikachu.config.configuration import Configuration
from pikachu.config.sections import PKCS11Section, VaultSection
from pikachu.core.concurrency import TimeLimitedPool
from pikachu.core.errors import ConfigError, SignerUnavailable
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.server.application import Pools
from pikachu.signers.ca_keys import KeySource
from pikachu.signers.key_files import Warn, check_permissions
from pikachu.signers.pkcs11.uri import SCHEME as PKCS11
from pikachu.signers.vault.client import Patience, VaultClient
from pikachu.signers.vault.pki_engine import PKIEngines, Roles
from pikachu.signers.vault.source import VaultKeys
from pikachu.signers.vault.tokens import AppRole, AppRoleFile, Credentials
from pikachu.signers.vault.transit_keys import SCHEME as VAULT
from pikachu.signers.vault.transit_keys import TransitKey
from pikachu.signers.vault.transport import VaultAddress

# Longer than a network HSM takes to fail over, shorter than clients wait.
_TOKEN_SECONDS: Final = 10.0
# Calls of Vault have time limits of their own, some several in turn; only the system's look-up of a name has none.
_VAULT_FACTOR: Final = 10.0


def key_sources(config: Configuration, pools: Pools, clock: IClock, warn: Warn) -> dict[str, KeySource]:
    """Return the key sources by the scheme of references to their keys.

    A token that is away, or refuses its PIN, is no error here: the server starts, and says so in ``/readyz``.

    :raises ConfigError: one line, when a source can't be used whatever happens later.
    """
    sources: dict[str, KeySource] = {}
    vault = config.vault
    if vault.enabled:
        _check_secret_file(config, vault.credentials_file, "[VAULT] credentials_file", warn)
        client = vault_client(vault, approle(vault))
        pool = TimeLimitedPool(pools.vault, clock, _VAULT_FACTOR * vault.timeout, "Vault")
        sources[VAULT] = VaultKeys(client, pool, uses_key_files=vault.fallback, sharing=_sharing(config))
    if config.pkcs11.module is not None:
        pool = TimeLimitedPool(pools.token, clock, _TOKEN_SECONDS, "The token")
        _check_secret_file(config, config.pkcs11.pin_file, "[PKCS11] pin_file", warn)
        sources[PKCS11] = _token_keys(config.pkcs11, config.pkcs11.module, pool)
    return sources


def _sharing(config: Configuration) -> dict[str, str]:
    """Return the mounts of the PKI engine by the transit keys that they share.

    :raises ConfigError: when the name of a transit key has a wrong form.
    """
    vault, names = config.vault, config.vault.transit_keys
    keys = {ca: TransitKey.of(vault.transit_path, names[ca]) for ca in vault.pki_mounts if ca in names}
    return {f"{key.mount}/{key.name}": vault.pki_mounts[ca] for ca, key in keys.items()}


def pki_engines(config: Configuration, sources: Mapping[str, KeySource]) -> PKIEngines | None:
    """Return the PKI engines that make certificates, or None when these are made here.

    :param sources: the key sources, of which Vault's has the client.
    """
    vault, source = config.vault, sources.get(VAULT)
    if not vault.pki_mounts or not isinstance(source, VaultKeys):
        return None
    return PKIEngines(source.client, vault.pki_mounts, pki_roles(vault), source.pool)


def pki_roles(vault: VaultSection) -> Roles:
    """Return the configured roles of the PKI engine."""
    return Roles(vault.role_scep, vault.role_est, vault.role_default)


def approle(vault: VaultSection) -> AppRole | AppRoleFile:
    """Return the credentials of Pikachu's AppRole.

    :raises ConfigError: when they are not set.
    """
    if vault.credentials_file is not None:
        return AppRoleFile(vault.credentials_file)
    if vault.role_id is None or vault.secret_id is None:
        raise ConfigError(
            "[VAULT] role_id and secret_id: not set, nor credentials_file; `pikachu vault setup` prints them"
        )
    return AppRole(vault.role_id.reveal(), vault.secret_id.reveal())


def vault_client(vault: VaultSection, credentials: Credentials) -> VaultClient:
    """Return a client of the configured Vault.

    :raises ConfigError: when it has no address, or its CA can't be read.
    """
    if vault.address is None:
        raise ConfigError("[VAULT] address: not set; name Vault's address, such as https://vault.example.org:8200")
    takes_keys = vault.verify_ssl and not vault.sends_plaintext
    address = VaultAddress(vault.address, vault.verify_ssl, vault.ca_cert_path, takes_keys)
    return VaultClient(address, credentials, patience=Patience(float(vault.timeout), vault.retry_attempts))


def _check_secret_file(config: Configuration, path: Path | None, setting: str, warn: Warn) -> None:
    """Reject or report a file with a secret that others can read; one that is missing may come later.

    :raises ConfigError: others can read it, and ``[CA] key_permissions`` refuses that.
    """
    if path is not None and path.exists():
        check_permissions(path, setting, config.ca.key_permissions.value, warn)


def _token_keys(section: PKCS11Section, module: Path, pool: IWorkerPool) -> KeySource:
    """Return the keys of the configured token.

    :raises ConfigError: when the module is missing.
    """
    # The package is an extra.
    from pikachu.signers.pkcs11.source import TokenKeys

    if not os.access(module, os.R_OK):
        raise ConfigError(
            f"[PKCS11] module: {module} does not exist or can't be read; install the library of the module, or "
            "correct its path"
        )
    return TokenKeys(module, section.token, partial(_read_pin, section), pool)


def _read_pin(section: PKCS11Section) -> str:
    """Return the PIN; a file is read each time, so that it can be corrected while the server runs.

    :raises SignerUnavailable: when there is none.
    """
    if section.pin is not None:
        return section.pin.reveal()
    assert section.pin_file is not None  # noqa: S101 - the configuration has one of the two
    pin = _first_line(section.pin_file)
    if not pin:
        raise SignerUnavailable("[PKCS11] pin_file is empty; write the PIN in its first line.")
    return pin


def _first_line(path: Path) -> str:
    try:
        return next(iter(path.read_text(encoding="utf-8").splitlines()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise SignerUnavailable(
            "[PKCS11] pin_file can't be read. Put the file with the PIN there, readable by the server only.",
            path=str(path),
            error=repr(error),
        ) from None
