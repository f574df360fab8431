"""``/config`` and ``/logs``: configuration and log of the server, for administrators (CFG-11, UI-9)."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Final
from urllib.parse import urlencode

from pikachu.auth.permissions import Audience
from pikachu.core.errors import MalformedRequest, NotFound, PikachuError
from pikachu.core.number_parsing import parse_number
from pikachu.operations.log_reader import LEVELS, LogFilter
from pikachu.operations.server_view import MAXIMUM_DOWNLOAD, ServerView
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import Download, HtmlPage, PageReply, RawBody, Redirect

_SIZES: Final = (50, 100, 200, 500, 1000, 2000)
_DEFAULT_SIZE: Final = 200
_DEFAULT_INTERVAL_SECONDS: Final = 10
_MAX_INTERVAL_SECONDS: Final = 3600
# The page's own requests would push all other lines out of sight.
_LINES_PATH: Final = "/logs/lines"
# The lowest level is that of all lines.
_LEVEL_CHOICES: Final = (("", "All"), *((level, f"{level} and above") for level in LEVELS[1:-1]), (LEVELS[-1],) * 2)


class OperationPages(Pages):
    """The active configuration and the end of the log."""

    def __init__(self, *, operation: ServerView) -> None:
        self._operation: ServerView = operation

    @page("GET", "/config", audience=Audience.AUDITOR)
    async def config(self, visit: PageRequest) -> PageReply:
        """Show the configuration with masked secrets, after confirming the password (CFG-11)."""
        visit.require_confirmation()
        terms, is_changed = visit.query.get("q", "").lower().split(), visit.query.get("from") == "file"
        settings = [
            one
            for one in self._operation.settings(visit.principal)
            if (not is_changed or one.setting.origin == "file")
            and all(
                term in f"[{one.setting.section}] {one.setting.key} {one.setting.value} {one.comment}".lower()
                for term in terms
            )
        ]
        sections = [(name, list(group)) for name, group in groupby(settings, lambda one: one.setting.section)]
        context: dict[str, object] = {
            "sections": sections,
            "q": visit.query.get("q", ""),
            "changed": is_changed,
            "file": self._operation.file(visit.principal),
            "warnings": self._operation.warnings(visit.principal),
        }
        return HtmlPage("operation/config.html", context)

    @page("POST", "/config/reload", audience=Audience.ADMIN)
    async def reload(self, visit: PageRequest) -> PageReply:
        """Read again what SIGHUP reads again (RUN-5)."""
        await self._operation.reload(visit.principal)
        return Redirect("/config", notice="TLS certificates, chains, default policy and log level were read again.")

    @page("GET", "/logs", audience=Audience.AUDITOR)
    async def logs(self, visit: PageRequest) -> PageReply:
        """Show the end of the log, which the script refreshes and the form reloads (UI-9)."""
        wanted = _filter(visit)
        size = _number(visit, "lines", _DEFAULT_SIZE)
        filters = {name: value for name, value in (("q", wanted.keyword), ("level", wanted.level)) if value}
        interval = max(1, min(_number(visit, "every", _DEFAULT_INTERVAL_SECONDS), _MAX_INTERVAL_SECONDS))
        context: dict[str, object] = {
            "keyword": wanted.keyword,
            "level": wanted.level,
            "levels": _LEVEL_CHOICES,
            "size": size,
            "sizes": [(one, str(one)) for one in sorted({*_SIZES, size})],
            "every": interval,
            "file": self._operation.log_file(visit.principal),
            "clear": f"/logs?{urlencode({'lines': size, 'every': interval})}",
            "source": f"{_LINES_PATH}?{urlencode({'lines': size, **filters})}",
            "download": f"/logs/file?{urlencode(filters)}" if filters else "/logs/file",
            "download_mebibytes": MAXIMUM_DOWNLOAD // 1024**2,
            "lines": (),
        }
        try:
            context["lines"] = await self._operation.log(visit.principal, size, wanted)
        except NotFound as error:
            # Running without a log file is a valid setting.
            context["error"] = error
        except PikachuError as error:
            return HtmlPage.form("operation/logs.html", context, error)
        return HtmlPage("operation/logs.html", context)

    @page("GET", _LINES_PATH, audience=Audience.AUDITOR, background=True)
    async def lines(self, visit: PageRequest) -> PageReply:
        """Return the lines as JSON, for the script of the page."""
        lines = await self._operation.log(visit.principal, _number(visit, "lines", _DEFAULT_SIZE), _filter(visit))
        document = [{"text": line.text, "level": line.level} for line in lines]
        return RawBody(json.dumps({"lines": document}).encode(), b"application/json")

    @page("GET", "/logs/file", audience=Audience.ADMIN)
    async def download(self, visit: PageRequest) -> PageReply:
        """Return the last lines that match the filters as a file; this is recorded."""
        text = await self._operation.download(visit.principal, _filter(visit))
        return Download(text, b"text/plain; charset=utf-8", "pikachu.log")


def _filter(visit: PageRequest) -> LogFilter:
    return LogFilter(visit.query.get("q", "").strip(), visit.query.get("level", "").upper(), without=_LINES_PATH)


def _number(visit: PageRequest, name: str, default: int) -> int:
    text = visit.query.get(name, "").strip()
    if not text:
        return default
    number = parse_number(text)
    if number is None:
        raise MalformedRequest("Enter a whole number.", field=name)
    return number
