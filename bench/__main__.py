"""The command ``python -m bench``; see docs/bench.md."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import twisted

import cryptography
from cryptography.hazmat.backends.openssl import backend

from bench.compare import MIN_TURNS, compare, has_changes, measure_turns, resolve
from bench.compare import table as comparison_table
from bench.enrollment import measure_est, measure_scep
from bench.figures import Figure, table
from bench.growth import measure_growth, measure_start
from bench.mldsa import measure_mldsa
from bench.nodes import measure_nodes
from bench.overload import measure_burst, measure_mixed
from bench.revocation import measure_crls, measure_revocation
from bench.run import FULL, QUICK, USUAL, Run
from bench.status import measure_nonce, measure_ocsp
from bench.tokens import measure_ocsp_keys, measure_token
from bench.vault import measure_vault
from pikachu import __version__

ROWS: dict[str, Callable[[Run], list[Figure]]] = {
    "ocsp": measure_ocsp,
    "ocsp-nonce": measure_nonce,
    "ocsp-keys": measure_ocsp_keys,
    "est": measure_est,
    "scep": measure_scep,
    "mldsa": measure_mldsa,
    "burst": measure_burst,
    "mixed": measure_mixed,
    "vault": measure_vault,
    "token": measure_token,
    "nodes": measure_nodes,
    "crl": measure_crls,
    "revocation": measure_revocation,
    "growth": measure_growth,
    "start": measure_start,
}
_ISOLATED = "PIKACHU_BENCH_ISOLATED"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Starts the server in temporary folders, puts bounded loads on it and on programs that do the same "
        "work, and prints what was measured next to what is asked for.",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small databases and loads; a few minutes")
    size.add_argument("--full", action="store_true", help="a million certificates")
    parser.add_argument("--only", action="append", choices=tuple(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument(
        "--minutes", type=float, default=0.0, metavar="N", help="how long the row mixed goes on for at least"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep keys and databases there for the next run")
    parser.add_argument(
        "--compare", metavar="COMMIT", help="measure that commit and HEAD in turns; exit with 1 where HEAD is slower"
    )
    parser.add_argument(
        "--turns", type=_turns, default=MIN_TURNS, metavar="N", help=f"turns of --compare, at least {MIN_TURNS}"
    )
    return parser


def _turns(text: str) -> int:
    count = int(text)
    if count < MIN_TURNS:
        raise argparse.ArgumentTypeError(f"at least {MIN_TURNS} turns are needed")
    return count


def _isolate() -> bool:
    """Go on in a network namespace with nothing but a loopback interface, where that is allowed.

    Some of the programs that are compared bind all addresses; nobody else can reach them there.
    """
    if os.environ.get(_ISOLATED) == "1":
        # SIOCSIFFLAGS: a new namespace's loopback interface is down.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            flags = struct.pack("16sh14x", b"lo", 1)
            fcntl.ioctl(control, 0x8914, flags)
        return True
    unshare = shutil.which("unshare")
    command = [str(unshare), "--net"] if os.geteuid() == 0 else [str(unshare), "--net", "--map-root-user"]
    if unshare is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        return False
    sys.stdout.flush()
    os.environ[_ISOLATED] = "1"
    return os.execv(unshare, [*command, sys.executable, "-m", "bench", *sys.argv[1:]])


def _version_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return f"{command[0]} not installed"
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    lines = (ended.stdout or ended.stderr).strip().splitlines()
    return f"{command[0]} {lines[0]}" if lines else command[0]


def _machine() -> list[str]:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"{model}, {len(os.sched_getaffinity(0))} processors, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, load {os.getloadavg()[0]:.1f}",
        f"Pikachu CA {__version__}, Python {platform.python_version()}, Twisted {twisted.__version__}, "
        f"cryptography {cryptography.__version__} ({backend.openssl_version_text()}), SQLite {sqlite3.sqlite_version}; "
        f"{_version_of('openssl', 'version')}; {_version_of('scepserver', '-version')}",
    ]


def _compare(arguments: argparse.Namespace) -> int:
    """Compare two commits; 1 when the newer one is slower anywhere."""
    try:
        commits = resolve(arguments.compare), resolve("HEAD")
    except ValueError as error:
        print(f"--compare: {error}", file=sys.stderr)
        return 2
    if has_changes():
        print("Changes that are not committed are not measured.", file=sys.stderr)
    options = [option for option in ("--quick", "--full") if getattr(arguments, option[2:])]
    options += [f"--only={row}" for row in arguments.only or ()]
    machine = _machine()
    print("\n".join([*machine, f"before: {commits[0]}", f"after: {commits[1]}"]), flush=True)
    with tempfile.TemporaryDirectory(prefix="pikachu-bench-") as temporary:
        try:
            before, after = measure_turns(commits, options, arguments.turns, Path(temporary))
        except RuntimeError as error:
            print(f"--compare: {error}", file=sys.stderr)
            return 2
    comparisons = compare(before, after)
    print(comparison_table(comparisons))
    if arguments.json is not None:
        document = {"machine": machine, "commits": commits, "figures": [one.record() for one in comparisons]}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(comparison.is_failure for comparison in comparisons))


def main() -> int:
    """Measure, print, and say whether everything could be measured."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.compare is not None:
        if arguments.data is not None:
            parser.error("--data and --compare don't go together: each commit has databases of its own")
        return _compare(arguments)
    isolated = _isolate()
    sizes = QUICK if arguments.quick else FULL if arguments.full else USUAL
    machine = _machine()
    print("\n".join(machine), flush=True)
    figures: list[Figure] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="pikachu-bench-") as temporary:
        work = Path(temporary)
        data = (arguments.data or work / "data").absolute()
        data.mkdir(parents=True, exist_ok=True)
        run = Run(data, work, replace(sizes, lasting=60 * arguments.minutes), isolated)
        for name in arguments.only or ROWS:
            begun = time.perf_counter()
            try:
                found = ROWS[name](run)
            except Exception as error:  # noqa: BLE001 - the other rows can still be measured
                traceback.print_exc()
                found = [Figure(name, name, None, "", note=f"failed: {error}")]
                failed = True
            figures += found
            print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    print(table(figures))
    if arguments.json is not None:
        document = {"machine": machine, "figures": [figure.record() for figure in figures]}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
