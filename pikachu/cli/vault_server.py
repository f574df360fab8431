"""``pikachu vault start``, ``stop`` and ``unseal``: a Vault or OpenBao server on this machine (OPS-2)."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pikachu.cli.arguments import Commands, Parser
    from pikachu.config.configuration import Configuration
    from pikachu.signers.vault.transport import Transport

_PROGRAMS = ("vault", "bao")
# Stands in the command line of each server that is started here.
_MARK = "-config="
_PID_FILE = "vault.pid"
_LOG_FILE = "vault.log"
_START_SECONDS = 30.0
_STOP_SECONDS = 60.0
_MAX_KEYS = 32

_ABOUT_START = """\
Starts `vault server` or `bao server` with a configuration file of its own in the background, where no service manager
does, and waits until it answers at [VAULT] address. Its data are where that file says: this is no development server. A
Vault is sealed after each start, unless its configuration unseals it."""
_ABOUT_STOP = """\
Stops the Vault that `pikachu vault start` has started. Returns when it has ended; one that does not run is no error."""
_ABOUT_UNSEAL = """\
Unseals the Vault at [VAULT] address. The unseal keys are prompted for on a terminal, or read from the lines of standard
input or of a file, as many as Vault asks for; they are not stored, and never part of a command line."""


def add_commands(vault: Commands) -> None:
    """Declare the commands."""
    start = vault.add_parser("start", help="start a Vault server on this machine", description=_ABOUT_START)
    start.add_argument(
        "--server-config",
        metavar="FILE",
        required=True,
        help="the configuration of the Vault server, such as vault.hcl",
    )
    start.add_argument(
        "--program",
        metavar="PROGRAM",
        help=f"the server's program (default: the first of {', '.join(_PROGRAMS)} in PATH)",
    )
    start.add_argument("--log-file", metavar="FILE", help=f"for its output (default: {_LOG_FILE} beside config.ini)")
    _add_pid_file(start)
    start.set_defaults(run=start_vault)
    stop = vault.add_parser("stop", help="stop the Vault server that start has started", description=_ABOUT_STOP)
    _add_pid_file(stop)
    stop.set_defaults(run=stop_vault)
    unseal = vault.add_parser("unseal", help="unseal Vault", description=_ABOUT_UNSEAL)
    unseal.add_argument(
        "--keys-file", metavar="FILE", default="-", help="an unseal key a line (default: standard input)"
    )
    unseal.set_defaults(run=unseal_vault)


def _add_pid_file(parser: Parser) -> None:
    parser.add_argument(
        "--pidfile", metavar="FILE", help=f"the file with the process id (default: {_PID_FILE} beside config.ini)"
    )


def _file(config: Configuration, name: str | None, default: str) -> Path:
    return config.path.with_name(default) if name is None else Path(name).absolute()


def _transport(config: Configuration) -> Transport:
    from pikachu.core.errors import ConfigError
    from pikachu.signers.vault.transport import Transport, VaultAddress

    vault = config.vault
    if vault.address is None:
        raise ConfigError("[VAULT] address: not set; name Vault's address, such as https://127.0.0.1:8200")
    return Transport(VaultAddress(vault.address, vault.verify_ssl, vault.ca_cert_path))


def _program(name: str | None) -> str:
    """Return the path of the server's program.

    :raises PikachuError: when it is not installed.
    """
    import shutil

    from pikachu.core.errors import PikachuError

    for candidate in _PROGRAMS if name is None else (name,):
        path = shutil.which(candidate)
        if path is not None:
            return path
    raise PikachuError(f"{name or ' or '.join(_PROGRAMS)} is not installed or not in PATH; name it with --program")


def start_vault(arguments: Namespace) -> int:
    """Start the server, and print whether it is sealed."""
    import os

    from pikachu.cli.processes import running_process, wait_until
    from pikachu.cli.session import configuration
    from pikachu.core.atomic_files import create_file
    from pikachu.core.errors import PikachuError

    config = configuration(arguments)
    transport = _transport(config)
    program = _program(arguments.program)
    pid_file, log_file = _file(config, arguments.pidfile, _PID_FILE), _file(config, arguments.log_file, _LOG_FILE)
    running = running_process(pid_file, _MARK)
    if running is not None:
        raise PikachuError(f"Vault runs already (process {running})")
    if _state(transport) is not None:
        raise PikachuError(f"another Vault answers at {config.vault.address} already; stop that one first")
    pid = _spawn([program, "server", f"{_MARK}{Path(arguments.server_config).absolute()}"], log_file)
    # Left by one that was killed.
    pid_file.unlink(missing_ok=True)
    create_file(pid_file, f"{pid}\n".encode(), 0o644)
    state: str | None = None

    def has_answered_or_ended() -> bool:
        nonlocal state
        state = _state(transport)
        return state is not None or os.waitpid(pid, os.WNOHANG) != (0, 0)

    if not wait_until(has_answered_or_ended, _START_SECONDS):
        raise PikachuError(
            f"Vault (process {pid}) does not answer at {config.vault.address} within {_START_SECONDS:.0f} seconds; "
            f"look at {log_file}, and compare [VAULT] address with its listener"
        )
    if state is None:
        pid_file.unlink(missing_ok=True)
        raise PikachuError(f"Vault has ended right after its start; look at {log_file}")
    print(f"started  process {pid}, {state}")
    return 0


def _spawn(line: list[str], log_file: Path) -> int:
    """Start a program in a session of its own, so that it outlives this one; return its process id.

    :param log_file: its output is appended there.
    """
    import os

    handle = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, handle, 1),
            (os.POSIX_SPAWN_DUP2, handle, 2),
        ]
        return os.posix_spawn(line[0], line, os.environ, file_actions=actions, setsid=True)
    finally:
        os.close(handle)


def _state(transport: Transport) -> str | None:
    """Return the state of a Vault that answers, or None."""
    from pikachu.signers.vault.faults import VaultFault

    try:
        answer = transport.request("get", "sys/seal-status", None, "", 2.0)
    except VaultFault:
        return None
    if not answer.get("initialized", True):
        return "not initialized"
    return "sealed; run `pikachu vault unseal`" if answer.get("sealed") else "unsealed"


def stop_vault(arguments: Namespace) -> int:
    """Stop the server and wait for its end."""
    from pikachu.cli.processes import running_process, stop_process
    from pikachu.cli.session import configuration

    config = configuration(arguments)
    pid_file = _file(config, arguments.pidfile, _PID_FILE)
    pid = running_process(pid_file, _MARK)
    if pid is None:
        print("not running")
        return 0
    stop_process(pid, "Vault", _STOP_SECONDS)
    pid_file.unlink(missing_ok=True)
    print(f"stopped  process {pid}")
    return 0


def unseal_vault(arguments: Namespace) -> int:
    """Send unseal keys until Vault is unsealed."""
    from pikachu.cli.session import configuration
    from pikachu.core.errors import PikachuError

    transport = _transport(configuration(arguments))
    timeout = 10.0
    status = transport.request("get", "sys/seal-status", None, "", timeout)
    keys = iter(_keys(arguments.keys_file) if status.get("sealed") else ())
    while status.get("sealed"):
        key = next(keys, None)
        if key is None:
            progress, threshold = status.get("progress", 0), status.get("t", 0)
            raise PikachuError(f"Vault is still sealed: {progress} of {threshold} unseal keys were given; run it again")
        status = transport.request("post", "sys/unseal", {"key": key}, "", timeout)
    print("unsealed")
    return 0


def _keys(name: str) -> list[str]:
    """Return the unseal keys of a file, or of standard input; on a terminal they are prompted for, without echo.

    :raises MalformedRequest: when there are too many.
    """
    import getpass
    import sys

    from pikachu.cli.session import read_text
    from pikachu.core.errors import MalformedRequest

    if name == "-" and sys.stdin.isatty():
        keys: list[str] = []
        while len(keys) < _MAX_KEYS and (key := getpass.getpass(f"unseal key {len(keys) + 1}, empty to end: ").strip()):
            keys.append(key)
        return keys
    keys = [line.strip() for line in read_text(name).splitlines() if line.strip()]
    if len(keys) > _MAX_KEYS:
        raise MalformedRequest(f"{name} has {len(keys)} lines; at most {_MAX_KEYS} unseal keys are expected")
    return keys
