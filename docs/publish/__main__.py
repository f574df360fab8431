"""Command line of ``./script/docs``."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from docs.publish.book import Incomplete, write_book
from docs.publish.checks import findings
from docs.publish.site import Broken, write_site
from pikachu.help.guide import FOLDER, PDF_NAME, sources


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """Check the guide, and write the site and the PDF; return the exit status."""
    parser = argparse.ArgumentParser(prog="script/docs", description="Makes the guide as a site and as a PDF.")
    parser.add_argument(
        "--pictures", type=Path, help="the folder with the pictures of pages; without it, there are none"
    )
    parser.add_argument("--site", type=Path, help="the folder of the site, which is replaced")
    parser.add_argument("--pdf", type=Path, default=FOLDER / PDF_NAME, help="the PDF; default: where Help reads it")
    options = parser.parse_args(arguments)
    problems = findings(folder, options.pictures)
    try:
        if not problems:
            parts = sources(folder)
            with tempfile.TemporaryDirectory() as work:
                write_book(parts, options.pictures, options.pdf, Path(work))
            print(options.pdf)
            if options.site:
                shutil.rmtree(options.site, ignore_errors=True)
                with tempfile.TemporaryDirectory() as work:
                    write_site(parts, options.pictures, options.site, Path(work))
                print(options.site / "index.html")
    except (Broken, Incomplete) as error:
        problems = str(error).splitlines()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
