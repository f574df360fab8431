"""``twistd pikachu``: options, and everything that can fail before the reactor runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.application.service import IService
from twisted.python import usage

from pikachu.errors import ConfigError

if TYPE_CHECKING:
    from pikachu.service import PikachuService


class Options(usage.Options):
    """The options of ``twistd pikachu``.

    :ivar service: what :func:`makeService` gives; built, and its ports tried, while options are checked, so that
        a start that can't work is one line and exit code 1 (RUN-4).
    """

    synopsis = "[options]"
    optParameters = [("config", "c", "config.ini", "The configuration file.")]
    service: PikachuService

    def postOptions(self) -> None:
        """Read the configuration, open the database, load the keys, try the ports.

        :raises usage.UsageError: one line that says what is wrong and what mends it.
        """
        # Loaded here: twistd imports this module for its list of commands.
        from twisted.internet import reactor

        from pikachu.config.loading import load
        from pikachu.logs import configure
        from pikachu.service import PikachuService

        try:
            config = load(Path(self["config"]).absolute(), os.environ)
            parent = self.parent
            nodaemon = parent is None or bool(parent.get("nodaemon"))
            own_log = parent is not None and (parent.get("logfile") or parent.get("syslog") or parent.get("logger"))
            output = configure(
                config.logging.log_level.value,
                config.logging.log_file,
                json=config.logging.log_json,
                rotate_bytes=config.logging.log_rotate_size,
                keep=config.logging.log_rotate_count,
                standard_output=sys.stdout if nodaemon and not own_log else None,
            )
            # A log that the command line asks for goes beside the configured one.
            if own_log:
                output.attach()
            self.service = PikachuService(config, reactor, output, is_only_log=not own_log)
        except ConfigError as error:
            raise usage.UsageError(str(error)) from None


def makeService(options: Options) -> IService:
    """The service that :class:`Options` has built."""
    return options.service
