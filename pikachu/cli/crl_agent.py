"""``pikachu crl-agent``."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pikachu.agent.agent import Agent
    from pikachu.cli.arguments import Commands

_FAILED = 1


def add_commands(commands: Commands) -> None:
    """Declare ``crl-agent``."""
    agent = commands.add_parser(
        "crl-agent",
        help="keep the CRL file of an MQTT broker up to date",
        description="Runs beside an MQTT broker: takes CRLs from the broker's topics and from downloads, verifies "
        "them, installs them in the broker's one file and makes the broker read it. Needs neither the database nor the "
        "server's configuration, but a file of its own with the section [AGENT].",
    )
    # Not the server's config.ini, which this machine need not have.
    agent.set_defaults(config="agent.ini")
    modes = agent.add_mutually_exclusive_group()
    modes.add_argument("--once", action="store_true", help="download and install once, then end; 1 if a CRL is missing")
    modes.add_argument(
        "--check", action="store_true", help="only look at the installed file; 1 if a CRL is missing, expired or old"
    )
    agent.set_defaults(run=run_agent)


def run_agent(arguments: Namespace) -> int:
    """Run the agent until it is told to stop; or once, or only look at the file."""
    import os
    import signal
    import sys
    from pathlib import Path

    from twisted.logger import (
        FilteringLogObserver,
        LogLevel,
        LogLevelFilterPredicate,
        globalLogBeginner,
        textFileLogObserver,
    )

    from pikachu.agent.agent import Agent, utc_now
    from pikachu.agent.settings import load_settings
    from pikachu.cli.session import warn

    settings, warnings = load_settings(Path(arguments.config), os.environ)
    for warning in warnings:
        warn(warning)
    agent = Agent(settings, utc_now)
    if arguments.check:
        return _check(agent)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.info)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    if arguments.once:
        return 0 if agent.once() else _FAILED
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()
    return 0


def _check(agent: Agent) -> int:
    problems = agent.check()
    for problem in problems:
        print(problem)
    if not problems:
        for line in agent.summary():
            print(line)
    return _FAILED if problems else 0
