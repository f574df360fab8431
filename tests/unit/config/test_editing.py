"""Setting a key in a configuration file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pikachu.config.editing import set_key
from pikachu.core.errors import ConfigError

URL = "http://ca.example.com"
LINE = f"public_url = {URL}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[CA]\n;public_url =\nmode = EC\n", f"[CA]\n{LINE}mode = EC\n"),
        ("[CA]\n# public_url = http://x\nmode = EC\n", f"[CA]\n{LINE}mode = EC\n"),
        ("[CA]\n;public_url = a\nPublic_URL =\n", f"[CA]\n;public_url = a\n{LINE}"),
        ("[CA]\nmode = EC\n", f"[CA]\n{LINE}mode = EC\n"),
        ("[CA]", f"[CA]\n{LINE}"),
        (
            "[X]\npublic_url = y\n[CA]\nmode = EC\n[Y]\n;public_url =\n",
            f"[X]\npublic_url = y\n[CA]\n{LINE}mode = EC\n[Y]\n;public_url =\n",
        ),
        ("[X]\nmode = EC\n", f"[X]\nmode = EC\n\n[CA]\n{LINE}"),
        ("", f"\n[CA]\n{LINE}"),
        ("[CA]\n# See public_url = of the guide.\n;public_url =\n", f"[CA]\n# See public_url = of the guide.\n{LINE}"),
    ],
)
def test_texts(tmp_path: Path, before: str, after: str) -> None:
    """One line changes, in its section; comments stay."""
    path = tmp_path / "config.ini"
    path.write_text(before)
    set_key(path, "CA", "public_url", URL)
    assert path.read_text() == after
    assert os.listdir(tmp_path) == ["config.ini"]


def test_mode_and_link(tmp_path: Path) -> None:
    """A file that others may not read stays so, and a link stays a link."""
    target, path = tmp_path / "real.ini", tmp_path / "config.ini"
    target.write_text("[CA]\n")
    target.chmod(0o640)
    path.symlink_to(target)
    set_key(path, "CA", "public_url", URL)
    assert path.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert target.read_text() == f"[CA]\n{LINE}"


@pytest.mark.parametrize("content", [None, b"[CA]\n# \xe9\n"])
def test_files_that_can_not_be_changed(tmp_path: Path, content: bytes | None) -> None:
    """One line that says what to do by hand; the file stays as it is."""
    path = tmp_path / "config.ini"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config.ini: can't be changed: .*; set \[CA\] public_url = http") as caught:
        set_key(path, "CA", "public_url", URL)
    assert "\n" not in str(caught.value)
    assert content is None or path.read_bytes() == content
