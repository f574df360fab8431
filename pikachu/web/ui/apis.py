"""``/apis``: every endpoint with a command to copy (UI-8), and the REST reference (API-2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final

from pikachu.auth.permissions import Audience
from pikachu.core.errors import PikachuError
from pikachu.core.model.certificates import Method
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.web.api.openapi import Schema, describe
from pikachu.web.api.routes import Route
from pikachu.web.ui.api_reference import operation_reference, reference
from pikachu.web.ui.api_trial import Trials
from pikachu.web.ui.client_commands import sections
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply
from pikachu.web.ui.server_location import ServerLocations

#: The greatest number of labels of a protocol that the page lists.
_MAX_LABELS: Final = 20
_MAX_QUERY_LENGTH: Final = 200


class APIsPages(Pages):
    """Endpoint pages, generated for the requested host name and the configured ports."""

    def __init__(
        self,
        *,
        locations: ServerLocations,
        policy_administration: PolicyAdministration,
        routes: Sequence[Route],
    ) -> None:
        self._locations = locations
        self._policies = policy_administration
        self._routes = routes
        self._trials = Trials(routes)

    @cached_property
    def _document(self) -> Schema:
        return describe(self._routes)

    @page("GET", "/apis", audience=Audience.USER)
    async def apis(self, visit: PageRequest) -> PageReply:
        """Show all endpoints (UI-8)."""
        location = replace(
            self._locations.of(visit),
            est_labels=await self._labels(visit, Method.EST),
            scep_labels=await self._labels(visit, Method.SCEP),
        )
        return HtmlPage(
            "apis/list.html", {"sections": sections(location, admin=visit.principal.is_admin), "place": location}
        )

    @page("GET", "/apis/reference", audience=Audience.USER)
    async def reference(self, visit: PageRequest) -> PageReply:
        """Show the REST reference, which loads nothing from other sites (API-2)."""
        query = visit.query.get("q", "").strip()[:_MAX_QUERY_LENGTH]
        found = reference(self._document, self._locations.of(visit).https, query)
        return HtmlPage("apis/reference.html", {"reference": found, "q": query, "trials": self._trials.names})

    @page("GET", "/apis/try", audience=Audience.USER)
    async def trial(self, visit: PageRequest) -> PageReply:
        """Call an operation that reads, with the session's rights, and show its answer."""
        route = self._trials.route(visit.query.get("operation", ""))
        one = operation_reference(self._document, self._locations.of(visit).https, route.name)
        context: dict[str, object] = {"one": one, "values": visit.query}
        try:
            trial = await self._trials.run(visit, route)
        except PikachuError as error:
            return HtmlPage.form("apis/try.html", {**context, "trial": None}, error)
        return HtmlPage("apis/try.html", {**context, "trial": trial})

    async def _labels(self, visit: PageRequest, protocol: Method) -> tuple[str, ...]:
        policies = await self._policies.labels(visit.principal, protocol)
        return tuple(policy.name for policy in policies[:_MAX_LABELS])
