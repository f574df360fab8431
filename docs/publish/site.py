"""The guide as a site: the same documents, built by Sphinx with warnings as errors."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pikachu.help.markdown import Source, slug_of

CONFIGURATION: Final = Path(__file__).with_name("conf.py")
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_PICTURE: Final = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)\n?")
_CODE: Final = re.compile(r"(^```.*?^```$|^(?: {4}[^\n]*\n)+)", re.MULTILINE | re.DOTALL)


class Broken(Exception):
    """Sphinx has refused the documents."""


def write_site(parts: Mapping[str, Sequence[Source]], pictures: Path | None, target: Path, work: Path) -> None:
    """Write the site.

    :param pictures: contains the pictures of pages; ``None``: they are left out.
    :param work: an empty folder, for the documents in the form that Sphinx reads.
    :raises Broken: with the warnings.
    """
    slugs = {source.slug for documents in parts.values() for source in documents}
    shutil.copy(CONFIGURATION, work / "conf.py")
    (work / "pictures").mkdir()
    index = ["# Pikachu CA", "", "A certificate authority for fleets of devices and the servers they talk to.", ""]
    for part, documents in parts.items():
        index += ["```{toctree}", f":caption: {part}", ":maxdepth: 2", "", *(one.slug for one in documents), "```", ""]
        for source in documents:
            (work / f"{source.slug}.md").write_text(_staged(source, slugs, pictures, work), encoding="utf-8")
    (work / "index.md").write_text("\n".join(index), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    done = subprocess.run(
        [*command, "-b", "html", str(work), str(target)], stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise Broken(done.stderr)


def _staged(source: Source, slugs: set[str], pictures: Path | None, work: Path) -> str:
    """Return the text with the links and pictures of the site."""
    folder = source.path.resolve().parent

    def link(match: re.Match[str]) -> str:
        slug = slug_of(match[2])
        return f"[{match[1]}]({slug}.md{match[3] or ''})" if slug in slugs else match[1]

    def picture(match: re.Match[str]) -> str:
        path = Path(match[2])
        origin = folder / path if path.suffix == ".svg" else pictures and pictures / path.name
        if not origin:
            return ""
        shutil.copy(origin, work / "pictures" / path.name)
        return f"![{match[1]}](pictures/{path.name})\n"

    pieces = _CODE.split(source.text)
    pieces[::2] = [_LINK.sub(link, _PICTURE.sub(picture, piece)) for piece in pieces[::2]]
    return "".join(pieces)
