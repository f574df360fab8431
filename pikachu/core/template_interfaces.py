"""The store's interface for certificate templates (see docs/adr/0002)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from pikachu.core.model.account_objects import CertificateTemplate
from pikachu.core.model.events import Event
from pikachu.core.model.list_queries import ListQuery, Page


class ITemplateStore(Protocol):
    """Certificate templates."""

    def template(self, template_id: int) -> Deferred[CertificateTemplate]:
        """Return the template with that id.  Fails with NotFound."""

    def templates(self, query: ListQuery) -> Deferred[Page[CertificateTemplate]]:
        """List templates; *owner_id* selects that owner's and shared ones."""

    def add_template(self, template: CertificateTemplate, event: Event, now: datetime) -> Deferred[CertificateTemplate]:
        """Create a template, ignoring its id and times."""

    def update_template(
        self, template: CertificateTemplate, event: Event, now: datetime
    ) -> Deferred[CertificateTemplate]:
        """Update a template.  Fails with EditConflict if its version has changed."""

    def delete_template(
        self, template_id: int, decide: Callable[[CertificateTemplate], Event], now: datetime
    ) -> Deferred[None]:
        """Delete a template, unless *decide* raises.  Fails with NotFound."""
