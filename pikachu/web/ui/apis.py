"""``/apis``: every endpoint with a command to copy (UI-8), and the REST reference (API-2)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from pikachu.auth.permissions import Audience
from pikachu.ca.issuers import IssuingCAs
from pikachu.config.configuration import Configuration
from pikachu.config.setting_choices import SCEPRegistrationAuthority
from pikachu.core.model.certificates import Method
from pikachu.ra.policy_administration import PolicyAdministration
from pikachu.web.api.openapi import describe
from pikachu.web.api.routes import Route
from pikachu.web.ui.api_reference import reference
from pikachu.web.ui.client_commands import Location, sections
from pikachu.web.ui.pages import PageRequest, Pages, page
from pikachu.web.ui.responses import HtmlPage, PageReply
from pikachu.x509.certificate import Certificate

_PORT: Final = re.compile(r":\d+$")
#: The greatest number of labels of a protocol that the page lists.
_MAX_LABELS: Final = 20
_STANDARD: Final = {"http": 80, "https": 443}


class APIsPages(Pages):
    """Endpoint pages, generated for the requested host name and the configured ports."""

    def __init__(
        self,
        *,
        config: Configuration,
        issuers: IssuingCAs,
        manufacturers: tuple[Certificate, ...],
        policy_administration: PolicyAdministration,
        routes: Sequence[Route],
    ) -> None:
        self._config = config
        self._issuers = issuers
        self._manufacturers = bool(manufacturers)
        self._policies = policy_administration
        self._document = describe(routes)

    @page("GET", "/apis", audience=Audience.USER)
    async def apis(self, visit: PageRequest) -> PageReply:
        """Show all endpoints (UI-8)."""
        location = replace(
            self._location(visit),
            est_labels=await self._labels(visit, Method.EST),
            scep_labels=await self._labels(visit, Method.SCEP),
        )
        return HtmlPage("apis/list.html", {"sections": sections(location), "place": location})

    @page("GET", "/apis/reference", audience=Audience.USER)
    async def reference(self, visit: PageRequest) -> PageReply:
        """Show the REST reference, which loads nothing from other sites (API-2)."""
        return HtmlPage("apis/reference.html", {"reference": reference(self._document, self._location(visit).https)})

    async def _labels(self, visit: PageRequest, protocol: Method) -> tuple[str, ...]:
        policies = await self._policies.labels(visit.principal, protocol)
        return tuple(policy.name for policy in policies[:_MAX_LABELS])

    def _location(self, visit: PageRequest) -> Location:
        config = self._config
        public = config.ca.public_url or ""
        if shlex.quote(public) != public:
            public = ""
        host = _PORT.sub("", visit.host) or urlsplit(public).netloc.rpartition("@")[2] or "localhost"
        ports = {one.name: one.port for one in config.listeners}
        issuer = self._issuers.current.get("rsa", self._issuers.default)
        mode = config.scep.ra
        return Location(
            http=public.rstrip("/") or _url("http", host, ports.get("http", 0)),
            scep=_url("http", host, ports.get("scep", 0)),
            https=config.https.external_url or _url("https", host, ports.get("https", 0)),
            trusted_https=_url("https", host, ports.get("trusted_https", 0)),
            account=visit.signed_in().username,
            issuer=self._issuers.default.name,
            issuers=tuple(self._issuers.current),
            scep_issuer=issuer.name if config.scep.enabled else "",
            scep_ra=mode is SCEPRegistrationAuthority.ALWAYS or issuer.decrypter is None,
            est=config.est.enabled,
            ocsp=config.ocsp.enabled,
            manufacturers=self._manufacturers,
        )


def _url(scheme: str, host: str, port: int) -> str:
    """Return the base URL of a listener; ``""`` where it is off."""
    if not port:
        return ""
    return f"{scheme}://{host}" if port == _STANDARD[scheme] else f"{scheme}://{host}:{port}"
