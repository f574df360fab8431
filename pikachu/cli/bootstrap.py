"""The steps of ``pikachu init``, in their order, and its report."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pikachu.ca.bootstrap import (
    PRIVATE_FOLDER,
    PUBLIC_FILE,
    PUBLIC_FOLDER,
    Bootstrap,
    CAPlan,
    Write,
    ca_subject,
    has_ended,
    issue_server_certificate,
    make_folder,
    permitted_names,
    write_new,
)
from pikachu.ca.issuers import IssuingCA
from pikachu.cli.session import CommandClock, done, opened, operator, read_password, warn
from pikachu.config.configuration import Configuration
from pikachu.config.editing import set_key
from pikachu.config.features import require_features
from pikachu.config.sections import IssuerFiles
from pikachu.config.setting_types import URL
from pikachu.core.errors import ConfigError, NotFound, PikachuError
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.people import AccountState, Role
from pikachu.core.model.times import utc
from pikachu.inventory.template_files import X509Templates
from pikachu.server.application import Application
from pikachu.server.ca_loading import ca_files, root_files
from pikachu.server.files import database_url
from pikachu.server.key_sources import key_sources
from pikachu.server.pools import immediate_pools
from pikachu.signers.ca_keys import CAKeys
from pikachu.signers.files import CAFiles, load_file_ca
from pikachu.storage.migrate import SchemaState, migrate_unserved
from pikachu.web.x509_rendering import JinjaText
from pikachu.x509.pem import certificates_pem
from pikachu.x509.san import GeneralName, name_from_san_text

ADMIN: Final = "admin"
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class Initialization:
    """One run of ``pikachu init``.

    :param arguments: as ``pikachu.cli.init`` declares them.
    :param write: creates one file.
    :raises ConfigError: when the configuration enables something that is not available.
    """

    def __init__(self, config: Configuration, arguments: Namespace, write: Write = write_new) -> None:
        self._config = config
        self._arguments = arguments
        self._write = write
        self._clock = CommandClock()
        self._made = False
        require_features(config)
        sources = key_sources(config, immediate_pools(), self._clock, warn)
        keys = CAKeys(config.ca.key_permissions.value, sources, may_create=arguments.pkcs11)
        self._bootstrap = Bootstrap(utc(self._clock.seconds()), keys, self._report_path, warn, write=write)

    def run(self) -> None:
        """Create what is missing; every line of the report is on standard output.

        :raises ConfigError: one line.
        :raises PikachuError: one line.
        """
        config = self._config
        for line in (*config.warnings, *config.risks):
            warn(line)
        password = self._read_admin_password()
        names = self._names()
        with _exclusive(config.path):
            if isinstance(config.secret_key_source, Path):
                self._bootstrap.secret_key(config.secret_key_source)
            self._authorities()
            self._bootstrap.default_policy(config.paths.server_ext_cfg, config.paths.validity_conf)
            self._folders()
            self._database()
            with opened(config) as app:
                self._engines(app)
                self._https(app, names)
                self._templates(app)
                self._admin(app, password)
        if self._made and config.ca.public_url is None:
            self._propose_public_url(names)

    def _propose_public_url(self, names: tuple[GeneralName, ...]) -> None:
        host, port = names[0].text.partition(":")[2], self._config.default.http_port
        host = f"[{host}]" if ":" in host else host
        url = f"http://{host}" + ("" if port in (0, 80) else f":{port}")
        print(
            "Certificates name neither a CRL nor an OCSP responder yet, so most clients can't notice a revocation. Set "
            f"the plain HTTP address that devices reach: `pikachu init --public-url {url}`, or in [CA] of "
            f"{_display_path(self._config.path)}:\n  public_url = {url}",
            flush=True,
        )

    def _report_path(self, outcome: str, path: Path) -> None:
        self._report_name(outcome, _display_path(path))

    def _report_name(self, outcome: str, name: str) -> None:
        self._made = self._made or outcome == "made"
        if outcome != "left" or not self._arguments.quiet:
            print(f"{outcome}  {name}", flush=True)

    # --- authorities --------------------------------------------------------------------

    def _authorities(self) -> None:
        config, arguments = self._config, self._arguments
        issuers = self._issuers()
        if config.ca.root_cert_path is None:
            for files in issuers.values():
                if not files.certificate.exists():
                    raise ConfigError(
                        f"[CA] ROOT_CERT_PATH: not set, and {files.certificate} does not exist; "
                        "name the root's certificate, so that `pikachu init` can make both"
                    )
            return
        _check_passphrase_file(config.ca.root_key_passphrase_file, "[CA] ROOT_KEY_PASSPHRASE_FILE")
        root = root_files(config, config.ca.root_cert_path)
        if not root.certificate.exists():
            for files in issuers.values():
                if files.certificate.exists():
                    raise ConfigError(
                        f"[CA] ROOT_CERT_PATH: {root.certificate} does not exist, but the issuing CA "
                        f"{files.certificate} does; copy the certificate of its root there"
                    )
        self._bootstrap.root(root, self._plan(arguments.root_name, arguments.root_algorithm, arguments.root_days))
        algorithms = {
            "ec": arguments.ec_algorithm,
            "rsa": f"rsa{arguments.rsa_bits}",
            "mldsa": f"mldsa{arguments.mldsa or '65'}",
        }
        for name, files in issuers.items():
            plan = self._plan(getattr(arguments, f"{name}_name"), algorithms[name], arguments.sub_days)
            self._bootstrap.issuing_ca(files, plan, root, config.ca.public_url)

    def _engines(self, app: Application) -> None:
        """Bring the issuing CAs into the engines that build their certificates."""
        for name, mount in self._config.vault.pki_mounts.items():
            if name in self._config.ca.issuers:
                files = ca_files(self._config, self._config.ca.issuers[name])
                ca = load_file_ca(files, app.ca_keys, utc(self._clock.seconds()), warn)
                is_new = done(app.generations.install(name, ca, self._config.ca.public_url))
                self._report_name("made" if is_new else "left", f"the issuer {name} in {mount}/ of Vault")

    def _plan(self, common_name: str, algorithm: str, days: int) -> CAPlan:
        subject = ca_subject(common_name, self._arguments.organization, self._arguments.country)
        return CAPlan(subject, algorithm, days)

    def _issuers(self) -> dict[str, CAFiles]:
        """Return the files of each configured issuing CA, and of the ML-DSA one when it is requested."""
        config = self._config
        issuers: dict[str, CAFiles] = {}
        for name, files in config.ca.issuers.items():
            _check_passphrase_file(files.passphrase_file, f"[CA] SUBCA_KEY_PASSPHRASE_FILE_{name.upper()}")
            issuers[name] = ca_files(config, files)
        if self._arguments.mldsa is not None and "mldsa" not in issuers:
            if config.ca.root_cert_path is None:
                raise ConfigError("[CA] ROOT_CERT_PATH: not set, but an ML-DSA CA needs a root; name its certificate")
            folder = config.ca.root_cert_path.parent
            suggested = IssuerFiles(
                "mldsa", folder / "subca_mldsa.key", folder / "subca_mldsa.crt", folder / "chain_mldsa.pem", None
            )
            issuers["mldsa"] = ca_files(config, suggested)
            self._print_mldsa_settings(suggested)
        return issuers

    def _print_mldsa_settings(self, files: IssuerFiles) -> None:
        settings = (
            ("SUBCA_KEY_PATH_MLDSA", files.key),
            ("SUBCA_CERT_PATH_MLDSA", files.certificate),
            ("CHAIN_FILE_PATH_MLDSA", files.chain),
        )
        print(f"The ML-DSA CA is in service with these lines in [CA] of {self._config.path}:")
        for key, path in settings:
            print(f"  {key} = {_relative(path, self._config.path.parent)}")

    # --- the rest -----------------------------------------------------------------------

    def _folders(self) -> None:
        paths = self._config.paths
        for folder in (paths.crl_path.parent, paths.crl_dir):
            if folder is not None:
                make_folder(folder, PUBLIC_FOLDER)
        if self._config.logging.log_file is not None:
            make_folder(self._config.logging.log_file.parent, PRIVATE_FOLDER)

    def _database(self) -> None:
        config = self._config
        if config.database.url is None:
            make_folder(config.paths.db_path.parent, PRIVATE_FOLDER)
        state = migrate_unserved(database_url(config))
        outcome = {SchemaState.EMPTY: "made", SchemaState.OLDER: "migrated", SchemaState.CURRENT: "left"}[state]
        if config.database.url is None:
            self._report_name(outcome, _display_path(config.paths.db_path))
        else:
            self._report_name(outcome, "the database of [DATABASE] url")

    def _https(self, app: Application, names: tuple[GeneralName, ...]) -> None:
        config = self._config
        pairs: dict[Path, tuple[Path, str]] = {}
        if config.https.port and config.https.ssl_cert and config.https.ssl_key:
            pairs[config.https.ssl_cert] = (config.https.ssl_key, "[HTTPS] ssl_key")
        trusted = config.trusted_https
        if trusted.trusted_port and trusted.trusted_ssl_cert and trusted.trusted_ssl_key:
            pairs.setdefault(trusted.trusted_ssl_cert, (trusted.trusted_ssl_key, "[TRUSTED_HTTPS] trusted_ssl_key"))
        for certificate, (key, setting) in pairs.items():
            self._server_certificate(app, certificate, key, setting, names)

    def _server_certificate(
        self, app: Application, certificate: Path, key: Path, setting: str, names: tuple[GeneralName, ...]
    ) -> None:
        if certificate.exists():
            if not key.exists():
                raise ConfigError(
                    f"{setting}: {key} does not exist, but the certificate {certificate} does; copy the key there, or "
                    "remove the certificate, so that `pikachu init` makes both"
                )
            self._report_path("left", key)
            self._report_path("left", certificate)
            if has_ended(certificate, utc(self._clock.seconds())):
                warn(f"{certificate} has expired; remove it and run `pikachu init` for a new one")
            return
        issuer, permitted = _choose_issuer(app, names)
        hosts = [name.text.partition(":")[2] for name in names if name not in permitted]
        forbidden = [host for host in hosts if host not in _LOCAL]
        if not permitted:
            raise ConfigError(
                f"{setting}: no issuing CA here may certify a server named {', '.join(forbidden or hosts)}: name "
                "constraints or an extendedKeyUsage forbid it; give another name with --hostname, or copy a "
                f"certificate of another CA to {certificate} and its key to {key}"
            )
        if forbidden:
            warn(
                f"The certificate {certificate} does not name {', '.join(forbidden)}: the name constraints of the "
                f"issuing CA {issuer.name} forbid it. Give permitted names with --hostname."
            )
        private_key = self._bootstrap.server_key(key, setting, self._config.https.key_permissions.value)

        def content() -> bytes:
            record = done(
                issue_server_certificate(
                    app.authority,
                    issuer,
                    private_key,
                    permitted,
                    self._arguments.https_days,
                    app.enrollment.addresses(issuer),
                    operator(),
                )
            )
            # Clients have the root, so it is not sent (RFC 8446 section 4.4.2).
            return certificates_pem([record.der, *issuer.chain[:-1]]).encode()

        self._bootstrap.file(certificate, content, PUBLIC_FILE, PRIVATE_FOLDER)

    def _names(self) -> tuple[GeneralName, ...]:
        """Return the names of the HTTPS certificate.

        :raises PikachuError: when a ``--hostname`` is no valid name.
        """
        hostnames: list[str] = self._arguments.hostname
        names = [_general_name(name) for name in hostnames]
        if not hostnames:
            try:
                names.append(_general_name(socket.gethostname()))
            except PikachuError:
                warn(f"the machine's name {socket.gethostname()!r} is no DNS name; name one with --hostname")
        names += [_general_name(name) for name in _LOCAL]
        return tuple({name.text: name for name in names}.values())

    def _read_admin_password(self) -> str | None:
        name: str | None = self._arguments.admin_password_file
        return None if name is None else read_password(name)

    def _admin(self, app: Application, password: str | None) -> None:
        actor = operator()
        admins = done(app.accounts.list_accounts(actor, ListQuery(limit=1, filters={"role": "admin"})))
        try:
            done(app.accounts.find(actor, ADMIN))
        except NotFound:
            if not admins.items:
                self._make_admin(app, password)
                return
            self._report_name("left", "the administrators")
            return
        self._report_name("left", f"the account {ADMIN}")

    def _make_admin(self, app: Application, password: str | None) -> None:
        if password is None:
            length = max(20, self._config.default.password_min_length)
            password = secrets.token_urlsafe(length)[:length]
            # Printed before the account exists: a run that is killed in between leaves no account without a
            # known password.
            print(f"admin password: {password}", flush=True)
        done(app.accounts.add_user(operator(), ADMIN, "admin@localhost", Role.ADMIN, AccountState.ACTIVE, password))
        self._report_name("made", f"the account {ADMIN}")

    def _templates(self, app: Application) -> None:
        """Create the certificate templates that the program ships, each once: an administrator's deletion is
        permanent.
        """
        actor = operator()
        files = X509Templates(app.templates, JinjaText, None, app.pools.files)
        made = 0
        for file in done(files.list(actor)):
            known = ListQuery(limit=1, filters={"resource_type": "template", "resource_name": file.title})
            if not done(app.store.events(known)).items:
                done(files.render(actor, file.name, {}, file.title, file.profile_type, system=True))
                made += 1
        if made:
            self._report_name("made", f"{made} certificate templates")
        else:
            self._report_name("left", "the certificate templates")


def set_public_url(config: Configuration, text: str) -> bool:
    """Set ``[CA] public_url`` in the configuration file; return whether it was changed.

    :raises ConfigError: *text* is no URL, the file has another one already, or can't be written.
    """
    try:
        url = URL.parse(text, config.path.parent)
    except ValueError as error:
        raise ConfigError(f"--public-url: {text}: {error}") from None
    if config.ca.public_url == url:
        return False
    if config.ca.public_url is not None:
        raise ConfigError(
            f"--public-url: [CA] public_url of {config.path} is {config.ca.public_url} already; change it there"
        )
    set_key(config.path, "CA", "public_url", url)
    print(f"set   [CA] public_url = {url} in {_display_path(config.path)}", flush=True)
    return True


def _choose_issuer(app: Application, names: tuple[GeneralName, ...]) -> tuple[IssuingCA, tuple[GeneralName, ...]]:
    """Return the issuing CA that may certify most of a server's names, ``ec`` before others, and those names."""
    current = app.issuers.current
    preferred = (current.get("ec", app.issuers.default), app.issuers.default, *current.values())
    permitted = [(issuer, permitted_names(issuer, names)) for issuer in preferred]
    return max(permitted, key=lambda choice: len(choice[1]))


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Serialise runs of ``pikachu init`` with the same configuration."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _check_passphrase_file(path: Path | None, setting: str) -> None:
    if path is not None and not path.exists():
        raise ConfigError(f"{setting}: {path} does not exist; write the passphrase in its first line, mode 0600")


def _general_name(text: str) -> GeneralName:
    try:
        return name_from_san_text(f"IP:{text}")
    except PikachuError:
        return name_from_san_text(f"DNS:{text}")


def _relative(path: Path | None, folder: Path) -> str:
    if path is None:
        return ""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _display_path(path: Path) -> str:
    return _relative(path, Path.cwd())
