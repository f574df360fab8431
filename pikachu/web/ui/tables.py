"""Lists (UI-2): the state in the URL, the page, the CSV.

Filtering, sorting and paging are the store's; a page costs the same at any position.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

from pikachu.auth.permissions import Audience, in_audience
from pikachu.core.errors import MalformedRequest
from pikachu.core.model.list_queries import ListQuery
from pikachu.core.model.list_queries import Page as ListPage
from pikachu.core.model.preferences import SavedFilter
from pikachu.core.number_parsing import parse_number
from pikachu.web.streamed_file import CSVStream
from pikachu.web.ui.pages import PageRequest
from pikachu.web.ui.responses import HtmlPage, PageReply
from pikachu.web.ui.selection import BulkAction, Selection

T = TypeVar("T")

SIZES: Final = (10, 25, 50, 100)
DEFAULT_SIZE: Final = 25
#: Maximum exact count of a list.
COUNTED: Final = 10_000
#: Owner of an object without an account.
NOBODY: Final = "N/A"
# Parameters of every list.
_PARAMETERS: Final = frozenset({"q", "sort", "limit", "cursor", "at", "format"})
# Rows of a CSV that are read at a time.
_CSV_ROWS: Final = 250
# What columns of these names are on a card.
_CARD_PARTS: Final = {
    "status": "status",
    "state": "status",
    "decision": "status",
    "actions": "actions",
    "view": "actions",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    :param sort: the store's sort field; ``None``: it can't be sorted by.
    :param text: its value in CSV; without, it is left out there.
    :param audience: who sees it.
    :param csv_only: the page shows it in the cell of another column.
    """

    name: str
    label: str
    sort: str | None = None
    text: Callable[[Any], str] | None = None
    audience: Audience = Audience.USER
    csv_only: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of the list.

    :param choices: (value, label) of each; the empty value is added.  None: free text.
    :param audience: who has it.
    :param unset: the label of the empty value.
    :param kind: type of the input of a free text.
    :param more: it stands in the part of the form that is folded up; ``hidden``: there only with a value.
    :param others: returns whether a value is accepted that is none of the choices.
    """

    name: str
    label: str
    choices: tuple[tuple[str, str], ...] = ()
    audience: Audience = Audience.USER
    unset: str = "All"
    kind: str = "text"
    more: bool = False
    hidden: bool = False
    others: Callable[[str], bool] | None = None

    def accepts(self, value: str) -> bool:
        """Return whether the filter can have *value*; the store checks free text."""
        if not self.choices or value in {choice for choice, _ in self.choices}:
            return True
        return self.others is not None and self.others(value)

    def options(self, chosen: str) -> Sequence[tuple[str, str]]:
        """Return the choices, with the *chosen* value."""
        if not chosen or chosen in {choice for choice, _ in self.choices}:
            return self.choices
        return (*self.choices, (chosen, chosen))

    def input_kind(self, chosen: str) -> str:
        """Return the type of the input, in which a time would be lost where only dates are accepted."""
        return "text" if self.kind == "date" and len(chosen) > len("2026-12-31") else self.kind


@dataclass(frozen=True, slots=True)
class Heading:
    """A column heading.

    :param link: sorts by it; empty when it can't be sorted by.
    :param order: ``ascending``, ``descending``, or empty.
    :param sort: the store's sort field, or empty.
    :param text: returns the text of its cells, where the page's template has no cell for it.
    :param part: of the card that a row is on a phone: ``title``, ``status``, ``actions``, or empty.
    """

    label: str
    name: str
    link: str
    order: str
    sort: str = ""
    part: str = ""
    text: Callable[[Any], str] | None = None


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """A column that can be shown and hidden.

    :param usual: whether it is shown by default.
    """

    name: str
    label: str
    shown: bool
    usual: bool


@dataclass(frozen=True, slots=True)
class ListView:
    """One page of a list, for ``macros.html``.

    :param problem: why the query can't be answered; empty: it was.
    :param cells: the names of the columns that the page's template has cells for.
    :param choices: the columns that can be shown and hidden.
    :param saved: the account's saved filters of the list.
    :param query_text: what the list is filtered and sorted by, as a query string.
    """

    table: Table[Any]
    path: str
    items: Sequence[Any]
    headings: Sequence[Heading]
    query: ListQuery
    chosen: Mapping[str, str]
    first: int
    total: int | None
    next_link: str
    previous_link: str
    first_link: str
    csv_link: str
    filtered: bool
    filters: Sequence[Filter]
    unindexed: int
    actions: Sequence[BulkAction] = ()
    problem: str = ""
    cells: Sequence[str] = ()
    choices: Sequence[ColumnChoice] = ()
    saved: Sequence[SavedFilter] = ()
    query_text: str = ""

    def pick(self, item: object) -> tuple[int, str]:
        """Return the id and the name of a row that can be selected."""
        assert self.table.selection is not None  # noqa: S101 - there are actions only with one
        return self.table.selection.pick(item)

    @property
    def page_ids(self) -> str:
        """Return the ids of all rows of the page, with commas between."""
        return ",".join(str(self.pick(item)[0]) for item in self.items)

    @property
    def filter_text(self) -> str:
        """Return what selects the list's rows, as a query string with the store's names."""
        return urlencode({**({"q": self.query.q} if self.query.q else {}), **self.query.filters})

    @property
    def selectable(self) -> int:
        """Return the number of rows that match if all can be selected together, beyond those of the page; else 0."""
        total = self.total or 0
        return total if len(self.items) < total <= COUNTED else 0

    @property
    def status(self) -> int:
        """Return the HTTP status of its page."""
        return HTTPStatus.BAD_REQUEST if self.problem else HTTPStatus.OK

    @property
    def more_filters(self) -> Sequence[Filter]:
        """Return the filters of the part of the form that is folded up."""
        return [one for one in self.filters if one.more and (not one.hidden or self.chosen.get(one.name))]

    @property
    def more_chosen(self) -> bool:
        """Return whether one of them has a value."""
        return any(self.chosen.get(one.name) for one in self.more_filters)

    @property
    def orders(self) -> Sequence[tuple[str, str]]:
        """Return the values of ``sort`` with their labels, for phones, where the headings are hidden."""
        default, label = self.table.default_sort, "Default order"
        orders = []
        for heading in self.headings:
            if not heading.sort:
                continue
            for sort, text in (
                (heading.sort, f"{heading.label}, ascending"),
                (f"-{heading.sort}", f"{heading.label}, descending"),
            ):
                if sort == default:
                    label = text
                else:
                    orders.append((sort, text))
        return [("", label), *orders]

    @property
    def label(self) -> str:
        """Return the table's name for screen readers."""
        return self.table.name.replace("-", " ").capitalize()

    @property
    def counted(self) -> int:
        """Return the greatest exact total."""
        return COUNTED

    @property
    def summary(self) -> str:
        """Return *Showing a-b of N*."""
        if not self.items:
            return "Nothing to show"
        last = self.first + len(self.items) - 1
        if self.total is None:
            return f"Showing {self.first}\u2013{last}"
        of = f"{COUNTED:,}+" if self.total > COUNTED else f"{max(self.total, last):,}"
        text = f"Showing {self.first:,}\u2013{last:,} of {of}"
        pages = -(-self.total // self.query.limit)
        if pages < 2 or self.total > COUNTED:
            return text
        # Rows that were added or deleted since may make the last page one more than were counted.
        page = (self.first - 1) // self.query.limit + 1
        return f"{text}, page {page:,} of {max(pages, page):,}"


@dataclass(frozen=True)
class Table(Generic[T]):
    """A kind of list.

    :param name: name of the CSV file.
    :param empty: text of an empty list; *empty_link* (address, label) leads *empty_audience* on.
    :param search: placeholder of the search field.
    :param selection: the actions on selected rows; ``None``: rows can't be selected.
    :param parameters: names of other parameters of its page.
    """

    name: str
    columns: tuple[Column, ...]
    filters: tuple[Filter, ...] = ()
    default_sort: str = "-id"
    empty: str = "Nothing here yet."
    empty_link: tuple[str, str] | None = None
    empty_audience: Audience = Audience.REQUESTER
    search: str = "Search"
    searchable: bool = True
    sizes: tuple[int, ...] = field(default=SIZES)
    selection: Selection | None = None
    parameters: tuple[str, ...] = ()

    def query(self, visit: PageRequest) -> ListQuery:
        """Return the query of the URL, without invalid parameters; see :meth:`problem`."""
        parameters = visit.query
        sorts = {column.sort for column in self._columns(visit) if column.sort}
        sort = parameters.get("sort", "")
        limit = parse_number(parameters.get("limit", ""))
        filters = {
            one.name: parameters[one.name][:200]
            for one in self._filters(visit)
            if parameters.get(one.name) and one.accepts(parameters[one.name])
        }
        return ListQuery(
            limit=limit if limit is not None and limit in self.sizes else DEFAULT_SIZE,
            cursor=parameters.get("cursor") or None,
            q=(parameters.get("q", "").strip()[:200] or None) if self.searchable else None,
            sort=sort if sort.removeprefix("-") in sorts else self.default_sort,
            filters=filters,
            count=True,
        )

    def problem(self, visit: PageRequest) -> str:
        """Return why the parameters of the URL select nothing, or an empty string.

        A list that ignored an unknown filter would show everything as if it were the answer.
        """
        filters = {one.name: one for one in self._filters(visit)}
        sorts = [column.sort for column in self._columns(visit) if column.sort]
        for name, value in visit.query.items():
            if name in filters:
                if value and not filters[name].accepts(value):
                    known = ", ".join(choice for choice, _ in filters[name].choices)
                    return f"Unknown {filters[name].label.lower()} “{value[:80]}”. Use one of: {known}."
            elif name == "sort":
                if value and value.removeprefix("-") not in sorts:
                    return f"This list can't be sorted by “{value[:80]}”. Use one of: {', '.join(sorts)}."
            elif name not in _PARAMETERS and name not in self.parameters:
                known = ", ".join(["q", *filters] if self.searchable else filters)
                return f"This list has no filter “{name[:80]}”. Use one of: {known}."
        return ""

    async def reply(
        self,
        visit: PageRequest,
        fetch: Callable[[ListQuery], Awaitable[ListPage[Any]]],
        template: str,
        *,
        prepare: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]] | None = None,
        **context: object,
    ) -> PageReply:
        """Return the page of the list, with ``table`` in the template's context; with ``?format=csv`` the whole list.

        :param prepare: converts the items to rows, for example with owners' names.
        """
        if visit.query.get("format") == "csv":
            return await self._csv(visit, fetch, prepare)
        view = await self.view(visit, fetch, prepare)
        return HtmlPage(template, {"table": view, **context}, view.status)

    async def view(
        self,
        visit: PageRequest,
        fetch: Callable[[ListQuery], Awaitable[ListPage[Any]]],
        prepare: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]] | None = None,
    ) -> ListView:
        """Return the view of the page that the URL selects; without rows if its parameters select nothing."""
        query, problem = self.query(visit), self.problem(visit)
        page: ListPage[Any] = ListPage((), None)
        if not problem:
            query, page, problem = await _fetch_page(query, fetch)
        items = page.items if prepare is None else await prepare(page.items)
        return self._view(visit, query, page, items, problem)

    async def _csv(
        self,
        visit: PageRequest,
        fetch: Callable[[ListQuery], Awaitable[ListPage[Any]]],
        prepare: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]] | None,
    ) -> CSVResource:
        problem = self.problem(visit)
        if problem:
            raise MalformedRequest(problem)
        query = replace(self.query(visit), cursor=None, limit=_CSV_ROWS, count=False)
        if query.filters:
            # A value that the store refuses is answered before the file begins.
            await fetch(replace(query, limit=1))
        return CSVResource(self, visit, query, fetch, prepare)

    def _view(
        self, visit: PageRequest, query: ListQuery, page: ListPage[Any], items: Sequence[Any], problem: str
    ) -> ListView:
        path = visit.request.path.decode("ascii", "replace")
        state: dict[str, str] = dict(query.filters)
        if query.q:
            state["q"] = query.q
        if query.sort != self.default_sort:
            state["sort"] = query.sort
        if query.limit != DEFAULT_SIZE:
            state["limit"] = str(query.limit)

        def link(**parameters: str) -> str:
            return f"{path}?{urlencode({**state, **parameters})}"

        at = None if query.cursor is None else parse_number(visit.query.get("at", ""), minimum=1)
        first = at or 1
        before = max(1, first - query.limit)
        return ListView(
            table=self,
            path=path,
            items=items,
            headings=self._headings(visit, query, link),
            query=query,
            chosen=query.filters,
            first=first,
            total=page.total,
            next_link=link(cursor=page.next_cursor, at=str(first + len(items))) if page.next_cursor else "",
            previous_link=link(cursor=page.previous_cursor, at=str(before)) if page.previous_cursor else "",
            first_link=link() if page.previous_cursor else "",
            csv_link=link(format="csv"),
            filtered=bool(query.q or query.filters),
            filters=self._filters(visit),
            unindexed=page.unindexed,
            actions=self._actions(visit),
            problem=problem,
            cells=[column.name for column in self._columns(visit) if not column.csv_only],
            choices=self._choices(visit),
            saved=visit.preferences.filters_of(self.name),
            query_text=urlencode(state),
        )

    def _columns(self, visit: PageRequest) -> list[Column]:
        return [column for column in self.columns if in_audience(visit.principal, column.audience)]

    def _filters(self, visit: PageRequest) -> list[Filter]:
        return [one for one in self.filters if in_audience(visit.principal, one.audience)]

    def _actions(self, visit: PageRequest) -> list[BulkAction]:
        actions = () if self.selection is None else self.selection.actions
        return [one for one in actions if in_audience(visit.principal, one.audience)]

    def _headings(self, visit: PageRequest, query: ListQuery, link: Callable[..., str]) -> list[Heading]:
        hidden = {one.name for one in self._choices(visit) if not one.shown}
        title = self._title
        headings = []
        for column in self._columns(visit):
            if column.name not in hidden:
                part = "title" if column is title else _CARD_PARTS.get(column.name, "")
                text = column.text if column.csv_only else None
                headings.append(replace(_heading(column, query, link), part=part, text=text))
        return headings

    @property
    def _title(self) -> Column:
        """The column that names a row, which is always shown."""
        return next(column for column in self.columns if column.name != "id")

    def _choices(self, visit: PageRequest) -> list[ColumnChoice]:
        changed = visit.preferences.columns(self.name)
        return [
            ColumnChoice(column.name, column.label, column.csv_only == (column.name in changed), not column.csv_only)
            for column in self._columns(visit)
            if column is not self._title and _CARD_PARTS.get(column.name) != "actions"
        ]

    def csv_columns(self, visit: PageRequest) -> list[Column]:
        """Return the columns of the CSV."""
        return [column for column in self._columns(visit) if column.text is not None]


def _heading(column: Column, query: ListQuery, link: Callable[..., str]) -> Heading:
    if column.sort is None:
        return Heading(column.label, column.name, "", "")
    order = ""
    if query.sort.removeprefix("-") == column.sort:
        order = "descending" if query.sort.startswith("-") else "ascending"
    # A click reverses the order; without a selected order the newest come first.
    next_sort = f"-{column.sort}" if order == "ascending" or (not order and column.sort == "id") else column.sort
    return Heading(column.label, column.name, link(sort=next_sort), order, column.sort)


async def _fetch_page(
    query: ListQuery, fetch: Callable[[ListQuery], Awaitable[ListPage[Any]]]
) -> tuple[ListQuery, ListPage[Any], str]:
    """Return the page, or the first one where the cursor is not one of this list, or why there is none."""
    try:
        return query, await fetch(query), ""
    except MalformedRequest as error:
        problem = error.public
    if query.cursor is None:
        return query, ListPage((), None), problem
    # The cursor belongs to another order or was modified.
    return await _fetch_page(replace(query, cursor=None), fetch)


class CSVResource(CSVStream):
    """A whole list as CSV."""

    def __init__(
        self,
        table: Table[Any],
        visit: PageRequest,
        query: ListQuery,
        fetch: Callable[[ListQuery], Awaitable[ListPage[Any]]],
        prepare: Callable[[Sequence[Any]], Awaitable[Sequence[Any]]] | None,
    ) -> None:
        columns = table.csv_columns(visit)

        async def pages(cursor: str | None) -> tuple[Sequence[Sequence[str]], str | None]:
            page = await fetch(query if cursor is None else replace(query, cursor=cursor))
            items = page.items if prepare is None else await prepare(page.items)
            return [[_cell(column, item) for column in columns] for item in items], page.next_cursor

        CSVStream.__init__(self, f"{table.name}.csv", [[column.label for column in columns]], pages)


def _cell(column: Column, item: object) -> str:
    assert column.text is not None  # noqa: S101 - csv_columns leaves the others out
    return column.text(item)
