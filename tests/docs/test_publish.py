"""The guide as a PDF and as a site (UI-10)."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pypdfium2
import pytest

from docs.publish.__main__ import main
from docs.publish.book import Incomplete, write_book
from docs.publish.checks import findings
from docs.publish.site import Broken, write_site
from pikachu.help.guide import FOLDER, Guide, sources
from pikachu.help.subjects import SUBJECTS
from pikachu.web.ui.pages import Page, Pages
from tests.support.tour import picture_name


def test_no_link_is_broken() -> None:
    """Links, anchors and drawings of the guide exist."""
    assert findings(FOLDER, None) == []


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("[x](02-gone.md)", "the file 02-gone.md is missing"),
        ("[x](02-other.md#gone)", "02-other.md has no heading #gone"),
        ("[x](#gone)", "01-one.md has no heading #gone"),
        ("[x](../gone/file)", "the file ../gone/file is missing"),
        ("![x](gone.svg)", "the drawing gone.svg is missing"),
        ("![x](pictures/gone.png)", "the picture pictures/gone.png is missing"),
        ("[x](02-other.md#part) [y](#here) [z](https://example.com/) ![p](pictures/there.png)", None),
        ("`[x](gone.md)`", None),
    ],
)
def test_findings(tmp_path: Path, text: str, finding: str | None) -> None:
    """A broken link, a missing heading and a missing picture are named with their document."""
    guide, pictures = tmp_path / "guide", tmp_path / "pictures"
    guide.mkdir()
    pictures.mkdir()
    (pictures / "there.png").write_bytes(b"")
    (guide / "01-one.md").write_text(f"# One\n\n{text}\n\n## Here\n")
    (guide / "02-other.md").write_text("# Other\n\n## Part\n")
    assert findings(guide, pictures) == ([f"01-one.md: {finding}"] if finding else [])


def test_missing_pictures_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes nothing where a picture is missing, and names it."""
    guide = tmp_path / "01-one.md"
    guide.write_text("# One\n\n![x](pictures/gone.png)\n")
    assert main(["--pictures", str(tmp_path), "--pdf", str(tmp_path / "x.pdf")], tmp_path) == 1
    assert "the picture pictures/gone.png is missing" in capsys.readouterr().err
    assert not (tmp_path / "x.pdf").exists()
    with pytest.raises(Incomplete, match=r"gone\.png"):
        write_book(sources(tmp_path), tmp_path, tmp_path / "x.pdf", tmp_path)
    assert not (tmp_path / "x.pdf").exists()


def test_warnings_of_the_site_are_errors(tmp_path: Path) -> None:
    """A link that Sphinx can't resolve fails."""
    (tmp_path / "01-one.md").write_text("# One\n\n[x](02-other.md#gone)\n")
    (tmp_path / "02-other.md").write_text("# Other\n")
    (tmp_path / "work").mkdir()
    with pytest.raises(Broken, match="gone"):
        write_site(sources(tmp_path), None, tmp_path / "site", tmp_path / "work")


def small_guide(folder: Path) -> Path:
    """Three chapters of two parts, with what the shipped ones have."""
    (folder / "drawings").mkdir(parents=True)
    shutil.copy(FOLDER / "drawings" / "enrollment.svg", folder / "drawings")
    first = (
        "# One\n\nSee [there](02-other.md#part) and [below](#here).\n\n![A way](drawings/enrollment.svg)\n\n## Here\n"
    )
    second = "# Other\n\n## Part\n\n| a | b |\n|---|---|\n| `c` | d |\n\n```sh\npikachu version\n```\n"
    for name, text in (("01-one", first), ("02-other", second), ("50-last", "# Last\n\n- [one](01-one.md)\n")):
        (folder / f"{name}.md").write_text(text)
    return folder


@pytest.mark.timeout(900)
@pytest.mark.parametrize("shipped", [False, pytest.param(True, marks=pytest.mark.soak)])
def test_everything_is_published(tmp_path: Path, shipped: bool) -> None:
    """Each chapter is in the PDF, with bookmarks and page numbers in the contents, and a page of the site."""
    pdf, site = tmp_path / "guide.pdf", tmp_path / "site"
    folder = FOLDER if shipped else small_guide(tmp_path / "guide")
    assert main(["--pdf", str(pdf), "--site", str(site)], folder) == 0
    pages = Guide(folder).pages
    document = pypdfium2.PdfDocument(pdf)
    chapters = {one.get_title(): one.get_dest().get_index() for one in document.get_toc(max_depth=1)}
    assert list(chapters) == ["Contents", *(page.title for page in pages)]
    contents = "".join(document[index].get_textpage().get_text_range() for index in range(1, chapters[pages[0].title]))
    for page in pages:
        number = chapters[page.title] + 1
        assert re.search(rf"{re.escape(page.title)}[ .\r\n]*{number}\b", contents), page.title
        html = (site / f"{page.slug}.html").read_text("utf-8")
        assert all(f'id="{section.anchor}"' in html for section in page.sections if section.anchor)


def test_every_page_is_shown() -> None:
    """UI-10: the chapter about pages names each entry of the menu and has its picture, and names no other page."""
    text = (FOLDER / "12-pages.md").read_text("utf-8")
    shown = set(re.findall(r"pictures/(.*)-1280-light\.png", text))
    named = set(re.findall(r"`(/[^`]*)`", text))
    menu = {one.path for one in SUBJECTS}
    assert menu - named == set()
    assert {picture_name(path) for path in menu} - shown == set()
    routes = {page.path for cls in Pages.__subclasses__() for page in vars(cls).values() if isinstance(page, Page)}
    assert named - routes == set()
    assert shown - {picture_name(path) for path in routes} == set()


def _literals() -> list[str]:
    """Return the texts of the program, with an ellipsis for each value in them."""
    texts = []
    for path in (FOLDER.parent).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\u2026" for part in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_messages_of_the_troubleshooting_are_the_programs() -> None:
    """UI-10: a message of the chapter is one that the program says."""
    rows = re.findall(r"^\| `(.*)` \|[^|]*\|[^|]*\|$", (FOLDER / "49-troubleshooting.md").read_text("utf-8"), re.M)
    literals = _literals()
    assert len(rows) >= 20
    missing = [row for row in rows if not any(row in text for text in literals)]
    assert missing == []
