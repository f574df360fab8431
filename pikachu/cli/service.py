"""``pikachu start``, ``pikachu stop`` and ``pikachu migrate`` (OPS-2)."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pikachu.cli.arguments import Commands, Parser
    from pikachu.config.configuration import Configuration

_PID_FILE = "pikachu.pid"
# The script twistd may be in another folder than this Python.
_RUN = "from twisted.scripts.twistd import run; run()"
# After the requests in flight have had their time, connections are closed and the log is written.
_STOP_MARGIN_SECONDS = 30.0

_ABOUT_START = """\
Starts the server in the background, for this account and without a service manager; under systemd use `systemctl start
pikachu`. Returns when its listeners accept connections, or with the reason why it can't start."""
_ABOUT_STOP = """\
Stops the server that `pikachu start` has started: requests in flight are answered first, for at most [DEFAULT]
shutdown_timeout. Returns when it has ended; one that does not run is no error."""
_ABOUT_MIGRATE = """\
Brings the database to the form that this version needs, as each start of the server does, and creates a missing one.
Stop the servers that use the database first, and make a backup: older versions can't read it afterwards. A migration
that fails changes nothing."""


def add_commands(commands: Commands) -> None:
    """Declare ``start``, ``stop`` and ``migrate``."""
    start = commands.add_parser("start", help="start the server in the background", description=_ABOUT_START)
    _add_pid_file(start)
    start.set_defaults(run=start_server)
    stop = commands.add_parser("stop", help="stop the server that start has started", description=_ABOUT_STOP)
    _add_pid_file(stop)
    stop.set_defaults(run=stop_server)
    migrate = commands.add_parser(
        "migrate", help="bring the database to the form that this version needs", description=_ABOUT_MIGRATE
    )
    migrate.add_argument(
        "--check",
        action="store_true",
        help="only print the database's state: current, older or empty; exit code 1 unless it is current",
    )
    migrate.set_defaults(run=migrate_database)


def _add_pid_file(parser: Parser) -> None:
    parser.add_argument(
        "--pidfile",
        metavar="FILE",
        help=f"the file with the process id (default: {_PID_FILE} beside the configuration)",
    )


def _pid_file(config: Configuration, arguments: Namespace) -> Path:
    from pathlib import Path

    return config.path.with_name(_PID_FILE) if arguments.pidfile is None else Path(arguments.pidfile).absolute()


def _mark(pid_file: Path) -> str:
    """Return the argument by which the server's process is known."""
    return f"--pidfile={pid_file}"


def start_server(arguments: Namespace) -> int:
    """Start the server as a daemon; its own exit code when it refuses."""
    import subprocess
    import sys

    from pikachu.cli.processes import running_process
    from pikachu.cli.session import configuration
    from pikachu.core.errors import PikachuError

    config = configuration(arguments)
    pid_file = _pid_file(config, arguments)
    pid = running_process(pid_file, _mark(pid_file))
    if pid is not None:
        raise PikachuError(f"the server runs already (process {pid})")
    # Left by a server that was killed.
    pid_file.unlink(missing_ok=True)
    line = [sys.executable, "-P", "-c", _RUN, _mark(pid_file), "pikachu", f"--config={config.path}"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        return 1
    pid = running_process(pid_file, _mark(pid_file))
    if pid is None:
        raise PikachuError("the server has ended right after its start; look at its log")
    print(f"started  process {pid}")
    return 0


def stop_server(arguments: Namespace) -> int:
    """Stop the server and wait for its end."""
    from pikachu.cli.processes import running_process, stop_process
    from pikachu.cli.session import configuration

    config = configuration(arguments)
    pid_file = _pid_file(config, arguments)
    pid = running_process(pid_file, _mark(pid_file))
    if pid is None:
        print("not running")
        return 0
    stop_process(pid, "the server", config.default.shutdown_timeout + _STOP_MARGIN_SECONDS)
    print(f"stopped  process {pid}")
    return 0


def migrate_database(arguments: Namespace) -> int:
    """Migrate the database, or print its state."""
    from pikachu.cli.session import configuration
    from pikachu.config.features import require_features
    from pikachu.server.files import database_url
    from pikachu.storage.migrate import HEAD, SchemaState, migrate_unserved, schema_state

    config = configuration(arguments)
    require_features(config)
    url = database_url(config)
    if arguments.check:
        state = schema_state(url)
        print(f"{state.value}  schema {HEAD} is this version's")
        return 0 if state is SchemaState.CURRENT else 1
    state = migrate_unserved(url)
    outcome = {SchemaState.EMPTY: "made", SchemaState.OLDER: "migrated", SchemaState.CURRENT: "left"}[state]
    print(f"{outcome}  schema {HEAD}")
    return 0
