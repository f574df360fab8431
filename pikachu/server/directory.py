"""Builds what signs in the accounts of a directory (USR-5) and of an OpenID Connect provider (ROL-2)."""

from __future__ import annotations

from typing import Final

from pikachu.auth.directory_accounts import DirectoryAccounts
from pikachu.auth.ldap.directory import Directory
from pikachu.auth.oidc.https import ProviderClient
from pikachu.auth.oidc.provider import Provider
from pikachu.config.configuration import Configuration
from pikachu.core.concurrency import TimeLimitedPool
from pikachu.core.errors import DirectoryUnavailable, Unavailable
from pikachu.core.interfaces import IClock, IStore
from pikachu.operations.readiness import Check
from pikachu.server.application import Pools
from pikachu.signers.key_files import read_file

#: Minimum interval between the connections of the readiness check.
CHECK_INTERVAL_SECONDS: Final = 10.0


def build_directory(config: Configuration, store: IStore, pools: Pools, clock: IClock) -> DirectoryAccounts | None:
    """Build what signs in accounts of the directory; ``None`` if none is enabled.

    :raises ConfigError: for settings that no directory could answer.
    """
    if not config.ldap.enabled:
        return None
    # Loading ldap3 takes longer than the rest of a command, so only a server that uses it does.
    from pikachu.auth.ldap.client import LDAPClient

    directory = Directory(
        client=LDAPClient(config.ldap),
        # Questions have a shorter limit of their own, after which their sockets are closed: only the system's look-up
        # of a name does not end with them.
        pool=TimeLimitedPool(
            pools.directory,
            clock,
            config.ldap.timeout * (len(config.ldap.ldap_host) + 2.0),
            "The directory",
            DirectoryUnavailable,
        ),
        clock=clock,
        timeout=config.ldap.timeout,
        servers=len(config.ldap.ldap_host),
    )
    return DirectoryAccounts(store=store, directory=directory, clock=clock)


def build_provider(config: Configuration, pools: Pools, clock: IClock) -> Provider | None:
    """Build the OpenID Connect provider; ``None`` if none is enabled.

    :raises ConfigError: when its client secret can't be read.
    """
    settings = config.oidc
    if not settings.enabled:
        return None
    secret = None
    if settings.client_secret_file is not None:
        content = read_file(settings.client_secret_file, "[OIDC] client_secret_file")
        secret = content.decode("utf-8", "replace").partition("\n")[0].strip()
    return Provider(
        settings=settings,
        client_secret=secret,
        client=ProviderClient(settings.timeout),
        pool=TimeLimitedPool(pools.provider, clock, 2.0 * settings.timeout, "The sign-in provider", Unavailable),
        clock=clock,
    )


def directory_check(directory: DirectoryAccounts | None) -> dict[str, Check | None]:
    """Return the readiness check of the directory, by its name."""
    return {"ldap": None if directory is None else Check(directory.probe, CHECK_INTERVAL_SECONDS)}
