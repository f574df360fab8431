"""Features that a configuration may enable, and that this version or this installation may lack (CFG-1).

An accepted setting takes effect: start-up rejects a setting whose feature is not available.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pikachu.config.configuration import Configuration
from pikachu.config.setting_choices import VaultSigner
from pikachu.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Feature:
    """An optional feature.

    :param requested: returns the key that enables the feature in a configuration, or None.
    :param lacking: the feature, as the object of "does not support".
    :param fix: the instruction to the operator, a full sentence.
    :param package: the module that the feature requires; None when this version lacks the feature.
    """

    section: str
    requested: Callable[[Configuration], str | None]
    lacking: str
    fix: str
    package: str | None = None


def _enabled(section: str) -> Callable[[Configuration], str | None]:
    """Return a test for ``enabled = true``."""
    return lambda configuration: "enabled" if getattr(configuration, section).enabled else None


def _pki_fallback(configuration: Configuration) -> str | None:
    vault = configuration.vault
    return "fallback" if vault.enabled and vault.signer is VaultSigner.PKI and vault.fallback else None


def _token(configuration: Configuration) -> str | None:
    return None if configuration.pkcs11.module is None else "module"


def _mldsa_in_token(configuration: Configuration) -> str | None:
    return "key_label_mldsa" if "mldsa" in configuration.pkcs11.key_labels else None


def _postgresql(configuration: Configuration) -> str | None:
    url = configuration.database.url
    return "url" if url is not None and url.reveal().startswith(("postgresql", "postgres")) else None


FEATURES: Final[tuple[Feature, ...]] = (
    Feature(
        "VAULT",
        _pki_fallback,
        "key files in the place of Vault's PKI engine",
        "Set fallback = false, or signer = transit.",
    ),
    Feature(
        "LDAP",
        _enabled("ldap"),
        "signing in with a directory, because the package ldap3 can't be imported",
        "Run `pip install ldap3`, or set enabled = false.",
        "ldap3",
    ),
    Feature(
        "OIDC",
        _enabled("oidc"),
        "single sign-on, because the package joserfc can't be imported",
        "Run `pip install 'pikachu-ca[oidc]'`, or set enabled = false.",
        "joserfc",
    ),
    Feature("PKCS11", _mldsa_in_token, "ML-DSA keys in a PKCS#11 token", "Remove the label, and name a key file."),
    Feature(
        "PKCS11",
        _token,
        "keys in a PKCS#11 token, because the package python-pkcs11 can't be imported",
        "Run `pip install 'pikachu-ca[hsm]'`, or remove module and labels.",
        "pkcs11",
    ),
    Feature(
        "DATABASE",
        _postgresql,
        "PostgreSQL, because the package psycopg can't be imported",
        "Run `pip install 'pikachu-ca[postgresql]'`, or leave url empty to use SQLite.",
        "psycopg",
    ),
)


def is_importable(package: str) -> bool:
    """Return whether *package* and the libraries it depends on can be imported."""
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def require_features(configuration: Configuration) -> None:
    """Reject a configuration that enables a feature which this version or this installation lacks.

    :raises ConfigError: for the first such feature.
    """
    for feature in FEATURES:
        key = feature.requested(configuration)
        if key is None or (feature.package is not None and is_importable(feature.package)):
            continue
        subject = "this version" if feature.package is None else "this installation"
        raise ConfigError(
            f"{configuration.path}: [{feature.section}] {key}: {subject} does not support {feature.lacking}. "
            f"{feature.fix}"
        )
