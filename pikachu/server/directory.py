"""Builds what signs in the accounts of a directory (USR-5)."""

from __future__ import annotations

from typing import Final

from pikachu.auth.directory_accounts import DirectoryAccounts
from pikachu.auth.ldap.directory import Directory
from pikachu.config.configuration import Configuration
from pikachu.core.concurrency import TimeLimitedPool
from pikachu.core.errors import DirectoryUnavailable
from pikachu.core.interfaces import IClock, IStore
from pikachu.operations.readiness import Check
from pikachu.server.application import Pools

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


def directory_check(directory: DirectoryAccounts | None) -> dict[str, Check | None]:
    """Return the readiness check of the directory, by its name."""
    return {"ldap": None if directory is None else Check(directory.probe, CHECK_INTERVAL_SECONDS)}
