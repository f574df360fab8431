"""``twistd pikachu``: options, and everything that can fail before the reactor runs."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.application.service import IService
from twisted.python import usage

from pikachu.core.errors import ConfigError, PikachuError

if TYPE_CHECKING:
    from pikachu.server.service import PikachuService

# More objects than this since the last collection begin the next one: those of some dozens of requests.
_NEW_OBJECTS = 10_000


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

        What can't work is one line on standard error and exit code 1 (RUN-4); a UsageError would be printed below
        all of twistd's options.

        :raises SystemExit: when the server can't start.
        """
        try:
            self.service = self._build()
        except ConfigError as error:
            reason = str(error)
        except PikachuError as error:
            reason = error.public
        except OSError as error:
            reason = str(error)
        else:
            return
        print(f"twistd pikachu: {' '.join(reason.split())}", file=sys.stderr)  # noqa: T201 - for who starts it
        raise SystemExit(1)

    def _build(self) -> PikachuService:
        # Loaded here: twistd imports this module for its list of commands.
        from twisted.internet import reactor

        from pikachu.config.loading import load
        from pikachu.core.clock import use_monotonic_timers
        from pikachu.server.files import check_folders
        from pikachu.server.log_output import configure
        from pikachu.server.service import PikachuService
        from pikachu.server.systemd import ServiceNotifier, passed_sockets

        config = load(Path(self["config"]).absolute(), os.environ)
        parent = self.parent
        nodaemon = parent is None or bool(parent.get("nodaemon"))
        own_log = parent is not None and any(parent.get(name) for name in ("logfile", "syslog", "logger"))
        # A daemon without a log file has twistd's own, in the folder where it was started.
        own_log = own_log or not (nodaemon or config.logging.log_file)
        output = configure(
            config.logging.log_level.value,
            config.logging.log_file,
            json=config.logging.log_json,
            rotate_bytes=config.logging.log_rotate_size,
            keep=config.logging.log_rotate_count,
            standard_output=sys.stdout if nodaemon and not own_log else None,
        )
        check_folders(config)
        use_monotonic_timers(reactor)
        service = PikachuService(
            config,
            reactor,
            output,
            sockets=passed_sockets(os.environ, reactor),
            notifier=ServiceNotifier(os.environ, os.getpid()),
            is_only_log=not own_log,
        )
        atexit.register(_leave, service)
        # A log that the command line asks for goes beside the configured one.
        if own_log:
            output.attach()
        return service


def makeService(options: Options) -> IService:
    """Return the service that :class:`Options` has built."""
    _settle()
    return options.service


def _leave(service: PikachuService) -> None:
    """End the process at once if a library's call has not returned: its own clean-up would wait for that."""
    if service.abandoned_calls:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _settle() -> None:
    """Exclude long-lived objects from garbage collection.

    The hundred thousand objects that are here now stay until the end; a full collection that looks at them again
    stops every request for some 30 ms.  A request makes hundreds of objects that live until it is answered: with
    Python's own threshold, 700, each of them is looked at in several collections before that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
