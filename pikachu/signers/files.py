"""Issuing CAs with certificate and chain in files (CFG-4), checked before use (INIT-3, INIT-4)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pikachu.core.errors import BadPublicKey, ConfigError, MalformedRequest, PikachuError, UnsupportedAlgorithm
from pikachu.signers.ca_keys import CAKeys
from pikachu.signers.key_files import Warn, read_file
from pikachu.signers.references import KeyFile, KeyReference
from pikachu.x509 import der
from pikachu.x509.certificate import CRL_SIGN, KEY_CERT_SIGN, Certificate, names_match, parse_certificate
from pikachu.x509.keys import PrivateKey, public_key_matches
from pikachu.x509.loading.certificates import load_tls_certificate
from pikachu.x509.pem_blocks import certificates_in, decode_base64, decode_text, labels_in
from pikachu.x509.signature import verify_signature
from pikachu.x509.spki import describe_spki
from pikachu.x509.text.descriptions import name_text


@dataclass(frozen=True, slots=True)
class FileCA:
    """An issuing CA loaded from its files.

    :param chain: from the issuing CA to the root, both included.
    """

    private_key: PrivateKey
    certificate: Certificate
    chain: tuple[Certificate, ...]


@dataclass(frozen=True, slots=True)
class CAFiles:
    """The files of one issuing CA, and the settings that refer to them.

    :param suffix: the end of the settings' names in messages, such as ``_EC`` of ``[CA] SUBCA_KEY_PATH_EC``.
    :param reference: the key that other settings name; see :class:`pikachu.signers.references.KeyFile`.
    """

    name: str
    key: Path
    certificate: Path
    chain: Path | None
    root: Path | None
    passphrase: bytes | None = None
    suffix: str = ""
    reference: KeyReference | None = None

    @property
    def key_file(self) -> KeyFile:
        """The place of the key."""
        return KeyFile(self.key, self.setting("KEY"), self.passphrase, self.reference)

    def setting(self, what: str) -> str:
        """Return the name of the setting, for messages."""
        return f"[CA] SUBCA_{what}_PATH{self.suffix}" if what != "CHAIN" else f"[CA] CHAIN_FILE_PATH{self.suffix}"


def load_certificates(path: Path, setting: str) -> list[Certificate]:
    """Load all certificates of a PEM file, or the certificate of a DER file.

    :raises ConfigError: the file contains no readable certificate.
    """
    data = decode_text(read_file(path, setting))
    try:
        encodings = certificates_in(data) if b"-----BEGIN" in data else _binary_certificates(data)
    except MalformedRequest as error:
        raise ConfigError(f"{setting}: {path} holds no certificate that can be read: {error.public}") from None
    if not encodings:
        raise ConfigError(f"{setting}: {path} holds no certificate{_describe_content(data)}")
    certificates = []
    for number, encoding in enumerate(encodings, 1):
        try:
            certificate = parse_certificate(encoding)
            certificate.check_readable()
        except MalformedRequest as error:
            which = f"certificate {number} of {path}" if len(encodings) > 1 else f"the certificate in {path}"
            raise ConfigError(f"{setting}: {which} can't be read: {error.public}") from None
        certificates.append(certificate)
    return certificates


def _binary_certificates(data: bytes) -> list[bytes]:
    """Return the certificate in a DER file, or in a file of bare Base64; none when it is neither."""
    with contextlib.suppress(MalformedRequest):
        binary = data if data[:1] == b"\x30" else decode_base64(data)
        if binary[:1] == b"\x30":
            return [binary]
    return []


def _describe_content(data: bytes) -> str:
    """Return what a PEM file without a certificate contains, to be appended to the message about it."""
    labels = list(dict.fromkeys(labels_in(data)))
    if not labels:
        return ""
    text = f", but: {', '.join(labels)}"
    if labels[0] in ("PKCS7", "CMS"):
        text += "; extract the certificates with `openssl pkcs7 -print_certs`"
    return text


def load_trust_anchors(path: Path, setting: str) -> list[Certificate]:
    """Load the trust anchors for client certificates.

    :raises ConfigError: the file contains no certificate, or a key that is not accepted.
    """
    anchors = load_certificates(path, setting)
    for anchor in anchors:
        try:
            describe_spki(anchor.spki_der)
        except BadPublicKey as error:
            raise ConfigError(
                f"{setting}: {path} holds the CA {_name(anchor)}, whose key can't be used: {error.public}; "
                "take it out of the file"
            ) from None
        try:
            load_tls_certificate(anchor.der)
        except PikachuError as error:
            raise ConfigError(
                f"{setting}: {path} holds the CA {_name(anchor)}, whose certificate can't be used for TLS: "
                f"{error.public}; take it out of the file"
            ) from None
    return anchors


def check_issued_by(child: Certificate, issuer: Certificate) -> None:
    """Check that the key of *issuer* signed *child*.

    :raises PikachuError: the names differ, or the signature does not verify.
    """
    if not names_match(child.issuer_der, issuer.subject_der):
        raise MalformedRequest("the issuer's name is another one")
    _verify(child, issuer)


def find_issuer(certificate: Certificate, candidates: Iterable[Certificate]) -> Certificate | None:
    """Return the first candidate that has issued a certificate, or None."""
    for candidate in candidates:
        with contextlib.suppress(PikachuError):
            check_issued_by(certificate, candidate)
            return candidate
    return None


def build_chain(certificate: Certificate, candidates: list[Certificate], where: str) -> tuple[Certificate, ...]:
    """Build the chain from *certificate* to a self-signed root, and verify each signature.

    :raises ConfigError: the chain does not end in a root.
    """
    chain = [certificate]
    while not _is_self_signed(chain[-1]):
        if len(chain) > 8:
            raise ConfigError(f"{where}: the chain has more than 8 certificates")
        chain.append(_find_issuer(chain[-1], candidates, where))
    return tuple(chain)


def _is_self_signed(certificate: Certificate) -> bool:
    """Return whether a certificate is signed by its own key; nobody relies on that signature, so SHA-1 will do."""
    if not certificate.self_issued:
        return False
    try:
        _verify(certificate, certificate, allow_weak_digest=True)
    except PikachuError:
        return False
    return True


def _verify(child: Certificate, issuer: Certificate, *, allow_weak_digest: bool = False) -> None:
    verify_signature(
        describe_spki(issuer.spki_der),
        child.signature_algorithm_der,
        child.signature,
        child.tbs,
        allow_sha1=allow_weak_digest,
        allow_md5=allow_weak_digest,
    )


def _find_issuer(certificate: Certificate, candidates: list[Certificate], where: str) -> Certificate:
    """Return the candidate that has issued *certificate*.

    :raises ConfigError: none has, with the reason why that of the right name hasn't.
    """
    reason = f"no certificate in it has issued {_name(certificate)}"
    for candidate in candidates:
        if candidate.der == certificate.der or not names_match(certificate.issuer_der, candidate.subject_der):
            continue
        try:
            _verify(certificate, candidate)
        except (BadPublicKey, UnsupportedAlgorithm) as error:
            reason = f"{_name(certificate)} can't be verified with the key of {_name(candidate)}: {error.public}"
        except PikachuError:
            continue
        else:
            return candidate
    if certificate.self_issued:
        raise ConfigError(f"{where}: the root certificate {_name(certificate)} is not signed by its own key")
    raise ConfigError(
        f"{where}: the chain does not verify: {reason}; put the issuing CA's and the root's certificates there"
    )


def _check_chain_file(chain_file: list[Certificate], chain: tuple[Certificate, ...], where: str) -> None:
    """Check that a chain file belongs to this CA: the separate root file may hide that it does not.

    The file may contain more than the chain, such as the chains of several CAs, or only the CA's certificate.

    :raises ConfigError: the file contains other certificates, and none of them is in the chain.
    """
    others = [certificate for certificate in chain_file if certificate.der != chain[0].der]
    if others and not any(certificate.der == ancestor.der for certificate in others for ancestor in chain[1:]):
        raise ConfigError(
            f"{where}: the chain does not verify: {_name(others[0])} is not above {_name(chain[0])}; "
            "put the issuing CA's and the root's certificates there"
        )


def _name(certificate: Certificate) -> str:
    return repr(name_text(der.parse(certificate.subject_der)))


def check_ca_certificate(certificate: Certificate, now: datetime, where: str, warn: Warn) -> None:
    """Check that a certificate may sign certificates now.

    :raises ConfigError: with a distinct message for each reason.
    """
    if now > certificate.not_after:
        raise ConfigError(f"{where}: the CA expired on {certificate.not_after:%Y-%m-%d}; renew it, then start again")
    if now < certificate.not_before:
        raise ConfigError(f"{where}: the CA is not valid before {certificate.not_before}; check this machine's clock")
    if not certificate.is_ca and not certificate.is_root_without_extensions:
        raise ConfigError(f"{where}: basicConstraints does not say CA:TRUE; this is no CA certificate")
    usage = certificate.key_usage
    if usage is not None and KEY_CERT_SIGN not in usage:
        raise ConfigError(f"{where}: its keyUsage lacks keyCertSign, so it may not issue certificates")
    if usage is not None and CRL_SIGN not in usage:
        warn(f"{where}: its keyUsage lacks cRLSign, so its CRLs will be refused")


def check_chain_above(chain: tuple[Certificate, ...], now: datetime, where: str, warn: Warn) -> None:
    """Check that each certificate above the first one may sign CA certificates now, at its depth.

    :raises ConfigError: with a distinct message for each reason.
    """
    for depth, ancestor in enumerate(chain[1:]):
        check_ca_certificate(ancestor, now, f"{where}: {_name(ancestor)}", warn)
        if ancestor.path_length is not None and ancestor.path_length < depth + 1:
            raise ConfigError(
                f"{where}: {_name(ancestor)} has pathlen {ancestor.path_length}, "
                f"so no CA may stand {depth + 1} below it"
            )


def load_file_ca(files: CAFiles, keys: CAKeys, now: datetime, warn: Warn) -> FileCA:
    """Read and check one issuing CA.

    :raises ConfigError: one line with the setting, the file and the problem.
    """
    key_setting, certificate_setting = files.setting("KEY"), files.setting("CERT")
    certificate = load_certificates(files.certificate, certificate_setting)[0]
    private_key = keys.load(files.key_file, warn, certificate.spki_der)
    if not public_key_matches(private_key, certificate.spki_der):
        raise ConfigError(f"{key_setting}: {files.key} is not the key of the certificate {files.certificate}")
    check_ca_certificate(certificate, now, f"{certificate_setting}: {files.certificate}", warn)
    chain_file: list[Certificate] = []
    where = f"{certificate_setting}: {files.certificate}"
    if files.chain is not None:
        chain_file = load_certificates(files.chain, files.setting("CHAIN"))
        where = f"{files.setting('CHAIN')}: {files.chain}"
    root = [] if files.root is None else load_certificates(files.root, "[CA] ROOT_CERT_PATH")
    chain = build_chain(certificate, [*chain_file, *root], where)
    _check_chain_file(chain_file, chain, where)
    check_chain_above(chain, now, where, warn)
    return FileCA(private_key, certificate, chain)
