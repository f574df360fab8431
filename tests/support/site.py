"""A folder with a configuration and everything that ``pikachu init`` makes, and commands run in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pikachu.cli.main import main
from pikachu.config.editing import set_key

SHIPPED = Path(__file__).parents[2] / "config.ini"
PASSWORD = "correct horse battery"
#: A small RSA key: making one of 4096 bits takes up to a second.
SMALL = ("--rsa-bits", "2048")


class Site:
    """A folder to work in.

    :ivar out: the output of the last command.
    :ivar err: the output on standard error.
    """

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def path(self, name: str) -> Path:
        """A file below the folder."""
        return self.folder / name

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file, mode 0600."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    def configure(self, text: str) -> None:
        """Set in config.ini what a block of it sets."""
        section = ""
        for line in text.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            else:
                key, _, value = line.partition("=")
                set_key(self.path("config.ini"), section, key.strip(), value.strip())

    def run(self, *arguments: str) -> int:
        """Run a command in the folder; its exit code."""
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            self._capsys.readouterr()
            code = main(arguments)
            self.out, self.err = self._capsys.readouterr()
        finally:
            os.chdir(before)
        return code

    def do(self, *arguments: str) -> str:
        """Run a command that must succeed; return its output without the last newline."""
        assert self.run(*arguments) == 0, self.err or self.out
        return self.out.removesuffix("\n")

    def refused(self, *arguments: str) -> str:
        """Run a command that must fail with 1 and one line on standard error; that line."""
        assert self.run(*arguments) == 1, self.out
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n")
        assert "Traceback" not in self.err
        return self.err.removesuffix("\n")

    def rows(self, *arguments: str) -> list[list[str]]:
        """The table that a command prints."""
        return [line.split("\t") for line in self.do(*arguments).splitlines()]

    def config(self, change: Callable[[str], str]) -> None:
        """Change config.ini."""
        path = self.path("config.ini")
        path.write_text(change(path.read_text()))


def empty_site(folder: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """A folder with the shipped configuration and nothing else."""
    shutil.copy(SHIPPED, folder / "config.ini")
    return Site(folder, capsys)


_founded: list[Path] = []


def founded_site(folder: Path, capsys: pytest.CaptureFixture[str], factory: pytest.TempPathFactory) -> Site:
    """The same after ``pikachu init``, which runs once for all tests; admin's password is ``PASSWORD``."""
    if not _founded:
        template = empty_site(factory.mktemp("founded"), capsys)
        template.write("password", f"{PASSWORD}\nnot this\n")
        template.do("init", "--admin-password-file", "password", "--hostname", "ca.example.com", *SMALL)
        _founded.append(template.folder)
    shutil.copytree(_founded[0], folder, dirs_exist_ok=True)
    return Site(folder, capsys)
