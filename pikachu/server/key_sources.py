"""The key sources that the configuration enables: what keeps keys of CAs outside of files."""

from __future__ import annotations

from pikachu.config.configuration import Configuration
from pikachu.config.sections import VaultSection
from pikachu.config.setting_choices import VaultSigner
from pikachu.core.errors import ConfigError
from pikachu.core.interfaces import IClock
from pikachu.server.application import Pools
from pikachu.signers.ca_keys import KeySource
from pikachu.signers.vault.client import Patience, VaultClient
from pikachu.signers.vault.source import VaultKeys
from pikachu.signers.vault.tokens import AppRole, Credentials
from pikachu.signers.vault.transit_keys import SCHEME as VAULT
from pikachu.signers.vault.transport import VaultAddress


def key_sources(config: Configuration, pools: Pools, clock: IClock) -> dict[str, KeySource]:
    """Return the key sources by the scheme of references to their keys.

    :raises ConfigError: one line, when a source can't be used whatever happens later.
    """
    sources: dict[str, KeySource] = {}
    vault = config.vault
    if vault.enabled and vault.signer is VaultSigner.TRANSIT:
        client = vault_client(vault, approle(vault))
        sources[VAULT] = VaultKeys(client, pools.vault, uses_key_files=vault.fallback)
    return sources


def approle(vault: VaultSection) -> AppRole:
    """Return the credentials of Pikachu's AppRole.

    :raises ConfigError: when they are not set.
    """
    if vault.role_id is None or vault.secret_id is None:
        raise ConfigError("[VAULT] role_id and secret_id: not set; `pikachu vault setup` prints them")
    return AppRole(vault.role_id.reveal(), vault.secret_id.reveal())


def vault_client(vault: VaultSection, credentials: Credentials) -> VaultClient:
    """Return a client of the configured Vault.

    :raises ConfigError: when it has no address, or its CA can't be read.
    """
    if vault.address is None:
        raise ConfigError("[VAULT] address: not set; name Vault's address, such as https://vault.example.org:8200")
    address = VaultAddress(vault.address, vault.verify_ssl, vault.ca_cert_path)
    return VaultClient(address, credentials, patience=Patience(float(vault.timeout), vault.retry_attempts))
