"""``pikachu health``."""

from __future__ import annotations

from argparse import Namespace
from http.client import HTTPException
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from http.client import HTTPConnection

    from pikachu.cli.arguments import Commands
    from pikachu.config.configuration import Configuration

_TIMEOUT_SECONDS = 10.0
_MAXIMUM_ANSWER = 1 << 20


def add_commands(commands: Commands) -> None:
    """Declare ``health``."""
    health = commands.add_parser(
        "health",
        help="ask the running server whether it can do its work",
        description="Asks the server that the configuration describes, on this machine, for /readyz, and prints each "
        "check. Exit code 0: ready, also when degraded; 1: not ready, or no answer within ten seconds.",
    )
    health.add_argument(
        "--for", dest="purpose", choices=("enrollment", "status"), help="only what enrollment or status needs"
    )
    health.set_defaults(run=check_health)


def check_health(arguments: Namespace) -> int:
    """Print the checks of the running server; 1 where it isn't ready."""
    import json

    from pikachu.cli.session import configuration, table
    from pikachu.core.errors import PikachuError

    connection = _connection(configuration(arguments))
    where = f"{connection.host} port {connection.port}"
    try:
        connection.request("GET", "/readyz" + (f"?for={arguments.purpose}" if arguments.purpose else ""))
        answer = connection.getresponse()
        document = json.loads(answer.read(_MAXIMUM_ANSWER))
        checks, messages = dict(document["checks"]), dict(document.get("messages", {}))
    except (OSError, HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PikachuError(f"the server does not answer on {where} ({reason}); is it running?") from None
    except (ValueError, KeyError, TypeError):
        raise PikachuError(f"what answers on {where} is not this server; another program has its port") from None
    finally:
        connection.close()
    table((name, state, messages.get(name, "")) for name, state in checks.items())
    return 0 if answer.status == 200 else 1


def _connection(config: Configuration) -> HTTPConnection:
    """Return a connection to the plain listener, else to the one of HTTPS, on this machine.

    :raises ConfigError: where both are turned off.
    """
    import ssl
    from http.client import HTTPConnection, HTTPSConnection

    from pikachu.core.errors import ConfigError

    listeners = {one.name: one for one in config.listeners}
    listener = listeners.get("http") or listeners.get("https")
    if listener is None:
        raise ConfigError("[DEFAULT] http_port and [HTTPS] port are 0: no listener tells the state; turn one on")
    host = next(iter(listener.addresses), "")
    # A wildcard is no address to connect to.
    host = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    if listener.name == "http":
        return HTTPConnection(host, listener.port, timeout=_TIMEOUT_SECONDS)
    # The server's own certificate is the trust anchor: whatever names it has, and whoever issued it.
    context = ssl.create_default_context(cafile=str(config.https.ssl_cert))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return HTTPSConnection(host, listener.port, timeout=_TIMEOUT_SECONDS, context=context)
