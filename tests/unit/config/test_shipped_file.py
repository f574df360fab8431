"""The ``config.ini`` of the repository (CFG-10, RUN-3)."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from pikachu.config.loading import load
from pikachu.config.masking import masked
from pikachu.config.sample import sample
from pikachu.config.schema import keys
from pikachu.config.sections import SECTIONS
from pikachu.config.setting_choices import VaultSigner

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "config.ini"
KEY = re.compile(r"(;?)(\w+) =(?: (.*))?")


def blocks() -> dict[tuple[str, str], tuple[list[str], bool, str]]:
    """(section, key) → comment lines, whether it is set, value."""
    found: dict[tuple[str, str], tuple[list[str], bool, str]] = {}
    section, comments = "", list[str]()
    for line in SHIPPED.read_text(encoding="utf-8").splitlines():
        key = KEY.fullmatch(line)
        if line.startswith("["):
            section, comments = line.strip("[]"), []
        elif line.startswith("# "):
            comments.append(line[2:])
        elif key is not None:
            found[section, key[2]] = (comments, not key[1], key[3] or "")
            comments = []
        else:
            assert line == "", line
            comments = []
    return found


def test_every_key_has_a_comment_and_its_default() -> None:
    """CFG-10: each key has a comment of one or two lines; a default in the file is the code's."""
    known = {(cls.NAME, key.name): key for cls in SECTIONS for _, key in keys(cls)}
    found = blocks()
    assert found.keys() == known.keys()
    for place, (comments, is_set, value) in found.items():
        assert 1 <= len(comments) <= 2, place
        told = [line.removeprefix("Default: ") for line in comments if line.startswith("Default: ")]
        default = known[place].default
        if not is_set:
            assert value == default, place
        elif default and value != default:
            assert told == [default], place
        assert all(text == default for text in told), place


def test_it_is_made_from_the_declarations() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == sample()


def test_ports_and_places() -> None:
    """RUN-3: it starts without privileges and keeps everything under var/."""
    config = load(SHIPPED, {})
    assert config.warnings == ()
    assert config.risks == ()
    assert {one.name: one.port for one in config.listeners} == {
        "http": 8080,
        "scep": 8090,
        "https": 8443,
        "trusted_https": 4443,
    }
    paths = [one.value for one in masked(config) if one.value.startswith("/")]
    assert len(paths) >= 18
    assert all(Path(path).is_relative_to(ROOT / "var") for path in paths)
    assert config.secret_key_source == ROOT / "var/pki/secret_key"
    assert config.vault.signer is VaultSigner.TRANSIT
    assert set(config.ca.issuers) == {"ec", "rsa"}
    assert "/var/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("secret", ["SECRET_KEY", "ADMIN_PASSWORD", "secret_id", "pin"])
def test_no_secret_is_shipped(secret: str) -> None:
    """CFG-2: no default value is shipped."""
    parser = configparser.ConfigParser(interpolation=None, default_section="none")
    parser.read(SHIPPED, encoding="utf-8")
    assert not [name for name in parser.sections() if parser.has_option(name, secret)]
