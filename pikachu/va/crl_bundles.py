"""Which CRLs stand together in one PEM file: programs that read one file verify certificates across a key switch."""

from __future__ import annotations

from pikachu.ca.infrastructure import ROOT
from pikachu.ca.issuers import IssuingCA, IssuingCAs
from pikachu.core.interfaces import IClock
from pikachu.core.model.times import utc
from pikachu.va.crl_files import CRLBundle, CRLFolder, CRLSettings
from pikachu.x509.certificate import Certificate


class CRLBundles:
    """The bundles beside ``crl_path``; none if that is not set."""

    def __init__(self, issuers: IssuingCAs, folder: CRLFolder, settings: CRLSettings, clock: IClock) -> None:
        self._issuers = issuers
        self._folder = folder
        self._path = settings.broker_path
        self._clock = clock

    def of_issuer(self, issuer: IssuingCA) -> list[CRLBundle]:
        """Return the bundles that contain an issuer's CRL, with those of its other generations."""
        if self._path is None:
            return []
        if issuer.name == ROOT:
            return self._root(issuer.key_identifier)
        generations = self._issuers.generations(issuer.name, utc(self._clock.seconds()))
        name = "" if issuer.name == self._issuers.default.name else f"-{issuer.name}"
        members = tuple(self._folder.paths(generation.key_identifier)[1] for generation in generations)
        return [CRLBundle(self._path.with_name(f"{self._path.stem}{name}{self._path.suffix}"), members)]

    def of_upload(self, ca: Certificate) -> list[CRLBundle]:
        """Return the bundles that contain an uploaded CRL."""
        return self._root(ca.key_identifier) if ca.self_issued else []

    def _root(self, key_identifier: bytes) -> list[CRLBundle]:
        if self._path is None:
            return []
        path = self._path.with_name(f"{self._path.stem}-{ROOT}{self._path.suffix}")
        return [CRLBundle(path, (self._folder.paths(key_identifier)[1],))]
