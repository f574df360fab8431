"""The key sources that the configuration enables: what keeps keys of CAs outside of files."""

from __future__ import annotations

from pikachu.config.configuration import Configuration
from pikachu.core.interfaces import IClock
from pikachu.server.application import Pools
from pikachu.signers.ca_keys import KeySource


def key_sources(config: Configuration, pools: Pools, clock: IClock) -> dict[str, KeySource]:
    """Return the key sources by the scheme of references to their keys.

    :raises ConfigError: one line, when a source can't be used whatever happens later.
    """
    return {}
