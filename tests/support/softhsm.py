"""SoftHSM as the token of a CA: real PKCS#11, in a folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Final

import pytest

from pikachu.signers.pkcs11.module import ThreadSafeModule
from tests.support.interop import missing, require
from tests.support.pki import PrivateKey, key_pem

PIN: Final = "5678-pin"
TOKEN: Final = "pikachu"
#: The variable that names SoftHSM's configuration file.
CONFIGURATION: Final = "SOFTHSM2_CONF"


def find_library() -> Path | None:
    """Return the module, wherever the release puts it, or None."""
    found = [*glob("/usr/lib/softhsm/libsofthsm2.so"), *glob("/usr/lib/*/softhsm/libsofthsm2.so")]
    return Path(found[0]) if found else None


def library() -> Path:
    """Return the module; skip the test where it is missing."""
    require("softhsm2-util")
    return find_library() or missing("libsofthsm2.so is not installed")


@dataclass
class SoftToken:
    """A token.

    :ivar pin_file: the file that the settings name.
    """

    folder: Path
    module: Path
    pin_file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.pin_file = self.folder / "pin"
        self.tokens.mkdir(parents=True)
        self.write_pin(PIN)
        self.configuration.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="ascii"
        )
        self.initialize()

    @property
    def tokens(self) -> Path:
        """The folder of SoftHSM's objects."""
        return self.folder / "tokens"

    @property
    def configuration(self) -> Path:
        """SoftHSM's configuration file."""
        return self.folder / "softhsm2.conf"

    def write_pin(self, pin: str) -> None:
        """Put that PIN into the file."""
        self.pin_file.write_text(f"{pin}\n", encoding="ascii")
        self.pin_file.chmod(0o600)

    def initialize(self) -> None:
        """Make an empty token."""
        self._util("--init-token", "--free", "--label", TOKEN, "--so-pin", "1234-so", "--pin", PIN)

    def import_key(self, key: PrivateKey, label: str, number: int = 1) -> None:
        """Put a key into the token, as its owner would.

        :param number: its id.
        """
        file = self.folder / "key.pem"
        file.write_bytes(key_pem(key))
        names = ("--label", label, "--id", f"{number:02x}")
        self._util("--import", str(file), "--token", TOKEN, "--pin", PIN, *names)
        file.unlink()

    def take_away(self) -> None:
        """Pull the token out."""
        self.tokens.rename(self.folder / "away")
        self.tokens.mkdir()

    def copy_away(self) -> None:
        """Keep the token's state for :meth:`bring_back`, and leave it in use."""
        shutil.copytree(self.tokens, self.folder / "away")

    def bring_back(self) -> None:
        """Plug it in again, in the place of any other."""
        shutil.rmtree(self.tokens)
        (self.folder / "away").rename(self.tokens)

    def settings(self, **labels: str) -> Mapping[tuple[str, str], str]:
        """The section [PKCS11], with a label by the name of each issuing CA."""
        values = {"module": str(self.module), "token": TOKEN, "pin_file": str(self.pin_file)}
        values |= {f"key_label_{name}": label for name, label in labels.items()}
        return {("PKCS11", key): value for key, value in values.items()}

    def _util(self, *arguments: str) -> None:
        done = subprocess.run(
            ["softhsm2-util", *arguments],
            env={CONFIGURATION: str(self.configuration), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def soft_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> SoftToken:
    """A new token; this process, and those that it starts, see no other."""
    token = SoftToken(folder, library())
    monkeypatch.setenv(CONFIGURATION, str(token.configuration))
    forget_tokens(token.module)
    return token


def forget_tokens(module: Path) -> None:
    """Have the library in this process look for tokens again: it still knows those of earlier tests."""
    ThreadSafeModule(str(module)).restart()
