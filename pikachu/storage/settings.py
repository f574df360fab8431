"""Time limits of the store, and the sizes at which it changes its way of searching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Settings of a store that no configuration file has.

    :param busy_seconds: how long a transaction waits for a lock or a connection, and for PostgreSQL's answer.
    :param is_limited: whether PostgreSQL has to answer within that time; a migration may take longer.
    :param slow_seconds: a transaction that takes this long is logged.
    :param few_certificates: up to this many certificates are fetched and sorted for a list; more are searched along an
        index.
    :param common_names: up to this many certificates whose common names begin with the search text are listed by id.
    :param few_events: up to this many audit events of a kind are filtered by their owners one by one.
    :param few_owned: up to this many certificates of an owner are counted row by row; more are counted along an index.
    """

    busy_seconds: float = 10
    is_limited: bool = True
    slow_seconds: float = 1
    few_certificates: int = 5000
    common_names: int = 15_000
    few_events: int = 5000
    few_owned: int = 10_000


DEFAULT_SETTINGS: Final = StoreSettings()
