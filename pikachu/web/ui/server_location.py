"""The addresses of this server, as the browser that asks knows it."""

from __future__ import annotations

import re
import shlex
from typing import Final
from urllib.parse import urlsplit

from pikachu.ca.issuers import IssuingCAs
from pikachu.config.configuration import Configuration
from pikachu.config.setting_choices import SCEPRegistrationAuthority
from pikachu.web.ui.client_commands import Location
from pikachu.web.ui.pages import PageRequest
from pikachu.x509.certificate import Certificate

_PORT: Final = re.compile(r":\d+$")
_STANDARD: Final = {"http": 80, "https": 443}


class ServerLocations:
    """Finds the addresses for commands, for the requested host name and the configured ports."""

    def __init__(self, *, config: Configuration, issuers: IssuingCAs, manufacturers: tuple[Certificate, ...]) -> None:
        self._config = config
        self._issuers = issuers
        self._manufacturers = bool(manufacturers)

    def of(self, visit: PageRequest) -> Location:
        """Return the addresses and services for a signed-in user."""
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
