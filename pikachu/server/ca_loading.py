"""Loads the CAs that the configuration names, with their keys.

Everything here that can fail does so with a ConfigError of one line.
"""

from __future__ import annotations

from pathlib import Path

from pikachu.ca.bootstrap import RootFiles
from pikachu.ca.generations import Generations
from pikachu.ca.infrastructure import parent_name
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.ca.offline import OfflineCA
from pikachu.config.configuration import Configuration
from pikachu.config.sections import IssuerFiles
from pikachu.core.errors import ConfigError
from pikachu.core.interfaces import IClock, IWorkerPool
from pikachu.core.model.times import utc
from pikachu.server.application import Pools
from pikachu.server.key_sources import pki_engines
from pikachu.signers.ca_keys import CAKeys
from pikachu.signers.files import CAFiles, load_certificates
from pikachu.signers.key import KeySigner
from pikachu.signers.key_files import Warn, read_file
from pikachu.signers.pkcs11.uri import token_key
from pikachu.signers.references import KeyReference
from pikachu.signers.vault.transit_keys import TransitKey
from pikachu.storage.store import Store
from pikachu.x509.certificate import Certificate, names_match, parse_certificate
from pikachu.x509.keys import public_key_matches


def passphrase(path: Path | None, setting: str) -> bytes | None:
    """Return the first line of a passphrase file."""
    if path is None:
        return None
    lines = read_file(path, setting).splitlines()
    if not lines or not lines[0]:
        raise ConfigError(f"{setting}: {path} is empty; its first line is the passphrase")
    return lines[0]


def root_files(config: Configuration, certificate: Path) -> RootFiles:
    """Return the files of the root."""
    secret = passphrase(config.ca.root_key_passphrase_file, "[CA] ROOT_KEY_PASSPHRASE_FILE")
    return RootFiles(config.ca.root_key_path, certificate, secret)


def configured_reference(config: Configuration, name: str) -> KeyReference | None:
    """Return the key that settings outside of ``[CA]`` name for the first generation of an issuing CA."""
    transit_key = config.vault.transit_keys.get(name)
    if transit_key is not None:
        return TransitKey.of(config.vault.transit_path, transit_key).reference()
    label = config.pkcs11.key_labels.get(name)
    return None if label is None else token_key(config.pkcs11.token, label)


def ca_files(config: Configuration, files: IssuerFiles) -> CAFiles:
    """Return the paths of an issuing CA.

    Without a path for its key, which other settings name, references to keys lie beside the certificate.

    :raises ConfigError: when the key or the certificate is not configured.
    """
    suffix = f"_{files.name.upper()}"
    reference = configured_reference(config, files.name)
    key = files.key
    if key is None and reference is not None and files.certificate is not None:
        key = files.certificate.with_name(f"{files.certificate.name}.key")
    if key is None or files.certificate is None:
        missing = "KEY" if key is None else "CERT"
        raise ConfigError(f"[CA] SUBCA_{missing}_PATH{suffix} is not set; name both the key and the certificate")
    return CAFiles(
        files.name,
        key,
        files.certificate,
        files.chain,
        config.ca.root_cert_path,
        passphrase(files.passphrase_file, f"[CA] SUBCA_KEY_PASSPHRASE_FILE{suffix}"),
        suffix,
        reference,
    )


def load_generations(
    config: Configuration, keys: CAKeys, store: Store, pools: Pools, clock: IClock, warn: Warn
) -> tuple[Generations, IssuingCAs]:
    """Load and check every configured issuing CA (INIT-4), with its previous and its announced generations.

    :raises ConfigError: one line for the first thing that is wrong.
    """
    files = {name: ca_files(config, one) for name, one in config.ca.issuers.items()}
    engines = pki_engines(config, keys.sources)
    generations = Generations(files, keys, store, pools.signing, pools.rotation, clock, warn, engines=engines)
    found = generations.load()
    mode = config.ca.mode.value.lower()
    if mode not in found:
        raise ConfigError(
            f"[CA] mode: {config.ca.mode.value} is chosen, but [CA] SUBCA_KEY_PATH_{mode.upper()} and "
            f"SUBCA_CERT_PATH_{mode.upper()} are not set; set them, or choose another mode"
        )
    issuers = IssuingCAs(mode, found)
    generations.add_others(issuers)
    return generations, issuers


def load_root_certificate(config: Configuration, issuers: IssuingCAs) -> Certificate | None:
    """Load the root's certificate, the trust anchor; None when the configuration names none.

    :raises ConfigError: when no issuing CA's chain ends in its key.
    """
    path = config.ca.root_cert_path
    if path is None:
        return None
    certificate = load_certificates(path, "[CA] ROOT_CERT_PATH")[0]
    # A root that was renewed keeps its name and its key.
    ends = [parse_certificate(issuer.chain[-1]) for issuer in issuers.all()]
    if not any(
        end.spki_der == certificate.spki_der and names_match(end.subject_der, certificate.subject_der) for end in ends
    ):
        raise ConfigError(
            f"[CA] ROOT_CERT_PATH: {path} is not the root of any issuing CA; name the certificate that their chains "
            "end in"
        )
    return certificate


def load_root(
    config: Configuration,
    keys: CAKeys,
    certificate: Certificate | None,
    store: Store,
    pool: IWorkerPool,
    clock: IClock,
    warn: Warn,
) -> IssuingCA | None:
    """Load the root with its key when the key is here, so that its CRL is made here.

    :raises ConfigError: when the key and the certificate don't belong together.
    """
    path, root = config.ca.root_key_path, config.ca.root_cert_path
    if path is None or root is None or certificate is None or not path.exists():
        return None
    file = root_files(config, root).key_file()
    key = keys.load(file, warn, certificate.spki_der)
    if not public_key_matches(key, certificate.spki_der):
        raise ConfigError(f"{file.setting}: {path} is not the key of {config.ca.root_cert_path}")
    now = utc(clock.seconds())
    record = store.register_issuer("root", certificate.key_identifier, certificate.der, now)
    return IssuingCA(record, KeySigner(key, certificate.der, (certificate.der,), pool))


def load_offline_cas(issuers: IssuingCAs, store: Store, clock: IClock) -> list[OfflineCA]:
    """Return the CAs above the issuing CAs whose keys are not on this server, roots last."""
    cas: dict[bytes, OfflineCA] = {}
    for issuer in issuers.all():
        for index, encoding in enumerate(issuer.chain[1:], 1):
            certificate = parse_certificate(encoding)
            identifier = certificate.key_identifier
            if issuers.by_key_identifier(identifier) is None and identifier not in cas:
                record = store.register_issuer(parent_name(certificate), identifier, encoding, utc(clock.seconds()))
                cas[identifier] = OfflineCA(record, certificate, issuer.chain[index:])
    return sorted(cas.values(), key=lambda ca: ca.certificate.self_issued)
