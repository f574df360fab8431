"""``/config`` and ``/logs``: configuration and log of the server, for administrators (CFG-11, UI-9)."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Final
from urllib.parse import urlencode

from pikachu.auth.permissions import Audience
from pikachu.core.errors import MalformedRequest, NotFound, PikachuError
from pikachu.core.number_parsing import parse_number
from pikachu.operations.log_reader import LogLine
from pikachu.operations.server_view import ServerView
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply, RawBody

_SIZES: Final = (50, 100, 200, 500, 1000, 2000)
_DEFAULT_SIZE: Final = 200
_DEFAULT_INTERVAL_SECONDS: Final = 10
_MAX_INTERVAL_SECONDS: Final = 3600
# The page's own requests would push all other lines out of sight.
_LINES_PATH: Final = "/logs/lines"


class OperationPages(Pages):
    """The active configuration and the end of the log."""

    def __init__(self, *, operation: ServerView) -> None:
        self._operation: ServerView = operation

    @page("GET", "/config", audience=Audience.AUDITOR)
    async def config(self, visit: PageRequest) -> PageReply:
        """Show the configuration with masked secrets, after confirming the password (CFG-11)."""
        visit.require_confirmation()
        settings = self._operation.settings(visit.principal)
        sections = [(name, list(group)) for name, group in groupby(settings, lambda one: one.setting.section)]
        context: dict[str, object] = {
            "sections": sections,
            "file": self._operation.file(visit.principal),
            "warnings": self._operation.warnings(visit.principal),
        }
        return HtmlPage("operation/config.html", context)

    @page("GET", "/logs", audience=Audience.AUDITOR)
    async def logs(self, visit: PageRequest) -> PageReply:
        """Show the end of the log, which the script refreshes and the form reloads (UI-9)."""
        keyword = visit.query.get("q", "").strip()
        size = _number(visit, "lines", _DEFAULT_SIZE)
        interval = max(1, min(_number(visit, "every", _DEFAULT_INTERVAL_SECONDS), _MAX_INTERVAL_SECONDS))
        context: dict[str, object] = {
            "keyword": keyword,
            "size": size,
            "sizes": [(one, str(one)) for one in sorted({*_SIZES, size})],
            "every": interval,
            "file": self._operation.log_file(visit.principal),
            "clear": f"/logs?{urlencode({'lines': size, 'every': interval})}",
            "source": f"{_LINES_PATH}?{urlencode({'lines': size, 'q': keyword})}",
            "lines": (),
        }
        try:
            context["lines"] = await self._lines(visit, size, keyword)
        except NotFound as error:
            # Running without a log file is a valid setting.
            context["error"] = error
        except PikachuError as error:
            return HtmlPage.form("operation/logs.html", context, error)
        return HtmlPage("operation/logs.html", context)

    @page("GET", _LINES_PATH, audience=Audience.AUDITOR, background=True)
    async def lines(self, visit: PageRequest) -> PageReply:
        """Return the lines as JSON, for the script of the page."""
        keyword = visit.query.get("q", "").strip()
        lines = await self._lines(visit, _number(visit, "lines", _DEFAULT_SIZE), keyword)
        document = [{"text": line.text, "level": line.level} for line in lines]
        return RawBody(json.dumps({"lines": document}).encode(), b"application/json")

    async def _lines(self, visit: PageRequest, size: int, keyword: str) -> list[LogLine]:
        return await self._operation.log(visit.principal, size, keyword, without=_LINES_PATH)


def _number(visit: PageRequest, name: str, default: int) -> int:
    text = visit.query.get(name, "").strip()
    if not text:
        return default
    number = parse_number(text)
    if number is None:
        raise MalformedRequest(f"{name} is a whole number")
    return number
