# mypy: allow-untyped-calls
"""Serve pages on Klein: route, authenticate, check forms, render, and send failures as pages."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, quote

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from pikachu.accounts.drafts import Drafts
from pikachu.accounts.preferences import AccountPreferences
from pikachu.accounts.sessions import Sessions
from pikachu.auth.authenticator import account_principal
from pikachu.auth.permissions import Audience, in_audience
from pikachu.core.errors import AuthenticationFailed, NotAuthorized, PikachuError
from pikachu.core.interfaces import IClock
from pikachu.core.model.people import ANONYMOUS
from pikachu.core.model.sign_in import Draft, EndedSession
from pikachu.core.number_parsing import MAX_ID, parse_number
from pikachu.core.sealing import Sealer
from pikachu.http.forms import form_fields
from pikachu.http.request import BoundedRequest, RefusalPage
from pikachu.http.responses import TEXT, send
from pikachu.inventory.certificates import CertificateQueries
from pikachu.web.browsers import SESSION, check_origin, is_navigation, is_same_origin, read_cookies
from pikachu.web.dispatch import Dispatcher, failure_problem, take_whole_path, unrouted_problem
from pikachu.web.errors import Problem, problem_of, status_problem
from pikachu.web.ui.cookies import (
    ATTEMPT,
    NO_NOTICE,
    NOTICE,
    PENDING,
    SHOWN_ONCE,
    VISITOR,
    Notice,
    cookie,
    open_notice,
    open_secret,
    seal_notice,
    seal_secret,
)
from pikachu.web.ui.drafts import DRAFT, draft_location, draft_of, fill_in
from pikachu.web.ui.forms import Form
from pikachu.web.ui.navigation import current, navigation
from pikachu.web.ui.pages import Page, PageRequest, PasswordNeeded
from pikachu.web.ui.rendering import Renderer
from pikachu.web.ui.responses import Download, ExternalRedirect, HtmlPage, RawBody, Redirect, own_path
from pikachu.web.ui.session_ends import DRAFT_KEPT, DRAFT_RESTORED, FORM_EXPIRED, end_text, restriction_page

HTML: Final = b"text/html; charset=utf-8"
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST"})
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[Mapping[bytes, bytes]] = {
    b"Cache-Control": b"no-store",
    b"Content-Security-Policy": _POLICY,
    b"Referrer-Policy": b"same-origin",
    b"Strict-Transport-Security": b"max-age=31536000",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
    b"Cross-Origin-Opener-Policy": b"same-origin",
}
#: The pages about issuing, where administrators see which setting is missing.
ADVICE_PATHS: Final = frozenset({"/", "/ra", "/certificates"})
_EXPIRED: Final = Problem(
    HTTPStatus.FORBIDDEN,
    "urn:pikachu:problem:form-expired",
    "This form has expired",
    "Nothing was saved. Reload the form and submit it again.",
)
_VISITOR_SECRET: Final = re.compile("[A-Za-z0-9_-]{43}")


class RenderedPage(Resource):
    """A response in progress: Klein renders it and leaves finishing the request to it."""

    isLeaf = True

    def __init__(
        self,
        status: int,
        content_type: bytes | None,
        body: bytes,
        headers: Mapping[bytes, bytes] | None = None,
        cookies: Iterable[bytes] = (),
    ) -> None:
        Resource.__init__(self)
        self._status = status
        self._content_type = content_type
        self._body = body
        self._headers = {**HEADERS, **(headers or {})}
        self.cookies = list(cookies)

    def render(self, request: BoundedRequest) -> int:
        """Write the response."""
        for value in self.cookies:
            request.responseHeaders.addRawHeader(b"Set-Cookie", value)
        send(request, self._status, self._content_type, self._body, self._headers)
        return NOT_DONE_YET


class UIResource(Resource):
    """All pages; the HTTPS listeners route to it what no other resource serves.

    :param pages: result of :meth:`pikachu.web.ui.pages.Pages.pages`.
    :param advice: shown to administrators on the pages in :data:`ADVICE_PATHS`.
    :param alert: returns a text that everyone who is signed in sees on every page, or None.
    """

    isLeaf = True

    def __init__(
        self,
        *,
        sessions: Sessions,
        drafts: Drafts,
        sealer: Sealer,
        inventory: CertificateQueries,
        preferences: AccountPreferences,
        clock: IClock,
        pages: Iterable[Page],
        renderer: Renderer,
        advice: Iterable[str] = (),
        alert: Callable[[], str | None] = lambda: None,
    ) -> None:
        Resource.__init__(self)
        self._alert = alert
        self._advice = tuple(advice)
        self.pages = tuple(pages)
        self._sessions = sessions
        self._drafts = drafts
        self._sealer = sealer
        self._inventory = inventory
        self._preferences = preferences
        self._clock = clock
        self._renderer = renderer
        self._dispatcher = Dispatcher(
            {(one.method, one.path, one.name): partial(self._serve, one) for one in self.pages},
            clock,
            unrouted=self._unrouted,
            failed=self._failed,
            strict_slashes=False,
        )

    def render(self, request: BoundedRequest) -> int:
        """Dispatch the request through Klein, after refusing what Klein can't parse."""
        if not take_whole_path(request):
            return self._refuse(request, HTTPStatus.BAD_REQUEST, "the path is not UTF-8")
        if b"" in (request.postpath or [])[:-1]:
            return self._refuse(request, HTTPStatus.NOT_FOUND, "there is nothing at this address")
        if request.method not in _METHODS:
            return self._refuse(request, HTTPStatus.METHOD_NOT_ALLOWED, "pages take GET and POST")
        request.named_host = request.getHeader(b"Host")
        # As for REST: Klein and Werkzeug fail on some values of the Host header.
        request.requestHeaders.setRawHeaders(b"Host", [b"pages"])
        return self._dispatcher.render(request)

    def _refuse(self, request: BoundedRequest, status: int, detail: str) -> int:
        headers = {b"Allow": b"GET, HEAD, POST"} if status == HTTPStatus.METHOD_NOT_ALLOWED else {}
        return self._problem_page(request, status_problem(status, detail, headers), None).render(request)

    # --- page requests --------------------------------------------------------------------

    async def _serve(self, page: Page, request: BoundedRequest, path: Mapping[str, str]) -> IResource:
        cookies = read_cookies(request)
        visit, new_cookies = await self._visit(request, path, cookies, seen=not page.background)
        try:
            page.admit(visit.principal)
            if visit.account is not None and not page.admits_restricted:
                restriction = self._sessions.restriction(visit.account)
                if restriction is not None and page.background:
                    raise NotAuthorized(f"Open a page first: this account has to {restriction}.")
                if restriction is not None:
                    return await self._reply(visit, restriction_page(restriction), cookies, new_cookies)
            if page.method == "POST":
                check_origin(request, request.named_host)
                if not _has_csrf_token(visit):
                    return await self._expired(page, visit)
            reply = await page.serve(None, visit)
        except AuthenticationFailed as error:
            if visit.session is None and page.audience is not Audience.ANYONE:
                return await self._to_login(page, visit, new_cookies)
            return self._problem_page(request, problem_of(error), visit)
        except PasswordNeeded:
            return_path = visit.target if page.method == "GET" else request.path.decode("ascii", "replace")
            return RenderedPage(
                HTTPStatus.SEE_OTHER, b"text/plain", b"", {b"Location": _location("/confirm?next=", return_path)}
            )
        except PikachuError:
            return self._problem_page(request, failure_problem(request, Failure()), visit)
        return await self._reply(visit, reply, cookies, new_cookies)

    async def _visit(
        self, request: BoundedRequest, path: Mapping[str, str], cookies: Mapping[str, str], *, seen: bool = True
    ) -> tuple[PageRequest, list[bytes]]:
        """Return the authenticated page request, and the new cookies for the browser."""
        query = _query(request.uri)
        draft_id = parse_number(query.pop(DRAFT, ""), MAX_ID)
        form = Form(_form_data(request) if request.method == b"POST" else None)
        secret, once = cookies.get(SESSION, ""), cookies.get(SHOWN_ONCE, "")
        active_session = await self._sessions.find(secret, seen=seen) if secret else None
        if active_session is not None:
            session, account = active_session
            request.authenticated()
            principal = account_principal(account, request.address)
            return (
                PageRequest(
                    request,
                    path,
                    query,
                    form,
                    principal,
                    account,
                    session,
                    self._sessions.csrf(secret),
                    self._sessions.is_confirmed(session),
                    await self._inventory.waiting(principal) if seen and in_audience(principal, Audience.STAFF) else 0,
                    draft_id=draft_id,
                    attempt=cookies.get(ATTEMPT, ""),
                    secret=open_secret(self._sealer, request.path.decode("ascii", "replace"), once) if once else "",
                    preferences=await self._preferences.of(principal),
                ),
                [],
            )
        visitor = cookies.get(VISITOR, "")
        ended = await self._sessions.ended(secret) if secret else None
        # A script of a page must not take the reason from the person who opens the next one.
        new_cookies = [cookie(SESSION, "", seconds=0)] if secret and seen and is_navigation(request) else []
        if not _VISITOR_SECRET.fullmatch(visitor):
            visitor = secrets.token_urlsafe(32)
            new_cookies.append(cookie(VISITOR, visitor))
        return (
            PageRequest(
                request,
                path,
                query,
                form,
                csrf=self._sessions.csrf(visitor),
                ended=ended,
                pending=cookies.get(PENDING, ""),
                attempt=cookies.get(ATTEMPT, ""),
            ),
            new_cookies,
        )

    async def _reply(
        self, visit: PageRequest, reply: object, cookies: Mapping[str, str], new_cookies: list[bytes]
    ) -> IResource:
        new_cookies = [*new_cookies, *visit.cookies]
        match reply:
            case HtmlPage():
                notice = self._notice(visit, cookies)
                if NOTICE in cookies and is_navigation(visit.request):
                    new_cookies.append(cookie(NOTICE, "", seconds=0))
                if visit.secret:
                    new_cookies.append(cookie(SHOWN_ONCE, "", seconds=0))
                draft = await self._draft(visit)
                if draft is not None:
                    notice = Notice(f"{notice.text} {DRAFT_RESTORED}".strip(), "warn")
                body = self._renderer.render(reply.template, {**self._context(visit, notice), **reply.context})
                if draft is not None:
                    body = fill_in(body.decode(), draft).encode()
                return RenderedPage(reply.status, HTML, body, cookies=new_cookies)
            case Redirect():
                if reply.notice:
                    new_cookies.append(self._notice_cookie(reply.notice, reply.notice_kind))
                if reply.secret:
                    value = seal_secret(self._sealer, reply.location, reply.secret)
                    new_cookies.append(cookie(SHOWN_ONCE, value, seconds=60))
                location = own_path(reply.location).encode("ascii")
                return RenderedPage(HTTPStatus.SEE_OTHER, b"text/plain", b"", {b"Location": location}, new_cookies)
            case ExternalRedirect():
                headers = {b"Location": reply.location.encode("ascii", "replace")}
                return RenderedPage(HTTPStatus.FOUND, b"text/plain", b"", headers, new_cookies)
            case Download():
                headers = {b"Content-Disposition": reply.disposition}
                return RenderedPage(HTTPStatus.OK, reply.content_type, reply.body, headers, new_cookies)
            case RawBody():
                return RenderedPage(reply.status, reply.content_type, reply.body, cookies=new_cookies)
            case Resource():
                return reply
        raise TypeError(f"a page gave {type(reply).__name__}")

    def _notice(self, visit: PageRequest, cookies: Mapping[str, str]) -> Notice:
        notice = open_notice(self._sealer, cookies[NOTICE]) if cookies.get(NOTICE) else NO_NOTICE
        if not notice.text and visit.ended is not None:
            return Notice(self._end_text(visit.ended), "warn")
        return notice

    def _notice_cookie(self, text: str, kind: str = "good") -> bytes:
        return cookie(NOTICE, seal_notice(self._sealer, Notice(text, kind)), seconds=60)

    def _end_text(self, ended: EndedSession) -> str:
        return end_text(ended.reason, self._sessions.maximum_idle)

    # --- drafts ---------------------------------------------------------------------------

    async def _draft(self, visit: PageRequest) -> Draft | None:
        """Return the draft to fill into the page, if it is the user's and was written on this page."""
        if visit.draft_id is None or visit.account is None:
            return None
        draft = await self._drafts.restore(visit.account.id, visit.draft_id)
        path = visit.request.path.decode("ascii", "replace")
        return draft if draft is not None and draft.page.partition("?")[0] == path else None

    async def _keep(self, page: Page, visit: PageRequest, account_id: int) -> str | None:
        """Keep the submitted entries; return where they are filled in again, or None when they are not kept."""
        if not page.keeps_draft or not is_same_origin(visit.request, visit.request.named_host):
            return None
        draft = draft_of(visit)
        draft_id = await self._drafts.keep(account_id, draft)
        return None if draft_id is None else draft_location(draft, draft_id)

    async def _expired(self, page: Page, visit: PageRequest) -> RenderedPage:
        """Answer a form with an invalid CSRF token: offer it again with a fresh one, if a page here has sent it."""
        location = None if visit.account is None else await self._keep(page, visit, visit.account.id)
        if location is None:
            return self._problem_page(visit.request, _EXPIRED, visit)
        headers = {b"Location": own_path(location).encode("ascii")}
        cookies = [self._notice_cookie(FORM_EXPIRED, "warn")]
        return RenderedPage(HTTPStatus.SEE_OTHER, b"text/plain", b"", headers, cookies)

    async def _to_login(self, page: Page, visit: PageRequest, cookies: Iterable[bytes]) -> RenderedPage:
        """Redirect to the sign-in page, and back afterwards; the entries of a form wait for its user."""
        return_path, kept = visit.target, None
        if page.method == "POST":
            return_path = visit.request.path.decode("ascii", "replace")
            if visit.ended is not None:
                kept = await self._keep(page, visit, visit.ended.account_id)
        return_path = kept or return_path
        cookies = [*cookies]
        if visit.ended is not None and is_navigation(visit.request) and not page.background:
            text = self._end_text(visit.ended)
            cookies.append(self._notice_cookie(f"{text} {DRAFT_KEPT}" if kept else text, "warn"))
        location = b"/login" if return_path == "/" else _location("/login?next=", return_path)
        status = HTTPStatus.FOUND if page.method == "GET" else HTTPStatus.SEE_OTHER
        return RenderedPage(status, b"text/plain", b"", {b"Location": location}, cookies)

    def _context(self, visit: PageRequest | None, notice: Notice = NO_NOTICE) -> dict[str, object]:
        account = None if visit is None else visit.account
        session = None if visit is None else visit.session
        path = "" if visit is None else visit.request.path.decode("ascii", "replace")
        principal = ANONYMOUS if visit is None else visit.principal
        admin = principal.is_admin
        return {
            "visit": visit,
            "me": account,
            "admin": admin,
            "may": lambda audience: in_audience(principal, Audience(audience)),
            "csrf": "" if visit is None else visit.csrf,
            "navigation": navigation(principal) if account is not None else [],
            "current_path": current(path),
            "notice": notice,
            "session_seconds": 0 if session is None else int(self._sessions.remaining(session).total_seconds()),
            "advice": self._advice if admin and path in ADVICE_PATHS else (),
            "alert": None if account is None else self._alert(),
            "error": None,
        }

    # --- failures -------------------------------------------------------------------------

    def _problem_page(self, request: BoundedRequest, problem: Problem, visit: PageRequest | None) -> RenderedPage:
        if not request.accepts_html and visit is not None and visit.session is None:
            # Programs get plain text.
            return RenderedPage(problem.status, TEXT, f"{problem.detail}\n".encode(), problem.headers)
        context = {**self._context(visit), "problem": problem}
        return RenderedPage(problem.status, HTML, self._renderer.render("error.html", context), problem.headers)

    def oversize_page(self, maximum: int) -> RefusalPage:
        """Return the page for a form of more than *maximum* bytes, which is refused before anyone is authenticated."""
        detail = f"The file or text is too large. This server accepts {maximum // 1024:,} KiB."
        problem = status_problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        body = self._renderer.render("error.html", {**self._context(None), "problem": problem})
        return RefusalPage(body, ((b"Content-Type", HTML), *HEADERS.items()))

    def _unrouted(self, request: Any, failure: Failure) -> Any:
        return self._with_visit(request, unrouted_problem(failure))

    def _with_visit(self, request: BoundedRequest, problem: Problem) -> Deferred[IResource]:
        """Return the page of a problem with the signed-in user's navigation."""

        async def work() -> IResource:
            try:
                visit, _ = await self._visit(request, {}, read_cookies(request))
            except PikachuError:
                return self._problem_page(request, problem, None)
            return self._problem_page(request, problem, visit)

        return Deferred.fromCoroutine(work())

    def _failed(self, request: Any, failure: Failure) -> Any:
        return self._problem_page(request, failure_problem(request, failure), None)


def _location(prefix: str, return_path: str) -> bytes:
    return (prefix + quote(own_path(return_path), safe="/")).encode("ascii")


def _query(uri: bytes) -> dict[str, str]:
    """Parse the query string; the first of duplicates counts, and invalid input is ignored."""
    _, _, text = uri.partition(b"?")
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=64)
    except (UnicodeDecodeError, ValueError):
        return {}
    return {name: value for name, value in reversed(pairs) if "\0" not in value}


def _form_data(request: BoundedRequest) -> dict[bytes, list[bytes]]:
    """Parse the fields of a form.

    :raises MalformedRequest: it is no form.
    """
    kinds = request.requestHeaders.getRawHeaders(b"Content-Type") or [b""]
    request.content.seek(0)
    return form_fields(kinds[0], request.content.read())


def _has_csrf_token(visit: PageRequest) -> bool:
    return hmac.compare_digest(visit.form.text("csrf").encode(), visit.csrf.encode())
