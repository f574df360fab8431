"""Bootstrap of a certification authority (INIT-1): keys, CA certificates and the first files.

Existing files are never replaced.  Each file is created atomically, the key before its certificate, so that the next
run completes one that was killed: a key without a certificate is used again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred

from pikachu.ca.issuance import BACKDATE, CertificateAuthority, IssuanceRequest
from pikachu.ca.issuers import IssuingCA
from pikachu.core.atomic_files import create_file, discard_temporary
from pikachu.core.errors import ConfigError, PikachuError
from pikachu.core.model.certificates import OWN_POLICY, CertificateRecord, Infrastructure, Method
from pikachu.core.model.people import Principal
from pikachu.core.model.policies import Policy
from pikachu.core.model.requests import NewRequest
from pikachu.signers.ca_keys import CAKeys
from pikachu.signers.files import CAFiles, check_issued_by, load_certificates
from pikachu.signers.key import sign_now
from pikachu.signers.key_files import load_server_key
from pikachu.signers.references import KeyFile
from pikachu.x509 import der
from pikachu.x509.certificate import (
    BASIC_CONSTRAINTS,
    CRL_SIGN,
    DIGITAL_SIGNATURE,
    EXTENDED_KEY_USAGE,
    KEY_CERT_SIGN,
    KEY_USAGE,
    SERVER_AUTH,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
    Certificate,
    Validity,
    assemble,
    end_of_validity,
    tbs_certificate,
)
from pikachu.x509.extension import Extension
from pikachu.x509.keys import PrivateKey, describe_private_key, generate_private_key, private_key_pem
from pikachu.x509.names import COMMON_NAME, COUNTRY, Name, build_name, parse_name
from pikachu.x509.pem import certificates_pem
from pikachu.x509.profile import Addresses, authority_key_identifier, leaf_extensions
from pikachu.x509.san import GeneralName, encode_san
from pikachu.x509.signature import signature_algorithm
from pikachu.x509.template.defaults import DEFAULT_SERVER_EXTENSIONS

PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644
PRIVATE_FOLDER: Final = 0o700
PUBLIC_FOLDER: Final = 0o755

DEFAULT_VALIDITY: Final = "# Days that a certificate under the default policy is valid.\n365\n"

_ORGANIZATION: Final = "2.5.4.10"
_MAXIMUM_COMMON_NAME: Final = 64
_NO_SUBJECT: Final = parse_name(der.sequence())
_SERVER_PURPOSE: Final = Extension(EXTENDED_KEY_USAGE, False, der.sequence(der.oid(SERVER_AUTH)))

Write = Callable[[Path, bytes, int], None]
Report = Callable[[str, Path], None]


def make_folder(path: Path, mode: int) -> None:
    """Create a missing folder with *mode*, whatever the umask; missing parents get 0755.

    :raises ConfigError: when it can't be created.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent, PUBLIC_FOLDER)
    try:
        path.mkdir(mode=mode, exist_ok=True)
        path.chmod(mode)
    except OSError as error:
        raise ConfigError(
            f"the folder {path} can't be made: {error.strerror}; fix the owner of {path.parent}"
        ) from None


def new_secret_key() -> bytes:
    """Return the file content for a SECRET_KEY of 384 random bits."""
    return f"{secrets.token_urlsafe(48)}\n".encode()


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Create a file as :func:`create_file` does.

    :raises ConfigError: when it exists, or can't be written.
    """
    try:
        create_file(path, content, mode)
    except OSError as error:
        raise ConfigError(
            f"{path} can't be written: {error.strerror}; fix the owner or mode of {path.parent}"
        ) from None


def ca_subject(common_name: str, organization: str | None = None, country: str | None = None) -> bytes:
    """Return the DER name of a CA.

    :raises BadCSR: when an attribute is too long or contains characters that are not allowed.
    """
    attributes = [(COUNTRY, country), (_ORGANIZATION, organization), (COMMON_NAME, common_name)]
    return build_name((oid, text) for oid, text in attributes if text)


def _ca_extensions(
    ski: bytes, authority: Extension, path_length: int, usage: Sequence[int], addresses: Addresses | None
) -> tuple[Extension, ...]:
    return (
        Extension(BASIC_CONSTRAINTS, True, der.sequence(der.boolean(True), der.integer(path_length))),
        Extension(KEY_USAGE, True, der.named_bits(usage)),
        Extension(SUBJECT_KEY_IDENTIFIER, False, der.octet_string(ski)),
        authority,
        *(() if addresses is None else addresses.extensions()),
    )


def _new_serial() -> int:
    return secrets.randbits(159) | 1 << 158


def root_certificate(key: PrivateKey, subject_der: bytes, days: int, now: datetime) -> bytes:
    """Return the DER of a self-signed root: pathlen 1, keyCertSign and cRLSign (RFC 5280 section 4.2.1)."""
    described = describe_private_key(key)
    algorithm = signature_algorithm(described).der
    own = Extension("2.5.29.35", False, der.sequence(der.implicit(0, described.ski)))
    tbs = tbs_certificate(
        serial=_new_serial(),
        algorithm=algorithm,
        issuer_der=subject_der,
        validity=Validity(now - BACKDATE, end_of_validity(now, days)),
        subject_der=subject_der,
        spki_der=described.spki,
        extensions=_ca_extensions(described.ski, own, 1, (KEY_CERT_SIGN, CRL_SIGN), None),
    )
    return assemble(tbs, algorithm, sign_now(key, tbs))


def issuing_certificate(
    key: PrivateKey,
    subject_der: bytes,
    issuer_key: PrivateKey,
    issuer: Certificate,
    days: int,
    now: datetime,
    addresses: Addresses | None = None,
) -> bytes:
    """Return the DER of an issuing CA's certificate: pathlen 0, keyCertSign, cRLSign and digitalSignature.

    It expires no later than its issuer.

    :param addresses: of the issuer's OCSP responder, certificate and CRL; ``None`` omits them.
    """
    described = describe_private_key(key)
    algorithm = signature_algorithm(describe_private_key(issuer_key)).der
    tbs = tbs_certificate(
        serial=_new_serial(),
        algorithm=algorithm,
        issuer_der=issuer.subject_der,
        validity=Validity(max(now - BACKDATE, issuer.not_before), min(end_of_validity(now, days), issuer.not_after)),
        subject_der=subject_der,
        spki_der=described.spki,
        extensions=_ca_extensions(
            described.ski,
            authority_key_identifier(issuer),
            0,
            (DIGITAL_SIGNATURE, KEY_CERT_SIGN, CRL_SIGN),
            addresses,
        ),
    )
    return assemble(tbs, algorithm, sign_now(issuer_key, tbs))


@dataclass(frozen=True, slots=True)
class RootFiles:
    """The files of the root.

    :param key: ``None`` when the root's key is offline.
    """

    key: Path | None
    certificate: Path
    passphrase: bytes | None = None

    def key_file(self) -> KeyFile:
        """Return the place of the key.

        :raises ConfigError: when the key is offline.
        """
        if self.key is None:
            raise ConfigError("[CA] ROOT_KEY_PATH: not set; name the root's key")
        return KeyFile(self.key, "[CA] ROOT_KEY_PATH", self.passphrase)


@dataclass(frozen=True, slots=True)
class CAPlan:
    """The parameters of a new CA.

    :param algorithm: one of ``pikachu.x509.keys.KEY_NAMES``.
    :param days: the validity; an issuing CA expires no later than the root.
    """

    subject_der: bytes
    algorithm: str
    days: int


class Bootstrap:
    """Creates the missing files.

    :param keys: loads and creates the keys of the CAs.
    :param report: called with ``made`` or ``left`` and the file.
    :param write: creates one file; see :func:`write_new`.
    """

    def __init__(
        self, now: datetime, keys: CAKeys, report: Report, warn: Callable[[str], None], write: Write = write_new
    ) -> None:
        self._now = now
        self._keys = keys
        self._report = report
        self._warn = warn
        self._write = write

    def file(self, path: Path, content: Callable[[], bytes], mode: int, folder_mode: int) -> None:
        """Create a file with that content unless it exists."""
        if path.exists():
            discard_temporary(path)
            self._report("left", path)
            return
        make_folder(path.parent, folder_mode)
        self._write(path, content(), mode)
        self._report("made", path)

    def secret_key(self, path: Path) -> None:
        """Create the file of a SECRET_KEY of 384 random bits."""
        self.file(path, new_secret_key, PRIVATE_FILE, PRIVATE_FOLDER)

    def default_policy(self, extensions: Path, validity: Path) -> None:
        """Create ``server_ext_cfg`` and ``validity_conf`` (POL-2)."""
        self.file(extensions, DEFAULT_SERVER_EXTENSIONS.encode, PUBLIC_FILE, PRIVATE_FOLDER)
        self.file(validity, DEFAULT_VALIDITY.encode, PUBLIC_FILE, PRIVATE_FOLDER)

    def key(self, file: KeyFile, algorithm: str) -> PrivateKey:
        """Return the key of that file, or the one that is kept elsewhere; generate it if missing.

        :raises ConfigError: when it can't be read or written.
        :raises SignerUnavailable: when its source does not answer.
        """
        return self._keys.create(file, algorithm, self._key_file, self._warn)

    def _key_file(self, path: Path, content: Callable[[], bytes]) -> None:
        self.file(path, content, PRIVATE_FILE, PRIVATE_FOLDER)

    def server_key(self, path: Path, setting: str, permissions: str) -> PrivateKey:
        """Return the P-256 key of an HTTPS listener in that file; generate it if missing.

        :param permissions: action for a key that every account can read: ``refuse`` or ``warn``.
        :raises ConfigError: when it can't be read or written.
        """
        self._key_file(path, lambda: private_key_pem(generate_private_key("prime256v1")).encode())
        return load_server_key(path, setting, permissions, self._warn)

    def root(self, files: RootFiles, plan: CAPlan) -> None:
        """Create the root.

        :raises ConfigError: when no file is configured for its key.
        """
        if files.certificate.exists():
            if files.key is not None and files.key.exists():
                self._report("left", files.key)
            self._report("left", files.certificate)
            return
        if files.key is None:
            raise ConfigError(
                f"[CA] ROOT_KEY_PATH: not set, and {files.certificate} does not exist; name a file, so that "
                f"`pikachu init` can make the root, or copy your root's certificate to {files.certificate}"
            )
        key = self.key(files.key_file(), plan.algorithm)
        self.file(
            files.certificate,
            lambda: certificates_pem([root_certificate(key, plan.subject_der, plan.days, self._now)]).encode(),
            PUBLIC_FILE,
            PRIVATE_FOLDER,
        )

    def issuing_ca(self, files: CAFiles, plan: CAPlan, root: RootFiles, public_url: str | None) -> None:
        """Create an issuing CA below the root: key, certificate, chain.

        :param public_url: the base of the root's addresses in the certificate; ``None`` puts none in.
        :raises ConfigError: when the root's key is not on this server, or a certificate exists without its key.
        """
        if files.certificate.exists():
            if not files.key_file.exists:
                raise ConfigError(
                    f"{files.setting('KEY')}: {files.key} does not exist, but its certificate {files.certificate} "
                    "does; copy the key there, or remove the certificate, so that `pikachu init` makes both"
                )
            if files.key.exists():
                self._report("left", files.key)
            self._report("left", files.certificate)
        else:
            if root.key is None or not root.key.exists():
                raise ConfigError(
                    f"{files.setting('CERT')}: {files.certificate} does not exist, and the root's key is not here to "
                    "make it; copy your issuing CA's files there, or name the root's key in [CA] ROOT_KEY_PATH"
                )
            root_key = self._keys.load(root.key_file(), self._warn)
            issuer = load_certificates(root.certificate, "[CA] ROOT_CERT_PATH")[0]
            addresses = Addresses.under(public_url, issuer)
            key = self.key(files.key_file, plan.algorithm)

            def certificate() -> bytes:
                issued = issuing_certificate(key, plan.subject_der, root_key, issuer, plan.days, self._now, addresses)
                return certificates_pem([issued]).encode()

            self.file(files.certificate, certificate, PUBLIC_FILE, PRIVATE_FOLDER)
        if files.chain is not None:
            self._chain(files, files.chain, root)

    def _chain(self, files: CAFiles, chain: Path, root: RootFiles) -> None:
        def content() -> bytes:
            certificate = load_certificates(files.certificate, files.setting("CERT"))[0]
            issuer = load_certificates(root.certificate, "[CA] ROOT_CERT_PATH")[0]
            try:
                check_issued_by(certificate, issuer)
            except PikachuError:
                raise ConfigError(
                    f"{files.setting('CHAIN')}: {chain} does not exist, and {root.certificate} has not issued "
                    f"{files.certificate}; put the chain up to the root there"
                ) from None
            return certificates_pem([certificate.der, issuer.der]).encode()

        self.file(chain, content, PUBLIC_FILE, PRIVATE_FOLDER)


def issue_server_certificate(
    authority: CertificateAuthority,
    issuer: IssuingCA,
    key: PrivateKey,
    names: Sequence[GeneralName],
    days: int,
    addresses: Addresses | None,
    actor: Principal,
) -> Deferred[CertificateRecord]:
    """Issue a certificate for this server's HTTPS, like every other certificate.

    :param names: the names in the subjectAltName; the first one that fits is the common name, unless the issuing CA may
        not certify such a subject.
    """
    described = describe_private_key(key)
    subject = _server_subject(issuer, names)
    extensions = leaf_extensions(
        policy=(_SERVER_PURPOSE,),
        requested_names=_server_names(names),
        subject_der=subject.der,
        key=described,
        issuer=issuer.certificate,
        addresses=addresses,
    )
    policy = Policy(0, OWN_POLICY, days, "")
    issuance = IssuanceRequest(
        issuer=issuer,
        policy=policy,
        subject=subject,
        key=described,
        extensions=extensions,
        days=days,
        infrastructure=Infrastructure.HTTPS,
    )
    request = NewRequest(
        method=Method.CLI,
        csr=b"",
        subject=subject.text,
        key_type=described.text,
        key_id=described.key_id,
        policy=policy.name,
        issuer=issuer.name,
        principal=actor.name,
        owner_id=None,
        created_at=authority.now(),
    )
    return authority.issue(request, issuance, {"subject": subject.text, "for": "HTTPS"})


def permitted_names(issuer: IssuingCA, names: Sequence[GeneralName]) -> tuple[GeneralName, ...]:
    """Return the names that may stand in a server certificate of this CA: by its name constraints and purposes."""
    return tuple(name for name in names if issuer.path.permits(_NO_SUBJECT, (_SERVER_PURPOSE, _server_names([name]))))


def _server_names(names: Sequence[GeneralName]) -> Extension:
    return Extension(SUBJECT_ALTERNATIVE_NAME, False, encode_san(names))


def _server_subject(issuer: IssuingCA, names: Sequence[GeneralName]) -> Name:
    """Return a subject with the first name that fits into a common name (RFC 5280 appendix A.1: 64 characters)."""
    for text in (name.text.partition(":")[2] for name in names):
        if len(text) <= _MAXIMUM_COMMON_NAME:
            subject = parse_name(build_name([(COMMON_NAME, text)]))
            return subject if issuer.path.permits(subject, ()) else _NO_SUBJECT
    return _NO_SUBJECT


def has_ended(path: Path, now: datetime) -> bool:
    """Return whether the first certificate of a file has expired; False when it can't be read."""
    try:
        return now - load_certificates(path, "")[0].not_after >= timedelta(seconds=1)
    except ConfigError:
        return False
