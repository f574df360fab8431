"""Ends the sessions of revoked clients, which Mosquitto keeps when it reads a CRL (MQT-1).

Its plug-in Dynamic Security ends the sessions of a client whose definition is modified, which is done here without
changing anything.  The client's name is the common name of its certificate (``use_identity_as_username``).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from twisted.logger import Logger

from pikachu.core.errors import PikachuError

log = Logger()

CONTROL_TOPIC: Final = "$CONTROL/dynamic-security/v1"
# Seconds until the broker has read the CRL; a client that comes back earlier would be let in.
_RELOAD_SECONDS: Final = 0.5
# Names that are looked up after one CRL.
_MAX_NAMES: Final = 500


class IPublish(Protocol):
    """Publishes without waiting."""

    def __call__(self, topic: str, payload: bytes) -> None:
        """Publish a message; raises BrokerUnavailable."""


class SessionEnder:
    """Ends the sessions of the clients that a CRL newly lists.

    :param common_name: returns the common name for a serial number in hex; raises Unavailable.
    :param publish: of a connection that may use the plug-in.
    """

    def __init__(self, common_name: Callable[[str], str | None], publish: IPublish) -> None:
        self._common_name = common_name
        self._publish = publish

    def end(self, serials: Collection[str]) -> int:
        """End the sessions of certificates that were revoked; return of how many clients.  Never fails."""
        if len(serials) > _MAX_NAMES:
            log.warn("{count} certificates were revoked at once: no sessions are ended", count=len(serials))
            return 0
        names = set()
        for serial in serials:
            try:
                name = self._common_name(serial)
            except PikachuError as error:
                log.error(
                    "The name of certificate {serial}: {error} {context}",
                    serial=serial,
                    error=error.public,
                    context=error.context,
                )
                return 0
            if name:
                names.add(name)
        if not names:
            return 0
        time.sleep(_RELOAD_SECONDS)
        commands = [{"command": "modifyClient", "username": name} for name in sorted(names)]
        try:
            self._publish(CONTROL_TOPIC, json.dumps({"commands": commands}).encode())
        except PikachuError as error:
            log.error("The sessions of revoked clients go on: {error}", error=error.public)
            return 0
        log.info("Ended the sessions of {names}", names=", ".join(sorted(names)))
        return len(names)
