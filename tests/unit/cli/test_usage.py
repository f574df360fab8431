"""The command line without its work: usage, exit codes, speed (INT-1)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pikachu import __version__
from pikachu.cli.arguments import REASONS
from pikachu.cli.init import CURVES, KEY_NAMES
from pikachu.cli.main import main, parser
from pikachu.core.model.certificates import RevocationReason
from pikachu.x509 import keys

COMMANDS = (
    "init",
    "user add",
    "user list",
    "token create",
    "token list",
    "token revoke",
    "challenge create",
    "challenge list",
    "policy add",
    "policy list",
    "policy show",
    "policy default",
    "policy delete",
    "sign",
    "revoke",
    "release",
    "crl",
    "crl-agent",
    "approval list",
    "approval approve",
    "approval reject",
    "intents",
    "ldap check",
    "config",
    "audit verify",
    "report certificates",
    "report audit",
    *(f"notices {name}" for name in ("list", "rules", "add", "delete", "run", "test")),
    "batch create",
    "batch list",
    "batch csv",
    "version",
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """INT-1: each command explains itself and takes --config."""
    assert main([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: pikachu {command}".rstrip())
    assert "--config FILE" in out
    assert err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bogus"],
        ["sign"],
        ["token"],
        ["token", "create", "--user", "x"],
        ["token", "create", "--user", "x", "--name", "y", "--days", "0"],
        ["token", "create", "--user", "x", "--name", "y", "--scope", "everything"],
        ["token", "revoke", "x"],
        ["challenge", "create", "--user", "x", "--validity", "3 moons"],
        ["user", "add", "x", "--email", "e@x", "--password-file", "-", "--role", "god"],
        ["policy", "default", "x"],
        ["policy", "default", "x", "--est", "--scep"],
        ["policy", "add", "x", "--days", "1", "--extensions", "f"],
        ["policy", "add", "x", "--days", "1", "--extensions", "f", "--system", "--user", "y"],
        ["policy", "add", "x", "--days", "-1", "--extensions", "f", "--system"],
        ["policy", "add", "x", "--days", "99999999999999999999999", "--extensions", "f", "--system"],
        ["revoke", "1", "--reason", "removeFromCRL"],
        ["approval", "reject"],
        ["approval", "reject", "x"],
        ["init", "--root-algorithm", "md5"],
        ["init", "--root-days", "٣"],
        ["init", "--mldsa", "45"],
        ["init", "--admin-password", "secret"],
        ["init", "--host", "x"],
        ["crl", "extra"],
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """2 for wrong usage, one line on standard error, nothing guessed from an abbreviation."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("pikachu")
    assert "--help" in err


def test_no_option_takes_a_secret() -> None:
    """INT-1: passwords come from files or standard input, never from the command line."""
    for option in ("--password", "--passphrase", "--secret", "--admin-password"):
        with pytest.raises(SystemExit):
            parser().parse_args(["user", "add", "x", "--email", "e@x", "--password-file", "-", option, "y"])


def test_config_stands_before_or_after_the_command() -> None:
    """INT-1: --config FILE, by default config.ini."""
    assert parser().parse_args(["crl"]).config == "config.ini"
    assert parser().parse_args(["crl", "--config", "a"]).config == "a"
    assert parser().parse_args(["--config", "a", "crl"]).config == "a"
    assert parser().parse_args(["token", "list", "--config", "a"]).config == "a"


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"Pikachu CA {__version__}\n"


def test_names_are_those_of_the_modules_that_take_long_to_load() -> None:
    assert keys.KEY_NAMES == KEY_NAMES
    assert set(CURVES) < set(KEY_NAMES)
    assert tuple(reason.wire_name for reason in RevocationReason) == REASONS


def test_help_loads_nothing_heavy() -> None:
    """``pikachu --help`` is fast: a command's modules are imported when it runs."""
    code = (
        "import sys; from pikachu.cli.main import main; main(['--help']);"
        "print([name for name in ('twisted', 'cryptography', 'sqlalchemy', 'argon2', 'configparser')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["crl", "config", "init", "token list", "audit verify", "intents"])
def test_missing_configuration(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """RUN-4: one line names the file and the remedy; the exit code is 1."""
    assert main([*command.split(), "--config", "/nowhere/config.ini"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "/nowhere/config.ini" in err
    assert "--config FILE" in err
